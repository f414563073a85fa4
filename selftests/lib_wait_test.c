// SPDX-License-Identifier: GPL-2.0-only
/*
 * tribuf_wait(): levels and news, timeouts, signals, and that nobody spins while
 * there is nothing to do.
 */
#include "lib.h"

#include <pthread.h>
#include <sys/time.h>

#define ALL	(TRIBUF_READY | TRIBUF_PEER_GONE | TRIBUF_PEER_BACK | TRIBUF_GEOMETRY)
#define NEWS	(TRIBUF_PEER_GONE | TRIBUF_PEER_BACK | TRIBUF_GEOMETRY)
/* shm learns of a death after 100 ms at the latest; machines may be slow. */
#define SOON	(2 * (int64_t)NS_PER_S)

FIXTURE(lib_wait) {
	struct tribuf *p, *c, *o;
	const char *name;
};

BACKENDS(lib_wait);

/* What swaps have to do with it: on both kinds of channels. */
FIXTURE(lib_wake) {
	struct tribuf *p, *c, *o;
	const char *name;
};

KINDS(lib_wake);

#define OPEN_ALL() do {							\
	REQUIRE_BACKEND(variant);					\
	self->name = channel_name(variant->prefix);			\
	ASSERT_EQ(0, open_producer(&self->p, self->name, SLOT));	\
	ASSERT_EQ(0, tribuf_open_consumer(&self->c, self->name));	\
	ASSERT_EQ(0, open_as(&self->o, self->name, TRIBUF_OBSERVER, 0, 0));	\
	/* That the consumer came is news to the producer, which came first. */	\
	ASSERT_EQ(TRIBUF_PEER_BACK, tribuf_wait(self->p, NEWS, 0));	\
} while (0)

#define CLOSE_ALL() do {						\
	tribuf_close(self->p);						\
	tribuf_close(self->c);						\
	tribuf_close(self->o);						\
	remove_leftover(self->name);					\
} while (0)

FIXTURE_SETUP(lib_wait)
{
	OPEN_ALL();
}

FIXTURE_TEARDOWN(lib_wait)
{
	CLOSE_ALL();
}

FIXTURE_SETUP(lib_wake)
{
	OPEN_ALL();
}

FIXTURE_TEARDOWN(lib_wake)
{
	CLOSE_ALL();
}

/* ---- arguments ---- */

TEST_F(lib_wait, refuses_bad_arguments)
{
	struct tribuf *k;

	EXPECT_EQ(-EINVAL, tribuf_wait(self->c, 0, 0));
	EXPECT_EQ(-EINVAL, tribuf_wait(self->c, ALL + 1, 0));
	EXPECT_EQ(-EINVAL, tribuf_wait(self->c, ALL, -2));
	EXPECT_EQ(-EINVAL, tribuf_wait(self->c, ALL, INT64_MIN));
	EXPECT_EQ(-EINVAL, tribuf_wait_until(self->c, 0, 0));
	ASSERT_EQ(0, open_as(&k, self->name, TRIBUF_KEEPER, 0, 0));
	EXPECT_EQ(-EACCES, tribuf_wait(k, TRIBUF_READY, 0));
	tribuf_close(k);
}

/* ---- levels ---- */

TEST_F(lib_wake, ready_is_a_level_for_each_role)
{
	struct tribuf_frame frame;
	char data[SLOT];

	EXPECT_EQ(0, tribuf_wait(self->c, TRIBUF_READY, 0));
	EXPECT_EQ(0, tribuf_wait(self->o, TRIBUF_READY, 0));
	EXPECT_EQ(TRIBUF_READY, tribuf_wait(self->p, TRIBUF_READY, 0));
	lib_publish(self->p);
	EXPECT_EQ(TRIBUF_READY, tribuf_wait(self->c, ALL, 0));
	EXPECT_EQ(TRIBUF_READY, tribuf_wait(self->c, ALL, TRIBUF_FOREVER));
	EXPECT_EQ(TRIBUF_READY, tribuf_wait(self->o, ALL, 0));
	EXPECT_EQ(0, tribuf_wait(self->p, TRIBUF_READY, 0));
	ASSERT_EQ(1, tribuf_acquire(self->c, &frame));
	EXPECT_EQ(0, tribuf_wait(self->c, TRIBUF_READY, 0));
	EXPECT_EQ(TRIBUF_READY, tribuf_wait(self->o, TRIBUF_READY, 0));
	ASSERT_EQ(1, tribuf_snapshot(self->o, &frame, data, sizeof(data)));
	EXPECT_EQ(0, tribuf_wait(self->o, TRIBUF_READY, 0));
	EXPECT_EQ(TRIBUF_READY, tribuf_wait(self->p, TRIBUF_READY, 0));
}

TEST_F(lib_wake, frame_without_room_stays_ready_for_an_observer)
{
	struct tribuf_frame frame;
	char data[SLOT];

	ASSERT_EQ(0, tribuf_begin(self->p, &frame));
	frame.bytes = 10;
	tribuf_publish(self->p, &frame);
	EXPECT_EQ(-EMSGSIZE, tribuf_snapshot(self->o, &frame, data, 9));
	EXPECT_EQ(TRIBUF_READY, tribuf_wait(self->o, TRIBUF_READY, 0));
	EXPECT_EQ(1, tribuf_snapshot(self->o, &frame, data, 10));
	EXPECT_EQ(0, tribuf_wait(self->o, TRIBUF_READY, 0));
}

/* ---- time ---- */

TEST_F(lib_wait, timeout_is_kept)
{
	static const int64_t timeouts[] = { 1, 300, 1000000, 250000000 };
	uint64_t start, spent;
	size_t i;

	for (i = 0; i < sizeof(timeouts) / sizeof(timeouts[0]); i++) {
		start = now();
		EXPECT_EQ(0, tribuf_wait(self->c, TRIBUF_READY, timeouts[i]));
		spent = now() - start;
		EXPECT_LE(timeouts[i], spent);
		EXPECT_GE(timeouts[i] + (int64_t)NS_PER_S, spent);
	}
}

TEST_F(lib_wait, deadline_in_the_past_only_looks)
{
	EXPECT_EQ(0, tribuf_wait_until(self->c, TRIBUF_READY, 0));
	EXPECT_EQ(0, tribuf_wait_until(self->c, TRIBUF_READY, INT64_MIN));
	lib_publish(self->p);
	EXPECT_EQ(TRIBUF_READY, tribuf_wait_until(self->c, TRIBUF_READY, 0));
	EXPECT_EQ(TRIBUF_READY, tribuf_wait(self->c, TRIBUF_READY, INT64_MAX));
}

TEST_F(lib_wait, waiting_takes_no_processor_time)
{
	uint64_t cpu = cpu_time();

	EXPECT_EQ(0, tribuf_wait(self->c, ALL, (int64_t)NS_PER_S));
	EXPECT_GE(100 * NS_PER_MS, cpu_time() - cpu);
}

static void nothing(int sig)
{
}

TEST_F(lib_wait, signal_ends_the_wait)
{
	/* Again and again: on a busy machine the first may come before the wait. */
	struct itimerval timer = { .it_value.tv_usec = 50000, .it_interval.tv_usec = 50000 };
	struct sigaction action = { .sa_handler = nothing };

	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &timer, NULL);
	EXPECT_EQ(-EINTR, tribuf_wait(self->c, ALL, 10 * (int64_t)NS_PER_S));
	timer = (struct itimerval){};
	setitimer(ITIMER_REAL, &timer, NULL);
}

/* ---- waking ---- */

static void *publish_later(void *handle)
{
	sleep_ms(50);
	lib_publish(handle);
	return NULL;
}

TEST_F(lib_wake, publish_wakes_the_consumer)
{
	pthread_t thread;

	ASSERT_EQ(0, pthread_create(&thread, NULL, publish_later, self->p));
	EXPECT_EQ(TRIBUF_READY, tribuf_wait(self->c, TRIBUF_READY, 10 * (int64_t)NS_PER_S));
	pthread_join(thread, NULL);
}

TEST_F(lib_wake, publish_wakes_every_observer)
{
	struct tribuf *others[4];
	pid_t pid[4];
	int i;

	/* Each in a process, or one might wake the next. */
	for (i = 0; i < 4; i++) {
		pid[i] = in_child({
			child_gets(0, open_as(&others[i], self->name, TRIBUF_OBSERVER, 0, 0));
			child_gets(TRIBUF_READY, tribuf_wait(others[i], TRIBUF_READY,
							     10 * (int64_t)NS_PER_S));
		});
	}
	sleep_ms(300);
	lib_publish(self->p);
	for (i = 0; i < 4; i++)
		EXPECT_EQ(0, ended(pid[i]));
}

TEST_F(lib_wake, acquire_wakes_a_paced_producer)
{
	struct tribuf_frame frame;
	pid_t pid;

	lib_publish(self->p);
	tribuf_close(self->c);
	pid = in_child({
		struct tribuf *c;

		child_gets(0, tribuf_open_consumer(&c, self->name));
		sleep_ms(100);
		child_gets(1, tribuf_acquire(c, &frame));
		pause();
	});
	EXPECT_EQ(TRIBUF_READY, tribuf_wait(self->p, TRIBUF_READY, 10 * (int64_t)NS_PER_S));
	slay(pid);
	self->c = NULL;
}

/*
 * Both sides sleep for each frame: a wake-up lost is a wait that times out, or on
 * shm one of 100 ms.
 */
#define ROUNDS	5000

static int take_paced(const char *name, unsigned long rounds)
{
	struct tribuf_frame frame;
	struct tribuf *c;
	uint64_t start;
	unsigned long i;
	int slow = 0;

	if (tribuf_open_consumer(&c, name))
		return -1;
	for (i = 1; i <= rounds; i++) {
		start = now();
		if (tribuf_wait(c, TRIBUF_READY, SOON * 5) != TRIBUF_READY)
			return -2;
		slow += now() - start > 90 * NS_PER_MS;
		if (tribuf_acquire(c, &frame) != 1 || frame.seq != i || !lib_whole(&frame, SLOT))
			return -3;
	}
	tribuf_close(c);
	return slow;
}

TEST_F_TIMEOUT(lib_wake, paced_frames_arrive_each_without_a_lost_wake, 120)
{
	unsigned long rounds = scaled_by_kind(ROUNDS), i;
	int slow = 0;
	uint64_t start;
	pid_t pid;

	tribuf_close(self->c);
	self->c = NULL;
	pid = in_child({
		int late = take_paced(self->name, rounds);

		child_must(late >= 0 && late <= (int)(rounds / 100));
	});
	for (i = 1; i <= rounds; i++) {
		start = now();
		ASSERT_EQ(TRIBUF_READY, tribuf_wait(self->p, TRIBUF_READY, SOON * 5));
		slow += now() - start > 90 * NS_PER_MS;
		ASSERT_EQ(i, lib_publish(self->p));
	}
	EXPECT_EQ(0, ended(pid));
	EXPECT_GE(rounds / 100, slow);
}

/* ---- peers come and go ---- */

TEST_F(lib_wait, gone_and_back_are_told_once_each)
{
	tribuf_close(self->p);
	EXPECT_EQ(TRIBUF_PEER_GONE, tribuf_wait(self->c, NEWS, SOON));
	EXPECT_EQ(TRIBUF_PEER_GONE, tribuf_wait(self->o, NEWS, SOON));
	EXPECT_EQ(0, tribuf_wait(self->c, NEWS, 0));
	EXPECT_EQ(0, tribuf_wait(self->o, NEWS, 0));
	ASSERT_EQ(0, open_producer(&self->p, self->name, SLOT));
	EXPECT_EQ(TRIBUF_PEER_BACK, tribuf_wait(self->c, NEWS, SOON));
	EXPECT_EQ(TRIBUF_PEER_BACK, tribuf_wait(self->o, NEWS, SOON));
	EXPECT_EQ(0, tribuf_wait(self->c, NEWS, 0));
	EXPECT_EQ(0, tribuf_wait(self->o, NEWS, 0));
}

TEST_F(lib_wait, producer_learns_of_its_consumer)
{
	tribuf_close(self->c);
	EXPECT_EQ(TRIBUF_PEER_GONE, tribuf_wait(self->p, NEWS, SOON));
	EXPECT_EQ(0, tribuf_wait(self->p, NEWS, 0));
	ASSERT_EQ(0, tribuf_open_consumer(&self->c, self->name));
	EXPECT_EQ(TRIBUF_PEER_BACK, tribuf_wait(self->p, NEWS, SOON));
}

TEST_F(lib_wait, only_what_is_asked_for_is_told_and_the_rest_later)
{
	tribuf_close(self->p);
	EXPECT_EQ(0, tribuf_wait(self->c, TRIBUF_PEER_BACK, 20 * (int64_t)NS_PER_MS));
	ASSERT_EQ(0, open_producer(&self->p, self->name, SLOT));
	EXPECT_EQ(TRIBUF_PEER_BACK, tribuf_wait(self->c, TRIBUF_PEER_BACK, SOON));
	EXPECT_EQ(TRIBUF_PEER_GONE, tribuf_wait(self->c, TRIBUF_PEER_GONE, 0));
	EXPECT_EQ(0, tribuf_wait(self->c, NEWS, 0));
}

TEST_F(lib_wait, exchange_of_the_peer_between_two_waits_is_both)
{
	tribuf_close(self->p);
	ASSERT_EQ(0, open_producer(&self->p, self->name, SLOT));
	EXPECT_EQ(TRIBUF_PEER_GONE | TRIBUF_PEER_BACK, tribuf_wait(self->c, NEWS, SOON));
	EXPECT_EQ(0, tribuf_wait(self->c, NEWS, 0));
}

TEST_F(lib_wait, own_successors_are_no_news)
{
	tribuf_close(self->c);
	ASSERT_EQ(0, tribuf_open_consumer(&self->c, self->name));
	EXPECT_EQ(0, tribuf_wait(self->c, NEWS, 0));
	EXPECT_EQ(0, tribuf_wait(self->o, NEWS, 0));
}

TEST_F(lib_wait, peer_that_left_before_us_is_told_too)
{
	tribuf_close(self->c);
	tribuf_close(self->p);
	self->p = NULL;
	ASSERT_EQ(0, tribuf_open_consumer(&self->c, self->name));
	EXPECT_EQ(TRIBUF_PEER_GONE, tribuf_wait(self->c, NEWS, SOON));
	EXPECT_EQ(0, tribuf_wait(self->c, NEWS, 0));
}

TEST_F(lib_wake, frames_of_a_dead_producer_come_with_the_news)
{
	struct tribuf_frame frame;

	lib_publish(self->p);
	tribuf_close(self->p);
	self->p = NULL;
	EXPECT_EQ(TRIBUF_READY, tribuf_wait(self->c, ALL, SOON) & TRIBUF_READY);
	EXPECT_EQ(1, tribuf_acquire(self->c, &frame));
	EXPECT_TRUE(lib_whole(&frame, SLOT));
	EXPECT_EQ(0, tribuf_wait(self->c, TRIBUF_READY, 0));
}

/* ns from the death of a producer until @c knows. */
static uint64_t time_to_learn(struct tribuf *c, const char *name)
{
	uint64_t killed;
	pid_t pid;

	pid = in_child({
		struct tribuf *p;

		child_gets(0, open_producer(&p, name, SLOT));
		pause();
	});
	if (tribuf_wait(c, TRIBUF_PEER_BACK, SOON) != TRIBUF_PEER_BACK)
		return UINT64_MAX;
	sleep_ms(20);
	kill(pid, SIGKILL);
	killed = now();
	if (tribuf_wait(c, TRIBUF_PEER_GONE, SOON) != TRIBUF_PEER_GONE)
		return UINT64_MAX;
	killed = now() - killed;
	ended(pid);
	return killed;
}

TEST_F(lib_wait, killed_peer_is_gone_soon)
{
	uint64_t best = UINT64_MAX, time;
	int i;

	tribuf_close(self->p);
	self->p = NULL;
	EXPECT_EQ(TRIBUF_PEER_GONE, tribuf_wait(self->c, NEWS, SOON));
	/* The best of some, for the machine may have other things to do. */
	for (i = 0; i < 5; i++) {
		time = time_to_learn(self->c, self->name);
		ASSERT_NE(UINT64_MAX, time);
		best = time < best ? time : best;
	}
	EXPECT_GE(150 * NS_PER_MS, best);
}

TEST_F(lib_wait, loop_does_not_spin_while_the_peer_is_away)
{
	/* Of 2 s; a debug kernel needs more for each look. */
	uint64_t idle = (debug_kernel() ? 300 : 100) * NS_PER_MS;
	int64_t away = 2 * (int64_t)NS_PER_S;
	uint64_t start = now(), cpu = cpu_time();
	unsigned int rounds = 0, gone = 0;

	tribuf_close(self->p);
	self->p = NULL;
	while (now() - start < (uint64_t)away) {
		int bits = tribuf_wait(self->c, ALL, away);

		ASSERT_LE(0, bits);
		gone += !!(bits & TRIBUF_PEER_GONE);
		rounds++;
	}
	EXPECT_EQ(1, gone);
	EXPECT_GE(3, rounds);
	EXPECT_GE(idle, cpu_time() - cpu);
	/* Nor does one who waits for frames alone. */
	cpu = cpu_time();
	EXPECT_EQ(0, tribuf_wait(self->c, TRIBUF_READY, (int64_t)NS_PER_S));
	EXPECT_EQ(0, tribuf_wait(self->o, TRIBUF_READY | TRIBUF_PEER_BACK, (int64_t)NS_PER_S));
	EXPECT_GE(idle, cpu_time() - cpu);
}

/* ---- geometry ---- */

TEST_F(lib_wake, replaced_channel_is_told_as_long_as_it_is_open)
{
	struct tribuf *new_p;
	struct tribuf_frame frame;

	lib_publish(self->p);
	ASSERT_EQ(0, open_as(&new_p, self->name, TRIBUF_PRODUCER,
			     TRIBUF_DEFAULT | TRIBUF_CREATE | TRIBUF_REPLACE, 2 * SLOT));
	EXPECT_TRUE(tribuf_wait(self->c, ALL, SOON) & TRIBUF_READY);
	if (is_guarded(variant)) {
		/* The kernel swaps there no more. */
		ASSERT_EQ(-ESTALE, tribuf_acquire(self->c, &frame));
	} else {
		ASSERT_EQ(1, tribuf_acquire(self->c, &frame));
		EXPECT_EQ(TRIBUF_GEOMETRY, tribuf_wait(self->c, ALL, SOON));
	}
	EXPECT_EQ(TRIBUF_GEOMETRY, tribuf_wait(self->c, TRIBUF_GEOMETRY, 0));
	EXPECT_EQ(TRIBUF_GEOMETRY, tribuf_wait(self->o, TRIBUF_GEOMETRY, SOON));
	/* Nobody will ring here any more. */
	EXPECT_EQ(-ESTALE, tribuf_wait(self->o, TRIBUF_PEER_BACK, TRIBUF_FOREVER));
	if (!is_guarded(variant))
		EXPECT_EQ(-ESTALE, tribuf_wait(self->c, TRIBUF_READY, TRIBUF_FOREVER));
	tribuf_close(new_p);
}

TEST_F(lib_wait, sleeper_learns_that_the_channel_was_replaced)
{
	pid_t pid = in_child({
		struct tribuf *new_p;

		sleep_ms(100);
		child_gets(0, open_as(&new_p, self->name, TRIBUF_PRODUCER,
				      TRIBUF_DEFAULT | TRIBUF_CREATE | TRIBUF_REPLACE, SLOT));
		pause();
	});

	EXPECT_EQ(TRIBUF_GEOMETRY, tribuf_wait(self->c, ALL, 10 * (int64_t)NS_PER_S));
	slay(pid);
}

TEST_F(lib_wake, sleeper_learns_the_first_geometry)
{
	struct tribuf *c;
	char name[128];
	uint64_t cpu;
	pid_t pid;

	snprintf(name, sizeof(name), "%s.g", self->name);
	ASSERT_EQ(0, tribuf_open_consumer(&c, name));
	cpu = cpu_time();
	EXPECT_EQ(0, tribuf_wait(c, ALL, 500 * (int64_t)NS_PER_MS));
	EXPECT_GE(100 * NS_PER_MS, cpu_time() - cpu);
	pid = in_child({
		struct tribuf *p;

		sleep_ms(100);
		child_gets(0, open_producer(&p, name, SLOT));
		child_gets(1, lib_publish(p));
		pause();
	});
	/* Who asks for frames alone gets them too. */
	EXPECT_EQ(TRIBUF_READY, tribuf_wait(c, TRIBUF_READY, 10 * (int64_t)NS_PER_S));
	EXPECT_EQ(TRIBUF_GEOMETRY | TRIBUF_PEER_BACK, tribuf_wait(c, NEWS, SOON));
	slay(pid);
	tribuf_close(c);
}

/* ---- what must not be ---- */

TEST_F(lib_wake, spoilt_word_is_refused)
{
	struct tribuf_info_args info;

	if (is_guarded(variant)) {
		EXPECT_TRUE(metadata_is_out_of_reach(self->p));
		return;
	}
	*self->p->word = 0x3f;
	EXPECT_EQ(-EPROTO, tribuf_wait(self->c, ALL, TRIBUF_FOREVER));
	EXPECT_EQ(-EPROTO, tribuf_wait(self->p, ALL, TRIBUF_FOREVER));
	EXPECT_EQ(-EPROTO, tribuf_wait(self->o, ALL, TRIBUF_FOREVER));
	EXPECT_NE(NULL, strstr(tribuf_explain(), "TRIBUF_REPLACE"));
	EXPECT_EQ(0, tribuf_info(self->c, &info));
}

TEST_F(lib_wait, epoll_in_ones_own_loop_is_quiet_after_a_look)
{
	int fd = tribuf_fd(self->c);

	if (!on_device(variant))
		SKIP(return, "shm has no descriptor to poll");
	tribuf_close(self->p);
	ASSERT_EQ(0, open_producer(&self->p, self->name, SLOT));
	EXPECT_EQ(POLLPRI, polled(fd, POLLPRI, 1000));
	EXPECT_LT(0, tribuf_wait(self->c, NEWS, 0));
	EXPECT_EQ(0, polled(fd, POLLPRI, 0));
}

TEST_HARNESS_MAIN
