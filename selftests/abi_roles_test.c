// SPDX-License-Identifier: GPL-2.0-only
/*
 * Roles over time: who may come first, how long a role lasts (OWNED or not,
 * forks, copies of the descriptor, leftover mappings), what a successor gets
 * (LATEST), a geometry that comes later (PENDING) or is replaced (REPLACE).
 */
#include <sched.h>
#include <pthread.h>

#include "common.h"

static int take_role(uint32_t role)
{
	int fd = join(test_name(), role, 0, 0);

	if (fd < 0)
		return fd;
	close(fd);
	return 0;
}

/* ---- how long a role lasts ---- */

/* A channel that a keeper holds; the name is the test's, also in its children. */
FIXTURE(role) {
	int keeper;
	const char *name;
};

FIXTURE_VARIANT(role) {
	uint32_t role;
	uint32_t flags;
};

FIXTURE_VARIANT_ADD(role, producer_owned) { .role = TRIBUF_PRODUCER, .flags = TRIBUF_OWNED };
FIXTURE_VARIANT_ADD(role, consumer_owned) { .role = TRIBUF_CONSUMER, .flags = TRIBUF_OWNED };
FIXTURE_VARIANT_ADD(role, producer) { .role = TRIBUF_PRODUCER };
FIXTURE_VARIANT_ADD(role, consumer) { .role = TRIBUF_CONSUMER };

FIXTURE_SETUP(role)
{
	self->name = test_name();
	self->keeper = join(self->name, TRIBUF_KEEPER, TRIBUF_CREATE, SLOT);
	ASSERT_LE(0, self->keeper);
}

FIXTURE_TEARDOWN(role)
{
	close(self->keeper);
}

/* Before a process is reaped, its role is free. */
TEST_F(role, ends_with_its_process)
{
	struct peer p;
	pid_t child = in_child({
		child_gets(0, peer_open(&p, self->name, variant->role, variant->flags, 0));
		raise(SIGKILL);
	});

	EXPECT_EQ(128 + SIGKILL, ended(child));
	EXPECT_EQ(0, take_role(variant->role));
}

/* An heir of the descriptor keeps a role that is not OWNED, and only that. */
TEST_F(role, and_a_forked_heir)
{
	int ready[2], survives[2], fd;
	pid_t owner, heir = 0;
	bool owned = variant->flags & TRIBUF_OWNED;

	ASSERT_EQ(0, pipe(ready));
	owner = in_child({
		struct tribuf_info_args i;
		char byte = 0;
		pid_t parent = getpid();

		fd = join(self->name, variant->role, variant->flags, 0);
		child_must(fd >= 0);
		child_gets(0, pipe(survives));
		heir = in_child({
			prctl(PR_SET_PDEATHSIG, 0);
			close(survives[1]);
			alarm(30);
			child_must(eventually(10000, getppid() != parent));
			/* The file table of the owner may go after it was reparented. */
			if (owned)
				child_must(eventually(10000, info(fd, &i, 0) == -ESTALE));
			else
				child_gets(0, info(fd, &i, 0));
			child_must(!owned || polled(fd, 0, 0) & POLLERR);
			child_must(write(ready[1], &byte, 1) == 1);
			pause();
		});
		close(survives[1]);
		(void)!read(survives[0], &byte, 1);	/* not before it would be killed with us */
		child_must(write(ready[1], &heir, sizeof(heir)) == sizeof(heir));
		_exit(0);
	});
	ASSERT_EQ(sizeof(heir), read(ready[0], &heir, sizeof(heir)));
	EXPECT_EQ(0, ended(owner));
	close(ready[1]);
	EXPECT_EQ(1, read(ready[0], &fd, 1)) TH_LOG("the heir's own checks failed");
	EXPECT_EQ(owned ? 0 : -EBUSY, take_role(variant->role));
	kill(heir, SIGKILL);
	EXPECT_TRUE(eventually(5000, !take_role(variant->role)));
}

/* What a child does with its copy of the descriptor is no matter to its parent. */
TEST_F(role, outlives_a_child)
{
	int fd = join(self->name, variant->role, variant->flags, 0);
	struct tribuf_info_args i;

	ASSERT_LE(0, fd);
	EXPECT_CHILD(close(fd));
	EXPECT_CHILD((void)0);
	EXPECT_EQ(0, info(fd, &i, 0));
	EXPECT_EQ(-EBUSY, take_role(variant->role));
	close(fd);
	EXPECT_EQ(0, take_role(variant->role));
}

TEST_F(role, ends_with_the_last_copy)
{
	int fd = join(self->name, variant->role, variant->flags, 0), copy;
	struct tribuf_info_args i;

	ASSERT_LE(0, fd);
	copy = dup(fd);
	close(fd);
	EXPECT_EQ(0, info(copy, &i, 0));
	EXPECT_EQ(-EBUSY, take_role(variant->role));
	close(copy);
	EXPECT_EQ(0, take_role(variant->role));
}

TEST_F(role, and_its_mappings)
{
	struct peer p;

	ASSERT_EQ(0, peer_open(&p, self->name, variant->role, variant->flags, 0));
	close(p.fd);
	p.fd = -1;
	if (variant->flags & TRIBUF_OWNED) {
		EXPECT_EQ(0, take_role(variant->role));
		EXPECT_EQ(SIGBUS, touch(p.slots, false));
		EXPECT_EQ(SIGBUS, touch((unsigned char *)p.state, true));
		EXPECT_EQ(SIGBUS, touch((unsigned char *)p.frames, false));
	} else {
		EXPECT_EQ(-EBUSY, take_role(variant->role));
		EXPECT_EQ(0, touch(p.slots, variant->role == TRIBUF_PRODUCER));
		EXPECT_EQ(0, touch((unsigned char *)p.state, true));
	}
	peer_close(&p);
	EXPECT_EQ(0, take_role(variant->role));
}

static void *attach_in_thread(void *fd)
{
	struct tribuf_attach_args args = attach_args(test_name(), TRIBUF_PRODUCER,
						     TRIBUF_OWNED, 0);

	*(int *)fd = attach_new(&args);
	return NULL;
}

/* A thread shares its process's file table: the role is the process's. */
TEST_F(role, outlives_a_thread)
{
	pthread_t thread;
	int fd = -1;

	ASSERT_EQ(0, pthread_create(&thread, NULL, attach_in_thread, &fd));
	pthread_join(thread, NULL);
	ASSERT_LE(0, fd);
	EXPECT_EQ(-EBUSY, take_role(TRIBUF_PRODUCER));
	EXPECT_EQ(getpid(), peek(fd).producer_pid);
	close(fd);
}

TEST_F(role, ends_at_exec)
{
	int fd, pipes[2];
	pid_t child;
	char byte;

	ASSERT_EQ(0, pipe(pipes));
	child = in_child({
		fd = join(self->name, variant->role, variant->flags, 0);
		child_must(fd >= 0);
		dup2(pipes[1], 1);
		execl("/bin/sh", "sh", "-c", "echo; exec sleep 100", NULL);
	});
	ASSERT_EQ(1, read(pipes[0], &byte, 1));
	EXPECT_EQ(0, take_role(variant->role));
	slay(child);
}

TEST_F(role, epochs_count_takeovers)
{
	bool produces = variant->role == TRIBUF_PRODUCER;

	for (uint32_t i = 1; i <= 3; i++) {
		struct tribuf_attach_args args = attach_args(self->name, variant->role,
							     variant->flags, 0);
		int fd = attach_new(&args);

		ASSERT_LE(0, fd);
		EXPECT_EQ(i, produces ? args.producer_epoch : args.consumer_epoch);
		EXPECT_EQ(0, produces ? args.consumer_epoch : args.producer_epoch);
		close(fd);
	}
	EXPECT_EQ(produces ? TRIBUF_STATE_HAD_PRODUCER : TRIBUF_STATE_HAD_CONSUMER,
		  peek(self->keeper).state);
}

/* ---- start orders, and what a successor gets ---- */

FIXTURE(pair) {
	int keeper;
	struct peer p, c;
};

FIXTURE_SETUP(pair)
{
	self->keeper = join(test_name(), TRIBUF_KEEPER, TRIBUF_CREATE, SLOT);
	ASSERT_LE(0, self->keeper);
	ASSERT_EQ(0, peer_open(&self->p, test_name(), TRIBUF_PRODUCER, TRIBUF_OWNED, 0));
	ASSERT_EQ(0, peer_open(&self->c, test_name(), TRIBUF_CONSUMER, TRIBUF_OWNED, 0));
}

FIXTURE_TEARDOWN(pair)
{
	peer_close(&self->p);
	peer_close(&self->c);
	close(self->keeper);
}

/* Close the consumer and attach another with @flags: ATTACH's redelivered. */
static int succeed_consumer(struct peer *c, uint32_t flags)
{
	int err;

	peer_close(c);
	err = peer_open(c, test_name(), TRIBUF_CONSUMER, flags, 0);
	return err ? err : (int)c->at.redelivered;
}

static int succeed_producer(struct peer *p)
{
	peer_close(p);
	return peer_open(p, test_name(), TRIBUF_PRODUCER, TRIBUF_OWNED, 0);
}

TEST_F(pair, successor_gets_the_newest_frame_again)
{
	int slot;

	publish_pattern(&self->p);
	publish_pattern(&self->p);
	ASSERT_LE(0, acquire(&self->c));
	EXPECT_EQ(1, succeed_consumer(&self->c, TRIBUF_LATEST));
	slot = acquire(&self->c);
	ASSERT_LE(0, slot);
	EXPECT_EQ(2, desc_of(&self->c, (uint32_t)slot)->seq);
	EXPECT_TRUE(frame_holds(&self->c, slot));
	EXPECT_EQ(1, peek(self->keeper).kernel_redelivered);
	EXPECT_EQ(-EAGAIN, acquire(&self->c));
}

TEST_F(pair, successor_without_latest_waits_for_the_next)
{
	publish_pattern(&self->p);
	ASSERT_LE(0, acquire(&self->c));
	EXPECT_EQ(0, succeed_consumer(&self->c, 0));
	EXPECT_EQ(-EAGAIN, acquire(&self->c));
	EXPECT_EQ(0, peek(self->keeper).kernel_redelivered);
}

TEST_F(pair, nothing_is_redelivered_if_nothing_was_published)
{
	uint32_t word = word_of(&self->p);

	EXPECT_EQ(0, succeed_consumer(&self->c, TRIBUF_LATEST));
	EXPECT_EQ(word, word_of(&self->c));
	EXPECT_EQ(-EAGAIN, acquire(&self->c));
}

TEST_F(pair, nothing_is_redelivered_if_a_fresh_frame_waits)
{
	int slot;

	publish_pattern(&self->p);
	ASSERT_LE(0, acquire(&self->c));
	publish_pattern(&self->p);
	EXPECT_EQ(0, succeed_consumer(&self->c, TRIBUF_LATEST));
	slot = acquire(&self->c);
	ASSERT_LE(0, slot);
	EXPECT_EQ(2, desc_of(&self->c, (uint32_t)slot)->seq);
}

/* Nor does a consumer that leaves give anything back (DESIGN, section 4). */
TEST_F(pair, leaving_gives_nothing_back)
{
	uint32_t word;

	publish_pattern(&self->p);
	ASSERT_LE(0, acquire(&self->c));
	word = word_of(&self->p);
	peer_close(&self->c);
	EXPECT_EQ(word & (TRIBUF_SLOTS_MASK | TRIBUF_FRESH),
		  word_of(&self->p) & (TRIBUF_SLOTS_MASK | TRIBUF_FRESH));
	EXPECT_TRUE(polled(self->p.fd, POLLOUT, 0) & POLLOUT);
}

TEST_F(pair, producer_goes_on_from_the_last_number)
{
	struct tribuf_publish_args args;

	publish_pattern(&self->p);
	publish_pattern(&self->p);
	ASSERT_EQ(0, succeed_producer(&self->p));
	EXPECT_EQ(3, publish_pattern(&self->p));
	ASSERT_EQ(0, kernel_publish(self->p.fd, 1, &args));
	EXPECT_EQ(4, args.seq);
	/* The same if the newest is in the consumer's hands. */
	ASSERT_LE(0, acquire(&self->c));
	ASSERT_EQ(0, succeed_producer(&self->p));
	ASSERT_EQ(0, kernel_publish(self->p.fd, 1, &args));
	EXPECT_EQ(5, args.seq);
}

/* A frame that was begun, and not published, lends nothing to the next. */
TEST_F(pair, new_producer_gets_a_generation_of_its_own)
{
	uint32_t before, after;
	int slot;

	for (int round = 0; round < 4; round++) {
		slot = begin(&self->p);
		ASSERT_LE(0, slot);
		desc_of(&self->p, (uint32_t)slot)->seq = 999;
		before = desc_of(&self->p, (uint32_t)slot)->generation;
		EXPECT_EQ(1, before & 1);
		ASSERT_EQ(0, succeed_producer(&self->p));
		after = desc_of(&self->p, (uint32_t)slot)->generation;
		EXPECT_EQ(1, after & 1);
		EXPECT_LT(before, after);
		EXPECT_EQ(round + 1, publish_pattern(&self->p));
	}
}

TEST_F(pair, new_producer_leaves_even_generations_behind)
{
	uint32_t back = tribuf_word_back(word_of(&self->p)), before;

	before = desc_of(&self->p, back)->generation;
	ASSERT_EQ(0, succeed_producer(&self->p));
	EXPECT_EQ(tribuf_generation_takeover(before), desc_of(&self->p, back)->generation);
}

TEST_F(pair, both_gone_and_back)
{
	int slot;

	publish_pattern(&self->p);
	peer_close(&self->c);
	peer_close(&self->p);
	ASSERT_EQ(0, peer_open(&self->c, test_name(), TRIBUF_CONSUMER, TRIBUF_LATEST, 0));
	slot = acquire(&self->c);
	ASSERT_LE(0, slot);
	EXPECT_TRUE(frame_holds(&self->c, slot));
	ASSERT_EQ(0, peer_open(&self->p, test_name(), TRIBUF_PRODUCER, 0, 0));
	EXPECT_EQ(2, publish_pattern(&self->p));
	slot = acquire(&self->c);
	ASSERT_LE(0, slot);
	EXPECT_TRUE(frame_holds(&self->c, slot));
}

TEST_F(pair, keepers_see_the_geometry_alone)
{
	struct tribuf_geometry *g = map(self->keeper, page_offset(TRIBUF_PAGE_GEOMETRY),
					page_size(), PROT_READ);

	ASSERT_NE(NULL, g);
	EXPECT_EQ(1, g->producer_epoch);
	EXPECT_EQ(1, g->consumer_epoch);
	EXPECT_EQ(peek(self->keeper).state, g->state);
	EXPECT_EQ(-EACCES, kernel_publish(self->keeper, 1, NULL));
	EXPECT_EQ(-EACCES, kernel_acquire(self->keeper, NULL));
	EXPECT_EQ(-EACCES, ring(self->keeper));
	peer_close(&self->c);
	EXPECT_FALSE(g->state & TRIBUF_STATE_CONSUMER);
	EXPECT_TRUE(g->state & TRIBUF_STATE_HAD_CONSUMER);
	munmap(g, page_size());
}

TEST_F(pair, observers_come_and_go)
{
	int fds[TRIBUF_OBSERVERS_MAX];

	for (int i = 0; i < TRIBUF_OBSERVERS_MAX; i++) {
		fds[i] = join(test_name(), TRIBUF_OBSERVER, 0, 0);
		ASSERT_LE(0, fds[i]);
	}
	EXPECT_EQ(TRIBUF_OBSERVERS_MAX, peek(self->keeper).observers);
	EXPECT_EQ(-EBUSY, join(test_name(), TRIBUF_OBSERVER, 0, 0));
	close(fds[10]);
	EXPECT_EQ(TRIBUF_OBSERVERS_MAX - 1, peek(self->keeper).observers);
	EXPECT_LE(0, join(test_name(), TRIBUF_OBSERVER, 0, 0));
}

/* ---- PENDING ---- */

FIXTURE(pending) {
	struct peer c;
};

FIXTURE_SETUP(pending)
{
	ASSERT_EQ(0, peer_open(&self->c, test_name(), TRIBUF_CONSUMER, TRIBUF_PENDING, 0));
}

FIXTURE_TEARDOWN(pending)
{
	peer_close(&self->c);
}

TEST_F(pending, has_no_geometry_yet)
{
	char byte;

	EXPECT_EQ(0, self->c.at.slot_size);
	EXPECT_TRUE(self->c.at.state & TRIBUF_STATE_PENDING);
	EXPECT_TRUE(peek(self->c.fd).state & TRIBUF_STATE_PENDING);
	EXPECT_EQ(0, self->c.geometry->slot_size);
	EXPECT_EQ(-EAGAIN, kernel_acquire(self->c.fd, NULL));
	EXPECT_EQ(-EAGAIN, kernel_copy(self->c.fd, 0, 0, 0, &byte, 1));
	EXPECT_EQ(NULL, map(self->c.fd, 2 << 20, page_size(), PROT_READ));
	EXPECT_EQ(EAGAIN, errno);
	/* Who may write these depends on the kind of channel, which is the creator's choice. */
	EXPECT_EQ(NULL, map(self->c.fd, page_offset(TRIBUF_PAGE_STATE), page_size(), PROT_READ));
	EXPECT_EQ(EAGAIN, errno);
	EXPECT_EQ(NULL, map(self->c.fd, page_offset(TRIBUF_PAGE_FRAMES), page_size(), PROT_READ));
	EXPECT_EQ(EAGAIN, errno);
	EXPECT_EQ(0, polled(self->c.fd, POLLIN | POLLRDHUP, 0));
}

TEST_F(pending, geometry_comes_with_the_creator)
{
	struct tribuf_info_args i;
	struct peer p;
	int slot;

	ASSERT_EQ(0, info(self->c.fd, &i, 0));
	EXPECT_EQ(0, polled(self->c.fd, POLLPRI, 0));
	ASSERT_EQ(0, peer_open(&p, test_name(), TRIBUF_PRODUCER, TRIBUF_CREATE, SLOT));
	EXPECT_EQ(self->c.at.channel, p.at.channel);
	EXPECT_TRUE(polled(self->c.fd, POLLPRI, 1000) & POLLPRI);
	ASSERT_EQ(0, info(self->c.fd, &i, 0));
	EXPECT_EQ(0, polled(self->c.fd, POLLPRI, 0));
	EXPECT_EQ(SLOT, i.slot_size);
	EXPECT_FALSE(i.state & TRIBUF_STATE_PENDING);
	EXPECT_EQ(SLOT, self->c.geometry->slot_size);
	self->c.at.slot_size = i.slot_size;
	self->c.at.slot_stride = i.slot_stride;
	self->c.at.slots_offset = i.slots_offset;
	ASSERT_EQ(0, peer_map(&self->c));
	publish_pattern(&p);
	slot = acquire(&self->c);
	ASSERT_LE(0, slot);
	EXPECT_TRUE(frame_holds(&self->c, slot));
	peer_close(&p);
}

TEST_F(pending, wakes_who_waits_for_the_creator)
{
	struct tribuf_info_args i;
	const char *name = test_name();
	pid_t creator;

	ASSERT_EQ(0, info(self->c.fd, &i, 0));
	creator = in_child({
		sleep_ms(200);
		child_must(join(name, TRIBUF_KEEPER, TRIBUF_CREATE, SLOT) >= 0);
		pause();
	});
	EXPECT_TRUE(polled(self->c.fd, POLLPRI, 5000) & POLLPRI);
	EXPECT_EQ(SLOT, peek(self->c.fd).slot_size);
	slay(creator);
}

TEST_F(pending, goes_with_who_waited)
{
	peer_close(&self->c);
	EXPECT_EQ(-ENOENT, join(test_name(), TRIBUF_CONSUMER, 0, 0));
}

TEST_F(pending, joins_a_channel_that_is_there)
{
	int keeper = join("selftest.there", TRIBUF_KEEPER, TRIBUF_CREATE, SLOT);
	struct tribuf_attach_args args = attach_args("selftest.there", TRIBUF_CONSUMER,
						     TRIBUF_PENDING, 0);
	int fd;

	ASSERT_LE(0, keeper);
	fd = attach_new(&args);
	ASSERT_LE(0, fd);
	EXPECT_EQ(SLOT, args.slot_size);
	EXPECT_FALSE(args.state & TRIBUF_STATE_PENDING);
	close(fd);
	close(keeper);
}

/* ---- REPLACE ---- */

FIXTURE(replaced) {
	struct peer p, c;		/* the old channel's */
	struct peer successor;
};

FIXTURE_SETUP(replaced)
{
	struct tribuf_info_args i;

	ASSERT_EQ(0, peer_open(&self->p, test_name(), TRIBUF_PRODUCER, TRIBUF_CREATE, SLOT));
	ASSERT_EQ(0, peer_open(&self->c, test_name(), TRIBUF_CONSUMER, 0, 0));
	ASSERT_EQ(1, publish_pattern(&self->p));
	ASSERT_LE(0, acquire(&self->c));
	ASSERT_EQ(0, info(self->c.fd, &i, 0));
	ASSERT_EQ(0, info(self->p.fd, &i, 0));
	ASSERT_EQ(0, peer_open(&self->successor, test_name(), TRIBUF_PRODUCER,
			       TRIBUF_CREATE | TRIBUF_REPLACE, 4 * SLOT));
}

FIXTURE_TEARDOWN(replaced)
{
	peer_close(&self->p);
	peer_close(&self->c);
	peer_close(&self->successor);
}

TEST_F(replaced, is_another_channel_under_the_name)
{
	struct peer c;
	int slot;

	EXPECT_EQ(1, self->successor.at.created);
	EXPECT_NE(self->p.at.channel, self->successor.at.channel);
	ASSERT_EQ(0, peer_open(&c, test_name(), TRIBUF_CONSUMER, TRIBUF_LATEST, 0));
	EXPECT_EQ(self->successor.at.channel, c.at.channel);
	EXPECT_EQ(4 * SLOT, c.at.slot_size);
	EXPECT_EQ(0, c.at.redelivered);
	EXPECT_EQ(1, publish_pattern(&self->successor));
	slot = acquire(&c);
	ASSERT_LE(0, slot);
	EXPECT_TRUE(frame_holds(&c, slot));
	peer_close(&c);
}

TEST_F(replaced, old_handles_are_told)
{
	struct tribuf_info_args i;
	char byte;

	EXPECT_EQ(POLLPRI | POLLERR, polled(self->c.fd, POLLPRI, 0) & (POLLPRI | POLLERR));
	EXPECT_EQ(POLLPRI | POLLERR, polled(self->p.fd, POLLPRI, 0) & (POLLPRI | POLLERR));
	EXPECT_EQ(-ESTALE, kernel_publish(self->p.fd, 1, NULL));
	EXPECT_EQ(-ESTALE, kernel_acquire(self->c.fd, NULL));
	EXPECT_EQ(-ESTALE, kernel_copy(self->c.fd, 0, 0, 0, &byte, 1));
	EXPECT_EQ(-ESTALE, ring(self->p.fd));
	EXPECT_EQ(-ESTALE, ring(self->c.fd));
	EXPECT_GT(0, read(self->c.fd, &(struct tribuf_acquired){}, sizeof(struct tribuf_acquired)));
	EXPECT_EQ(ESTALE, errno);
	ASSERT_EQ(0, info(self->c.fd, &i, 0));
	EXPECT_TRUE(i.state & TRIBUF_STATE_REPLACED);
	EXPECT_EQ(self->c.at.channel, i.channel);
	EXPECT_TRUE(self->c.geometry->state & TRIBUF_STATE_REPLACED);
	EXPECT_EQ(0, polled(self->c.fd, POLLPRI, 0) & POLLPRI);
	EXPECT_EQ(0, info(self->p.fd, &i, 0));
}

TEST_F(replaced, old_mappings_stay_until_closed)
{
	uint32_t front = tribuf_word_front(word_of(&self->c));

	EXPECT_TRUE(frame_holds(&self->c, (int)front));
	EXPECT_EQ(0, touch(self->p.slots, true));
	EXPECT_EQ(0, touch((unsigned char *)self->c.state, true));
	/* Even if nobody touched that page before. */
	EXPECT_EQ(0, touch(self->c.slots + self->c.slots_bytes - 1, false));
	madvise(self->c.slots, page_size(), MADV_DONTNEED);
	EXPECT_EQ(0, touch(self->c.slots, false));
}

TEST_F(replaced, works_without_a_channel_before)
{
	struct tribuf_attach_args args = attach_args("selftest.fresh", TRIBUF_PRODUCER,
						     TRIBUF_CREATE | TRIBUF_REPLACE, SLOT);
	int fd = attach_new(&args);

	EXPECT_LE(0, fd);
	EXPECT_EQ(1, args.created);
	close(fd);
}

TEST_F(replaced, again_and_again)
{
	long channels = parameter("channels");

	for (int i = 0; i < 20; i++) {
		peer_close(&self->p);
		self->p = self->successor;
		ASSERT_EQ(0, peer_open(&self->successor, test_name(), TRIBUF_PRODUCER,
				       TRIBUF_CREATE | TRIBUF_REPLACE, SLOT));
		EXPECT_EQ(-ESTALE, kernel_publish(self->p.fd, 1, NULL));
		EXPECT_EQ(0, kernel_publish(self->successor.fd, 1, NULL));
	}
	/* The old ones went; the first lives on in its consumer's hands. */
	EXPECT_TRUE(eventually(2000, parameter("channels") <= channels + 1));
}

TEST_HARNESS_MAIN
