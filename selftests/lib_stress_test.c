// SPDX-License-Identifier: GPL-2.0-only
/*
 * libtribuf under load: frames at full speed, references in a race, peers killed
 * or stopped at any moment, a state word that a peer spoils. Counts are those of
 * "make check"; TRIBUF_SCALE multiplies them.
 */
#include "lib.h"
#include "metronome.h"

#include <pthread.h>
#include <sched.h>
#include <sys/resource.h>

#define PATIENCE	(10 * (int64_t)NS_PER_S)

FIXTURE(lib_stress) {
	const char *name;
	uint64_t random;
	struct shared *shared;
};

KINDS(lib_stress);

/* Between the test and its children. */
struct shared {
	uint64_t published;		/* number of the newest frame whose publish returned */
	uint32_t go, ready, stop;
	int32_t grandchild;
	uint64_t channel[2];
	int32_t result[2];
};

FIXTURE_SETUP(lib_stress)
{
	REQUIRE_BACKEND(variant);
	self->name = channel_name(variant->prefix);
	self->random = seed();
	self->shared = shared_with_children(struct shared);
	ASSERT_NE(MAP_FAILED, self->shared);
}

FIXTURE_TEARDOWN(lib_stress)
{
	EXPECT_TRUE(channel_is_gone(self->name));
}

static uint64_t get(const uint64_t *p)
{
	return __atomic_load_n(p, __ATOMIC_ACQUIRE);
}

static void set(uint64_t *p, uint64_t value)
{
	__atomic_store_n(p, value, __ATOMIC_RELEASE);
}

/* ---- full speed ---- */

struct tally {
	uint64_t taken, skipped, torn, backward, last;
};

/* Count the frame in hand. */
static void count(struct tally *t, const struct tribuf_frame *frame, uint64_t slot_size)
{
	t->taken++;
	t->torn += !lib_whole(frame, slot_size);
	if (frame->seq <= t->last)
		t->backward++;
	else
		t->skipped += frame->seq - t->last - 1;
	t->last = frame->seq;
}

/*
 * How the two sides share the machine: each has a processor, in parallel; or both
 * have one, and give it up to each other (@turns). The latter, for where the former
 * is not to be had: virtual processors of a busy host hardly ever run at once.
 */
struct layout {
	cpu_set_t allowed;
	bool turns;
};

/* On the processor number @which of those allowed, and before other programs, if we may. */
static void pin(const struct layout *layout, unsigned int which)
{
	struct sched_param first = { .sched_priority = 1 };
	unsigned int cpu;
	cpu_set_t one;

	sched_setscheduler(0, SCHED_FIFO | SCHED_RESET_ON_FORK, &first);
	which = layout->turns ? 0 : which % (unsigned int)CPU_COUNT(&layout->allowed);
	for (cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		if (!CPU_ISSET(cpu, &layout->allowed) || which--)
			continue;
		CPU_ZERO(&one);
		CPU_SET(cpu, &one);
		sched_setaffinity(0, sizeof(one), &one);
		return;
	}
}

static void unpin(const struct layout *layout)
{
	sched_setscheduler(0, SCHED_OTHER, &(struct sched_param){ 0 });
	sched_setaffinity(0, sizeof(layout->allowed), &layout->allowed);
}

static void produce(const char *name, uint64_t frames, const struct layout *layout, uint64_t random)
{
	struct tribuf *p;
	uint64_t i;

	pin(layout, 1);
	child_gets(0, open_producer(&p, name, SLOT));
	for (i = 1; i <= frames; i++) {
		child_gets((long)i, lib_publish(p));
		if (layout->turns && chance(&random) % 8 == 0)
			sched_yield();
	}
	tribuf_close(p);
}

/* Nothing came in a while: sleep. 0: the producer has left, and nothing is fresh. */
static int await(struct tribuf *c, bool *gone)
{
	int bits;

	if (*gone)
		return tribuf_wait(c, TRIBUF_READY, 0);
	bits = tribuf_wait(c, TRIBUF_READY | TRIBUF_PEER_GONE, PATIENCE);
	if (bits > 0)
		*gone = bits & TRIBUF_PEER_GONE;
	return bits ? bits : -ETIMEDOUT;
}

/* Take what comes, in a spin; dawdle as long as hardly a frame was missed. */
static int consume(struct tribuf *c, const struct layout *layout, struct tally *t,
		   uint64_t *random)
{
	struct tribuf_frame frame;
	unsigned int idle = 0;
	bool gone = false;
	int got;

	for (;;) {
		got = tribuf_acquire(c, &frame);
		if (got < 0)
			return got;
		if (got) {
			count(t, &frame, SLOT);
			idle = 0;
			if (t->skipped < t->last / 20 && chance(random) % 64 == 0)
				sleep_ns(1000);
		} else if (layout->turns) {
			sched_yield();
		}
		if (!got && ++idle > 200) {
			got = await(c, &gone);
			if (got <= 0)
				return got;
		}
	}
}

/* Publish @frames and take of them. 0, or what went wrong. */
static int full_speed(const char *name, uint64_t frames, struct layout *layout, struct tally *t,
		      uint64_t *overwritten, uint64_t *random)
{
	struct tribuf_info_args info;
	struct tribuf *c;
	pid_t pid;
	int err;

	memset(t, 0, sizeof(*t));
	if (sched_getaffinity(0, sizeof(layout->allowed), &layout->allowed))
		return -errno;
	err = open_as(&c, name, TRIBUF_CONSUMER, TRIBUF_DEFAULT | TRIBUF_CREATE, SLOT);
	if (err)
		return err;
	pid = in_child(produce(name, frames, layout, *random));
	pin(layout, 0);
	err = consume(c, layout, t, random);
	unpin(layout);
	if (err)
		slay(pid);
	else
		err = ended(pid);
	if (!err)
		err = tribuf_info(c, &info);
	*overwritten = info.claimed_overwritten;
	tribuf_close(c);
	return err;
}

/* Both must happen, or it proves little. */
static bool mixed(const struct tally *t, uint64_t frames)
{
	return t->taken >= frames / 20 && t->skipped >= frames / 100;
}

TEST_F_TIMEOUT(lib_stress, frames_at_full_speed_are_whole_and_all_accounted_for, 600)
{
	uint64_t frames = scaled_by_kind(1000000), overwritten = 0;
	struct layout layout = { .turns = false };
	struct tally t = { 0 };
	int tries;

	/* In parallel first. The kernel may hold back who ran before others for long: a pause. */
	for (tries = 0; tries < 6 && !mixed(&t, frames); tries++) {
		sleep_ms(tries ? 100 : 0);
		layout.turns = tries & 1;
		ASSERT_EQ(0, full_speed(self->name, frames, &layout, &t, &overwritten,
					&self->random));
		fprintf(stderr,
			"# %s: published %llu, taken %llu (%.1f %%), skipped %llu (%.1f %%), torn %llu\n",
			layout.turns ? "in turns" : "in parallel",
			(unsigned long long)frames, (unsigned long long)t.taken,
			100.0 * (double)t.taken / (double)frames, (unsigned long long)t.skipped,
			100.0 * (double)t.skipped / (double)frames, (unsigned long long)t.torn);
		EXPECT_EQ(0, t.torn);
		EXPECT_EQ(0, t.backward);
		EXPECT_EQ(frames, t.last);
		EXPECT_EQ(frames, t.taken + t.skipped);
		EXPECT_EQ(t.skipped, overwritten);
	}
	EXPECT_TRUE(mixed(&t, frames));
}

TEST_F_TIMEOUT(lib_stress, slots_of_every_size_carry_whole_frames, 120)
{
	static const uint64_t sizes[] = { 1, 7, 8, 4095, 4096, 4097, 65536, (2 << 20) - 1,
					  2 << 20, (2 << 20) + 1 };
	struct tribuf_frame frame;
	struct tribuf *p, *c;
	unsigned int i, n;

	for (i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		ASSERT_EQ(0, open_producer(&p, self->name, sizes[i]));
		ASSERT_EQ(0, tribuf_open_consumer(&c, self->name));
		for (n = 1; n <= 7; n++) {
			ASSERT_EQ(0, tribuf_begin(p, &frame));
			ASSERT_EQ(sizes[i], frame.bytes);
			pattern_fill(frame.data, n, sizes[i]);
			ASSERT_EQ(0, tribuf_publish(p, &frame));
			ASSERT_EQ(1, tribuf_acquire(c, &frame));
			ASSERT_EQ(sizes[i], frame.bytes);
			ASSERT_TRUE(pattern_holds(frame.data, n, sizes[i]));
		}
		tribuf_close(p);
		tribuf_close(c);
	}
}

/* ---- references in a race ---- */

/* Frames that fill their slot, so that a reference anywhere can be checked. */
static int64_t publish_full(struct tribuf *p)
{
	struct tribuf_frame frame;
	int err = tribuf_begin(p, &frame);

	if (err)
		return err;
	pattern_fill(frame.data, frame.seq, frame.bytes);
	err = tribuf_publish(p, &frame);
	return err < 0 ? err : (int64_t)frame.seq;
}

static void produce_until(struct shared *shared, const char *name, uint64_t pause)
{
	struct tribuf *p;

	child_gets(0, open_as(&p, name, TRIBUF_PRODUCER, TRIBUF_OWNED, 0));
	while (!__atomic_load_n(&shared->stop, __ATOMIC_RELAXED)) {
		child_must(publish_full(p) > 0);
		if (pause)
			sleep_ns(pause);
	}
	tribuf_close(p);
}

struct copies {
	unsigned long right, stale, wrong, failed;
};

/* Slots of this size are copied in about the time in which they are written. */
#define LARGE	(256u << 10)

static bool part_holds(const unsigned char *part, uint64_t seq, uint64_t offset, uint64_t bytes)
{
	uint64_t i, word;

	for (i = 0; i < bytes; i += 8) {
		memcpy(&word, part + i, 8);
		if (word != pattern_word(seq, offset + i))
			return false;
	}
	return true;
}

/*
 * @n times: refer to a place in the newest frame, dawdle for up to @pause ns (each
 * @often-th time), copy what is there. What came of it is added to @copies.
 */
static void copy_some(struct tribuf *o, unsigned long n, unsigned int often, uint64_t pause,
		      struct copies *copies, uint64_t *random)
{
	static unsigned char data[LARGE];
	struct tribuf_gen_index reference = { 0, 0 };
	uint64_t offset, bytes, size = o->slot_size;
	struct tribuf_frame frame;
	int err;

	while (tribuf_snapshot(o, &frame, data, sizeof(data)) != 1)
		;
	while (n--) {
		tribuf_snapshot(o, &frame, data, sizeof(data));
		if (chance(random) % often == 0)
			sleep_ns(chance(random) % pause);
		offset = chance(random) % (size / 8) * 8;
		bytes = chance(random) % ((size - offset) / 8) * 8;
		err = tribuf_frame_ref(o, &frame, offset, &reference);
		if (!err)
			err = tribuf_copy(o, reference, data, bytes);
		if (err) {
			copies->stale += err == -ESTALE;
			copies->failed += err != -ESTALE;
		} else if (part_holds(data, frame.seq, offset, bytes)) {
			copies->right++;
		} else {
			copies->wrong++;
		}
	}
}

static void print_copies(const char *what, const struct copies *copies)
{
	fprintf(stderr, "# %s: %lu right, %lu stale, %lu wrong, %lu failed\n", what, copies->right,
	       copies->stale, copies->wrong, copies->failed);
}

TEST_F_TIMEOUT(lib_stress, copies_beside_a_1_kHz_producer_are_right_or_stale, 180)
{
	unsigned long n = scaled_by_kind(100000);
	struct copies copies = { 0 };
	struct tribuf *o;
	pid_t pid;

	ASSERT_EQ(0, open_as(&o, self->name, TRIBUF_OBSERVER, TRIBUF_CREATE, SLOT));
	pid = in_child(produce_until(self->shared, self->name, NS_PER_MS));
	copy_some(o, n, 16, 50000, &copies, &self->random);
	self->shared->stop = 1;
	EXPECT_EQ(0, ended(pid));
	print_copies("1 kHz", &copies);
	EXPECT_EQ(0, copies.wrong);
	EXPECT_EQ(0, copies.failed);
	EXPECT_LE(n - n / 10, copies.right);
	tribuf_close(o);
}

TEST_F_TIMEOUT(lib_stress, copies_beside_a_producer_at_full_speed_are_right_or_stale, 180)
{
	struct copies copies = { 0 };
	struct tribuf *o;
	pid_t pid;

	ASSERT_EQ(0, open_as(&o, self->name, TRIBUF_OBSERVER, TRIBUF_CREATE, SLOT));
	pid = in_child(produce_until(self->shared, self->name, 0));
	copy_some(o, scaled_by_kind(100000), 16, 50000, &copies, &self->random);
	self->shared->stop = 1;
	EXPECT_EQ(0, ended(pid));
	print_copies("full speed", &copies);
	EXPECT_EQ(0, copies.wrong);
	EXPECT_EQ(0, copies.failed);
	EXPECT_LT(0, copies.right);
	EXPECT_LT(0, copies.stale);
	tribuf_close(o);
}

TEST_F_TIMEOUT(lib_stress, copies_of_large_frames_are_right_or_stale, 180)
{
	struct copies copies = { 0 };
	struct tribuf *o;
	pid_t pid;

	ASSERT_EQ(0, open_as(&o, self->name, TRIBUF_OBSERVER, TRIBUF_CREATE, LARGE));
	pid = in_child(produce_until(self->shared, self->name, 0));
	/* A guarded frame takes longer to make: dawdle, or none is ever outrun. */
	for (int more = 50; more && !copies.stale; more--)
		copy_some(o, scaled_by_kind(2000), 4, is_guarded(variant) ? 2 * NS_PER_MS : 20000,
			  &copies, &self->random);
	self->shared->stop = 1;
	EXPECT_EQ(0, ended(pid));
	print_copies("large", &copies);
	EXPECT_EQ(0, copies.wrong);
	EXPECT_EQ(0, copies.failed);
	EXPECT_LT(0, copies.right);
	EXPECT_LT(0, copies.stale);
	tribuf_close(o);
}

TEST_F_TIMEOUT(lib_stress, snapshots_at_full_speed_are_whole, 180)
{
	unsigned long n = scaled_by_kind(20000), taken = 0, torn = 0;
	static unsigned char data[SLOT];
	struct tribuf_frame frame;
	uint64_t last = 0;
	struct tribuf *o;
	pid_t pid;
	int got;

	ASSERT_EQ(0, open_as(&o, self->name, TRIBUF_OBSERVER, TRIBUF_CREATE, SLOT));
	pid = in_child(produce_until(self->shared, self->name, 0));
	while (taken < n) {
		got = tribuf_snapshot(o, &frame, data, sizeof(data));
		ASSERT_TRUE(got == 0 || got == 1 || got == -EAGAIN);
		if (got != 1)
			continue;
		taken++;
		torn += frame.bytes != SLOT || !pattern_holds(data, frame.seq, SLOT);
		ASSERT_LT(last, frame.seq);
		last = frame.seq;
	}
	self->shared->stop = 1;
	EXPECT_EQ(0, ended(pid));
	EXPECT_EQ(0, torn);
	tribuf_close(o);
}

/* ---- killed at any moment ---- */

/* Publish until killed; at times with a live child that inherited everything. */
static void produce_till_death(struct shared *shared, const char *name, bool with_child)
{
	struct tribuf *p;
	int64_t seq;

	child_gets(0, open_producer(&p, name, SLOT));
	if (with_child) {
		pid_t pid = fork();

		if (!pid) {
			/* Longer than any case needs it, for one that failed will not bury it. */
			sleep(60);
			_exit(0);
		}
		__atomic_store_n(&shared->grandchild, pid, __ATOMIC_RELEASE);
	}
	__atomic_store_n(&shared->ready, 1, __ATOMIC_RELEASE);
	for (;;) {
		seq = lib_publish(p);
		child_must(seq > 0);
		set(&shared->published, (uint64_t)seq);
	}
}

static void bury_grandchild(struct shared *shared)
{
	pid_t pid = __atomic_exchange_n(&shared->grandchild, 0, __ATOMIC_ACQ_REL);

	if (pid)
		kill(pid, SIGKILL);
}

/* Per slot, the generation of the newest frame seen in it: each must be newer. */
struct generations {
	uint32_t newest[TRIBUF_SLOTS];
	unsigned long repeated;
};

static void look_at(struct generations *g, struct tally *t, const struct tribuf_frame *frame)
{
	count(t, frame, SLOT);
	g->repeated += (int32_t)(frame->generation - g->newest[frame->slot]) <= 0;
	g->newest[frame->slot] = frame->generation;
}

TEST_F_TIMEOUT(lib_stress, killed_producers_leave_whole_frames_and_a_free_role, 300)
{
	unsigned long kills = scaled_by_kind(200), i, lost = 0;
	struct generations g = { { 0 }, 0 };
	struct tribuf_frame frame;
	struct tally t = { 0 };
	bool with_child = dontfork_works();
	struct tribuf *c;
	int bits;

	if (!with_child)
		TH_LOG("no producer has a child: one would keep its mappings here, and the lock with them");
	ASSERT_EQ(0, open_as(&c, self->name, TRIBUF_CONSUMER, TRIBUF_DEFAULT | TRIBUF_CREATE, SLOT));
	for (i = 0; i < kills; i++) {
		uint64_t end, before;
		pid_t pid;

		self->shared->ready = 0;
		pid = in_child(produce_till_death(self->shared, self->name,
						  with_child && i % 4 == 0));
		ASSERT_TRUE(eventually(10000, __atomic_load_n(&self->shared->ready,
							      __ATOMIC_ACQUIRE)));
		/* Some die before their first frame, those not, however slow the machine. */
		if (i % 2)
			ASSERT_EQ(TRIBUF_READY, tribuf_wait(c, TRIBUF_READY, PATIENCE));
		end = now() + chance(&self->random) % (10 * NS_PER_MS);
		while (now() < end)
			if (tribuf_acquire(c, &frame) == 1)
				look_at(&g, &t, &frame);
		slay(pid);
		do {
			bits = tribuf_wait(c, TRIBUF_PEER_GONE, PATIENCE);
		} while (bits == -EINTR);
		ASSERT_EQ(TRIBUF_PEER_GONE, bits);
		before = get(&self->shared->published);
		while (tribuf_acquire(c, &frame) == 1)
			look_at(&g, &t, &frame);
		/* Killed between its swap and its note of it: one more. */
		lost += t.last < before || t.last > before + 1;
		set(&self->shared->published, t.last);
		/* Free at once, with the dead one's child still alive. */
		{
			struct tribuf *p = NULL;

			ASSERT_EQ(0, open_producer(&p, self->name, SLOT));
			tribuf_close(p);
		}
		bits = tribuf_wait(c, TRIBUF_PEER_GONE | TRIBUF_PEER_BACK, PATIENCE);
		ASSERT_LT(0, bits);
		bury_grandchild(self->shared);
	}
	fprintf(stderr, "# %lu kills: %llu frames taken, %llu torn\n", kills, (unsigned long long)t.taken,
	       (unsigned long long)t.torn);
	EXPECT_EQ(0, t.torn);
	EXPECT_EQ(0, t.backward);
	EXPECT_EQ(0, lost);
	EXPECT_EQ(0, g.repeated);
	EXPECT_LE(kills / 2, t.taken);
	tribuf_close(c);
}

/* Take frames until killed; the first must be @newest. */
static void consume_till_death(struct shared *shared, const char *name, uint64_t newest)
{
	struct tribuf_frame frame;
	struct tally t = { 0 };
	struct tribuf *c;

	child_gets(0, tribuf_open_consumer(&c, name));
	child_gets(1, tribuf_acquire(c, &frame));
	child_must(frame.seq == newest);
	child_must(lib_whole(&frame, SLOT));
	t.last = frame.seq;
	__atomic_store_n(&shared->ready, 1, __ATOMIC_RELEASE);
	for (;;) {
		int got = tribuf_acquire(c, &frame);

		child_must(got >= 0);
		if (!got) {
			tribuf_wait(c, TRIBUF_READY, PATIENCE);
			continue;
		}
		count(&t, &frame, SLOT);
		child_must(!t.torn && !t.backward);
	}
}

TEST_F_TIMEOUT(lib_stress, killed_consumers_leave_the_newest_frame_to_their_successors, 300)
{
	unsigned long kills = scaled_by_kind(200), i;
	struct tribuf *p;
	int64_t newest;

	ASSERT_EQ(0, open_producer(&p, self->name, SLOT));
	newest = lib_publish(p);
	for (i = 0; i < kills; i++) {
		uint64_t end;
		pid_t pid;

		self->shared->ready = 0;
		pid = in_child(consume_till_death(self->shared, self->name, (uint64_t)newest));
		if (!eventually(10000, __atomic_load_n(&self->shared->ready, __ATOMIC_ACQUIRE))) {
			slay(pid);
			ASSERT_TRUE(false);
		}
		end = now() + chance(&self->random) % (10 * NS_PER_MS);
		do {
			newest = lib_publish(p);
			ASSERT_LT(0, newest);
		} while (now() < end);
		ASSERT_EQ(0, kill(pid, SIGKILL));
		ASSERT_EQ(128 + SIGKILL, ended(pid));
		while (!(tribuf_wait(p, TRIBUF_PEER_GONE, PATIENCE) & TRIBUF_PEER_GONE))
			;
	}
	tribuf_close(p);
}

/* Make the channel, use it, leave it, again and again. */
static void create_till_death(struct shared *shared, const char *name)
{
	struct tribuf *p;

	__atomic_store_n(&shared->ready, 1, __ATOMIC_RELEASE);
	for (;;) {
		child_gets(0, open_producer(&p, name, SLOT));
		child_must(lib_publish(p) > 0);
		tribuf_close(p);
	}
}

TEST_F_TIMEOUT(lib_stress, creator_killed_at_any_moment_is_in_nobodys_way, 300)
{
	unsigned long kills = scaled_by_kind(200), i;
	uint64_t worst = 0;

	for (i = 0; i < kills; i++) {
		struct tribuf *p, *c;
		struct tribuf_frame frame;
		uint64_t start, took;
		pid_t pid;

		self->shared->ready = 0;
		pid = in_child(create_till_death(self->shared, self->name));
		ASSERT_TRUE(eventually(10000, __atomic_load_n(&self->shared->ready,
							      __ATOMIC_ACQUIRE)));
		sleep_ns(chance(&self->random) % NS_PER_MS);
		slay(pid);
		start = own_time();
		/* With another geometry: whatever is left binds nobody. */
		ASSERT_EQ(0, open_producer(&p, self->name, 2 * SLOT));
		took = own_time() - start;
		worst = took > worst ? took : worst;
		ASSERT_EQ(0, tribuf_open_consumer(&c, self->name));
		ASSERT_EQ(0, tribuf_acquire(c, &frame));
		ASSERT_EQ(1, lib_publish(p));
		ASSERT_EQ(1, tribuf_acquire(c, &frame));
		tribuf_close(p);
		tribuf_close(c);
	}
	fprintf(stderr, "# the slowest of %lu successors took %llu us\n", kills,
		(unsigned long long)(worst / 1000));
	EXPECT_GE(150 * NS_PER_MS, worst);
}

/* ---- two at once ---- */

static void meet(struct shared *shared, unsigned long round)
{
	uint32_t all = (uint32_t)(2 * round + 2);

	__atomic_add_fetch(&shared->go, 1, __ATOMIC_ACQ_REL);
	while (__atomic_load_n(&shared->go, __ATOMIC_ACQUIRE) < all) {
		if (shared->stop)
			_exit(2);
		sched_yield();
	}
}

/* Producer 0 and consumer 1 both create: it must be one channel. */
static void create_together(struct shared *shared, const char *name, unsigned int me,
			    unsigned long rounds, bool same_role)
{
	uint32_t role = me && !same_role ? TRIBUF_CONSUMER : TRIBUF_PRODUCER;
	struct tribuf_info_args info;
	struct tribuf *t;
	unsigned long i;

	for (i = 0; i < rounds; i++) {
		meet(shared, 3 * i);
		shared->result[me] = open_as(&t, name, role, TRIBUF_DEFAULT | TRIBUF_CREATE, SLOT);
		shared->channel[me] = t && !tribuf_info(t, &info) ? info.channel : 0;
		meet(shared, 3 * i + 1);
		if (same_role)
			child_must(shared->result[0] + shared->result[1] == -EBUSY &&
				   !(shared->result[0] && shared->result[1]));
		else
			child_must(!shared->result[0] && !shared->result[1] &&
				   shared->channel[0] && shared->channel[0] == shared->channel[1]);
		meet(shared, 3 * i + 2);
		tribuf_close(t);
	}
}

static void race(struct __test_metadata *_metadata, FIXTURE_DATA(lib_stress) *self,
		 bool same_role)
{
	unsigned long rounds = scaled_by_kind(2000);
	pid_t pid[2];
	unsigned int i;

	for (i = 0; i < 2; i++)
		pid[i] = in_child(create_together(self->shared, self->name, i, rounds, same_role));
	for (i = 0; i < 2; i++) {
		EXPECT_EQ(0, ended(pid[i]));
		if (!_metadata->passed)
			self->shared->stop = 1;
	}
}

TEST_F_TIMEOUT(lib_stress, two_creators_at_once_make_one_channel, 300)
{
	race(_metadata, self, false);
}

TEST_F_TIMEOUT(lib_stress, two_producers_at_once_are_one_and_a_refusal, 300)
{
	race(_metadata, self, true);
}

/* ---- stopped ---- */

TEST_F_TIMEOUT(lib_stress, stopped_consumer_neither_blocks_nor_loses_its_frame, 120)
{
	unsigned long frames = scaled_by_kind(100000), i;
	struct rusage before, after;
	struct tribuf *p;
	int status;
	pid_t pid;

	ASSERT_EQ(0, open_producer(&p, self->name, SLOT));
	ASSERT_EQ(1, publish_full(p));
	pid = in_child({
		struct tribuf_frame frame;
		struct tribuf *c;

		child_gets(0, tribuf_open_consumer(&c, self->name));
		child_gets(1, tribuf_acquire(c, &frame));
		raise(SIGSTOP);
		child_must(frame.seq == 1 && frame.bytes == SLOT);
		child_must(pattern_holds(frame.data, 1, SLOT));
		child_gets(1, tribuf_acquire(c, &frame));
		child_must(frame.seq == frames + 1);
		child_must(pattern_holds(frame.data, frame.seq, SLOT));
	});
	ASSERT_EQ(pid, waitpid(pid, &status, WUNTRACED));
	ASSERT_TRUE(WIFSTOPPED(status));
	getrusage(RUSAGE_THREAD, &before);
	for (i = 0; i < frames; i++)
		ASSERT_LT(0, publish_full(p));
	/* Who is blocked gives the processor up; being preempted does not count. */
	getrusage(RUSAGE_THREAD, &after);
	EXPECT_EQ(before.ru_nvcsw, after.ru_nvcsw);
	kill(pid, SIGCONT);
	EXPECT_EQ(0, ended(pid));
	tribuf_close(p);
}

/* ---- a spoilt state word ---- */

/* That of a guarded channel is the kernel's. */
static bool cannot_be_spoilt(const char *name)
{
	struct tribuf *p, *c;
	bool cannot;

	if (open_producer(&p, name, SLOT) || tribuf_open_consumer(&c, name))
		return false;
	cannot = metadata_is_out_of_reach(p) && metadata_is_out_of_reach(c);
	tribuf_close(p);
	tribuf_close(c);
	return cannot;
}

/* Handles as after a start, whatever happened before. */
static void reset(struct tribuf *p, struct tribuf *c, uint32_t word)
{
	p->slot = 0;
	c->slot = 2;
	__atomic_store_n(p->word, word, __ATOMIC_SEQ_CST);
}

TEST_F_TIMEOUT(lib_stress, every_pattern_of_the_word_is_ours_or_refused, 120)
{
	struct tribuf_frame frame, got;
	struct tribuf *p, *c, *o;
	char data[SLOT];
	uint32_t word;
	int result;

	if (is_guarded(variant)) {
		EXPECT_TRUE(cannot_be_spoilt(self->name));
		return;
	}
	ASSERT_EQ(0, open_producer(&p, self->name, SLOT));
	ASSERT_EQ(0, tribuf_open_consumer(&c, self->name));
	ASSERT_EQ(0, open_as(&o, self->name, TRIBUF_OBSERVER, 0, 0));
	for (word = 0; word < 1024; word++) {
		bool valid = tribuf_word_valid(word);
		bool back = valid && tribuf_word_back(word) == 0;
		bool front = valid && tribuf_word_front(word) == 2;

		reset(p, c, TRIBUF_WORD_INIT);
		ASSERT_EQ(0, tribuf_begin(p, &frame));
		frame.bytes = 8;
		reset(p, c, word);
		result = tribuf_publish(p, &frame);
		ASSERT_EQ(back ? (word & TRIBUF_FRESH ? (int)TRIBUF_OVERWROTE : 0) : -EPROTO, result);
		/* Not in @word's place if it was refused. */
		ASSERT_EQ(back, *p->word != word);
		ASSERT_GT(TRIBUF_SLOTS, p->slot);

		reset(p, c, word);
		result = tribuf_acquire(c, &got);
		ASSERT_EQ(front ? !!(word & TRIBUF_FRESH) : -EPROTO, result);
		ASSERT_GT(TRIBUF_SLOTS, c->slot);
		if (result == 1) {
			ASSERT_LE((uintptr_t)c->slots, (uintptr_t)got.data);
			ASSERT_GT((uintptr_t)c->slots + 3 * c->slot_stride, (uintptr_t)got.data);
		}

		reset(p, c, word);
		result = tribuf_wait(c, TRIBUF_READY, 0);
		ASSERT_EQ(valid ? (word & TRIBUF_FRESH ? (int)TRIBUF_READY : 0) : -EPROTO, result);
		result = tribuf_snapshot(o, &got, data, sizeof(data));
		ASSERT_TRUE(valid ? result >= 0 : result == -EPROTO);
	}
	tribuf_close(p);
	tribuf_close(c);
	tribuf_close(o);
}

TEST_F(lib_stress, nobody_can_take_a_role_on_a_spoilt_word)
{
	struct tribuf *p, *c, *k;

	if (is_guarded(variant)) {
		EXPECT_TRUE(cannot_be_spoilt(self->name));
		return;
	}
	ASSERT_EQ(0, open_as(&k, self->name, TRIBUF_KEEPER, TRIBUF_CREATE, SLOT));
	ASSERT_EQ(0, open_producer(&p, self->name, SLOT));
	*p->word = 0;
	EXPECT_EQ(-EPROTO, tribuf_open_consumer(&c, self->name));
	tribuf_close(p);
	EXPECT_EQ(-EPROTO, open_producer(&p, self->name, SLOT));
	ASSERT_EQ(0, open_as(&p, self->name, TRIBUF_PRODUCER,
			     TRIBUF_DEFAULT | TRIBUF_CREATE | TRIBUF_REPLACE, SLOT));
	EXPECT_EQ(1, lib_publish(p));
	tribuf_close(p);
	tribuf_close(k);
}

struct vandal {
	uint32_t *word;
	uint64_t random;
	uint32_t stop;
};

static void *spoil(void *context)
{
	struct vandal *v = context;

	while (!__atomic_load_n(&v->stop, __ATOMIC_RELAXED))
		__atomic_store_n(v->word, (uint32_t)chance(&v->random), __ATOMIC_RELAXED);
	return NULL;
}

TEST_F_TIMEOUT(lib_stress, word_rewritten_in_a_loop_delays_no_call, 120)
{
	unsigned long n = scaled_by_kind(20000), i, good = 0, refused = 0;
	struct metronome m;
	struct tribuf *p, *c, *o;
	struct tribuf_frame frame;
	struct vandal vandal;
	char data[SLOT];
	pthread_t thread;
	uint64_t start, stolen, give_up;
	int result;

	if (is_guarded(variant)) {
		EXPECT_TRUE(cannot_be_spoilt(self->name));
		return;
	}
	ASSERT_EQ(0, open_producer(&p, self->name, SLOT));
	ASSERT_EQ(0, tribuf_open_consumer(&c, self->name));
	ASSERT_EQ(0, open_as(&o, self->name, TRIBUF_OBSERVER, 0, 0));
	vandal = (struct vandal){ .word = p->word, .random = self->random };
	ASSERT_EQ(0, pthread_create(&thread, NULL, spoil, &vandal));
	ASSERT_EQ(0, metronome_start(&m));
	give_up = now() + 20 * NS_PER_S;
	/* Longer where the vandal is not running yet. */
	for (i = 0; i < n || (!refused && now() < give_up); i++) {
		stolen = metronome_stolen(&m);
		start = now();
		switch (i % 5) {
		case 0:
			ASSERT_EQ(0, tribuf_begin(p, &frame));
			frame.bytes = 8;
			result = tribuf_publish(p, &frame);
			break;
		case 1:
			result = tribuf_acquire(c, &frame);
			break;
		case 2:
			result = tribuf_wait(c, TRIBUF_READY, 1000);
			break;
		case 3:
			result = tribuf_wait(p, TRIBUF_READY, 1000);
			break;
		default:
			result = tribuf_snapshot(o, &frame, data, sizeof(data));
			break;
		}
		metronome_count(&m, start, stolen);
		ASSERT_TRUE(result >= 0 || result == -EPROTO ||
			    (i % 5 == 4 && result == -EAGAIN));
		good += result >= 0;
		refused += result < 0;
		ASSERT_GT(TRIBUF_SLOTS, p->slot);
		ASSERT_GT(TRIBUF_SLOTS, c->slot);
	}
	vandal.stop = 1;
	pthread_join(thread, NULL);
	metronome_stop(&m);
	printf("# %lu good, %lu refused\n", good, refused);
	fflush(stdout);
	EXPECT_EQ(0, m.late);
	EXPECT_LT(0, refused);
	tribuf_close(p);
	tribuf_close(c);
	tribuf_close(o);
}

TEST_HARNESS_MAIN
