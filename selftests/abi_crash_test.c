// SPDX-License-Identifier: GPL-2.0-only
/*
 * Death at any moment: producers and consumers killed while they work, some with
 * a living child that inherited the descriptor. Each time the peer must learn of
 * it, the role be free at once, the newest complete frame reach the successor,
 * no partial frame be seen, and old references never match new frames. At the
 * end nothing may be left.
 */
#include "common.h"

#include <linux/futex.h>
#include <sys/syscall.h>

#define PERIOD	2000000ull	/* ns, within which a victim dies */

/* What victims note for those who come after them, in memory that outlives them. */
struct notes {
	uint64_t published;		/* number of the last publish that returned */
	uint64_t taken;			/* consumer: number of the last frame it took */
	uint64_t wrong;			/* consumer: frames that were not whole */
	uint32_t ready;
	bool heir;			/* it shall leave a living child */
	int heirs[2];			/* which lives until the test closes this pipe */
};

FIXTURE(crash) {
	const char *name;
	struct notes *notes;
	struct peer keeper;		/* an observer: it sees all and holds the channel */
	uint64_t chance;
	long channels, handles, pages;
};

static void nothing_left(struct __test_metadata *_metadata, FIXTURE_DATA(crash) *self)
{
	EXPECT_TRUE(eventually(5000, parameter("handles") == self->handles));
	EXPECT_TRUE(eventually(5000, parameter("channels") == self->channels));
	EXPECT_TRUE(eventually(5000, parameter("pages") == self->pages));
	EXPECT_FALSE(exists(self->name));
}

FIXTURE_SETUP(crash)
{
	self->name = test_name();
	self->channels = parameter("channels");
	self->handles = parameter("handles");
	self->pages = parameter("pages");
	ASSERT_LE(0, self->pages);
	self->chance = seed();
	self->notes = shared_with_children(struct notes);
	ASSERT_EQ(0, pipe(self->notes->heirs));
	ASSERT_EQ(0, peer_open(&self->keeper, self->name, TRIBUF_OBSERVER, TRIBUF_CREATE, SLOT));
}

FIXTURE_TEARDOWN(crash)
{
	peer_close(&self->keeper);
	close(self->notes->heirs[0]);
	close(self->notes->heirs[1]);
	nothing_left(_metadata, self);
}

/* A victim has its role: tell, and leave an heir of its descriptors if asked to. */
static void ready(struct notes *n)
{
	if (n->heir && !fork()) {
		close(n->heirs[1]);
		prctl(PR_SET_PDEATHSIG, 0);
		(void)!read(n->heirs[0], &(char){ 0 }, 1);
		_exit(0);
	}
	__atomic_store_n(&n->ready, 1, __ATOMIC_RELEASE);
}

/* A producer that works until it is killed. Every third frame goes by ioctl. */
static void produce_for_ever(struct notes *n, const char *name)
{
	struct tribuf_publish_args args;
	struct peer p;
	int slot;

	child_gets(0, peer_open(&p, name, TRIBUF_PRODUCER, TRIBUF_OWNED, 0));
	n->published = p.seq;
	ready(n);
	for (;;) {
		uint64_t seq = p.seq + 1, bytes = pattern_bytes(seq, SLOT);

		slot = begin(&p);
		child_must(slot >= 0);
		pattern_fill(slot_of(&p, (uint32_t)slot), seq, bytes);
		if (seq % 3) {
			child_must(publish(&p, slot, bytes) >= 0);
		} else {
			child_gets(0, kernel_publish(p.fd, bytes, &args));
			child_must(args.seq == seq);
			p.seq = seq;
		}
		n->published = seq;
	}
}

/* A consumer that works until it is killed, and notes what it saw. */
static void consume_for_ever(struct notes *n, const char *name)
{
	uint64_t seq, last = 0;
	struct peer c;
	int slot;

	child_gets(0, peer_open(&c, name, TRIBUF_CONSUMER, TRIBUF_OWNED | TRIBUF_LATEST, 0));
	ready(n);
	for (;;) {
		slot = acquire(&c);
		if (slot == -EAGAIN) {
			polled(c.fd, POLLIN, 1000);
			continue;
		}
		child_must(slot >= 0);
		seq = desc_of(&c, (uint32_t)slot)->seq;
		if (!frame_holds(&c, slot) || seq <= last)
			n->wrong++;
		last = seq;
		n->taken = seq;
	}
}

typedef void work_fn(struct notes *n, const char *name);

/* A child that works, once it has its role; -1 if it does not get there. */
static pid_t start(work_fn *work, FIXTURE_DATA(crash) *self, bool heir)
{
	pid_t victim;

	self->notes->ready = 0;
	self->notes->heir = heir;
	victim = in_child(work(self->notes, self->name));
	return eventually(10000, __atomic_load_n(&self->notes->ready, __ATOMIC_ACQUIRE)) ?
	       victim : -1;
}

static void kill_at_a_random_moment(FIXTURE_DATA(crash) *self, pid_t victim)
{
	sleep_ns(chance(&self->chance) % PERIOD);
	slay(victim);
}

/* No frame that anybody may see is partial: the newest is whole, by its own word. */
static bool newest_is_whole(const struct peer *o, struct notes *n)
{
	uint32_t word = word_of(o), newest = tribuf_word_newest(word);

	if (!tribuf_word_valid(word))
		return false;
	if (!desc_of(o, newest)->seq)
		return !n->published;
	return frame_holds(o, (int)newest) && desc_of(o, newest)->seq >= n->published;
}

TEST_F_TIMEOUT(crash, producers_die, 200)
{
	unsigned long deaths = scaled(200);
	uint64_t last = 0;
	struct peer c;
	int slot;

	ASSERT_EQ(0, peer_open(&c, self->name, TRIBUF_CONSUMER, 0, 0));
	for (unsigned long i = 0; i < deaths; i++) {
		bool heir = i % 5 == 4;
		pid_t victim = start(produce_for_ever, self, heir);

		ASSERT_LT(0, victim);
		ASSERT_EQ(i + 1, peek(c.fd).producer_epoch);
		kill_at_a_random_moment(self, victim);
		/* It is reaped: all of this holds at once, without waiting. */
		ASSERT_TRUE(polled(c.fd, POLLRDHUP, 0) & POLLRDHUP);
		ASSERT_FALSE(peek(c.fd).state & TRIBUF_STATE_PRODUCER);
		ASSERT_TRUE(newest_is_whole(&c, self->notes));
		slot = acquire(&c);
		if (slot >= 0) {
			ASSERT_TRUE(frame_holds(&c, slot));
			ASSERT_LT(last, desc_of(&c, (uint32_t)slot)->seq);
			last = desc_of(&c, (uint32_t)slot)->seq;
			ASSERT_LE(self->notes->published, last);
		} else {
			ASSERT_EQ(-EAGAIN, slot);
			ASSERT_LE(self->notes->published, last);
		}
	}
	printf("# %lu producers killed, %llu frames\n", deaths, (unsigned long long)last);
	fflush(stdout);
	peer_close(&c);
}

TEST_F_TIMEOUT(crash, consumers_die, 200)
{
	unsigned long deaths = scaled(200);
	struct peer p, c;
	int slot;

	ASSERT_EQ(0, peer_open(&p, self->name, TRIBUF_PRODUCER, 0, 0));
	publish_pattern(&p);
	for (unsigned long i = 0; i < deaths; i++) {
		bool heir = i % 5 == 4;
		pid_t victim = start(consume_for_ever, self, heir);
		uint64_t end = now() + chance(&self->chance) % PERIOD;

		ASSERT_LT(0, victim);
		/* Publish while it lives, and for a moment more. */
		while (now() < end)
			ASSERT_LT(0, publish_pattern(&p));
		kill(victim, SIGKILL);
		ASSERT_LT(0, publish_pattern(&p));
		ended(victim);
		ASSERT_TRUE(polled(p.fd, POLLRDHUP, 0) & POLLRDHUP);
		ASSERT_EQ(0, self->notes->wrong);
		ASSERT_LE(self->notes->taken, p.seq);
		/* The role is free at once; the newest frame is there, whole. */
		ASSERT_EQ(0, peer_open(&c, self->name, TRIBUF_CONSUMER, TRIBUF_LATEST, 0));
		slot = acquire(&c);
		ASSERT_LE(0, slot);
		ASSERT_EQ(p.seq, desc_of(&c, (uint32_t)slot)->seq);
		ASSERT_TRUE(frame_holds(&c, slot));
		peer_close(&c);
	}
	printf("# %lu consumers killed, %llu frames\n", deaths, (unsigned long long)p.seq);
	fflush(stdout);
	peer_close(&p);
}

/* A reference from before a crash never matches a frame from after it. */
TEST_F_TIMEOUT(crash, references_do_not_survive, 120)
{
	unsigned long deaths = scaled(50);
	struct peer p;
	unsigned char byte;

	for (unsigned long i = 0; i < deaths; i++) {
		struct tribuf_gen_index old[TRIBUF_SLOTS];
		pid_t victim = start(produce_for_ever, self, false);

		ASSERT_LT(0, victim);
		kill_at_a_random_moment(self, victim);
		for (uint32_t s = 0; s < TRIBUF_SLOTS; s++)
			old[s].generation = desc_of(&self->keeper, s)->generation;
		ASSERT_EQ(0, peer_open(&p, self->name, TRIBUF_PRODUCER, TRIBUF_OWNED, 0));
		for (int n = 0; n < 4; n++) {
			int slot = begin(&p);
			struct tribuf_desc *desc;

			ASSERT_LE(0, slot);
			desc = desc_of(&p, (uint32_t)slot);
			/* Neither while it is written nor once it is published. */
			ASSERT_LT(old[slot].generation, desc->generation);
			ASSERT_LE(0, publish(&p, slot, 0));
			ASSERT_LT(old[slot].generation, desc->generation);
			ASSERT_EQ(-ESTALE, kernel_copy(self->keeper.fd, (uint32_t)slot,
						       old[slot].generation, 0, &byte, 1));
		}
		/* Leave a whole frame for the next round. */
		ASSERT_LT(0, publish_pattern(&p));
		peer_close(&p);
	}
}

/* Both die, in either order, and both come back. */
TEST_F_TIMEOUT(crash, both_die_and_come_back, 120)
{
	unsigned long rounds = scaled(30);
	struct notes *theirs = shared_with_children(struct notes);
	struct notes *mine = self->notes;

	for (unsigned long i = 0; i < rounds; i++) {
		pid_t producer, consumer;

		producer = start(produce_for_ever, self, false);
		ASSERT_LT(0, producer);
		self->notes = theirs;
		consumer = start(consume_for_ever, self, false);
		self->notes = mine;
		ASSERT_LT(0, consumer);
		ASSERT_TRUE(eventually(5000, __atomic_load_n(&theirs->taken, __ATOMIC_RELAXED)));
		kill_at_a_random_moment(self, i % 2 ? producer : consumer);
		kill_at_a_random_moment(self, i % 2 ? consumer : producer);
		ASSERT_EQ(0, theirs->wrong);
		ASSERT_TRUE(newest_is_whole(&self->keeper, mine));
		theirs->taken = 0;
	}
	EXPECT_EQ(rounds, peek(self->keeper.fd).producer_epoch);
	EXPECT_EQ(rounds, peek(self->keeper.fd).consumer_epoch);
}

/* ---- many channels of both kinds at once ---- */

#define STORM		64	/* channels; every second one is guarded */
#define HOT		1000000ull	/* ns, within which who works on one dies */

/* What the processes on a channel share with the test. */
struct place {
	char name[TRIBUF_NAME_SIZE];
	bool guarded;
	uint32_t hot;			/* a futex: 0: they rest */
	uint32_t attached[2];		/* by role; as are the two that follow */
	pid_t pid[2];
	uint64_t done[2];		/* number of the last frame published, and taken */
	uint64_t wrong;			/* frames that were not whole, or older than the last */
};

static int futex(uint32_t *word, int operation, uint32_t value)
{
	return (int)syscall(SYS_futex, word, operation, value, NULL, NULL, 0);
}

/* The next frame of the pattern: its number, or -errno. */
static int64_t put(struct peer *p, bool guarded)
{
	uint64_t seq = p->seq + 1, bytes = pattern_bytes(seq, SLOT);
	int err;

	if (!guarded)
		return publish_pattern(p);
	pattern_fill(slot_of(p, tribuf_word_back(word_of(p))), seq, bytes);
	err = kernel_publish(p->fd, bytes, NULL);
	return err ? err : (int64_t)++p->seq;
}

/* The slot of the next frame, -EAGAIN, or -errno. */
static int get(struct peer *c, bool guarded)
{
	struct tribuf_acquired frame;
	int err;

	if (!guarded)
		return acquire(c);
	err = kernel_acquire(c->fd, &frame);
	return err ? err : (int)frame.slot;
}

static void take_one(struct place *at, struct peer *c)
{
	int slot = get(c, at->guarded);

	if (slot == -EAGAIN)
		return;
	child_must(slot >= 0);
	c->seq = desc_of(c, (uint32_t)slot)->seq;
	at->wrong += !frame_holds(c, slot) || c->seq < at->done[1];
	at->done[1] = c->seq;
}

/* A process of the storm: it works whenever its channel is hot, until it is killed. */
static void work_in_storm(struct place *at, int which)
{
	uint32_t role = which ? TRIBUF_CONSUMER : TRIBUF_PRODUCER;
	uint32_t flags = TRIBUF_OWNED | (which ? TRIBUF_LATEST : 0) |
			 (at->guarded ? TRIBUF_GUARDED : 0);
	struct peer p;

	child_gets(0, peer_open(&p, at->name, role, flags, 0));
	__atomic_store_n(&at->attached[which], 1, __ATOMIC_RELEASE);
	for (;;) {
		if (!__atomic_load_n(&at->hot, __ATOMIC_RELAXED)) {
			futex(&at->hot, FUTEX_WAIT, 0);
		} else if (which) {
			take_one(at, &p);
		} else {
			child_must(put(&p, at->guarded) > 0);
			at->done[0] = p.seq;
		}
	}
}

static void send_out(struct place *at, int which)
{
	at->attached[which] = 0;
	at->pid[which] = in_child(work_in_storm(at, which));
}

/* Killed while it works; true if that is what ended it. */
static bool strike(struct place *at, int which, uint64_t *state)
{
	pid_t victim = at->pid[which];

	if (!eventually(10000, __atomic_load_n(&at->attached[0], __ATOMIC_ACQUIRE) &&
			       __atomic_load_n(&at->attached[1], __ATOMIC_ACQUIRE)))
		return false;
	__atomic_store_n(&at->hot, 1, __ATOMIC_RELEASE);
	futex(&at->hot, FUTEX_WAKE, INT32_MAX);
	sleep_ns(chance(state) % HOT);
	kill(victim, SIGKILL);
	__atomic_store_n(&at->hot, 0, __ATOMIC_RELEASE);
	return ended(victim) == 128 + SIGKILL;
}

/* The newest frame, as an observer may copy it, is whole and none that was published before. */
static bool newest_can_be_copied(const struct place *at, int observer)
{
	static unsigned char data[SLOT];
	struct tribuf_acquired frame;
	int err, tries = 0;

	do {
		err = kernel_acquire(observer, &frame);
		if (!err)
			err = kernel_copy(observer, frame.slot, frame.desc.generation, 0, data,
					  frame.desc.bytes);
	} while (err == -ESTALE && tries++ < 100);	/* outrun by who is still alive */
	if (err)
		return err == -EAGAIN;
	return frame.desc.bytes == pattern_bytes(frame.desc.seq, SLOT) &&
	       pattern_holds(data, frame.desc.seq, frame.desc.bytes);
}

TEST_F_TIMEOUT(crash, storm_over_64_channels_of_both_kinds, 400)
{
	unsigned long deaths = scaled(500), killed[2] = { 0, 0 };
	struct place *places = mmap(NULL, STORM * sizeof(*places), PROT_READ | PROT_WRITE,
				    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	uint64_t frames = 0, wrong = 0;
	int observer[STORM];

	ASSERT_NE(MAP_FAILED, places);
	for (int i = 0; i < STORM; i++) {
		struct place *at = &places[i];

		at->guarded = i & 1;
		snprintf(at->name, sizeof(at->name), "%.40s.%d", self->name, i);
		observer[i] = join(at->name, TRIBUF_OBSERVER, TRIBUF_CREATE |
				   (at->guarded ? TRIBUF_GUARDED : 0), SLOT);
		ASSERT_LE(0, observer[i]);
		send_out(at, 0);
		send_out(at, 1);
	}
	for (unsigned long i = 0; i < deaths; i++) {
		uint64_t random = chance(&self->chance);
		int which = random >> 8 & 1;
		struct place *at = &places[random % STORM];
		uint64_t before = at->done[0];

		ASSERT_TRUE(strike(at, which, &self->chance));
		killed[which]++;
		/* It is reaped: the role is free at once, and no part of a frame is left. */
		ASSERT_FALSE(peek(observer[random % STORM]).state &
			     (which ? TRIBUF_STATE_CONSUMER : TRIBUF_STATE_PRODUCER));
		ASSERT_TRUE(newest_can_be_copied(at, observer[random % STORM]));
		ASSERT_LE(before, peek(observer[random % STORM]).claimed_seq);
		send_out(at, which);
	}
	for (int i = 0; i < STORM; i++) {
		/* They end as they lived. */
		slay(places[i].pid[0]);
		slay(places[i].pid[1]);
		close(observer[i]);
		frames += places[i].done[0];
		wrong += places[i].wrong;
	}
	/* Now that nobody has copies of the observers either. */
	for (int i = 0; i < STORM; i++)
		EXPECT_FALSE(exists(places[i].name));
	EXPECT_EQ(0, wrong);
	EXPECT_LT(deaths, frames);
	printf("# storm: %lu producers and %lu consumers killed, %llu frames, %llu torn\n",
	       killed[0], killed[1], (unsigned long long)frames, (unsigned long long)wrong);
	fflush(stdout);
}

/* A channel whose every process dies is gone, whoever inherited a descriptor. */
TEST_F_TIMEOUT(crash, nothing_is_left_when_all_have_died, 120)
{
	unsigned long rounds = scaled(30);

	self->notes->heir = true;
	peer_close(&self->keeper);
	for (unsigned long i = 0; i < rounds; i++) {
		int hold = i % 2 ? join(self->name, TRIBUF_KEEPER, TRIBUF_CREATE, SLOT) : -1;
		pid_t victim = in_child({
			struct peer p;

			close(hold);
			child_gets(0, peer_open(&p, self->name, TRIBUF_PRODUCER,
						TRIBUF_OWNED | TRIBUF_CREATE, SLOT));
			ready(self->notes);
			for (;;)
				child_must(publish_pattern(&p) > 0);
		});

		sleep_ns(chance(&self->chance) % PERIOD + PERIOD);
		slay(victim);
		close(hold);
		/* At once, and with the memory, although the heir lives on. */
		ASSERT_FALSE(exists(self->name));
	}
}

TEST_HARNESS_MAIN
