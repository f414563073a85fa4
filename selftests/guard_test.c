// SPDX-License-Identifier: GPL-2.0-only
/*
 * Guarded channels: who touches a slot that is not theirs gets SIGBUS, from the
 * moment in which it was given away, and no pin outlives that moment.
 */
#include "guard.h"
#include "metronome.h"

#include <sys/stat.h>
#include <sys/uio.h>

FIXTURE(guard) {
	const char *name;
	struct peer p, c;
};

FIXTURE_VARIANT(guard) {
	uint64_t slot_size;
};

FIXTURE_VARIANT_ADD(guard, small) { .slot_size = SLOT };
/* One and a half pieces of 2 MiB, where the kernel maps those by one entry. */
FIXTURE_VARIANT_ADD(guard, large) { .slot_size = (3u << 20) + 1 };

FIXTURE_SETUP(guard)
{
	self->name = test_name();
	ASSERT_EQ(0, guarded_open(&self->p, self->name, TRIBUF_PRODUCER, TRIBUF_CREATE,
				  variant->slot_size));
	ASSERT_EQ(0, guarded_open(&self->c, self->name, TRIBUF_CONSUMER,
				  TRIBUF_CREATE | TRIBUF_LATEST, variant->slot_size));
}

FIXTURE_TEARDOWN(guard)
{
	peer_close(&self->p);
	peer_close(&self->c);
}

/* Write the next frame of the pattern and publish it: its slot, or -errno. */
static int produce(struct peer *p)
{
	uint64_t seq = p->seq + 1, bytes = pattern_bytes(seq, p->at.slot_size);
	uint32_t back = tribuf_word_back(word_of(p));
	struct tribuf_publish_args args;
	int err;

	pattern_fill(slot_of(p, back), seq, bytes);
	err = kernel_publish(p->fd, bytes, &args);
	if (err)
		return err;
	p->seq = args.seq;
	return (int)args.slot;
}

/* Take the next frame: its slot, -EBADMSG if it is not whole, or -errno. */
static int consume(struct peer *c)
{
	struct tribuf_acquired frame;
	int err = kernel_acquire(c->fd, &frame);

	if (err)
		return err;
	c->seq = frame.desc.seq;
	return pattern_holds(slot_of(c, frame.slot), frame.desc.seq, frame.desc.bytes) &&
	       frame.desc.bytes == pattern_bytes(frame.desc.seq, c->at.slot_size) ?
	       (int)frame.slot : -EBADMSG;
}

/* A byte at the start, in the middle and at the end of a slot. */
#define ALL_OF_SLOT(expected, peer, slot, write) do {				\
	unsigned char *__at = slot_of(peer, (uint32_t)(slot));			\
	uint64_t __size = (peer)->at.slot_size;					\
										\
	EXPECT_EQ(expected, touch(__at, write));				\
	EXPECT_EQ(expected, touch(__at + __size / 2, write));			\
	EXPECT_EQ(expected, touch(__at + __size - 1, write));			\
} while (0)

TEST_F(guard, frames_travel)
{
	for (uint64_t i = 1; i <= 100; i++) {
		ASSERT_LE(0, produce(&self->p));
		if (i % 3)
			continue;
		ASSERT_LE(0, consume(&self->c));
		ASSERT_EQ(i, self->c.seq);
		ASSERT_EQ(-EAGAIN, consume(&self->c));
	}
	EXPECT_EQ(0, peek(self->p.fd).kernel_guard_faults);
}

TEST_F(guard, published_slot_is_out_of_reach)
{
	int slot;

	for (int i = 0; i < 6; i++) {
		slot = produce(&self->p);
		ASSERT_LE(0, slot);
		ALL_OF_SLOT(SIGBUS, &self->p, slot, true);
		ALL_OF_SLOT(SIGBUS, &self->p, slot, false);
		ALL_OF_SLOT(0, &self->p, tribuf_word_back(word_of(&self->p)), true);
		if (i % 2)
			ASSERT_EQ(slot, consume(&self->c));
	}
	EXPECT_EQ(6 * 6, peek(self->p.fd).kernel_guard_faults);
}

TEST_F(guard, returned_slot_is_out_of_reach)
{
	int slot, next;

	ASSERT_LE(0, produce(&self->p));
	slot = consume(&self->c);
	ASSERT_LE(0, slot);
	ALL_OF_SLOT(0, &self->c, slot, false);
	for (int i = 0; i < 6; i++) {
		ASSERT_LE(0, produce(&self->p));
		/* What the producer does takes nothing from us. */
		ALL_OF_SLOT(0, &self->c, slot, false);
		next = consume(&self->c);
		ASSERT_LE(0, next);
		ALL_OF_SLOT(SIGBUS, &self->c, slot, false);
		ALL_OF_SLOT(0, &self->c, next, false);
		slot = next;
	}
}

/* Also by who asks again and again, and meets the publish at any moment of it. */
TEST_F_TIMEOUT(guard, asking_again_keeps_no_slot, 120)
{
	unsigned long frames = scaled(4000);
	struct tribuf_acquired frame;
	uint64_t random = seed();
	uint32_t front;
	pid_t producer;

	peer_close(&self->p);
	producer = in_child({
		struct peer p;

		child_gets(0, guarded_open(&p, self->name, TRIBUF_PRODUCER, 0, 0));
		for (unsigned long i = 0; i < frames; i++) {
			uint64_t when;

			while (word_of(&p) & TRIBUF_FRESH)
				;
			/* It looks whether its last slot is gone, and then asks. */
			when = now() + 100000 + chance(&random) % 100000;
			while (now() < when)
				;
			child_gets(0, kernel_publish(p.fd, 1, NULL));
		}
	});
	for (unsigned long i = 0; i < frames; i++) {
		int err;

		front = tribuf_word_front(word_of(&self->c));
		touch(slot_of(&self->c, front), false);
		while ((err = kernel_acquire(self->c.fd, &frame)) == -EAGAIN)
			;
		ASSERT_EQ(0, err);
		ASSERT_EQ(SIGBUS, touch(slot_of(&self->c, front), false));
	}
	EXPECT_EQ(0, ended(producer));
}

/* Whoever catches the signal learns where it was, to the byte, and goes on. */
TEST_F(guard, sigbus_says_where_and_the_channel_goes_on)
{
	unsigned char *published, *given_back, byte;

	reach_begin();
	for (int i = 0; i < 10; i++) {
		published = slot_of(&self->p, tribuf_word_back(word_of(&self->p))) + 123 + i;
		given_back = slot_of(&self->c, tribuf_word_front(word_of(&self->c))) + 321 + i;
		ASSERT_EQ(0, reach_write(published, 1));
		ASSERT_EQ(0, reach(given_back, &byte));
		ASSERT_LE(0, produce(&self->p));
		ASSERT_EQ(SIGBUS, reach_write(published, 1));
		EXPECT_EQ(published, reach_info.si_addr);
		EXPECT_EQ(BUS_ADRERR, reach_info.si_code);
		ASSERT_LE(0, consume(&self->c));
		ASSERT_EQ(SIGBUS, reach(given_back, &byte));
		EXPECT_EQ(given_back, reach_info.si_addr);
		EXPECT_EQ(BUS_ADRERR, reach_info.si_code);
	}
	EXPECT_EQ(20, peek(self->p.fd).kernel_guard_faults);
}

TEST_F(guard, other_slots_were_never_in_reach)
{
	uint32_t word = word_of(&self->p);

	ALL_OF_SLOT(SIGBUS, &self->p, tribuf_word_middle(word), true);
	ALL_OF_SLOT(SIGBUS, &self->p, tribuf_word_front(word), true);
	ALL_OF_SLOT(SIGBUS, &self->c, tribuf_word_middle(word), false);
	ALL_OF_SLOT(SIGBUS, &self->c, tribuf_word_back(word), false);
	/* Not even with a mapping that covers nothing else, or a part. */
	EXPECT_EQ(SIGBUS, touch(slot_of(&self->c, tribuf_word_back(word)) + page_size(), false));
}

TEST_F(guard, metadata_are_the_kernels)
{
	for (unsigned int page = 0; page < TRIBUF_META_PAGES; page++) {
		EXPECT_EQ(NULL, map(self->p.fd, page_offset(page), page_size(),
				    PROT_READ | PROT_WRITE));
		EXPECT_EQ(EACCES, errno);
	}
	EXPECT_EQ(-EACCES, negative_errno(mprotect(self->p.state, page_size(),
						   PROT_READ | PROT_WRITE)));
	EXPECT_EQ(-EACCES, negative_errno(mprotect(self->c.slots, page_size(),
						   PROT_READ | PROT_WRITE)));
}

TEST_F(guard, observers_copy)
{
	struct tribuf_acquired frame;
	unsigned char copied[256];
	struct peer o;

	ASSERT_EQ(0, guarded_open(&o, self->name, TRIBUF_OBSERVER, 0, 0));
	EXPECT_EQ(NULL, map(o.fd, (off_t)o.at.slots_offset, page_size(), PROT_READ));
	EXPECT_EQ(EACCES, errno);
	ASSERT_LE(0, produce(&self->p));
	ASSERT_EQ(0, kernel_acquire(o.fd, &frame));
	ASSERT_GE(sizeof(copied), frame.desc.bytes);
	ASSERT_EQ(0, kernel_copy(o.fd, frame.slot, frame.desc.generation, 0, copied,
				 frame.desc.bytes));
	EXPECT_TRUE(pattern_holds(copied, frame.desc.seq, frame.desc.bytes));
	peer_close(&o);
}

TEST_F(guard, nothing_pins_a_slot)
{
	uint32_t back = tribuf_word_back(word_of(&self->p));
	struct iovec part = { slot_of(&self->p, back), 4096 };
	unsigned char byte;
	int pipes[2];

	ASSERT_EQ(0, touch(part.iov_base, true));
	ASSERT_EQ(0, pipe(pipes));
	EXPECT_EQ(-EFAULT, negative_errno(vmsplice(pipes[1], &part, 1, 0)));
	/* Nor does another process reach it. */
	EXPECT_EQ(-EFAULT, negative_errno(process_vm_readv(getpid(),
				&(struct iovec){ &byte, 1 }, 1, &part, 1, 0)));
	close(pipes[0]);
	close(pipes[1]);
}

TEST_F(guard, comes_back_after_dontneed_while_it_is_ours)
{
	uint32_t back = tribuf_word_back(word_of(&self->p));
	unsigned char *slot = slot_of(&self->p, back);

	slot[0] = 42;
	ASSERT_EQ(-EINVAL, negative_errno(madvise(slot, page_size(), MADV_DONTNEED)));
	ASSERT_EQ(0, touch(slot, true));
	EXPECT_EQ(42, slot[0]);
}

TEST_F(guard, a_part_can_be_mapped_alone)
{
	uint32_t back = tribuf_word_back(word_of(&self->p));
	uint64_t last = (self->p.at.slot_size - 1) & ~(uint64_t)(page_size() - 1);
	unsigned char *part = map(self->p.fd, (off_t)(self->p.at.slots_offset +
				  back * self->p.at.slot_stride + last), page_size(),
				  PROT_READ | PROT_WRITE);

	ASSERT_NE(NULL, part);
	EXPECT_EQ(0, touch(part, true));
	part[0] = 7;
	EXPECT_EQ(7, slot_of(&self->p, back)[last]);
	ASSERT_EQ(0, kernel_publish(self->p.fd, 1, NULL));
	EXPECT_EQ(SIGBUS, touch(part, true));
	munmap(part, page_size());
}

TEST_F(guard, successors_go_on)
{
	struct peer p, c;

	ASSERT_LE(0, produce(&self->p));
	ASSERT_LE(0, consume(&self->c));
	peer_close(&self->p);
	ASSERT_EQ(0, guarded_open(&p, self->name, TRIBUF_PRODUCER, 0, 0));
	p.seq = 1;
	ALL_OF_SLOT(0, &p, tribuf_word_back(word_of(&p)), true);
	ASSERT_LE(0, produce(&p));
	peer_close(&self->c);
	ASSERT_EQ(0, guarded_open(&c, self->name, TRIBUF_CONSUMER, TRIBUF_LATEST, 0));
	ASSERT_LE(0, consume(&c));
	EXPECT_EQ(2, c.seq);
	/* LATEST: the frame that the next one's predecessor holds comes again. */
	peer_close(&c);
	ASSERT_EQ(0, guarded_open(&c, self->name, TRIBUF_CONSUMER, TRIBUF_LATEST, 0));
	EXPECT_TRUE(c.at.redelivered);
	ASSERT_LE(0, consume(&c));
	EXPECT_EQ(2, c.seq);
	peer_close(&c);
	peer_close(&p);
	ASSERT_EQ(0, guarded_open(&self->p, self->name, TRIBUF_PRODUCER, TRIBUF_CREATE,
				  variant->slot_size));
}

TEST_F(guard, join_says_so_or_is_refused)
{
	EXPECT_EQ(-EINVAL, join(self->name, TRIBUF_KEEPER, TRIBUF_CREATE, variant->slot_size));
	EXPECT_EQ(-EBUSY, join(self->name, TRIBUF_PRODUCER, TRIBUF_GUARDED, 0));
}

/* ---- faults against swaps ---- */

struct toucher {
	struct peer *peer;
	bool stop;
	unsigned long touched, refused;
};

/* Touches all three slots for as long as it is told to. */
static void *touch_for_ever(void *arg)
{
	struct toucher *t = arg;
	uint64_t state = now() | 1;
	unsigned char byte;

	while (!__atomic_load_n(&t->stop, __ATOMIC_RELAXED)) {
		uint32_t slot = (uint32_t)(chance(&state) % TRIBUF_SLOTS);

		if (reach(slot_of(t->peer, slot) + chance(&state) % t->peer->at.slot_size, &byte))
			__atomic_add_fetch(&t->refused, 1, __ATOMIC_RELAXED);
		else
			__atomic_add_fetch(&t->touched, 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

/* Slots that it owned and slots that it did not. */
static bool has_met(const struct toucher *t)
{
	return __atomic_load_n(&t->touched, __ATOMIC_RELAXED) &&
	       __atomic_load_n(&t->refused, __ATOMIC_RELAXED);
}

TEST_F_TIMEOUT(guard, swaps_race_faults, 120)
{
	struct toucher t[] = { { .peer = &self->p }, { .peer = &self->c } };
	unsigned long rounds = scaled(variant->slot_size > SLOT ? 60 : 1500);
	pthread_t thread[2];
	unsigned char byte;

	reach_begin();
	for (int i = 0; i < 2; i++)
		ASSERT_EQ(0, pthread_create(&thread[i], NULL, touch_for_ever, &t[i]));
	/* A few are over before a thread has begun: on until each has met with both. */
	for (unsigned long i = 0; i < rounds || !has_met(&t[0]) || !has_met(&t[1]); i++) {
		int slot = produce(&self->p);

		ASSERT_LE(0, slot);
		ASSERT_EQ(SIGBUS, reach(slot_of(&self->p, (uint32_t)slot), &byte));
		if (i % 2)
			ASSERT_LE(0, consume(&self->c));
	}
	for (int i = 0; i < 2; i++) {
		__atomic_store_n(&t[i].stop, true, __ATOMIC_RELAXED);
		pthread_join(thread[i], NULL);
		printf("# %s: %lu touches, %lu refused\n", i ? "consumer" : "producer",
		       t[i].touched, t[i].refused);
	}
	fflush(stdout);
}

/* ---- both sides at their own pace ---- */

struct writer {
	struct peer *p;
	bool publishes, stop;
	unsigned long done;
};

/* Writes where it may and where it may not, or publishes, for as long as it is told to. */
static void *write_for_ever(void *arg)
{
	struct writer *w = arg;
	uint64_t random = now() | 1;

	while (!__atomic_load_n(&w->stop, __ATOMIC_RELAXED)) {
		uint32_t slot = (uint32_t)(chance(&random) % TRIBUF_SLOTS);
		int failed = w->publishes ? kernel_publish(w->p->fd, w->p->at.slot_size, NULL) :
			     reach_write(slot_of(w->p, slot) + chance(&random) % 64,
					 (unsigned char)random);

		if (!failed)
			__atomic_add_fetch(&w->done, 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

static bool all_have_done(const struct writer *w, size_t count)
{
	while (count--)
		if (!__atomic_load_n(&w[count].done, __ATOMIC_RELAXED))
			return false;
	return true;
}

/* From the moment in which acquire returns, nobody can change the frame. */
TEST_F_TIMEOUT(guard, frames_stay_as_they_were_acquired, 120)
{
	struct writer w[] = {
		{ .p = &self->p, .publishes = true }, { .p = &self->p }, { .p = &self->p },
	};
	unsigned long rounds = scaled(variant->slot_size > SLOT ? 30 : 500), changed = 0;
	struct tribuf_acquired frame;
	pthread_t thread[ARRAY_SIZE(w)];
	unsigned char before[64];

	reach_begin();
	for (size_t i = 0; i < ARRAY_SIZE(w); i++)
		ASSERT_EQ(0, pthread_create(&thread[i], NULL, write_for_ever, &w[i]));
	while (rounds || !all_have_done(w, ARRAY_SIZE(w))) {
		const unsigned char *slot;

		if (kernel_acquire(self->c.fd, &frame)) {
			polled(self->c.fd, POLLIN, 10);
			continue;
		}
		slot = slot_of(&self->c, frame.slot);
		memcpy(before, slot, sizeof(before));
		for (int look = 0; look < 100; look++)
			changed += !!memcmp(before, slot, sizeof(before));
		rounds -= !!rounds;
	}
	for (size_t i = 0; i < ARRAY_SIZE(w); i++) {
		__atomic_store_n(&w[i].stop, true, __ATOMIC_RELAXED);
		pthread_join(thread[i], NULL);
	}
	EXPECT_EQ(0, changed);
}

/* ---- a consumer that hardly runs, and has no memory ---- */

#define GROUP	"/sys/fs/cgroup/tribuf-throttled"

/* Needs page tables anew in each round. Nobody kills it for want of memory. */
static void fault_for_ever(const char *name, unsigned long *rounds)
{
	struct peer c;
	unsigned char byte;

	child_must(write_file("/proc/self/oom_score_adj", "-1000"));
	child_gets(0, guarded_open(&c, name, TRIBUF_CONSUMER, 0, 0));
	for (;;) {
		kernel_acquire(c.fd, NULL);
		reach(slot_of(&c, tribuf_word_front(word_of(&c))), &byte);
		child_must(mmap(c.slots, c.slots_bytes, PROT_READ, MAP_SHARED | MAP_FIXED, c.fd,
				(off_t)c.at.slots_offset) == c.slots);
		if (!__atomic_fetch_add(rounds, 1, __ATOMIC_RELAXED))
			child_must(write_file(GROUP "/cgroup.procs", "0"));
	}
}

static int by_size(const void *a, const void *b)
{
	return *(const uint64_t *)a < *(const uint64_t *)b ? -1 : 1;
}

/*
 * Leave the group one page: for the page table that the core brings along to a fault,
 * none for the one that the module asks for. What it holds in stock is taken first.
 */
static bool leave_one_page(void)
{
	char text[32];
	long used;

	if (!write_file(GROUP "/memory.max", "0"))
		return false;
	used = read_number(GROUP "/memory.current");
	snprintf(text, sizeof(text), "%ld", used + (long)page_size());
	return used >= 0 && write_file(GROUP "/memory.max", text);
}

#define PUBLISHES	201u

/* Median of the ns that a publish of a slot takes that was touched, of @count. */
static uint64_t time_publishes(struct peer *p, struct metronome *m, size_t count)
{
	uint64_t took[PUBLISHES];

	for (size_t i = 0; i < count; i++) {
		unsigned char *back = slot_of(p, tribuf_word_back(word_of(p)));
		uint64_t began;

		reach_write(back, 1);
		began = now();
		in_time(m, kernel_publish(p->fd, 1, NULL));
		took[i] = now() - began;
		sleep_ms(10);
	}
	qsort(took, count, sizeof(took[0]), by_size);
	return took[count / 2];
}

/*
 * It may run for 1 ms of each 200, and gets no page table, so that it is held up in
 * a fault: a publish that waits for that would wait for most of the 200.
 */
TEST_F_TIMEOUT(guard, starving_consumer_stalls_no_publish, 120)
{
	unsigned long *rounds = shared_with_children(unsigned long);
	uint64_t alone, beside;
	struct metronome m;
	char pid[16];
	pid_t child;

	if ((mkdir(GROUP, 0755) && errno != EEXIST) ||
	    !write_file(GROUP "/cpu.max", "1000 200000") || !write_file(GROUP "/memory.max", "8M"))
		SKIP(return, "no cgroup with controllers for CPU and memory here");
	reach_begin();
	peer_close(&self->c);
	child = in_child(fault_for_ever(self->name, rounds));
	ASSERT_TRUE(eventually(20000, __atomic_load_n(rounds, __ATOMIC_RELAXED) > 1));
	kill(child, SIGSTOP);
	ASSERT_EQ(0, metronome_start(&m));
	alone = time_publishes(&self->p, &m, PUBLISHES / 3);
	EXPECT_TRUE(leave_one_page());
	kill(child, SIGCONT);
	sleep_ms(50);
	beside = time_publishes(&self->p, &m, PUBLISHES);
	metronome_stop(&m);
	printf("# a publish takes %.1f us, beside a starving consumer %.1f us\n",
	       (double)alone / 1000, (double)beside / 1000);
	fflush(stdout);
	EXPECT_EQ(0, m.late);
	EXPECT_GT(4 * alone, beside);
	EXPECT_EQ(0, waitpid(child, NULL, WNOHANG));
	/*
	 * Out of there first: the dying need memory and time, too. The limit of the time
	 * stays: a kernel whose last one goes rewrites its scheduler as it runs, over
	 * which an emulated one has fallen.
	 */
	write_file(GROUP "/memory.max", "max");
	snprintf(pid, sizeof(pid), "%d", child);
	EXPECT_TRUE(write_file("/sys/fs/cgroup/cgroup.procs", pid));
	slay(child);
	EXPECT_TRUE(eventually(5000, !rmdir(GROUP)));
}

TEST_HARNESS_MAIN
