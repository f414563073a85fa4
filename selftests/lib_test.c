// SPDX-License-Identifier: GPL-2.0-only
/*
 * Every function of libtribuf: what it promises and each way in which it
 * refuses. What happens under load, kills and hostile peers is in
 * lib_stress_test.c, waiting in lib_wait_test.c.
 */
#include "lib.h"

#include <dlfcn.h>
#include <pthread.h>
#include <sys/ptrace.h>
#include <sys/stat.h>

/* A producer and a consumer of one channel. */
FIXTURE(lib) {
	struct tribuf *p, *c;
	const char *name;
};

KINDS(lib);

FIXTURE_SETUP(lib)
{
	REQUIRE_BACKEND(variant);
	self->name = channel_name(variant->prefix);
	ASSERT_EQ(0, open_producer(&self->p, self->name, SLOT));
	ASSERT_EQ(0, tribuf_open_consumer(&self->c, self->name));
}

FIXTURE_TEARDOWN(lib)
{
	tribuf_close(self->p);
	tribuf_close(self->c);
}

/* Nothing opened yet. */
FIXTURE(lib_open) {
	const char *name;
};

KINDS(lib_open);

FIXTURE_SETUP(lib_open)
{
	REQUIRE_BACKEND(variant);
	self->name = channel_name(variant->prefix);
}

FIXTURE_TEARDOWN(lib_open)
{
}

/* ---- open and close ---- */

TEST_F(lib_open, close_of_null_is_safe)
{
	tribuf_close(NULL);
}

TEST_F(lib_open, nothing_is_left_when_the_last_handle_closes)
{
	struct tribuf *p, *c;

	ASSERT_EQ(0, open_producer(&p, self->name, SLOT));
	ASSERT_EQ(0, tribuf_open_consumer(&c, self->name));
	tribuf_close(p);
	EXPECT_FALSE(channel_is_gone(self->name));
	tribuf_close(c);
	EXPECT_TRUE(channel_is_gone(self->name));
}

TEST_F(lib_open, refuses_each_option_that_makes_no_sense)
{
	static const uint32_t combinations[] = {
		1u << 31, TRIBUF_EXCL, TRIBUF_REPLACE, TRIBUF_ANONYMOUS,
		TRIBUF_CREATE | TRIBUF_REPLACE | TRIBUF_EXCL,
		TRIBUF_CREATE | TRIBUF_BY_FD, TRIBUF_PENDING | TRIBUF_BY_FD,
	};
	struct tribuf *t = NULL;
	struct tribuf_options o;
	size_t i;

	for (i = 0; i < sizeof(combinations) / sizeof(combinations[0]); i++)
		EXPECT_EQ(-EINVAL, open_as(&t, self->name, TRIBUF_PRODUCER, combinations[i], SLOT));
	EXPECT_EQ(-EINVAL, open_as(&t, self->name, TRIBUF_PRODUCER, TRIBUF_CREATE, 0));
	EXPECT_EQ(-EINVAL, open_as(&t, self->name, TRIBUF_CONSUMER,
				   TRIBUF_CREATE | TRIBUF_REPLACE, SLOT));
	EXPECT_EQ(-EINVAL, open_as(&t, self->name, TRIBUF_CONSUMER, TRIBUF_PENDING, SLOT));
	EXPECT_EQ(-EINVAL, open_as(&t, self->name, 0, TRIBUF_CREATE, SLOT));
	EXPECT_EQ(-EINVAL, open_as(&t, self->name, 5, TRIBUF_CREATE, SLOT));
	EXPECT_EQ(-EINVAL, open_as(&t, NULL, TRIBUF_PRODUCER, TRIBUF_CREATE, SLOT));
#define REFUSED(field, value) do {						\
	o = options(TRIBUF_PRODUCER, TRIBUF_CREATE, SLOT);		\
	o.field = value;						\
	EXPECT_EQ(-EINVAL, tribuf_open(&t, self->name, &o));		\
} while (0)
	REFUSED(size, sizeof(o) - 1);
	REFUSED(reserved[0], 1);
	REFUSED(reserved[6], 1);
	REFUSED(mode, 01000);
	REFUSED(granule, 3);
	REFUSED(granule, 8192);
	REFUSED(grants, TRIBUF_GRANT(TRIBUF_PRODUCER));
	REFUSED(fd, 0);
	EXPECT_EQ(NULL, t);
	EXPECT_TRUE(channel_is_gone(self->name));
}

TEST_F(lib_open, refuses_names_that_are_none)
{
	char name[TRIBUF_NAME_SIZE + 8];
	struct tribuf *t;
	static const char *const bad[] = { "", ".", "..", "a/b", "a b", "a\tb", "a\x7f" };
	size_t i;

	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		snprintf(name, sizeof(name), "%s%s", variant->prefix, bad[i]);
		EXPECT_EQ(-EINVAL, open_producer(&t, name, SLOT));
	}
	i = strlen(variant->prefix);
	snprintf(name, sizeof(name), "%s", variant->prefix);
	memset(name + i, 'x', TRIBUF_NAME_SIZE);
	name[i + TRIBUF_NAME_SIZE] = 0;
	EXPECT_EQ(-ENAMETOOLONG, open_producer(&t, name, SLOT));
	name[i + TRIBUF_NAME_SIZE - 1] = 0;
	ASSERT_EQ(0, open_producer(&t, name, SLOT));
	tribuf_close(t);
}

TEST_F(lib_open, join_needs_a_channel)
{
	struct tribuf *t;

	EXPECT_EQ(-ENOENT, open_as(&t, self->name, TRIBUF_CONSUMER, TRIBUF_DEFAULT, 0));
	EXPECT_NE(NULL, strstr(tribuf_explain(), "TRIBUF_CREATE"));
	EXPECT_TRUE(channel_is_gone(self->name));
}

TEST_F(lib_open, guarded_and_anonymous_are_for_the_device)
{
	static const uint32_t kinds[] = { TRIBUF_GUARDED, TRIBUF_ANONYMOUS };
	struct tribuf *t;

	for (int i = 0; i < 2; i++) {
		int err = open_as(&t, self->name, TRIBUF_PRODUCER, TRIBUF_CREATE | kinds[i], SLOT);

		EXPECT_EQ(on_device(variant) ? 0 : -ENOTSUP, err);
		if (!err)
			tribuf_close(t);
		else
			EXPECT_NE(NULL, strstr(tribuf_explain(), "/dev/tribuf"));
	}
}

TEST_F(lib_open, slots_that_no_memory_can_hold_are_refused)
{
	struct tribuf *t;
	int err;

	err = open_producer(&t, self->name, UINT64_MAX - 4096);
	EXPECT_TRUE(err == -EFBIG || err == -EINVAL);
	err = open_producer(&t, self->name, UINT64_MAX / 3);
	EXPECT_TRUE(err == -EFBIG || err == -EINVAL);
	err = open_producer(&t, self->name, 1ull << 46);
	EXPECT_TRUE(err == -EFBIG || err == -ENOSPC || err == -ENOMEM || err == -EINVAL);
	EXPECT_TRUE(channel_is_gone(self->name));
}

TEST_F(lib_open, references_must_reach_over_the_channel)
{
	struct tribuf_options o = options(TRIBUF_PRODUCER, TRIBUF_CREATE, 1ull << 31);
	struct tribuf *t;

	o.granule = 1;		/* 3 * 2^31 granules: more than 2^32 */
	EXPECT_GT(0, tribuf_open(&t, self->name, &o));
	EXPECT_TRUE(channel_is_gone(self->name));
}

TEST_F(lib_open, mode_is_reduced_by_the_umask)
{
	struct tribuf_options o = options(TRIBUF_PRODUCER, TRIBUF_CREATE, SLOT);
	struct tribuf_info_args info;
	struct tribuf *t;

	umask(026);
	o.mode = 0666;
	ASSERT_EQ(0, tribuf_open(&t, self->name, &o));
	ASSERT_EQ(0, tribuf_info(t, &info));
	EXPECT_EQ(0640, info.mode);
	tribuf_close(t);
}

TEST_F(lib_open, another_user_without_rights_is_refused)
{
	struct tribuf *t;

	if (geteuid())
		SKIP(return, "needs root to become another user");
	chmod(DEVICE, 0666);
	ASSERT_EQ(0, open_producer(&t, self->name, SLOT));
	EXPECT_CHILD({
		const char *name = self->name;
		struct tribuf *o;

		become(NOBODY);
		child_gets(-EACCES, tribuf_open_consumer(&o, name));
		child_gets(-EACCES, open_as(&o, name, TRIBUF_OBSERVER, 0, 0));
	});
	tribuf_close(t);
}

TEST_F(lib_open, owner_flag_refuses_a_squatter)
{
	struct tribuf *t;
	int ready[2];
	pid_t squatter;
	char byte;

	if (geteuid())
		SKIP(return, "needs root to become another user");
	chmod(DEVICE, 0666);
	ASSERT_EQ(0, pipe(ready));
	squatter = in_child({
		struct tribuf_options o = options(TRIBUF_PRODUCER, TRIBUF_CREATE, SLOT);

		o.mode = 0666;
		umask(0);
		become(NOBODY);
		child_gets(0, tribuf_open(&t, self->name, &o));
		child_must(write(ready[1], "", 1) == 1);
		pause();
	});
	ASSERT_EQ(1, read(ready[0], &byte, 1));
	EXPECT_EQ(-EPERM, open_as(&t, self->name, TRIBUF_CONSUMER,
				  TRIBUF_DEFAULT | TRIBUF_OWNER, 0));
	EXPECT_EQ(0, open_as(&t, self->name, TRIBUF_CONSUMER, TRIBUF_DEFAULT, 0));
	tribuf_close(t);
	slay(squatter);
	remove_leftover(self->name);
}

TEST_F(lib, second_producer_and_consumer_are_refused)
{
	struct tribuf *t;

	EXPECT_EQ(-EBUSY, open_producer(&t, self->name, SLOT));
	EXPECT_NE(NULL, strstr(tribuf_explain(), "has a producer, process "));
	EXPECT_EQ(-EBUSY, tribuf_open_consumer(&t, self->name));
	EXPECT_NE(NULL, strstr(tribuf_explain(), "has a consumer, process "));
}

TEST_F(lib, role_is_free_again_after_close)
{
	tribuf_close(self->p);
	EXPECT_EQ(0, open_producer(&self->p, self->name, SLOT));
	tribuf_close(self->c);
	EXPECT_EQ(0, tribuf_open_consumer(&self->c, self->name));
}

TEST_F(lib, sixty_four_observers_fit)
{
	struct tribuf *o[TRIBUF_OBSERVERS_MAX], *more;
	struct tribuf_info_args info;
	int i;

	for (i = 0; i < TRIBUF_OBSERVERS_MAX; i++)
		ASSERT_EQ(0, open_as(&o[i], self->name, TRIBUF_OBSERVER, 0, 0));
	EXPECT_EQ(-EBUSY, open_as(&more, self->name, TRIBUF_OBSERVER, 0, 0));
	ASSERT_EQ(0, tribuf_info(o[7], &info));
	EXPECT_EQ(TRIBUF_OBSERVERS_MAX, info.observers);
	for (i = 0; i < TRIBUF_OBSERVERS_MAX; i++)
		tribuf_close(o[i]);
}

TEST_F(lib, other_geometry_is_refused_and_explained)
{
	struct tribuf_options o = options(TRIBUF_OBSERVER, TRIBUF_CREATE, 2 * SLOT);
	struct tribuf *t;

	EXPECT_EQ(-EINVAL, tribuf_open(&t, self->name, &o));
	EXPECT_NE(NULL, strstr(tribuf_explain(), "slots of 8192 bytes, not 16384"));
	o = options(TRIBUF_OBSERVER, 0, 0);
	o.granule = 64;
	EXPECT_EQ(-EINVAL, tribuf_open(&t, self->name, &o));
	o.granule = TRIBUF_GRANULE_DEFAULT;
	o.slot_size = SLOT;
	ASSERT_EQ(0, tribuf_open(&t, self->name, &o));
	tribuf_close(t);
}

TEST_F(lib, exclusive_creation_finds_the_channel_there)
{
	struct tribuf *t;

	EXPECT_EQ(-EEXIST, open_as(&t, self->name, TRIBUF_KEEPER, TRIBUF_CREATE | TRIBUF_EXCL,
				   SLOT));
}

TEST_F(lib, info_tells_geometry_and_peers)
{
	struct tribuf_info_args info;

	ASSERT_EQ(1, lib_publish(self->p));
	ASSERT_EQ(2, lib_publish(self->p));
	ASSERT_EQ(0, tribuf_info(self->c, &info));
	EXPECT_STREQ(test_name(), (char *)info.name);
	EXPECT_EQ(SLOT, info.slot_size);
	EXPECT_EQ(TRIBUF_GRANULE_DEFAULT, info.granule);
	EXPECT_EQ(TRIBUF_CONSUMER, info.role);
	EXPECT_EQ(getpid(), info.producer_pid);
	EXPECT_EQ(getpid(), info.consumer_pid);
	EXPECT_EQ(1, info.producer_epoch);
	EXPECT_EQ(1, info.consumer_epoch);
	EXPECT_EQ(0600, info.mode);
	EXPECT_EQ(geteuid(), info.uid);
	EXPECT_EQ(2, info.claimed_seq);
	EXPECT_EQ(1, info.claimed_overwritten);
	EXPECT_EQ(TRIBUF_STATE_PRODUCER | TRIBUF_STATE_CONSUMER | TRIBUF_STATE_HAD_PRODUCER |
		  TRIBUF_STATE_HAD_CONSUMER | (is_guarded(variant) ? TRIBUF_STATE_GUARDED : 0),
		  info.state);
	EXPECT_EQ(is_guarded(variant) ? 2 : 0, info.kernel_publishes);
}

static int find_mine(const struct tribuf_list_entry *channel, void *context)
{
	*(int *)context += 1;
	return !strcmp((const char *)channel->name, test_name()) && channel->slot_size == SLOT &&
	       channel->producer_pid == getpid() ? 42 : 0;
}

TEST_F(lib, list_shows_the_channel_and_stops_when_told)
{
	unsigned int backend = on_device(variant) ? TRIBUF_BACKEND_DEVICE : TRIBUF_BACKEND_SHM;
	int seen = 0;

	EXPECT_EQ(42, tribuf_list(backend, find_mine, &seen));
	EXPECT_LT(0, seen);
	EXPECT_EQ(-ENOTSUP, tribuf_list(2, find_mine, &seen));
}

TEST_F(lib, fd_is_for_poll_or_refused)
{
	int fd = tribuf_fd(self->c);

	if (!on_device(variant)) {
		EXPECT_EQ(-ENOTSUP, fd);
		return;
	}
	ASSERT_LE(0, fd);
	EXPECT_EQ(FD_CLOEXEC, fcntl(fd, F_GETFD));
	EXPECT_EQ(0, polled(fd, POLLIN, 0));
	lib_publish(self->p);
	EXPECT_EQ(POLLIN, polled(fd, POLLIN, 0));
}

TEST_F(lib, ring_is_for_peers_only)
{
	struct tribuf *o;

	EXPECT_EQ(0, tribuf_ring(self->p));
	EXPECT_EQ(0, tribuf_ring(self->c));
	ASSERT_EQ(0, open_as(&o, self->name, TRIBUF_OBSERVER, 0, 0));
	EXPECT_EQ(-EACCES, tribuf_ring(o));
	tribuf_close(o);
}

/* ---- frames ---- */

TEST_F(lib, frame_arrives_with_all_that_belongs_to_it)
{
	struct tribuf_frame sent, got;

	ASSERT_EQ(0, tribuf_begin(self->p, &sent));
	EXPECT_EQ(SLOT, sent.bytes);
	EXPECT_EQ(1, sent.seq);
	EXPECT_EQ(1, sent.generation & 1);
	memcpy(sent.data, "frame", 5);
	memcpy(sent.user, "user", 5);
	sent.bytes = 5;
	sent.timestamp = 11;
	sent.cookie = 22;
	sent.flags = 0xabcd0000;
	ASSERT_EQ(0, tribuf_publish(self->p, &sent));
	ASSERT_EQ(1, tribuf_acquire(self->c, &got));
	EXPECT_EQ(0, memcmp(got.data, "frame", 5));
	EXPECT_STREQ("user", (char *)got.user);
	EXPECT_EQ(5, got.bytes);
	EXPECT_EQ(1, got.seq);
	EXPECT_EQ(11, got.timestamp);
	EXPECT_EQ(22, got.cookie);
	EXPECT_EQ(0xabcd0000, got.flags);
	EXPECT_EQ(0, got.format);
	EXPECT_EQ(tribuf_generation_publish(sent.generation), got.generation);
}

/* Of channels whose slots lie in the descriptors: all that others have. */
TEST_F(lib, small_frames_arrive_with_all_that_belongs_to_them)
{
	struct tribuf_frame sent, got = { 0 }, seen;
	struct tribuf_gen_index reference;
	unsigned char copy[TRIBUF_SMALL_BYTES];
	struct tribuf *p, *c, *o;
	void *pointer;
	char name[TRIBUF_NAME_SIZE + 8];

	snprintf(name, sizeof(name), "%s.small", self->name);
	ASSERT_EQ(0, tribuf_open_producer(&p, name, TRIBUF_SMALL_BYTES));
	ASSERT_EQ(0, tribuf_open_consumer(&c, name));
	ASSERT_EQ(0, open_as(&o, name, TRIBUF_OBSERVER, 0, 0));
	for (unsigned int i = 1; i <= 2 * TRIBUF_SLOTS; i++) {
		ASSERT_EQ(0, tribuf_begin(p, &sent));
		EXPECT_EQ(TRIBUF_SMALL_BYTES, sent.bytes);
		EXPECT_EQ(0, (uintptr_t)sent.data % TRIBUF_SMALL_BYTES);
		memset(sent.data, (int)i, TRIBUF_SMALL_BYTES);
		memset(sent.user, ~(int)i, TRIBUF_USER_BYTES);
		ASSERT_EQ(0, tribuf_publish(p, &sent));
		ASSERT_EQ(1, tribuf_acquire(c, &got));
		EXPECT_EQ(i, got.seq);
		EXPECT_EQ(TRIBUF_SMALL_BYTES, got.bytes);
		memset(copy, (int)i, sizeof(copy));
		EXPECT_EQ(0, memcmp(copy, got.data, TRIBUF_SMALL_BYTES));
		EXPECT_EQ((uint8_t)~i, ((uint8_t *)got.user)[0]);
		EXPECT_EQ((uint8_t)~i, ((uint8_t *)got.user)[TRIBUF_USER_BYTES - 1]);
		ASSERT_EQ(0, tribuf_ref(c, (unsigned char *)got.data + 8, &reference));
		EXPECT_EQ(0, tribuf_deref(c, reference, 8, &pointer));
		EXPECT_EQ((unsigned char *)got.data + 8, pointer);
		EXPECT_EQ(-EINVAL, tribuf_deref(c, reference, 9, &pointer));
		memset(copy, 0, sizeof(copy));
		EXPECT_EQ(0, tribuf_copy(o, reference, copy, 8));
		EXPECT_EQ(i, copy[7]);
		EXPECT_EQ(-EINVAL, tribuf_copy(o, reference, copy, 9));
		EXPECT_EQ(1, tribuf_snapshot(o, &seen, copy, sizeof(copy)));
		EXPECT_EQ(0, memcmp(copy, got.data, TRIBUF_SMALL_BYTES));
	}
	tribuf_close(o);
	tribuf_close(c);
	tribuf_close(p);
}

/*
 * Between any two of its instructions a frame is published, so that each exchange
 * fails: as for a consumer that is interpreted, or on an emulated processor, while its
 * producer does nothing but publish. Nobody means harm.
 */
TEST_F(lib, consumer_bears_a_producer_that_is_much_faster)
{
	struct tribuf_frame frame;
	struct tribuf *t;
	pid_t consumer;
	int status;

	tribuf_close(self->c);
	self->c = NULL;
	consumer = in_child({
		child_gets(0, tribuf_open_consumer(&t, self->name));
		child_gets(0, ptrace(PTRACE_TRACEME));
		raise(SIGSTOP);
		child_gets(1, tribuf_acquire(t, &frame));
	});
	ASSERT_EQ(consumer, waitpid(consumer, &status, 0));
	if (!WIFSTOPPED(status) || ptrace(PTRACE_SINGLESTEP, consumer, NULL, NULL))
		SKIP(return, "nobody can be stepped through here");
	waitpid(consumer, &status, 0);
	/* The swaps of a guarded channel are the kernel's, and need few instructions. */
	for (int steps = 0; steps < 5000 && WIFSTOPPED(status); steps++) {
		ASSERT_LE(0, lib_publish(self->p));
		ASSERT_EQ(0, ptrace(PTRACE_SINGLESTEP, consumer, NULL, NULL));
		ASSERT_EQ(consumer, waitpid(consumer, &status, 0));
	}
	if (WIFSTOPPED(status)) {
		ptrace(PTRACE_DETACH, consumer, NULL, NULL);
		waitpid(consumer, &status, 0);
	}
	EXPECT_EQ(0, status);
}

TEST_F(lib, acquire_without_a_new_frame_leaves_everything)
{
	struct tribuf_frame first, untouched = { .seq = 77 };

	EXPECT_EQ(0, tribuf_acquire(self->c, &untouched));
	EXPECT_EQ(77, untouched.seq);
	lib_publish(self->p);
	ASSERT_EQ(1, tribuf_acquire(self->c, &first));
	EXPECT_EQ(0, tribuf_acquire(self->c, &untouched));
	EXPECT_TRUE(lib_whole(&first, SLOT));
}

TEST_F(lib, newest_frame_replaces_the_one_not_taken)
{
	struct tribuf_frame frame;

	ASSERT_EQ(0, tribuf_begin(self->p, &frame));
	EXPECT_EQ(0, tribuf_publish(self->p, &frame));
	ASSERT_EQ(0, tribuf_begin(self->p, &frame));
	EXPECT_EQ(TRIBUF_OVERWROTE, tribuf_publish(self->p, &frame));
	ASSERT_EQ(1, tribuf_acquire(self->c, &frame));
	EXPECT_EQ(2, frame.seq);
	ASSERT_EQ(0, tribuf_begin(self->p, &frame));
	EXPECT_EQ(0, tribuf_publish(self->p, &frame));
}

/* As a consumer that slept has left its state word. */
static void arm(struct tribuf *c)
{
	struct epoll_event event = { .events = EPOLLIN };
	int epoll;

	if (tribuf_fd(c) < 0) {
		__atomic_or_fetch(c->word, TRIBUF_ARMED, __ATOMIC_RELAXED);
		return;
	}
	epoll = epoll_create1(EPOLL_CLOEXEC);
	epoll_ctl(epoll, EPOLL_CTL_ADD, tribuf_fd(c), &event);
	close(epoll);
}

TEST_F(lib, quiet_publish_tells_that_a_ring_is_due)
{
	struct tribuf_info_args before, after;
	struct tribuf_frame frame;

	arm(self->c);
	ASSERT_EQ(0, tribuf_info(self->p, &before));
	ASSERT_EQ(0, tribuf_begin(self->p, &frame));
	EXPECT_EQ(TRIBUF_RING_DUE, tribuf_publish_quiet(self->p, &frame));
	ASSERT_EQ(0, tribuf_info(self->p, &after));
	EXPECT_EQ(before.kernel_rings, after.kernel_rings);
	EXPECT_EQ(0, tribuf_ring(self->p));
	ASSERT_EQ(0, tribuf_info(self->p, &after));
	EXPECT_EQ(before.kernel_rings + 1, after.kernel_rings);
}

TEST_F(lib, publish_rings_only_who_sleeps)
{
	struct tribuf_info_args info;

	lib_publish(self->p);
	ASSERT_EQ(0, tribuf_info(self->p, &info));
	EXPECT_EQ(0, info.kernel_rings);
	tribuf_acquire(self->c, &(struct tribuf_frame){ 0 });
	arm(self->c);
	lib_publish(self->p);
	ASSERT_EQ(0, tribuf_info(self->p, &info));
	EXPECT_EQ(1, info.kernel_rings);
	/* Nobody sleeps: the ring has cleared the bit. */
	EXPECT_FALSE(info.claimed_word & TRIBUF_ARMED);
}

TEST_F(lib, publish_refuses_what_it_was_not_given)
{
	struct tribuf_frame frame, other;

	ASSERT_EQ(0, tribuf_begin(self->p, &frame));
	other = frame;
	other.bytes = SLOT + 1;
	EXPECT_EQ(-EMSGSIZE, tribuf_publish(self->p, &other));
	other = frame;
	other.flags = 1;
	EXPECT_EQ(-EINVAL, tribuf_publish(self->p, &other));
	other = frame;
	other.slot = 1;
	EXPECT_EQ(-EINVAL, tribuf_publish(self->p, &other));
	other = frame;
	other.generation += 2;
	EXPECT_EQ(-EINVAL, tribuf_publish(self->p, &other));
	/* None of these took the frame away. */
	EXPECT_EQ(0, tribuf_publish(self->p, &frame));
	/* But this did. */
	EXPECT_EQ(-EINVAL, tribuf_publish(self->p, &frame));
	EXPECT_EQ(-EINVAL, tribuf_publish_quiet(self->p, &frame));
}

TEST_F(lib, frames_begun_twice_are_one)
{
	struct tribuf_frame first, again, got;

	ASSERT_EQ(0, tribuf_begin(self->p, &first));
	ASSERT_EQ(0, tribuf_begin(self->p, &again));
	EXPECT_EQ(first.generation, again.generation);
	EXPECT_EQ(first.seq, again.seq);
	EXPECT_EQ(0, tribuf_publish(self->p, &again));
	ASSERT_EQ(1, tribuf_acquire(self->c, &got));
	EXPECT_EQ(1, got.seq);
}

TEST_F(lib, roles_do_only_what_is_theirs)
{
	struct tribuf_gen_index reference = { 0, 0 };
	struct tribuf_frame frame;
	struct tribuf *o, *k;
	char data[8];

	ASSERT_EQ(0, tribuf_begin(self->p, &frame));
	ASSERT_EQ(0, open_as(&o, self->name, TRIBUF_OBSERVER, 0, 0));
	ASSERT_EQ(0, open_as(&k, self->name, TRIBUF_KEEPER, 0, 0));
	EXPECT_EQ(-EACCES, tribuf_begin(self->c, &frame));
	EXPECT_EQ(-EACCES, tribuf_begin(o, &frame));
	EXPECT_EQ(-EACCES, tribuf_begin(k, &frame));
	EXPECT_EQ(-EACCES, tribuf_publish(self->c, &frame));
	EXPECT_EQ(-EACCES, tribuf_publish(o, &frame));
	EXPECT_EQ(-EACCES, tribuf_publish(k, &frame));
	EXPECT_EQ(-EACCES, tribuf_acquire(self->p, &frame));
	EXPECT_EQ(-EACCES, tribuf_acquire(o, &frame));
	EXPECT_EQ(-EACCES, tribuf_acquire(k, &frame));
	EXPECT_EQ(-EACCES, tribuf_snapshot(self->p, &frame, data, sizeof(data)));
	EXPECT_EQ(-EACCES, tribuf_snapshot(self->c, &frame, data, sizeof(data)));
	EXPECT_EQ(-EACCES, tribuf_snapshot(k, &frame, data, sizeof(data)));
	EXPECT_EQ(-EACCES, tribuf_format_set(self->c, data, 1));
	EXPECT_EQ(-EACCES, tribuf_format_get(k, data, &(size_t){ 0 }, &(uint32_t){ 0 }));
	EXPECT_EQ(-EACCES, tribuf_accept(self->p, &(struct tribuf_acquired){ 0 }, &frame));
	EXPECT_EQ(-EINVAL, tribuf_copy(k, reference, data, 1));
	tribuf_close(o);
	tribuf_close(k);
}

TEST_F(lib, frame_longer_than_its_slot_is_dropped)
{
	struct tribuf_frame frame = { .seq = 77 };
	struct tribuf_gen_index reference = { 0 };

	if (is_guarded(variant)) {
		EXPECT_TRUE(metadata_is_out_of_reach(self->p));
		return;
	}
	lib_publish(self->p);
	self->p->desc[tribuf_word_middle(*self->p->word)].bytes = SLOT + 1;
	EXPECT_EQ(-EPROTO, tribuf_acquire(self->c, &frame));
	EXPECT_NE(NULL, strstr(tribuf_explain(), "more bytes"));
	EXPECT_EQ(0, frame.seq);
	EXPECT_EQ(0, tribuf_acquire(self->c, &frame));
	/* Nothing of it is in hand. */
	EXPECT_EQ(-EINVAL, tribuf_ref(self->c, self->c->slots, &reference));
	EXPECT_EQ(2, lib_publish(self->p));
	EXPECT_EQ(1, tribuf_acquire(self->c, &frame));
	EXPECT_TRUE(lib_whole(&frame, SLOT));
}

/* As when the newest frame is another one in each try of the kernel's: but there is one. */
TEST_F(lib, snapshot_of_a_frame_that_cannot_be_told_of_is_outrun)
{
	unsigned char data[SLOT];
	struct tribuf_frame frame;
	struct tribuf *o;

	if (is_guarded(variant)) {
		EXPECT_TRUE(metadata_is_out_of_reach(self->p));
		return;
	}
	ASSERT_EQ(0, open_as(&o, self->name, TRIBUF_OBSERVER, 0, 0));
	lib_publish(self->p);
	self->p->desc[tribuf_word_newest(*self->p->word)].generation |= 1;
	EXPECT_EQ(TRIBUF_READY, tribuf_wait(o, TRIBUF_READY, 0));
	EXPECT_EQ(-EAGAIN, tribuf_snapshot(o, &frame, data, sizeof(data)));
	EXPECT_NE(NULL, strstr(tribuf_explain(), "faster"));
	EXPECT_EQ(2, lib_publish(self->p));
	EXPECT_EQ(1, tribuf_snapshot(o, &frame, data, sizeof(data)));
	EXPECT_TRUE(lib_whole(&frame, SLOT));
	EXPECT_EQ(0, tribuf_snapshot(o, &frame, data, sizeof(data)));
	tribuf_close(o);
}

TEST_F(lib, frame_longer_than_its_slot_is_no_snapshot)
{
	unsigned char data[SLOT];
	struct tribuf_frame frame;
	struct tribuf *o;

	if (is_guarded(variant)) {
		EXPECT_TRUE(metadata_is_out_of_reach(self->p));
		return;
	}
	ASSERT_EQ(0, open_as(&o, self->name, TRIBUF_OBSERVER, 0, 0));
	lib_publish(self->p);
	self->p->desc[tribuf_word_newest(*self->p->word)].bytes = SLOT + 1;
	EXPECT_EQ(-EPROTO, tribuf_snapshot(o, &frame, data, sizeof(data)));
	EXPECT_EQ(2, lib_publish(self->p));
	EXPECT_EQ(1, tribuf_snapshot(o, &frame, data, sizeof(data)));
	EXPECT_TRUE(lib_whole(&frame, SLOT));
	tribuf_close(o);
}

/* ---- frames that the kernel took ---- */

TEST_F(lib, accept_takes_over_what_read_returned)
{
	struct tribuf_acquired acquired, forged;
	struct tribuf_frame frame;
	void *pointer;
	struct tribuf_gen_index reference = { 0 };

	if (!on_device(variant))
		SKIP(return, "shm has no descriptor to read");
	lib_publish(self->p);
	ASSERT_EQ(sizeof(acquired), read(tribuf_fd(self->c), &acquired, sizeof(acquired)));
	/* Until it is accepted, the word and the handle differ; the kernel asks no handle. */
	EXPECT_EQ(is_guarded(variant) ? 0 : -EPROTO, tribuf_acquire(self->c, &frame));
	forged = acquired;
	forged.slot = 3;
	EXPECT_EQ(-EPROTO, tribuf_accept(self->c, &forged, &frame));
	forged = acquired;
	forged.desc.bytes = SLOT + 1;
	EXPECT_EQ(-EPROTO, tribuf_accept(self->c, &forged, &frame));
	forged = acquired;
	forged.slot = (acquired.slot + 1) % 3;
	EXPECT_EQ(-ESTALE, tribuf_accept(self->c, &forged, &frame));
	ASSERT_EQ(0, tribuf_accept(self->c, &acquired, &frame));
	EXPECT_TRUE(lib_whole(&frame, SLOT));
	ASSERT_EQ(0, tribuf_ref(self->c, frame.data, &reference));
	EXPECT_EQ(0, tribuf_deref(self->c, reference, 1, &pointer));
	EXPECT_EQ(0, tribuf_acquire(self->c, &frame));
	lib_publish(self->p);
	EXPECT_EQ(1, tribuf_acquire(self->c, &frame));
	EXPECT_EQ(-ESTALE, tribuf_accept(self->c, &acquired, &frame));
}

/* ---- references ---- */

TEST_F(lib, fresh_reference_resolves_to_its_place)
{
	struct tribuf_gen_index reference = { 0 }, other = { 0 };
	struct tribuf_frame frame = { 0 };
	void *pointer;

	lib_publish(self->p);
	ASSERT_EQ(1, tribuf_acquire(self->c, &frame));
	ASSERT_EQ(0, tribuf_ref(self->c, (char *)frame.data + 64, &reference));
	EXPECT_EQ(frame.generation, reference.generation);
	ASSERT_EQ(0, tribuf_deref(self->c, reference, SLOT - 64, &pointer));
	EXPECT_EQ((char *)frame.data + 64, pointer);
	ASSERT_EQ(0, tribuf_frame_ref(self->c, &frame, 64, &other));
	EXPECT_EQ(0, memcmp(&reference, &other, sizeof(other)));
	/* The last granule. */
	ASSERT_EQ(0, tribuf_ref(self->c, (char *)frame.data + SLOT - 8, &reference));
	EXPECT_EQ(0, tribuf_deref(self->c, reference, 8, &pointer));
	EXPECT_EQ(-EINVAL, tribuf_deref(self->c, reference, 9, &pointer));
}

TEST_F(lib, references_are_only_made_into_the_slot_in_hand)
{
	struct tribuf_gen_index reference = { 0 };
	struct tribuf_frame frame = { 0 }, mine;

	EXPECT_EQ(-EINVAL, tribuf_ref(self->c, self->c->slots, &reference));
	EXPECT_EQ(-EINVAL, tribuf_ref(self->p, self->p->slots, &reference));
	lib_publish(self->p);
	ASSERT_EQ(1, tribuf_acquire(self->c, &frame));
	EXPECT_EQ(-EINVAL, tribuf_ref(self->c, (char *)frame.data + 4, &reference));
	EXPECT_EQ(-EINVAL, tribuf_ref(self->c, (char *)frame.data - 8, &reference));
	EXPECT_EQ(-EINVAL, tribuf_ref(self->c, (char *)frame.data + SLOT, &reference));
	EXPECT_EQ(-EINVAL, tribuf_ref(self->c, NULL, &reference));
	EXPECT_EQ(-EINVAL, tribuf_frame_ref(self->c, &frame, SLOT, &reference));
	EXPECT_EQ(-EINVAL, tribuf_frame_ref(self->c, &frame, 4, &reference));
	frame.slot = 3;
	EXPECT_EQ(-EINVAL, tribuf_frame_ref(self->c, &frame, 0, &reference));
	ASSERT_EQ(0, tribuf_begin(self->p, &mine));
	EXPECT_EQ(0, tribuf_ref(self->p, mine.data, &reference));
	EXPECT_EQ(mine.generation, reference.generation);
	tribuf_publish(self->p, &mine);
	EXPECT_EQ(-EINVAL, tribuf_ref(self->p, mine.data, &reference));
}

TEST_F(lib, producers_reference_resolves_for_the_consumer_once_published)
{
	struct tribuf_gen_index reference = { 0 };
	struct tribuf_frame frame;
	void *pointer;

	ASSERT_EQ(0, tribuf_begin(self->p, &frame));
	ASSERT_EQ(0, tribuf_ref(self->p, (char *)frame.data + 800, &reference));
	EXPECT_EQ(0, tribuf_deref(self->p, reference, 8, &pointer));
	EXPECT_EQ((char *)frame.data + 800, pointer);
	tribuf_publish(self->p, &frame);
	ASSERT_EQ(1, tribuf_acquire(self->c, &frame));
	EXPECT_EQ(-ESTALE, tribuf_deref(self->c, reference, 8, &pointer));
	reference.generation = tribuf_generation_publish(reference.generation);
	ASSERT_EQ(0, tribuf_deref(self->c, reference, 8, &pointer));
	EXPECT_EQ((char *)frame.data + 800, pointer);
}

TEST_F(lib, recycled_reference_is_stale)
{
	struct tribuf_gen_index reference = { 0 };
	struct tribuf_frame frame;
	void *pointer = self;
	char data[8];
	int i;

	lib_publish(self->p);
	ASSERT_EQ(1, tribuf_acquire(self->c, &frame));
	ASSERT_EQ(0, tribuf_ref(self->c, frame.data, &reference));
	lib_publish(self->p);
	ASSERT_EQ(1, tribuf_acquire(self->c, &frame));
	EXPECT_EQ(-ESTALE, tribuf_deref(self->c, reference, 1, &pointer));
	EXPECT_EQ((void *)self, pointer);
	/* Given back, but not written over yet: a copy still gets it. */
	EXPECT_EQ(0, tribuf_copy(self->c, reference, data, sizeof(data)));
	for (i = 0; i < 6; i++) {
		lib_publish(self->p);
		ASSERT_EQ(1, tribuf_acquire(self->c, &frame));
		EXPECT_EQ(-ESTALE, tribuf_deref(self->c, reference, 1, &pointer));
	}
	EXPECT_EQ(-ESTALE, tribuf_copy(self->c, reference, data, sizeof(data)));
}

TEST_F(lib, reference_out_of_range_or_crossing_is_invalid)
{
	uint64_t granules = self->c->slot_stride / TRIBUF_GRANULE_DEFAULT;
	struct tribuf_gen_index reference = { 0 };
	struct tribuf_frame frame;
	char data[SLOT];
	void *pointer;

	lib_publish(self->p);
	ASSERT_EQ(1, tribuf_acquire(self->c, &frame));
	ASSERT_EQ(0, tribuf_ref(self->c, frame.data, &reference));
	EXPECT_EQ(-EINVAL, tribuf_deref(self->c, reference, SLOT + 1, &pointer));
	EXPECT_EQ(-EINVAL, tribuf_copy(self->c, reference, data, SLOT + 1));
	EXPECT_EQ(-EINVAL, tribuf_deref(self->c, reference, SIZE_MAX, &pointer));
	EXPECT_EQ(-EINVAL, tribuf_copy(self->c, reference, data, SIZE_MAX));
	reference.index = (uint32_t)(3 * granules);
	EXPECT_EQ(-EINVAL, tribuf_deref(self->c, reference, 1, &pointer));
	EXPECT_EQ(-EINVAL, tribuf_copy(self->c, reference, data, 1));
	reference.index = UINT32_MAX;
	EXPECT_EQ(-EINVAL, tribuf_deref(self->c, reference, 1, &pointer));
	EXPECT_EQ(-EINVAL, tribuf_copy(self->c, reference, data, 1));
}

TEST_F(lib, bytes_between_slots_cannot_be_referred_to)
{
	struct tribuf_gen_index reference = { 0 };
	struct tribuf_options o = options(TRIBUF_PRODUCER, TRIBUF_CREATE, 100);
	struct tribuf *t;
	struct tribuf_frame frame;
	char name[128];
	void *pointer;

	snprintf(name, sizeof(name), "%s.b", self->name);
	ASSERT_EQ(0, tribuf_open(&t, name, &o));
	ASSERT_EQ(0, tribuf_begin(t, &frame));
	reference.index = 104 / 8;
	reference.generation = frame.generation;
	EXPECT_EQ(-EINVAL, tribuf_deref(t, reference, 1, &pointer));
	reference.index = 96 / 8;
	EXPECT_EQ(0, tribuf_deref(t, reference, 4, &pointer));
	EXPECT_EQ(-EINVAL, tribuf_deref(t, reference, 5, &pointer));
	tribuf_close(t);
}

TEST_F(lib, frame_being_written_is_not_copied)
{
	struct tribuf_gen_index reference = { 0 };
	struct tribuf_frame frame;
	char data[8];

	ASSERT_EQ(0, tribuf_begin(self->p, &frame));
	ASSERT_EQ(0, tribuf_ref(self->p, frame.data, &reference));
	EXPECT_EQ(-ESTALE, tribuf_copy(self->c, reference, data, sizeof(data)));
	EXPECT_EQ(-ESTALE, tribuf_copy(self->p, reference, data, sizeof(data)));
}

TEST_F(lib, granule_of_one_refers_to_each_byte)
{
	struct tribuf_options o = options(TRIBUF_PRODUCER, TRIBUF_CREATE, SLOT);
	struct tribuf_gen_index reference = { 0 };
	struct tribuf_frame frame;
	struct tribuf *t;
	char name[128];
	void *pointer;

	o.granule = 1;
	snprintf(name, sizeof(name), "%s.g", self->name);
	ASSERT_EQ(0, tribuf_open(&t, name, &o));
	ASSERT_EQ(0, tribuf_begin(t, &frame));
	ASSERT_EQ(0, tribuf_ref(t, (char *)frame.data + 4097, &reference));
	ASSERT_EQ(0, tribuf_deref(t, reference, 1, &pointer));
	EXPECT_EQ((char *)frame.data + 4097, pointer);
	tribuf_close(t);
}

/* ---- observers ---- */

TEST_F(lib, snapshot_copies_each_frame_once)
{
	struct tribuf_frame frame;
	unsigned char data[SLOT];
	struct tribuf *o;

	ASSERT_EQ(0, open_as(&o, self->name, TRIBUF_OBSERVER, 0, 0));
	EXPECT_EQ(0, tribuf_snapshot(o, &frame, data, sizeof(data)));
	lib_publish(self->p);
	lib_publish(self->p);
	ASSERT_EQ(1, tribuf_snapshot(o, &frame, data, sizeof(data)));
	EXPECT_EQ(2, frame.seq);
	EXPECT_EQ((void *)data, frame.data);
	EXPECT_TRUE(lib_whole(&frame, SLOT));
	EXPECT_EQ(0, tribuf_snapshot(o, &frame, data, sizeof(data)));
	/* That the consumer takes it makes it no newer. */
	ASSERT_EQ(1, tribuf_acquire(self->c, &frame));
	EXPECT_EQ(0, tribuf_snapshot(o, &frame, data, sizeof(data)));
	tribuf_close(o);
}

TEST_F(lib, snapshot_without_room_can_be_tried_again)
{
	struct tribuf_frame frame;
	unsigned char data[SLOT];
	struct tribuf *o;

	ASSERT_EQ(0, open_as(&o, self->name, TRIBUF_OBSERVER, 0, 0));
	ASSERT_EQ(0, tribuf_begin(self->p, &frame));
	memset(frame.data, 7, 100);
	memcpy(frame.user, "beside", 7);
	frame.bytes = 100;
	tribuf_publish(self->p, &frame);
	EXPECT_EQ(-EMSGSIZE, tribuf_snapshot(o, &frame, data, 99));
	EXPECT_EQ(100, frame.bytes);
	ASSERT_EQ(1, tribuf_snapshot(o, &frame, data, 100));
	EXPECT_EQ(7, data[99]);
	EXPECT_STREQ("beside", (char *)frame.user);
	tribuf_close(o);
}

TEST_F(lib, observers_reference_copies_the_frame)
{
	struct tribuf_gen_index reference = { 0 };
	unsigned char data[SLOT], part[8];
	struct tribuf_frame frame;
	struct tribuf *o;
	void *pointer;

	ASSERT_EQ(0, open_as(&o, self->name, TRIBUF_OBSERVER, 0, 0));
	ASSERT_EQ(0, tribuf_begin(self->p, &frame));
	memcpy((char *)frame.data + 256, "a place", 8);
	tribuf_publish(self->p, &frame);
	ASSERT_EQ(1, tribuf_snapshot(o, &frame, data, sizeof(data)));
	ASSERT_EQ(0, tribuf_frame_ref(o, &frame, 256, &reference));
	ASSERT_EQ(0, tribuf_copy(o, reference, part, sizeof(part)));
	EXPECT_STREQ("a place", (char *)part);
	/* An observer holds nothing. */
	EXPECT_EQ(-ESTALE, tribuf_deref(o, reference, 8, &pointer));
	tribuf_close(o);
}

/* ---- format ---- */

TEST_F(lib, format_travels_beside_the_frames)
{
	struct tribuf_frame frame;
	char data[TRIBUF_FORMAT_BYTES + 1] = "";
	size_t bytes = sizeof(data);
	uint32_t version = 7;

	ASSERT_EQ(0, tribuf_format_get(self->c, data, &bytes, &version));
	EXPECT_EQ(0, bytes);
	EXPECT_EQ(0, version);
	ASSERT_EQ(0, tribuf_format_set(self->p, "640x480", 7));
	lib_publish(self->p);
	bytes = sizeof(data);
	ASSERT_EQ(0, tribuf_format_get(self->c, data, &bytes, &version));
	EXPECT_EQ(7, bytes);
	EXPECT_EQ(0, memcmp("640x480", data, 7));
	ASSERT_EQ(1, tribuf_acquire(self->c, &frame));
	EXPECT_EQ(version, frame.format);
	/* Too little room: cut off, and told so. */
	bytes = 3;
	data[3] = '!';
	ASSERT_EQ(0, tribuf_format_get(self->c, data, &bytes, &version));
	EXPECT_EQ(7, bytes);
	EXPECT_EQ('!', data[3]);
	EXPECT_EQ(-EMSGSIZE, tribuf_format_set(self->p, data, sizeof(data)));
	EXPECT_EQ(0, tribuf_format_set(self->p, data, TRIBUF_FORMAT_BYTES));
}

TEST_F(lib, format_that_is_being_written_is_not_read)
{
	struct tribuf_frames *frames = (void *)self->p->desc;
	uint32_t version;
	char data[8];
	size_t bytes = sizeof(data);

	if (is_guarded(variant)) {
		EXPECT_TRUE(metadata_is_out_of_reach(self->p));
		return;
	}
	ASSERT_EQ(0, tribuf_format_set(self->p, "abc", 3));
	frames->format.version |= 1;
	EXPECT_EQ(-EAGAIN, tribuf_format_get(self->c, data, &bytes, &version));
	/* Its writer died: the next one leaves an empty format. */
	tribuf_close(self->p);
	ASSERT_EQ(0, open_producer(&self->p, self->name, SLOT));
	ASSERT_EQ(0, tribuf_format_get(self->c, data, &bytes, &version));
	EXPECT_EQ(0, bytes);
	EXPECT_EQ(0, version & 1);
}

TEST_F(lib, format_that_claims_too_much_is_refused)
{
	struct tribuf_frames *frames = (void *)self->p->desc;
	uint32_t version;
	char data[8];
	size_t bytes = sizeof(data);

	if (is_guarded(variant)) {
		EXPECT_TRUE(metadata_is_out_of_reach(self->p));
		return;
	}
	ASSERT_EQ(0, tribuf_format_set(self->p, "abc", 3));
	frames->format.bytes = TRIBUF_FORMAT_BYTES + 1;
	EXPECT_EQ(-EPROTO, tribuf_format_get(self->c, data, &bytes, &version));
}

/* ---- takeover ---- */

TEST_F(lib, new_consumer_gets_the_newest_frame_again)
{
	struct tribuf_frame frame;

	lib_publish(self->p);
	lib_publish(self->p);
	ASSERT_EQ(1, tribuf_acquire(self->c, &frame));
	tribuf_close(self->c);
	ASSERT_EQ(0, tribuf_open_consumer(&self->c, self->name));
	ASSERT_EQ(1, tribuf_acquire(self->c, &frame));
	EXPECT_EQ(2, frame.seq);
	EXPECT_TRUE(lib_whole(&frame, SLOT));
	/* Not a second time, and not without LATEST. */
	EXPECT_EQ(0, tribuf_acquire(self->c, &frame));
	tribuf_close(self->c);
	ASSERT_EQ(0, open_as(&self->c, self->name, TRIBUF_CONSUMER, TRIBUF_OWNED, 0));
	EXPECT_EQ(0, tribuf_acquire(self->c, &frame));
}

TEST_F(lib, channel_without_frames_has_none_for_a_new_consumer)
{
	struct tribuf_frame frame;

	tribuf_close(self->c);
	ASSERT_EQ(0, tribuf_open_consumer(&self->c, self->name));
	EXPECT_EQ(0, tribuf_acquire(self->c, &frame));
}

TEST_F(lib, new_producer_continues_the_numbers)
{
	struct tribuf_frame frame, began;

	lib_publish(self->p);
	lib_publish(self->p);
	ASSERT_EQ(0, tribuf_begin(self->p, &began));
	tribuf_close(self->p);
	ASSERT_EQ(0, open_producer(&self->p, self->name, SLOT));
	ASSERT_EQ(0, tribuf_begin(self->p, &frame));
	EXPECT_EQ(3, frame.seq);
	/* A dead writer's generation is not its successor's. */
	EXPECT_EQ(began.slot, frame.slot);
	EXPECT_NE(began.generation, frame.generation);
	EXPECT_EQ(1, frame.generation & 1);
	ASSERT_EQ(1, tribuf_acquire(self->c, &frame));
	EXPECT_EQ(2, frame.seq);
}

TEST_F(lib, replaced_channel_is_new)
{
	struct tribuf *new_p, *new_c;
	struct tribuf_frame frame;

	lib_publish(self->p);
	ASSERT_EQ(1, tribuf_acquire(self->c, &frame));
	ASSERT_EQ(0, open_as(&new_p, self->name, TRIBUF_PRODUCER,
			     TRIBUF_DEFAULT | TRIBUF_CREATE | TRIBUF_REPLACE, 2 * SLOT));
	ASSERT_EQ(0, tribuf_open_consumer(&new_c, self->name));
	EXPECT_EQ(1, lib_publish(new_p));
	ASSERT_EQ(1, tribuf_acquire(new_c, &frame));
	EXPECT_EQ(2 * SLOT, new_c->slot_size);
	/* The old one's mappings stay; the kernel swaps there no more. */
	if (is_guarded(variant)) {
		EXPECT_EQ(-ESTALE, lib_publish(self->p));
		EXPECT_NE(NULL, strstr(tribuf_explain(), "was replaced"));
	} else {
		EXPECT_EQ(2, lib_publish(self->p));
		EXPECT_EQ(1, tribuf_acquire(self->c, &frame));
	}
	EXPECT_TRUE(lib_whole(&frame, SLOT));
	tribuf_close(self->c);
	tribuf_close(self->p);
	self->c = NULL;
	self->p = NULL;
	/* Nor does its end take the new one away. */
	EXPECT_EQ(2, lib_publish(new_p));
	EXPECT_EQ(-EBUSY, open_producer(&self->p, self->name, 2 * SLOT));
	tribuf_close(new_p);
	tribuf_close(new_c);
	EXPECT_TRUE(channel_is_gone(self->name));
}

/* ---- start orders ---- */

TEST_F(lib_open, consumer_first_waits_for_the_geometry)
{
	struct tribuf_frame frame;
	struct tribuf *p, *c;

	ASSERT_EQ(0, tribuf_open_consumer(&c, self->name));
	EXPECT_EQ(0, tribuf_acquire(c, &frame));
	EXPECT_EQ(0, tribuf_wait(c, TRIBUF_READY | TRIBUF_GEOMETRY, 0));
	ASSERT_EQ(0, open_producer(&p, self->name, SLOT));
	EXPECT_EQ(TRIBUF_GEOMETRY, tribuf_wait(c, TRIBUF_READY | TRIBUF_GEOMETRY, NS_PER_S));
	EXPECT_EQ(0, tribuf_wait(c, TRIBUF_READY | TRIBUF_GEOMETRY, 0));
	lib_publish(p);
	EXPECT_EQ(TRIBUF_READY, tribuf_wait(c, TRIBUF_READY | TRIBUF_GEOMETRY, NS_PER_S));
	ASSERT_EQ(1, tribuf_acquire(c, &frame));
	EXPECT_TRUE(lib_whole(&frame, SLOT));
	tribuf_close(p);
	tribuf_close(c);
}

TEST_F(lib_open, polling_consumer_needs_no_wait_for_the_geometry)
{
	struct tribuf_frame frame;
	struct tribuf *p, *c;

	ASSERT_EQ(0, tribuf_open_consumer(&c, self->name));
	ASSERT_EQ(0, open_producer(&p, self->name, SLOT));
	lib_publish(p);
	ASSERT_EQ(1, tribuf_acquire(c, &frame));
	EXPECT_TRUE(lib_whole(&frame, SLOT));
	tribuf_close(p);
	tribuf_close(c);
}

TEST_F(lib_open, pending_producer_and_observer_say_so)
{
	struct tribuf *p, *o, *creator;
	struct tribuf_frame frame;
	char data[8];
	size_t bytes = sizeof(data);
	uint32_t version;

	ASSERT_EQ(0, open_as(&p, self->name, TRIBUF_PRODUCER, TRIBUF_PENDING, 0));
	ASSERT_EQ(0, open_as(&o, self->name, TRIBUF_OBSERVER, TRIBUF_PENDING, 0));
	EXPECT_EQ(-EAGAIN, tribuf_begin(p, &frame));
	EXPECT_EQ(-EAGAIN, tribuf_publish(p, &frame));
	EXPECT_EQ(-EAGAIN, tribuf_format_set(p, "x", 1));
	EXPECT_EQ(0, tribuf_snapshot(o, &frame, data, sizeof(data)));
	EXPECT_EQ(0, tribuf_format_get(o, data, &bytes, &version));
	/* Without PENDING there is no channel yet. */
	EXPECT_EQ(-ENOENT, open_as(&creator, self->name, TRIBUF_KEEPER, 0, 0));
	ASSERT_EQ(0, open_as(&creator, self->name, TRIBUF_KEEPER, TRIBUF_CREATE, SLOT));
	EXPECT_EQ(1, lib_publish(p));
	tribuf_close(p);
	tribuf_close(o);
	tribuf_close(creator);
	EXPECT_TRUE(channel_is_gone(self->name));
}

TEST_F(lib_open, producer_first_keeps_its_newest_frame)
{
	struct tribuf_frame frame;
	struct tribuf *p, *c;
	int i;

	ASSERT_EQ(0, open_producer(&p, self->name, SLOT));
	for (i = 0; i < 5; i++)
		lib_publish(p);
	ASSERT_EQ(0, tribuf_open_consumer(&c, self->name));
	ASSERT_EQ(1, tribuf_acquire(c, &frame));
	EXPECT_EQ(5, frame.seq);
	tribuf_close(p);
	tribuf_close(c);
}

TEST_F(lib_open, keeper_keeps_the_frame_of_a_producer_that_left)
{
	struct tribuf_frame frame;
	struct tribuf *p, *c, *k;

	ASSERT_EQ(0, open_as(&k, self->name, TRIBUF_KEEPER, TRIBUF_CREATE, SLOT));
	ASSERT_EQ(0, open_producer(&p, self->name, SLOT));
	lib_publish(p);
	tribuf_close(p);
	ASSERT_EQ(0, tribuf_open_consumer(&c, self->name));
	ASSERT_EQ(1, tribuf_acquire(c, &frame));
	EXPECT_TRUE(lib_whole(&frame, SLOT));
	tribuf_close(c);
	tribuf_close(k);
}

/* ---- fork ---- */

TEST_F(lib, forked_child_has_no_part_in_the_channel)
{
	struct tribuf_info_args info;

	EXPECT_CHILD({
		struct tribuf_gen_index reference = { 0, 0 };
		char data[8];

		child_gets(-ESTALE, tribuf_info(self->p, &info));
		child_gets(-ESTALE, tribuf_wait(self->c, TRIBUF_READY, 0));
		child_gets(-ESTALE, tribuf_ring(self->p));
		child_gets(-ESTALE, tribuf_copy(self->c, reference, data, 1));
		child_gets(-ESTALE, tribuf_format_set(self->p, data, 1));
		tribuf_close(self->p);
		tribuf_close(self->c);
	});
	/* The child's closing took nothing from us. */
	EXPECT_EQ(1, lib_publish(self->p));
	ASSERT_EQ(0, tribuf_info(self->p, &info));
	EXPECT_TRUE(info.state & TRIBUF_STATE_PRODUCER);
	EXPECT_TRUE(info.state & TRIBUF_STATE_CONSUMER);
	EXPECT_FALSE(channel_is_gone(self->name));
}

/* And the child's child likewise. */
TEST_F(lib, forked_child_has_handles_of_its_own)
{
	struct tribuf_info_args info;
	struct tribuf *o;

	EXPECT_CHILD({
		pid_t grandchild;

		child_gets(0, open_as(&o, self->name, TRIBUF_OBSERVER, 0, 0));
		child_gets(0, tribuf_info(o, &info));
		grandchild = fork();
		if (!grandchild) {
			child_gets(-ESTALE, tribuf_info(self->p, &info));
			child_gets(-ESTALE, tribuf_info(o, &info));
			_exit(0);
		}
		child_must(ended(grandchild) == 0);
		child_gets(0, tribuf_info(o, &info));
		tribuf_close(o);
	});
	EXPECT_EQ(0, tribuf_info(self->p, &info));
}

TEST_F(lib, forked_child_has_no_mapping)
{
	if (!dontfork_works())
		SKIP(return, "MADV_DONTFORK does nothing here: an emulator?");
	EXPECT_CHILD({
		child_gets(SIGSEGV, touch(self->p->slots, false));
	});
}

TEST_F(lib, consumer_cannot_write_frames)
{
	struct tribuf_frame frame;

	lib_publish(self->p);
	ASSERT_EQ(1, tribuf_acquire(self->c, &frame));
	EXPECT_EQ(0, touch(frame.data, false));
	EXPECT_EQ(SIGSEGV, touch(frame.data, true));
}

/* ---- guarded channels ---- */

/* Of a kind that the variant's name does not decide. */
FIXTURE(lib_kind) {
	const char *name;
};

FIXTURE_SETUP(lib_kind)
{
	if (access(DEVICE, F_OK))
		SKIP(_exit(255), "no " DEVICE ": load the module (tribuf load)");
	self->name = test_name();
}

FIXTURE_TEARDOWN(lib_kind)
{
}

#define PRODUCER(kind)	TRIBUF_PRODUCER, TRIBUF_DEFAULT | TRIBUF_CREATE | (kind), SLOT

static bool handle_is_guarded(struct tribuf *t)
{
	struct tribuf_info_args info;

	return !tribuf_info(t, &info) && info.state & TRIBUF_STATE_GUARDED;
}

TEST_F(lib_kind, is_what_was_asked_for_or_nothing)
{
	struct tribuf *t, *other;

	ASSERT_EQ(0, open_as(&t, self->name, PRODUCER(0)));
	EXPECT_EQ(-EINVAL, open_as(&other, self->name, TRIBUF_CONSUMER,
				   TRIBUF_DEFAULT | TRIBUF_GUARDED, 0));
	EXPECT_NE(NULL, strstr(tribuf_explain(), "is not guarded"));
	EXPECT_EQ(-EINVAL, open_as(&other, self->name, TRIBUF_KEEPER,
				   TRIBUF_CREATE | TRIBUF_GUARDED, SLOT));
	EXPECT_NE(NULL, strstr(tribuf_explain(), "is not guarded"));
	tribuf_close(t);
	ASSERT_EQ(0, open_as(&t, self->name, PRODUCER(TRIBUF_GUARDED)));
	EXPECT_TRUE(handle_is_guarded(t));
	EXPECT_EQ(-EINVAL, open_as(&other, self->name, TRIBUF_KEEPER, TRIBUF_CREATE, SLOT));
	EXPECT_NE(NULL, strstr(tribuf_explain(), "is guarded"));
	tribuf_close(t);
}

TEST_F(lib_kind, does_not_matter_to_who_joins)
{
	static const uint32_t roles[] = { TRIBUF_CONSUMER, TRIBUF_OBSERVER, TRIBUF_KEEPER };
	struct tribuf *keeper, *t;

	ASSERT_EQ(0, open_as(&keeper, self->name, TRIBUF_KEEPER,
			     TRIBUF_CREATE | TRIBUF_GUARDED, SLOT));
	for (size_t i = 0; i < sizeof(roles) / sizeof(roles[0]); i++) {
		ASSERT_EQ(0, open_as(&t, self->name, roles[i], 0, 0));
		EXPECT_TRUE(handle_is_guarded(t));
		tribuf_close(t);
		ASSERT_EQ(0, open_as(&t, self->name, roles[i], TRIBUF_GUARDED, 0));
		tribuf_close(t);
	}
	ASSERT_EQ(0, open_as(&t, self->name, TRIBUF_PRODUCER, 0, 0));
	EXPECT_EQ(1, lib_publish(t));
	tribuf_close(t);
	tribuf_close(keeper);
}

TEST_F(lib_kind, is_the_creators_choice_for_who_came_before)
{
	struct tribuf_frame frame;
	struct tribuf *c, *p;

	ASSERT_EQ(0, tribuf_open_consumer(&c, self->name));
	EXPECT_FALSE(handle_is_guarded(c));
	ASSERT_EQ(0, open_as(&p, self->name, PRODUCER(TRIBUF_GUARDED)));
	EXPECT_EQ(1, lib_publish(p));
	ASSERT_EQ(1, tribuf_acquire(c, &frame));
	EXPECT_TRUE(lib_whole(&frame, SLOT));
	EXPECT_TRUE(handle_is_guarded(c));
	EXPECT_TRUE(metadata_is_out_of_reach(c));
	tribuf_close(p);
	tribuf_close(c);
}

TEST_F(lib_kind, is_kept_for_who_waits_for_a_guarded_one)
{
	struct tribuf_frame frame;
	struct tribuf *c, *p;

	ASSERT_EQ(0, open_as(&c, self->name, TRIBUF_CONSUMER,
			     TRIBUF_DEFAULT | TRIBUF_PENDING | TRIBUF_GUARDED, 0));
	EXPECT_EQ(-EINVAL, open_as(&p, self->name, PRODUCER(0)));
	EXPECT_NE(NULL, strstr(tribuf_explain(), "is guarded"));
	EXPECT_EQ(0, tribuf_acquire(c, &frame));
	ASSERT_EQ(0, open_as(&p, self->name, PRODUCER(TRIBUF_GUARDED)));
	EXPECT_EQ(1, lib_publish(p));
	EXPECT_EQ(1, tribuf_acquire(c, &frame));
	tribuf_close(p);
	tribuf_close(c);
}

/* In a child: the device node, or the channel, can be read only. */
static void read_only_child(const char *name, int consumer, int producer)
{
	struct tribuf_frame frame;
	struct tribuf *t;

	become(NOBODY);
	child_gets(consumer, tribuf_open_consumer(&t, name));
	if (!consumer) {
		child_gets(1, tribuf_acquire(t, &frame));
		child_must(lib_whole(&frame, SLOT));
		tribuf_close(t);
	}
	child_gets(producer, open_as(&t, name, TRIBUF_PRODUCER, 0, 0));
}

TEST_F(lib_kind, guarded_is_for_consumers_that_may_only_read)
{
	static const mode_t node[] = { 0666, 0444 };
	struct tribuf_options o;
	struct tribuf *p;

	if (geteuid())
		SKIP(return, "needs root to become another user");
	umask(0);
	for (int i = 0; i < 4; i++) {
		const char *name = self->name;
		bool guarded = i & 1;

		o = options(PRODUCER(guarded ? TRIBUF_GUARDED : 0));
		o.mode = 0604;
		chmod(DEVICE, node[i / 2]);
		ASSERT_EQ(0, tribuf_open(&p, name, &o));
		ASSERT_EQ(1, lib_publish(p));
		EXPECT_CHILD(read_only_child(name, guarded ? 0 : -EACCES, -EACCES));
		tribuf_close(p);
	}
	chmod(DEVICE, 0666);
}

TEST_F(lib_kind, guarded_frames_are_out_of_reach_for_who_gave_them_away)
{
	struct tribuf_frame mine, frame, next;
	struct tribuf *p, *c;

	ASSERT_EQ(0, open_as(&p, self->name, PRODUCER(TRIBUF_GUARDED)));
	ASSERT_EQ(0, tribuf_open_consumer(&c, self->name));
	ASSERT_EQ(0, tribuf_begin(p, &mine));
	EXPECT_EQ(0, touch(mine.data, true));
	ASSERT_EQ(0, tribuf_publish(p, &mine));
	EXPECT_EQ(SIGBUS, touch(mine.data, false));
	EXPECT_EQ(SIGBUS, touch(mine.data, true));
	ASSERT_EQ(1, tribuf_acquire(c, &frame));
	EXPECT_EQ(0, touch(frame.data, false));
	EXPECT_EQ(2, lib_publish(p));
	EXPECT_EQ(0, touch(frame.data, false));
	ASSERT_EQ(1, tribuf_acquire(c, &next));
	EXPECT_EQ(SIGBUS, touch(frame.data, false));
	EXPECT_TRUE(lib_whole(&next, SLOT));
	tribuf_close(p);
	tribuf_close(c);
}

TEST_F(lib_kind, guarded_frame_taken_by_an_observers_read_is_copied)
{
	struct tribuf_gen_index reference = { 0, 0 };
	struct tribuf_acquired acquired;
	struct tribuf_frame frame;
	struct tribuf *p, *o;
	char data[8];

	ASSERT_EQ(0, open_as(&p, self->name, PRODUCER(TRIBUF_GUARDED)));
	ASSERT_EQ(0, open_as(&o, self->name, TRIBUF_OBSERVER, 0, 0));
	ASSERT_EQ(0, tribuf_begin(p, &frame));
	memcpy((char *)frame.data + 16, "a place", 8);
	memcpy(frame.user, "beside", 7);
	ASSERT_EQ(0, tribuf_publish(p, &frame));
	ASSERT_EQ(sizeof(acquired), read(tribuf_fd(o), &acquired, sizeof(acquired)));
	ASSERT_EQ(0, tribuf_accept(o, &acquired, &frame));
	EXPECT_EQ(NULL, frame.data);
	EXPECT_STREQ("beside", (char *)frame.user);
	ASSERT_EQ(0, tribuf_frame_ref(o, &frame, 16, &reference));
	ASSERT_EQ(0, tribuf_copy(o, reference, data, sizeof(data)));
	EXPECT_STREQ("a place", data);
	EXPECT_EQ(-EFAULT, tribuf_copy(o, reference, NULL, sizeof(data)));
	tribuf_close(p);
	tribuf_close(o);
}

TEST_F(lib_kind, guarded_channel_is_not_published_in_by_a_forked_child)
{
	struct tribuf_frame frame, again;
	struct tribuf *p;

	ASSERT_EQ(0, open_as(&p, self->name, PRODUCER(TRIBUF_GUARDED)));
	ASSERT_EQ(0, tribuf_begin(p, &frame));
	EXPECT_CHILD({
		child_gets(-ESTALE, tribuf_publish(p, &frame));
		child_gets(-ESTALE, tribuf_begin(p, &again));
	});
	EXPECT_EQ(0, tribuf_publish(p, &frame));
	tribuf_close(p);
}

TEST_F(lib_kind, nothing_new_on_a_guarded_channel_needs_no_call)
{
	struct tribuf_info_args before, after;
	struct tribuf_frame frame;
	struct tribuf *p, *c;

	ASSERT_EQ(0, open_as(&p, self->name, PRODUCER(TRIBUF_GUARDED)));
	ASSERT_EQ(0, tribuf_open_consumer(&c, self->name));
	EXPECT_EQ(1, lib_publish(p));
	ASSERT_EQ(1, tribuf_acquire(c, &frame));
	ASSERT_EQ(0, tribuf_info(c, &before));
	for (int i = 0; i < 100; i++)
		ASSERT_EQ(0, tribuf_acquire(c, &frame));
	ASSERT_EQ(0, tribuf_info(c, &after));
	EXPECT_EQ(before.kernel_acquires, after.kernel_acquires);
	EXPECT_EQ(1, after.kernel_acquires);
	tribuf_close(p);
	tribuf_close(c);
}

/* ---- symbols for other languages ---- */

/* The shared library beside the tests, or NULL. */
static void *shared_library(void)
{
	char path[512], *slash;
	ssize_t length = readlink("/proc/self/exe", path, sizeof(path) - 64);
	int up;

	path[length > 0 ? length : 0] = 0;
	for (up = 0; up < 2; up++) {
		slash = strrchr(path, '/');
		if (!slash)
			return NULL;
		*slash = 0;
	}
	strcat(path, "/lib/libtribuf.so");
	return dlopen(path, RTLD_NOW | RTLD_LOCAL);
}

TEST_F(lib, inline_functions_are_symbols_too)
{
	static const char *const names[] = {
		"tribuf_begin", "tribuf_publish", "tribuf_publish_quiet", "tribuf_acquire",
		"tribuf_ref", "tribuf_deref", "tribuf_frame_ref",
	};
	int (*begin_frame)(struct tribuf *, struct tribuf_frame *);
	int (*publish_frame)(struct tribuf *, const struct tribuf_frame *);
	int (*acquire_frame)(struct tribuf *, struct tribuf_frame *);
	void *library = shared_library();
	struct tribuf_frame frame;
	size_t i;

	if (!library)
		SKIP(return, "the shared library is not beside the tests: build it (make lib)");
	for (i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		EXPECT_NE(NULL, dlsym(library, names[i]));
	/* Of the same layout: they work on a handle that was opened elsewhere. */
	*(void **)&begin_frame = dlsym(library, "tribuf_begin");
	*(void **)&publish_frame = dlsym(library, "tribuf_publish");
	*(void **)&acquire_frame = dlsym(library, "tribuf_acquire");
	ASSERT_EQ(0, begin_frame(self->p, &frame));
	frame.bytes = 8;
	ASSERT_EQ(0, publish_frame(self->p, &frame));
	ASSERT_EQ(1, acquire_frame(self->c, &frame));
	EXPECT_EQ(8, frame.bytes);
	/* And nothing of the inside is. */
	EXPECT_EQ(NULL, dlsym(library, "take_geometry"));
	EXPECT_EQ(NULL, dlsym(library, "fail"));
}

/* ---- explanations ---- */

static void *explain_elsewhere(void *unused)
{
	return strstr(tribuf_explain(), "no function of libtribuf has failed") ? unused : NULL;
}

TEST_F(lib, failure_is_explained_in_its_thread_alone)
{
	pthread_t thread;
	void *fresh;

	EXPECT_EQ(-EACCES, tribuf_acquire(self->p, &(struct tribuf_frame){ 0 }));
	EXPECT_NE(NULL, strstr(tribuf_explain(), "a producer owns no frame"));
	ASSERT_EQ(0, pthread_create(&thread, NULL, explain_elsewhere, self));
	ASSERT_EQ(0, pthread_join(thread, &fresh));
	EXPECT_EQ((void *)self, fresh);
}

TEST_HARNESS_MAIN
