// SPDX-License-Identifier: GPL-2.0-only
/*
 * Sets of channels: what they report, and that their cost grows with those that
 * are ready and not with those that are in them.
 */
#include <sys/resource.h>
#include <sys/syscall.h>

#include "wait.h"

#define FEW	10

FIXTURE(set) {
	struct tribuf_set *set;
	struct tribuf *p[FEW], *c[FEW];
	struct tribuf_ready ready[FEW + 1];
};

FIXTURE_VARIANT(set) { unsigned int flags; };
FIXTURE_VARIANT_ADD(set, uring) { .flags = 0 };
FIXTURE_VARIANT_ADD(set, epoll) { .flags = TRIBUF_SET_EPOLL };

static const char *numbered(int i)
{
	static char name[TRIBUF_NAME_SIZE + 16];

	snprintf(name, sizeof(name), "%s.%d", test_name(), i);
	return name;
}

FIXTURE_SETUP(set)
{
	REQUIRE_DEVICE();
	ASSERT_EQ(0, tribuf_set_create(&self->set, variant->flags));
	for (int i = 0; i < FEW; i++) {
		ASSERT_EQ(0, open_as(&self->c[i], numbered(i), TRIBUF_CONSUMER, TRIBUF_CREATE,
				     SLOT));
		ASSERT_EQ(0, open_as(&self->p[i], numbered(i), TRIBUF_PRODUCER, 0, 0));
		ASSERT_EQ(0, tribuf_set_add(self->set, self->c[i], TRIBUF_READY, &self->c[i]));
	}
}

FIXTURE_TEARDOWN(set)
{
	for (int i = 0; i < FEW; i++) {
		tribuf_close(self->c[i]);
		tribuf_close(self->p[i]);
	}
	tribuf_set_destroy(self->set);
}

/* ---- what is reported ---- */

TEST_F(set, reports_what_was_added_until_it_is_taken)
{
	struct tribuf_frame frame;

	EXPECT_EQ(0, tribuf_set_wait(self->set, self->ready, FEW, NS_PER_MS));
	for (int round = 0; round < 3; round++) {
		lib_publish(self->p[3]);
		for (int again = 0; again < 3; again++) {
			ASSERT_EQ(1, tribuf_set_wait(self->set, self->ready, FEW,
						     LONG * NS_PER_MS));
			EXPECT_EQ(self->c[3], self->ready[0].handle);
			EXPECT_EQ(&self->c[3], self->ready[0].data);
			EXPECT_EQ(TRIBUF_READY, self->ready[0].events);
		}
		ASSERT_EQ(1, tribuf_acquire(self->c[3], &frame));
		EXPECT_EQ(0, tribuf_set_wait(self->set, self->ready, FEW, round * NS_PER_MS));
	}
}

/* Opens or closes the first producer while the set sleeps. */
static void *come_or_go(void *arg)
{
	struct tribuf **p = arg;

	sleep_ms(50);
	if (*p) {
		tribuf_close(*p);
		*p = NULL;
	} else {
		open_as(p, numbered(0), TRIBUF_PRODUCER, 0, 0);
	}
	return NULL;
}

TEST_F(set, reports_peers_as_tribuf_wait_does)
{
	pthread_t thread;

	tribuf_set_remove(self->set, self->c[0]);
	ASSERT_EQ(0, tribuf_set_add(self->set, self->c[0],
				    TRIBUF_PEER_GONE | TRIBUF_PEER_BACK, NULL));
	/* Who is there since before we looked is news, once. */
	while (tribuf_set_wait(self->set, self->ready, FEW, NS_PER_MS))
		;
	for (int round = 0; round < 4; round++) {
		ASSERT_EQ(0, pthread_create(&thread, NULL, come_or_go, &self->p[0]));
		ASSERT_EQ(1, tribuf_set_wait(self->set, self->ready, FEW, LONG * NS_PER_MS));
		EXPECT_EQ(round % 2 ? TRIBUF_PEER_BACK : TRIBUF_PEER_GONE, self->ready[0].events);
		pthread_join(thread, NULL);
		EXPECT_EQ(0, tribuf_set_wait(self->set, self->ready, FEW, 20 * NS_PER_MS));
	}
}

/* That a peer is away is no reason to wake again and again, whatever is waited for. */
TEST_F(set, sleeps_while_peers_are_away)
{
	struct tribuf_frame frame;
	uint64_t cpu, rings;

	tribuf_set_remove(self->set, self->c[0]);
	ASSERT_EQ(0, tribuf_set_add(self->set, self->c[0], TRIBUF_READY | TRIBUF_PEER_GONE |
				    TRIBUF_PEER_BACK, NULL));
	while (tribuf_set_wait(self->set, self->ready, FEW, NS_PER_MS))
		;
	for (int i = 0; i < FEW; i++)
		tribuf_close(self->p[i]);
	memset(self->p, 0, sizeof(self->p));
	ASSERT_EQ(1, tribuf_set_wait(self->set, self->ready, FEW, LONG * NS_PER_MS));
	EXPECT_EQ(TRIBUF_PEER_GONE, self->ready[0].events);
	cpu = cpu_time();
	EXPECT_EQ(0, tribuf_set_wait(self->set, self->ready, FEW, 500 * NS_PER_MS));
	EXPECT_GT(50 * NS_PER_MS, cpu_time() - cpu);
	/* The next one wakes, and rings no more often than the first did. */
	ASSERT_EQ(0, open_as(&self->p[5], numbered(5), TRIBUF_PRODUCER, 0, 0));
	for (int i = 0; i < 3; i++) {
		EXPECT_EQ(0, tribuf_set_wait(self->set, self->ready, FEW, NS_PER_MS));
		lib_publish(self->p[5]);
		ASSERT_EQ(1, tribuf_set_wait(self->set, self->ready, FEW, LONG * NS_PER_MS));
		ASSERT_EQ(1, tribuf_acquire(self->c[5], &frame));
	}
	rings = rings_of(self->p[5]);
	for (int i = 0; i < 20; i++) {
		lib_publish(self->p[5]);
		ASSERT_EQ(1, tribuf_set_wait(self->set, self->ready, FEW, 0));
		ASSERT_EQ(1, tribuf_acquire(self->c[5], &frame));
	}
	if (!variant->flags)	/* epoll's registrations stay */
		EXPECT_GE(rings + 1, rings_of(self->p[5]));
}

TEST_F(set, waits_for_all_roles)
{
	struct tribuf_frame frame;
	unsigned char copy[SLOT];
	struct tribuf *o;

	ASSERT_EQ(0, open_as(&o, numbered(1), TRIBUF_OBSERVER, 0, 0));
	ASSERT_EQ(0, tribuf_set_add(self->set, o, TRIBUF_READY, NULL));
	ASSERT_EQ(0, tribuf_set_add(self->set, self->p[1], TRIBUF_READY, NULL));
	ASSERT_EQ(1, tribuf_set_wait(self->set, self->ready, FEW, LONG * NS_PER_MS));
	EXPECT_EQ(self->p[1], self->ready[0].handle);
	lib_publish(self->p[1]);
	EXPECT_EQ(2, tribuf_set_wait(self->set, self->ready, FEW, LONG * NS_PER_MS));
	EXPECT_EQ(1, tribuf_snapshot(o, &frame, copy, sizeof(copy)));
	EXPECT_EQ(1, tribuf_set_wait(self->set, self->ready, FEW, LONG * NS_PER_MS));
	EXPECT_EQ(self->c[1], self->ready[0].handle);
	/* All asleep, the mailbox is emptied. */
	EXPECT_EQ(1, tribuf_acquire(self->c[1], &frame));
	EXPECT_EQ(1, tribuf_set_wait(self->set, self->ready, FEW, LONG * NS_PER_MS));
	EXPECT_EQ(self->p[1], self->ready[0].handle);
	tribuf_close(o);
}

TEST_F(set, tells_of_a_role_that_ended)
{
	struct tribuf_options o = options(TRIBUF_PRODUCER, TRIBUF_CREATE | TRIBUF_REPLACE, SLOT);
	struct tribuf *newer;

	tribuf_set_wait(self->set, self->ready, FEW, NS_PER_MS);
	ASSERT_EQ(0, tribuf_open(&newer, numbered(4), &o));
	for (int again = 0; again < 2; again++) {
		ASSERT_EQ(1, tribuf_set_wait(self->set, self->ready, FEW, LONG * NS_PER_MS));
		EXPECT_EQ(self->c[4], self->ready[0].handle);
		EXPECT_EQ(-ESTALE, self->ready[0].events);
	}
	EXPECT_EQ(0, tribuf_set_remove(self->set, self->c[4]));
	EXPECT_EQ(0, tribuf_set_wait(self->set, self->ready, FEW, NS_PER_MS));
	tribuf_close(newer);
}

/* ---- whose turn it is ---- */

TEST_F(set, each_comes_before_any_comes_twice)
{
	for (int i = 0; i < FEW; i++)
		lib_publish(self->p[i]);
	for (int round = 0; round < 3; round++) {
		unsigned int seen = 0;

		for (int i = 0; i < FEW; i++) {
			ASSERT_EQ(1, tribuf_set_wait(self->set, self->ready, 1, LONG * NS_PER_MS));
			seen |= 1u << ((struct tribuf **)self->ready[0].data - self->c);
		}
		EXPECT_EQ((1u << FEW) - 1, seen);
	}
}

/* One is always ready, so the set never sleeps: the others must not starve. */
TEST_F(set, nobody_starves_beside_one_that_is_always_ready)
{
	struct tribuf_frame frame;

	tribuf_set_wait(self->set, self->ready, FEW, NS_PER_MS);
	lib_publish(self->p[0]);
	for (int round = 0; round < 200; round++) {
		int other = 1 + round % (FEW - 1), waits = 0;

		lib_publish(self->p[other]);
		do {
			ASSERT_EQ(1, tribuf_set_wait(self->set, self->ready, 1, LONG * NS_PER_MS));
			ASSERT_GT(FEW, ++waits);
		} while (self->ready[0].handle != self->c[other]);
		ASSERT_EQ(1, tribuf_acquire(self->c[other], &frame));
	}
}

/* Who is looked at in vain for long is left to the kernel, and found again by it. */
TEST_F(set, quiet_ones_are_queued_although_nobody_sleeps)
{
	struct tribuf_frame frame;
	uint64_t rings;

	if (variant->flags)
		return;		/* of epoll's registrations all are */
	lib_publish(self->p[0]);
	for (int i = 0; i < 100; i++)
		ASSERT_EQ(1, tribuf_set_wait(self->set, self->ready, 1, 0));
	rings = rings_of(self->p[5]);
	lib_publish(self->p[5]);
	EXPECT_EQ(rings + 1, rings_of(self->p[5]));
	EXPECT_EQ(2, tribuf_set_wait(self->set, self->ready, FEW, 0));
	/* Awake now: no further rings. */
	tribuf_acquire(self->c[5], &frame);
	for (int i = 0; i < 20; i++) {
		lib_publish(self->p[5]);
		ASSERT_EQ(2, tribuf_set_wait(self->set, self->ready, FEW, 0));
		ASSERT_EQ(1, tribuf_acquire(self->c[5], &frame));
	}
	EXPECT_GE(rings + 2, rings_of(self->p[5]));
}

/* ---- membership ---- */

TEST_F(set, refuses)
{
	struct tribuf_set *other;
	struct tribuf *keeper, *shm;

	EXPECT_EQ(-EINVAL, tribuf_set_create(&other, 2));
	EXPECT_EQ(-EEXIST, tribuf_set_add(self->set, self->c[0], TRIBUF_READY, NULL));
	ASSERT_EQ(0, tribuf_set_create(&other, variant->flags));
	EXPECT_EQ(-EEXIST, tribuf_set_add(other, self->c[0], TRIBUF_READY, NULL));
	EXPECT_EQ(-ENOENT, tribuf_set_remove(other, self->c[0]));
	EXPECT_EQ(-ENOENT, tribuf_set_remove(self->set, self->p[0]));
	EXPECT_EQ(-EINVAL, tribuf_set_add(self->set, self->p[0], 0, NULL));
	EXPECT_EQ(-EINVAL, tribuf_set_add(self->set, self->p[0], 1u << 10, NULL));
	ASSERT_EQ(0, open_as(&keeper, numbered(0), TRIBUF_KEEPER, 0, 0));
	EXPECT_EQ(-EACCES, tribuf_set_add(self->set, keeper, TRIBUF_READY, NULL));
	ASSERT_EQ(0, open_as(&shm, channel_name("shm:"), TRIBUF_CONSUMER, TRIBUF_CREATE, SLOT));
	EXPECT_EQ(-ENOTSUP, tribuf_set_add(self->set, shm, TRIBUF_READY, NULL));
	EXPECT_EQ(-EINVAL, tribuf_set_wait(self->set, self->ready, 0, 0));
	EXPECT_EQ(-EINVAL, tribuf_set_wait(self->set, self->ready, 1, -2));
	EXPECT_EQ(-EINVAL, tribuf_set_wait(other, self->ready, 1, TRIBUF_FOREVER));
	EXPECT_EQ(0, tribuf_set_wait(other, self->ready, 1, NS_PER_MS));
	EXPECT_CHILD(child_gets(-ESTALE, tribuf_set_wait(self->set, self->ready, 1, 0)));
	tribuf_set_destroy(other);
	tribuf_set_destroy(NULL);
	tribuf_close(keeper);
	tribuf_close(shm);
}

/* Its descriptor is closed for good, although a poll of it was queued. */
TEST_F(set, closing_a_handle_takes_it_out)
{
	struct tribuf *alone;

	ASSERT_EQ(0, open_as(&alone, test_name(), TRIBUF_CONSUMER, TRIBUF_CREATE, SLOT));
	ASSERT_EQ(0, tribuf_set_add(self->set, alone, TRIBUF_READY, NULL));
	/* Long enough to sleep in any case: only then is there a request to take back. */
	EXPECT_EQ(0, tribuf_set_wait(self->set, self->ready, FEW, 50 * NS_PER_MS));
	tribuf_close(alone);
	EXPECT_TRUE(eventually(LONG, channel_is_gone(test_name())));
	EXPECT_EQ(0, tribuf_set_wait(self->set, self->ready, FEW, NS_PER_MS));
	lib_publish(self->p[2]);
	EXPECT_EQ(1, tribuf_set_wait(self->set, self->ready, FEW, LONG * NS_PER_MS));
}

TEST_F(set, removed_while_it_was_about_to_be_reported)
{
	struct tribuf_frame frame;

	for (int i = 0; i < 100; i++) {
		tribuf_set_wait(self->set, self->ready, FEW, 1000);
		lib_publish(self->p[0]);
		ASSERT_EQ(0, tribuf_set_remove(self->set, self->c[0]));
		ASSERT_EQ(0, tribuf_set_wait(self->set, self->ready, FEW, 0));
		ASSERT_EQ(0, tribuf_set_add(self->set, self->c[0], TRIBUF_READY, NULL));
		ASSERT_EQ(1, tribuf_set_wait(self->set, self->ready, FEW, LONG * NS_PER_MS));
		ASSERT_EQ(1, tribuf_acquire(self->c[0], &frame));
	}
}

TEST_F(set, destroyed_with_its_handles_open)
{
	struct tribuf_frame frame;

	tribuf_set_wait(self->set, self->ready, FEW, NS_PER_MS);
	tribuf_set_destroy(self->set);
	lib_publish(self->p[0]);
	EXPECT_EQ(1, tribuf_acquire(self->c[0], &frame));
	ASSERT_EQ(0, tribuf_set_create(&self->set, variant->flags));
	EXPECT_EQ(0, tribuf_set_add(self->set, self->c[0], TRIBUF_READY, NULL));
}

static void *wait_in_thread(void *arg)
{
	struct tribuf_ready ready;

	return (void *)(long)tribuf_set_wait(arg, &ready, 1, 2 * NS_PER_MS);
}

/* The polls of a thread that is no more are queued again by the next. */
TEST_F(set, moves_between_threads)
{
	struct tribuf_frame frame;
	pthread_t thread;
	void *result;

	for (int i = 0; i < 20; i++) {
		ASSERT_EQ(0, pthread_create(&thread, NULL, wait_in_thread, self->set));
		ASSERT_EQ(0, pthread_join(thread, &result));
		ASSERT_EQ(0, (long)result);
		lib_publish(self->p[i % FEW]);
		ASSERT_EQ(1, tribuf_set_wait(self->set, self->ready, FEW, LONG * NS_PER_MS));
		ASSERT_EQ(self->c[i % FEW], self->ready[0].handle);
		ASSERT_EQ(1, tribuf_acquire(self->c[i % FEW], &frame));
	}
}

/* ---- time and signals ---- */

TEST_F(set, timeouts_are_kept)
{
	static const uint64_t timeouts[] = { 1000, 50000, 1000000, 30000000 };
	uint64_t start, best;

	for (size_t i = 0; i < ARRAY_SIZE(timeouts); i++) {
		best = UINT64_MAX;
		for (int try = 0; try < 10; try++) {
			start = now();
			ASSERT_EQ(0, tribuf_set_wait(self->set, self->ready, FEW,
						     (int64_t)timeouts[i]));
			start = now() - start;
			ASSERT_LE(timeouts[i], start);
			if (start < best)
				best = start;
		}
		EXPECT_GT(timeouts[i] + 5 * NS_PER_MS, best);
	}
}

static void no_signal(int sig)
{
}

static void *interrupt(void *thread)
{
	for (int i = 0; i < 2; i++) {
		sleep_ms(50);
		pthread_kill(*(pthread_t *)thread, SIGUSR1);
	}
	return NULL;
}

TEST_F(set, signal_ends_the_wait)
{
	struct sigaction action = { .sa_handler = no_signal, .sa_flags = SA_RESTART };
	pthread_t self_thread = pthread_self(), thread;

	sigaction(SIGUSR1, &action, NULL);
	ASSERT_EQ(0, pthread_create(&thread, NULL, interrupt, &self_thread));
	/* With polls to queue, and without. */
	EXPECT_EQ(-EINTR, tribuf_set_wait(self->set, self->ready, FEW, TRIBUF_FOREVER));
	EXPECT_EQ(-EINTR, tribuf_set_wait(self->set, self->ready, FEW, LONG * NS_PER_MS));
	pthread_join(thread, NULL);
}

/* ---- where io_uring is forbidden ---- */

static void wait_without_uring(int error)
{
	struct tribuf_ready ready;
	struct tribuf_set *set;
	struct tribuf *c, *p;

	child_gets(0, forbid_call(SYS_io_uring_setup, error));
	child_gets(0, tribuf_set_create(&set, 0));
	child_gets(0, open_as(&c, numbered(FEW), TRIBUF_CONSUMER, TRIBUF_CREATE, SLOT));
	child_gets(0, open_as(&p, numbered(FEW), TRIBUF_PRODUCER, 0, 0));
	child_gets(0, tribuf_set_add(set, c, TRIBUF_READY, NULL));
	child_gets(0, tribuf_set_wait(set, &ready, 1, NS_PER_MS));
	lib_publish(p);
	child_gets(1, tribuf_set_wait(set, &ready, 1, LONG * NS_PER_MS));
	tribuf_set_destroy(set);
	tribuf_close(c);
	tribuf_close(p);
}

TEST_F(set, works_where_io_uring_is_forbidden)
{
	EXPECT_CHILD(wait_without_uring(ENOSYS));
	EXPECT_CHILD(wait_without_uring(EPERM));
}

/* ---- thousands ---- */

#define MANY	10000
#define SMALL	4096

enum step { OPEN, ADD, FIRST_SLEEP, PUBLISHED, COLLECT, DESTROY, CLOSE, STEPS };

static const char *const step_names[STEPS] = {
	"open", "add", "first sleep", "publish to each", "report all", "destroy the set", "close",
};

FIXTURE(thousands) {
	struct tribuf_set *set;
	struct tribuf *c[MANY], *p[MANY];
	struct tribuf_ready ready[MANY];
	int crowd;			/* MANY; a quarter for the fallback, or where time is short;
					 * a twentieth on debug kernels, which take 10 ms for each
					 */
	uint64_t times[STEPS];		/* processor time: what else runs does not count */
};

FIXTURE_VARIANT(thousands) { unsigned int flags; };
FIXTURE_VARIANT_ADD(thousands, uring) { .flags = 0 };
FIXTURE_VARIANT_ADD(thousands, epoll) { .flags = TRIBUF_SET_EPOLL };

/* To have 20,000 handles in one process. */
static bool allow_many(void)
{
	struct rlimit files = { 2 * MANY + 1000, 2 * MANY + 1000 };
	FILE *maps = fopen("/proc/sys/vm/max_map_count", "w");

	return maps && fprintf(maps, "%d", 20 * MANY) > 0 && !fclose(maps) &&
	       !setrlimit(RLIMIT_NOFILE, &files);
}

FIXTURE_SETUP(thousands)
{
	REQUIRE_DEVICE();
	if (!allow_many())
		SKIP(_exit(255), "needs root, to have 20,000 handles in one process");
	self->crowd = scaled(MANY) < MANY / 4 ? MANY / 20 :
		      variant->flags || scaled(MANY) < MANY ? MANY / 4 : MANY;
}

static void leave(FIXTURE_DATA(thousands) *self, int count);

FIXTURE_TEARDOWN(thousands)
{
	leave(self, self->crowd);
}

#define STEP(step, ...) do {						\
	uint64_t __start = cpu_time();					\
									\
	__VA_ARGS__;							\
	self->times[step] = cpu_time() - __start;			\
} while (0)

/* All of @count channels asleep in the set. These three: false if tribuf_explain() says why. */
static bool gather(FIXTURE_DATA(thousands) *self, unsigned int flags, int count)
{
	bool good = !tribuf_set_create(&self->set, flags);

	STEP(OPEN, for (int i = 0; good && i < count; i++)
		good = !open_as(&self->c[i], numbered(i), TRIBUF_CONSUMER, TRIBUF_CREATE, SMALL));
	STEP(ADD, for (int i = 0; good && i < count; i++)
		good = !tribuf_set_add(self->set, self->c[i], TRIBUF_READY,
				       (void *)(uintptr_t)i));
	STEP(FIRST_SLEEP, good = good && !tribuf_set_wait(self->set, self->ready, count, 1000));
	return good;
}

static bool wake_each(FIXTURE_DATA(thousands) *self, int count)
{
	bool good = true;

	for (int i = 0; good && i < count; i++)
		good = !open_as(&self->p[i], numbered(i), TRIBUF_PRODUCER, 0, 0);
	STEP(PUBLISHED, for (int i = 0; good && i < count; i++)
		good = lib_publish(self->p[i]) > 0);
	/* epoll tells of a batch at a time. */
	STEP(COLLECT, for (int n = 0; good && n < count; )
		good = (n = tribuf_set_wait(self->set, self->ready, count, 0)) > 0);
	return good;
}

static void leave(FIXTURE_DATA(thousands) *self, int count)
{
	STEP(DESTROY, tribuf_set_destroy(self->set); self->set = NULL);
	STEP(CLOSE, for (int i = 0; i < count; i++)
		tribuf_close(self->c[i]));
	for (int i = 0; i < count; i++)
		tribuf_close(self->p[i]);
	memset(self->c, 0, sizeof(self->c));
	memset(self->p, 0, sizeof(self->p));
}

/*
 * Four times as many take four times as long, or sixteen times if a step grows
 * with the square: in between, geometrically, is the bound. Less than a millisecond
 * is too little to compare.
 */
static bool grows_with_the_square(const uint64_t *few, const uint64_t *many, int crowd)
{
	bool grows = false;

	for (int i = 0; i < STEPS; i++) {
		printf("# %-16s %8llu us for %d, %8llu us for %d\n", step_names[i],
		       (unsigned long long)few[i] / 1000, crowd / 4,
		       (unsigned long long)many[i] / 1000, crowd);
		grows |= many[i] > 8 * (few[i] < NS_PER_MS ? NS_PER_MS : few[i]);
	}
	fflush(stdout);
	return grows;
}

static void keep_least(uint64_t *least, const uint64_t *times)
{
	for (int i = 0; i < STEPS; i++)
		if (!least[i] || times[i] < least[i])
			least[i] = times[i];
}

/* Of a sleep of all; the least of three tries: a set that spins needs it in each of them. */
static uint64_t idle_time(FIXTURE_DATA(thousands) *self)
{
	uint64_t idle = scaled(2) * NS_PER_S, cpu, least = UINT64_MAX;

	for (int attempt = 0; attempt < 3 && least >= NS_PER_MS; attempt++) {
		cpu = cpu_time();
		if (tribuf_set_wait(self->set, self->ready, MANY, (int64_t)idle))
			return UINT64_MAX;
		cpu = cpu_time() - cpu;
		least = cpu < least ? cpu : least;
	}
	printf("# %llu us of processor time in %llu s\n", (unsigned long long)least / 1000,
	       (unsigned long long)(idle / NS_PER_S));
	fflush(stdout);
	return least;
}

/* ---- one ready of many, beside one ready of few ---- */

#define TURNS	50
#define PAIRS	31

/* Answers each request on @request by a frame on the next channel of @numbers. */
static void answer(const char *request, const int *numbers, unsigned long count)
{
	struct tribuf *asked, *p[2 * FEW];
	struct tribuf_frame frame = { 0 };

	pin_to_cpu(0);
	child_gets(0, open_as(&asked, request, TRIBUF_CONSUMER, TRIBUF_CREATE, SMALL));
	for (int i = 0; i < 2 * FEW; i++)
		child_gets(0, open_as(&p[i], numbered(numbers[i]), TRIBUF_PRODUCER, 0, 0));
	for (unsigned long i = 0; i < count; i++) {
		while (!tribuf_acquire(asked, &frame))
			child_must(polled(tribuf_fd(asked), POLLIN, LONG) == POLLIN);
		child_must(lib_publish(p[frame.cookie]) > 0);
	}
	pause();
}

/* Time of @TURNS wake-ups of @set; 0: one did not come, or of another channel. */
static uint64_t turn(struct tribuf_set *set, struct tribuf *request, struct tribuf **c, int first)
{
	struct tribuf_ready ready[2];
	struct tribuf_frame frame;
	uint64_t start = now();

	for (int i = 0; i < TURNS; i++) {
		if (tribuf_begin(request, &frame))
			return 0;
		frame.bytes = 0;
		frame.cookie = (uint64_t)(first + i % FEW);
		if (tribuf_publish(request, &frame) < 0 ||
		    tribuf_set_wait(set, ready, 2, LONG * NS_PER_MS) != 1 ||
		    tribuf_acquire(ready[0].handle, &frame) != 1 ||
		    ready[0].handle != c[(int)(uintptr_t)ready[0].data])
			return 0;
	}
	return now() - start;
}

static int by_size(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* The median ratio of pairs; 0: a wake-up did not come. */
static double compare(FIXTURE_DATA(thousands) *self, struct tribuf_set *small,
		      struct tribuf *request, struct tribuf **few)
{
	uint64_t of_many, of_few;
	double ratios[PAIRS];

	for (int pair = -1; pair < PAIRS; pair++) {
		of_few = turn(small, request, few, 0);
		of_many = turn(self->set, request, self->c, FEW);
		if (!of_few || !of_many)
			return 0;
		if (pair >= 0)
			ratios[pair] = (double)of_many / (double)of_few;
	}
	qsort(ratios, PAIRS, sizeof(*ratios), by_size);
	printf("# %.3f x, %llu us of %d channels\n", ratios[PAIRS / 2],
	       (unsigned long long)of_few / TURNS / 1000, FEW);
	fflush(stdout);
	return ratios[PAIRS / 2];
}

static double one_of_many_to_one_of_few(FIXTURE_DATA(thousands) *self, unsigned int flags)
{
	struct tribuf *few[FEW], *request;
	struct tribuf_set *small;
	uint64_t state = seed();
	int numbers[2 * FEW], part = self->crowd / FEW;
	double ratio;
	pid_t child;
	bool good = !tribuf_set_create(&small, flags);

	for (int i = 0; i < FEW; i++) {
		numbers[i] = MANY + i;
		numbers[FEW + i] = (int)(chance(&state) % part) + i * part;
		good &= !open_as(&few[i], numbered(MANY + i), TRIBUF_CONSUMER, TRIBUF_CREATE,
				 SMALL) &&
			!tribuf_set_add(small, few[i], TRIBUF_READY, (void *)(uintptr_t)i);
	}
	child = in_child(answer(test_name(), numbers, 2 * TURNS * (PAIRS + 1)));
	pin_to_cpu(0);
	good &= !open_as(&request, test_name(), TRIBUF_PRODUCER, TRIBUF_CREATE, SMALL);
	ratio = good ? compare(self, small, request, few) : 0;
	slay(child);
	tribuf_set_destroy(small);
	tribuf_close(request);
	for (int i = 0; i < FEW; i++)
		tribuf_close(few[i]);
	return ratio;
}

/*
 * One crowd of channels for all that is asked of it, since making it takes long. On an
 * emulated machine that is not alone, a step's time may be another's: each step has
 * grown in no proportion if it did in the best of five walks.
 */
TEST_F_TIMEOUT(thousands, cost_what_those_do_that_are_ready, 900)
{
	uint64_t few[STEPS] = { 0 }, many[STEPS] = { 0 };
	bool grows = true;
	double ratio;

	for (int attempt = 0; attempt < 5 && grows; attempt++) {
		ASSERT_TRUE(gather(self, variant->flags, self->crowd / 4) &&
			    wake_each(self, self->crowd / 4))
			TH_LOG("%s", tribuf_explain());
		leave(self, self->crowd / 4);
		keep_least(few, self->times);
		ASSERT_TRUE(gather(self, variant->flags, self->crowd))
			TH_LOG("%s", tribuf_explain());
		if (!attempt) {
			/* Falling asleep and waking once. */
			EXPECT_GT(NS_PER_MS, idle_time(self));
			ratio = one_of_many_to_one_of_few(self, variant->flags);
			EXPECT_LT(0, ratio) TH_LOG("%s", tribuf_explain());
			EXPECT_GE(1.3, ratio);
		}
		ASSERT_TRUE(wake_each(self, self->crowd)) TH_LOG("%s", tribuf_explain());
		leave(self, self->crowd);
		keep_least(many, self->times);
		grows = grows_with_the_square(few, many, self->crowd);
	}
	EXPECT_FALSE(grows);
}

TEST_HARNESS_MAIN
