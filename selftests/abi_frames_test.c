// SPDX-License-Identifier: GPL-2.0-only
/*
 * Frames at full speed over the inline path, and peers that misbehave: one that
 * is stopped while it holds a frame, one that scribbles over the state word, one
 * that rewrites it in a tight loop.
 */
#include <pthread.h>
#include <sched.h>
#include <sys/syscall.h>
#include <linux/userfaultfd.h>

#include "metronome.h"

FIXTURE(frames) {
	struct peer p, c;
};

FIXTURE_SETUP(frames)
{
	ASSERT_EQ(0, peer_open(&self->p, test_name(), TRIBUF_PRODUCER, TRIBUF_CREATE, SLOT));
	ASSERT_EQ(0, peer_open(&self->c, test_name(), TRIBUF_CONSUMER, 0, 0));
}

FIXTURE_TEARDOWN(frames)
{
	peer_close(&self->p);
	peer_close(&self->c);
}

/* ---- full speed ---- */

FIXTURE(speed) {
	struct peer c;
	const char *name;
	struct shared { uint64_t published, taken; } *shared;
};

FIXTURE_VARIANT(speed) {
	unsigned long frames;
	bool sleeps;
};

FIXTURE_VARIANT_ADD(speed, spinning) { .frames = 1000000, .sleeps = false };
FIXTURE_VARIANT_ADD(speed, polling) { .frames = 200000, .sleeps = true };

FIXTURE_SETUP(speed)
{
	self->name = test_name();
	self->shared = shared_with_children(struct shared);
	ASSERT_EQ(0, peer_open(&self->c, self->name, TRIBUF_CONSUMER, TRIBUF_CREATE, SLOT));
}

FIXTURE_TEARDOWN(speed)
{
	peer_close(&self->c);
}

struct tally {
	uint64_t taken, skipped, last;
};

/* Check the frame in @slot and count it. 0, or what is wrong with it. */
static const char *tally_frame(struct tally *t, const struct peer *c, int slot)
{
	uint64_t seq = desc_of(c, (uint32_t)slot)->seq;

	if (seq <= t->last)
		return "seq does not increase";
	if (!frame_holds(c, slot))
		return "torn";
	t->taken++;
	t->skipped += seq - t->last - 1;
	t->last = seq;
	return NULL;
}

/* A pace of its own: the consumer dawdles over every eighth frame. */
static const char *take_frame(struct tally *t, const struct peer *c, int slot)
{
	const char *wrong = tally_frame(t, c, slot);

	for (int i = 0; i < 4 && !wrong && t->taken % 8 == 0; i++)
		if (!frame_holds(c, slot))
			wrong = "torn later";
	return wrong;
}

/* Take frames until the producer is gone; NULL or what went wrong. */
static const char *consume(struct tally *t, struct peer *c, bool sleeps, uint64_t *taken)
{
	const char *wrong = NULL;
	int slot, events = 0;
	unsigned int idle = 0;

	while (!wrong) {
		slot = acquire(c);
		if (slot >= 0) {
			wrong = take_frame(t, c, slot);
			__atomic_store_n(taken, t->taken, __ATOMIC_RELAXED);
		} else if (slot != -EAGAIN) {
			wrong = "the state word is spoilt";
		} else if (events & POLLRDHUP) {
			break;		/* gone, and looked at once more since */
		} else if (sleeps) {
			events = polled(c->fd, POLLIN | POLLRDHUP, 10000);
			if (!events)
				wrong = "no wake-up in 10 s";
		} else if (++idle % 1024 == 0) {
			events = polled(c->fd, POLLRDHUP, 0);
		}
	}
	return wrong;
}

/*
 * Not paced in any way. But on a machine that is busy with other things the two may
 * hardly ever run at the same time: as long as less than one frame in @share was
 * taken, sixteen frames are followed by naps, which let the consumer run.
 */
static void produce(const char *name, struct shared *shared, unsigned long frames, bool sleeps,
		    unsigned int share)
{
	struct peer p;

	pin_to_cpu(1);
	child_gets(0, peer_open(&p, name, TRIBUF_PRODUCER, TRIBUF_OWNED, 0));
	while (p.seq < frames) {
		int64_t next = (int64_t)p.seq + 1;

		child_must(publish_pattern(&p) == next);
		/* Pauses, for the consumer to fall asleep in. */
		if (sleeps && p.seq % 64 == 0)
			sleep_ns(20000);
		for (int naps = 0; p.seq % 16 == 0 && naps < 1000 &&
		     __atomic_load_n(&shared->taken, __ATOMIC_RELAXED) <= p.seq / share; naps++)
			sleep_ns(20000);
	}
	shared->published = p.seq;
}

TEST_F_TIMEOUT(speed, nothing_torn_and_every_frame_accounted_for, 300)
{
	unsigned long frames = scaled(variant->frames);
	unsigned int share = variant->sleeps ? 1000 : 20;
	uint64_t began = now(), published;
	struct tally t = {};
	const char *wrong;
	pid_t producer;

	producer = in_child(produce(self->name, self->shared, frames, variant->sleeps, share));
	pin_to_cpu(0);
	wrong = consume(&t, &self->c, variant->sleeps, &self->shared->taken);
	EXPECT_EQ(NULL, wrong) TH_LOG("%s, after frame %llu", wrong, (unsigned long long)t.last);
	EXPECT_EQ(0, ended(producer));
	published = self->shared->published;
	EXPECT_EQ(frames, published);
	EXPECT_EQ(published, t.last);
	EXPECT_EQ(published, t.taken + t.skipped);
	EXPECT_EQ(t.skipped, self->c.frames->overwritten);
	EXPECT_EQ(published & 0x3fffff, tribuf_word_count(word_of(&self->c)));
	EXPECT_LE(published / 100, t.skipped);
	EXPECT_LE(published / share, t.taken);
	printf("# %llu frames in %llu ms: %llu taken, %llu skipped, %llu rings\n",
	       (unsigned long long)published, (unsigned long long)((now() - began) / NS_PER_MS),
	       (unsigned long long)t.taken, (unsigned long long)t.skipped,
	       (unsigned long long)peek(self->c.fd).kernel_rings);
	fflush(stdout);
}

/* ---- copies that race ---- */

/* In a child: whole slots, with breaths in between, of which some suit any kernel. */
static void produce_whole_slots(const char *name)
{
	uint64_t state = 1;
	struct peer p;

	pin_to_cpu(1);
	child_gets(0, peer_open(&p, name, TRIBUF_PRODUCER, TRIBUF_OWNED, 0));
	for (;;) {
		int slot = begin(&p);

		pattern_fill(slot_of(&p, (uint32_t)slot), p.seq + 1, SLOT);
		child_must(publish(&p, slot, SLOT) >= 0);
		for (uint64_t spin = chance(&state) % (1u << chance(&state) % 18); spin; spin--)
			__asm__ volatile("");
	}
}

/* Out of a slot that is nobody's to hold: right, or stale, and never mixed. */
TEST_F_TIMEOUT(frames, copies_that_race_with_the_producer, 60)
{
	unsigned long copies = scaled(2000), good = 0, stale = 0;
	int observer = join(test_name(), TRIBUF_OBSERVER, 0, 0);
	const char *name = test_name();
	struct tribuf_acquired frame = {};
	uint64_t end = now() + 20 * NS_PER_S;
	unsigned char copy[SLOT];
	pid_t producer;

	peer_close(&self->p);
	producer = in_child(produce_whole_slots(name));
	pin_to_cpu(0);
	ASSERT_TRUE(polled(observer, POLLIN, 10000));
	while (good + stale < copies && now() < end) {
		int err = kernel_acquire(observer, &frame);

		ASSERT_TRUE(!err || err == -EAGAIN);
		if (err)
			continue;
		err = kernel_copy(observer, frame.slot, frame.desc.generation, 0, copy, SLOT);
		ASSERT_TRUE(!err || err == -ESTALE);
		good += !err;
		stale += err == -ESTALE;
		ASSERT_TRUE(err || pattern_holds(copy, frame.desc.seq, SLOT));
	}
	slay(producer);
	printf("# %lu copies right, %lu stale\n", good, stale);
	fflush(stdout);
	EXPECT_LT(0, good);
	close(observer);
}

struct fault {
	int uffd;
	void *page;
	struct peer *recycles;		/* the producer that does so meanwhile, or NULL */
};

/* Serve one fault, but not before the producer has been all round its slots. */
static void *serve_fault(void *arg)
{
	struct fault *f = arg;
	struct uffdio_zeropage zero = {
		.range = { .start = (uintptr_t)f->page, .len = page_size() },
	};
	struct uffd_msg message;

	if (read(f->uffd, &message, sizeof(message)) != sizeof(message))
		return NULL;
	if (f->recycles) {
		publish_pattern(f->recycles);
		publish_pattern(f->recycles);
	}
	ioctl(f->uffd, UFFDIO_ZEROPAGE, &zero);
	return NULL;
}

/* The same, without chance: COPY is held up by a page fault of its caller's. */
static int copy_with_a_fault(const struct peer *p, struct peer *recycles, unsigned char *to,
			     const struct tribuf_publish_args *frame)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct fault f = { .page = to + page_size(), .recycles = recycles };
	struct uffdio_register area = {
		.range = { .start = (uintptr_t)f.page, .len = page_size() },
		.mode = UFFDIO_REGISTER_MODE_MISSING,
	};
	pthread_t thread;
	int err;

	f.uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);
	if (f.uffd < 0 || ioctl(f.uffd, UFFDIO_API, &api) || ioctl(f.uffd, UFFDIO_REGISTER, &area))
		return -ENOSYS;
	pthread_create(&thread, NULL, serve_fault, &f);
	err = kernel_copy(p->fd, frame->slot, frame->generation, 0, to, 2 * page_size());
	pthread_join(thread, NULL);
	close(f.uffd);
	return err;
}

TEST_F(frames, a_frame_that_is_recycled_while_it_is_copied)
{
	size_t bytes = 2 * page_size();
	unsigned char *to = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
				 -1, 0);
	struct tribuf_publish_args frame;
	struct peer p, c;
	char name[TRIBUF_NAME_SIZE + 8];
	int err;

	snprintf(name, sizeof(name), "%s.pages", test_name());
	ASSERT_EQ(0, peer_open(&p, name, TRIBUF_PRODUCER, TRIBUF_CREATE, bytes));
	ASSERT_EQ(0, peer_open(&c, name, TRIBUF_CONSUMER, 0, 0));
	pattern_fill(slot_of(&p, 0), 1, bytes);
	ASSERT_EQ(0, kernel_publish(p.fd, bytes, &frame));
	p.seq = 1;
	err = copy_with_a_fault(&c, NULL, to, &frame);
	if (err == -ENOSYS)
		SKIP(return, "no userfaultfd here");
	EXPECT_EQ(0, err);
	EXPECT_TRUE(pattern_holds(to, 1, bytes));
	ASSERT_EQ(0, madvise(to, bytes, MADV_DONTNEED));
	EXPECT_EQ(-ESTALE, copy_with_a_fault(&c, &p, to, &frame));
	peer_close(&c);
	peer_close(&p);
}

/* ---- a consumer that is stopped ---- */

TEST_F(frames, a_stopped_consumer_blocks_nobody)
{
	const char *name = test_name();
	int told[2], status;
	uint64_t began;
	uint32_t front;
	char byte;
	pid_t consumer;

	peer_close(&self->c);
	EXPECT_EQ(1, publish_pattern(&self->p));
	ASSERT_EQ(0, pipe(told));
	consumer = in_child({
		struct peer c;
		int slot;

		child_gets(0, peer_open(&c, name, TRIBUF_CONSUMER, TRIBUF_OWNED, 0));
		slot = acquire(&c);
		child_must(slot >= 0 && desc_of(&c, (uint32_t)slot)->seq == 1);
		child_must(write(told[1], "x", 1) == 1);
		raise(SIGSTOP);
		/* Awake again: still the same frame, to the last byte. */
		child_must(desc_of(&c, (uint32_t)slot)->seq == 1 && frame_holds(&c, slot));
		slot = acquire(&c);
		child_must(slot >= 0 && desc_of(&c, (uint32_t)slot)->seq == 20001);
		child_must(frame_holds(&c, slot));
	});
	ASSERT_EQ(1, read(told[0], &byte, 1));
	ASSERT_EQ(consumer, waitpid(consumer, &status, WUNTRACED));
	ASSERT_TRUE(WIFSTOPPED(status));
	front = tribuf_word_front(word_of(&self->p));
	began = now();
	for (int i = 0; i < 20000; i++)
		ASSERT_EQ(i + 2, publish_pattern(&self->p));
	EXPECT_GT(20 * NS_PER_S, now() - began);
	EXPECT_EQ(front, tribuf_word_front(word_of(&self->p)));
	EXPECT_TRUE(pattern_holds(slot_of(&self->p, front), 1, pattern_bytes(1, SLOT)));
	kill(consumer, SIGCONT);
	EXPECT_EQ(0, ended(consumer));
}

/* ---- hostile words ---- */

#define soon(call) in_time(m, call)

/* Each of the 1,024 values of the low ten bits, and what every call makes of it. */
TEST_F(frames, every_pattern_of_a_scribbled_word)
{
	int observer = join(test_name(), TRIBUF_OBSERVER, 0, 0);
	struct metronome metronome, *m = &metronome;
	volatile uint32_t *word = &self->c.state->word;
	struct tribuf_acquired frame;
	struct tribuf_publish_args args;
	struct tribuf_info_args i;
	unsigned char byte;

	ASSERT_LE(0, observer);
	ASSERT_EQ(0, metronome_start(m));
	for (uint32_t bits = 0; bits < 1024; bits++) {
		uint32_t scribble = bits | bits << 10;
		bool valid = tribuf_word_valid(scribble), fresh = scribble & TRIBUF_FRESH;

		*word = scribble;
		ASSERT_EQ(valid ? 0 : -EPROTO, soon(kernel_publish(self->p.fd, 1, &args)))
			TH_LOG("word %#x", scribble);
		ASSERT_EQ(valid ? tribuf_word_back(scribble) : args.slot, args.slot);
		ASSERT_TRUE(valid || *word == scribble);

		*word = scribble;
		ASSERT_EQ(!valid ? -EPROTO : fresh ? 0 : -EAGAIN,
			  soon(kernel_acquire(self->c.fd, &frame))) TH_LOG("word %#x", scribble);
		ASSERT_EQ(valid && fresh ? tribuf_word_middle(scribble) : 0, frame.slot);
		ASSERT_TRUE((valid && fresh) || *word == scribble);

		*word = scribble;
		ASSERT_EQ(valid ? -EAGAIN : -EPROTO,
			  (kernel_acquire(observer, NULL), soon(kernel_acquire(observer, NULL))));
		*word = scribble;
		ASSERT_EQ(0, soon(info(self->c.fd, &i, 0)));
		ASSERT_EQ(scribble, i.claimed_word);
		soon(polled(self->c.fd, POLLIN, 0));
		soon(polled(self->p.fd, POLLOUT, 0));
		soon(polled(observer, POLLIN, 0));
		ASSERT_EQ(0, soon(ring(self->p.fd)));
		ASSERT_EQ(0, soon(ring(self->c.fd)));
		ASSERT_GE(0, soon(kernel_copy(self->c.fd, bits % 3, 0, 0, &byte, 1)));
		/* And the inline path, which has the same rules. */
		*word = scribble;
		ASSERT_EQ(valid ? (int)tribuf_word_back(scribble) : -EPROTO, begin(&self->p));
		ASSERT_EQ(!valid ? -EPROTO : !fresh ? -EAGAIN : (int)tribuf_word_middle(scribble),
			  acquire(&self->c));
	}
	metronome_stop(m);
	EXPECT_EQ(0, m->late);
	*word = TRIBUF_WORD_INIT;
	EXPECT_EQ(0, kernel_publish(self->p.fd, 1, NULL));
	EXPECT_EQ(0, kernel_acquire(self->c.fd, NULL));
}

/* Whoever would sleep on a spoilt word is told instead. */
TEST_F(frames, read_of_a_spoilt_word)
{
	*(volatile uint32_t *)&self->c.state->word = 0;
	EXPECT_EQ(-EPROTO, negative_errno(read(self->c.fd, &(struct tribuf_acquired){},
					       sizeof(struct tribuf_acquired))));
}

struct hostile {
	volatile uint32_t *word;
	volatile bool stop;
	uint64_t state;
	bool valid_only;
};

static void *rewrite_word(void *arg)
{
	struct hostile *h = arg;

	while (!h->stop) {
		uint32_t word = (uint32_t)chance(&h->state);

		if (!h->valid_only || tribuf_word_valid(word))
			*h->word = word;
	}
	return NULL;
}

FIXTURE(hostile) {
	struct peer p, c;
	int observer;
	struct hostile h;
	pthread_t thread;
};

FIXTURE_VARIANT(hostile) {
	bool valid_only;
};

FIXTURE_VARIANT_ADD(hostile, any_word) { .valid_only = false };
FIXTURE_VARIANT_ADD(hostile, valid_words) { .valid_only = true };

FIXTURE_SETUP(hostile)
{
	ASSERT_EQ(0, peer_open(&self->p, test_name(), TRIBUF_PRODUCER, TRIBUF_CREATE, SLOT));
	ASSERT_EQ(0, peer_open(&self->c, test_name(), TRIBUF_CONSUMER, 0, 0));
	self->observer = join(test_name(), TRIBUF_OBSERVER, 0, 0);
	self->h = (struct hostile){
		.word = &self->c.state->word, .state = seed(), .valid_only = variant->valid_only,
	};
	ASSERT_EQ(0, pthread_create(&self->thread, NULL, rewrite_word, &self->h));
}

FIXTURE_TEARDOWN(hostile)
{
	self->h.stop = true;
	pthread_join(self->thread, NULL);
	peer_close(&self->p);
	peer_close(&self->c);
	close(self->observer);
}

/* Every call comes back in time, with EPROTO or with something that holds. */
TEST_F(hostile, word_is_survived)
{
	unsigned long rounds = scaled(3000), spoilt = 0, good = 0, i;
	unsigned long *wanted = variant->valid_only ? &good : &spoilt;
	struct metronome metronome, *m = &metronome;
	struct tribuf_acquired frame;
	struct tribuf_publish_args args;

	ASSERT_EQ(0, fcntl(self->c.fd, F_SETFL, O_NONBLOCK));
	ASSERT_EQ(0, metronome_start(m));
	/* Longer where the hostile thread is not running yet. */
	for (i = 0; i < rounds || (!*wanted && i < 100 * rounds); i++) {
		long published = soon(kernel_publish(self->p.fd, 1, &args));
		long acquired = soon(kernel_acquire(self->c.fd, &frame));
		long observed = soon(kernel_acquire(self->observer, NULL));
		long got = soon(negative_errno(read(self->c.fd, &frame, sizeof(frame))));

		ASSERT_TRUE(published == 0 || published == -EPROTO);
		ASSERT_TRUE(acquired == 0 || acquired == -EPROTO || acquired == -EAGAIN);
		ASSERT_TRUE(observed == 0 || observed == -EPROTO || observed == -EAGAIN);
		ASSERT_TRUE(got == sizeof(frame) || got == -EPROTO || got == -EAGAIN);
		ASSERT_TRUE(published || (args.slot < TRIBUF_SLOTS && args.back < TRIBUF_SLOTS));
		ASSERT_TRUE(acquired || frame.slot < TRIBUF_SLOTS);
		soon(polled(self->p.fd, POLLOUT, 0));
		soon(polled(self->c.fd, POLLIN, 0));
		soon(ring(self->p.fd));
		spoilt += published == -EPROTO;
		good += !published;
	}
	metronome_stop(m);
	EXPECT_EQ(0, m->late);
	printf("# %lu publishes right, %lu EPROTO\n", good, spoilt);
	fflush(stdout);
	EXPECT_LT(0, *wanted);
}

/* A peer that rewrites descriptors: what is taken is a copy that was checked. */
static void *rewrite_desc(void *arg)
{
	struct hostile *h = arg;
	struct tribuf_frames *frames = (void *)h->word;

	while (!h->stop)
		for (int slot = 0; slot < TRIBUF_SLOTS; slot++) {
			frames->desc[slot].bytes = chance(&h->state) % 4 ? SLOT : ~0ull;
			frames->desc[slot].generation = (uint32_t)chance(&h->state);
			frames->format.bytes = (uint32_t)chance(&h->state);
			frames->format.version += 1;
		}
	return NULL;
}

TEST_F(frames, hostile_descriptors_are_survived)
{
	unsigned long rounds = scaled(3000);
	struct hostile h = { .word = (void *)self->p.frames, .state = seed() };
	struct tribuf_acquired frame;
	int observer = join(test_name(), TRIBUF_OBSERVER, 0, 0);
	char room[TRIBUF_FORMAT_BYTES];
	pthread_t thread;

	ASSERT_EQ(0, pthread_create(&thread, NULL, rewrite_desc, &h));
	for (unsigned long i = 0; i < rounds; i++) {
		struct tribuf_format_args format = {
			.size = sizeof(format), .bytes = sizeof(room), .buf = (uintptr_t)room,
		};
		struct tribuf_info_args told;

		kernel_publish(self->p.fd, 1, NULL);
		if (!kernel_acquire(self->c.fd, &frame))
			EXPECT_GE(SLOT, frame.desc.bytes);
		if (!kernel_acquire(observer, &frame))
			EXPECT_GE(SLOT, frame.desc.bytes);
		if (!tri_ioctl(self->c.fd, TRIBUF_IOC_FORMAT, &format))
			EXPECT_GE(TRIBUF_FORMAT_BYTES, format.bytes);
		EXPECT_EQ(0, info(self->c.fd, &told, 0));
	}
	h.stop = true;
	pthread_join(thread, NULL);
	close(observer);
}

TEST_HARNESS_MAIN
