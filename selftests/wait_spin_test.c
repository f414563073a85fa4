// SPDX-License-Identifier: GPL-2.0-only
/*
 * tribuf_wait() before it sleeps: it looks for a while if that pays, and only then.
 * Sleeps are counted by standing in the way of ppoll().
 */
#include <sys/syscall.h>
#include <pthread.h>

#include "lib.h"

static unsigned long sleeps;
static unsigned long asked;		/* for how many processors there are */
static bool pretend_two;

/* What libtribuf calls to sleep; glibc's own is not used in this program. */
int ppoll(struct pollfd *fds, nfds_t count, const struct timespec *timeout, const sigset_t *mask)
{
	struct timespec left;

	sleeps++;
	if (timeout)
		left = *timeout;	/* the system call writes to it */
	return (int)syscall(SYS_ppoll, fds, count, timeout ? &left : NULL, mask, 8);
}

/* What it calls before it spins, if the last spin was in vain. */
int sched_getaffinity(pid_t pid, size_t size, cpu_set_t *set)
{
	long bytes = syscall(SYS_sched_getaffinity, pid, size, set);

	asked++;
	if (bytes < 0)
		return -1;
	memset((char *)set + bytes, 0, size - (size_t)bytes);
	if (pretend_two)
		set->__bits[0] |= 3;
	return 0;
}

FIXTURE(spin) {
	struct tribuf *p, *c;
	pthread_t thread;
	uint64_t period;		/* ns between two frames */
	bool sleep;			/* the producer sleeps meanwhile */
	int cpu;
	bool stop;
};

FIXTURE_SETUP(spin)
{
	if (access(DEVICE, F_OK))
		SKIP(_exit(255), "no " DEVICE ": load the module (tribuf load)");
	ASSERT_EQ(0, open_as(&self->p, test_name(), TRIBUF_PRODUCER, TRIBUF_CREATE, SLOT));
	ASSERT_EQ(0, open_as(&self->c, test_name(), TRIBUF_CONSUMER, 0, 0));
}

FIXTURE_TEARDOWN(spin)
{
	tribuf_close(self->p);
	tribuf_close(self->c);
}

static void *produce(void *arg)
{
	FIXTURE_DATA(spin) *self = arg;
	uint64_t next = now();

	pin_to_cpu(self->cpu);
	/* Else a sleep of 20 us takes 70. */
	prctl(PR_SET_TIMERSLACK, 1);
	while (!__atomic_load_n(&self->stop, __ATOMIC_RELAXED)) {
		next = (next > now() - NS_PER_MS ? next : now()) + self->period;
		if (self->sleep)
			sleep_ns(self->period);
		else
			while (now() < next)
				;
		lib_publish(self->p);
	}
	return NULL;
}

struct counts {
	unsigned long waits, sleeps;
};

/* Take @count frames: how many waits it took, and how many of them slept. */
static struct counts consume(FIXTURE_DATA(spin) *self, unsigned long count)
{
	struct counts counts = {};
	struct tribuf_frame frame;

	sleeps = 0;
	while (count) {
		if (tribuf_acquire(self->c, &frame) == 1) {
			count--;
			continue;
		}
		counts.waits++;
		tribuf_wait(self->c, TRIBUF_READY, TRIBUF_FOREVER);
	}
	counts.sleeps = sleeps;
	return counts;
}

static struct counts run(FIXTURE_DATA(spin) *self, unsigned long count)
{
	struct counts counts;

	self->stop = false;
	pthread_create(&self->thread, NULL, produce, self);
	consume(self, count / 4);	/* learns */
	counts = consume(self, count);
	__atomic_store_n(&self->stop, true, __ATOMIC_RELAXED);
	pthread_join(self->thread, NULL);
	printf("# %lu waits, %lu sleeps\n", counts.waits, counts.sleeps);
	fflush(stdout);
	return counts;
}

/* On a machine with other work, frames of 20 us may come late: once in five is enough. */
TEST_F_TIMEOUT(spin, fast_producer_is_not_slept_for, 120)
{
	struct counts counts;
	bool good = false;

	if (sysconf(_SC_NPROCESSORS_ONLN) < 2)
		SKIP(return, "needs two processors");
	self->period = 20000;
	self->cpu = 1;
	pin_to_cpu(0);
	/* This thread may use both, or it would not spin. */
	sched_setaffinity(0, sizeof(cpu_set_t), &(cpu_set_t){ .__bits = { 3 } });
	for (int attempt = 0; attempt < 5 && !good; attempt++) {
		counts = run(self, scaled(5000));
		good = counts.waits && counts.sleeps < counts.waits / 4;
	}
	EXPECT_TRUE(good);
}

TEST_F_TIMEOUT(spin, never_on_one_processor, 120)
{
	struct counts counts;
	bool good = false;

	/* Short enough to spin for, long enough to be asleep before it is over. */
	self->period = 40000;
	self->sleep = true;
	pin_to_cpu(0);
	for (int attempt = 0; attempt < 5 && !good; attempt++) {
		counts = run(self, scaled(2000));
		ASSERT_LT(scaled(2000) / 20, counts.waits);
		/* A frame may come between a look that failed and the next. */
		good = 9 * counts.waits <= 10 * counts.sleeps;
	}
	EXPECT_TRUE(good);
}

/*
 * Both on one processor, although they could be on two: while we spin there, no frame
 * can come, however near the last ones were.
 */
TEST_F_TIMEOUT(spin, hardly_ever_where_that_keeps_the_producer_from_running, 120)
{
	struct counts counts;

	self->period = 50000;
	self->cpu = 0;
	pin_to_cpu(0);
	pretend_two = true;
	asked = 0;
	counts = run(self, scaled(2000));
	pretend_two = false;
	printf("# asked %lu times\n", asked);
	fflush(stdout);
	ASSERT_LT(scaled(2000) / 20, counts.waits);
	EXPECT_LE(8 * counts.waits, 10 * counts.sleeps);
	EXPECT_GE(counts.waits / 20, asked);
}

/* A producer that is too slow to be spun for. */
TEST_F_TIMEOUT(spin, slow_producer_is_slept_for, 120)
{
	struct counts counts;

	self->period = 2 * NS_PER_MS;
	self->sleep = true;
	counts = run(self, scaled(500));
	EXPECT_LE(9 * counts.waits, 10 * counts.sleeps);
}

static uint64_t thread_time(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
}

/* After the fast phase comes silence: who fell idle spins no longer. */
TEST_F_TIMEOUT(spin, idle_consumer_takes_no_processor_time, 120)
{
	uint64_t cpu, least = UINT64_MAX;
	struct tribuf_frame frame;

	self->period = 20000;
	self->cpu = 1;
	run(self, scaled(2000));
	while (tribuf_acquire(self->c, &frame))
		;
	for (int attempt = 0; attempt < 3 && least >= NS_PER_MS; attempt++) {
		cpu = thread_time();
		ASSERT_EQ(0, tribuf_wait(self->c, TRIBUF_READY, (int64_t)(scaled(2) * NS_PER_S)));
		cpu = thread_time() - cpu;
		least = cpu < least ? cpu : least;
	}
	printf("# %llu us of processor time in %lu s\n", (unsigned long long)least / 1000,
	       scaled(2));
	fflush(stdout);
	EXPECT_GT(NS_PER_MS, least);
}

/* The spin ends at the deadline, never before it, and not long after. */
TEST_F_TIMEOUT(spin, deadlines_within_the_spin_are_kept, 120)
{
	struct tribuf_frame frame;
	uint64_t start, took, best = UINT64_MAX;

	self->period = 20000;
	self->cpu = 1;
	for (int i = 0; i < 5; i++) {
		run(self, 400);
		while (tribuf_acquire(self->c, &frame))
			;
		start = now();
		ASSERT_EQ(0, tribuf_wait(self->c, TRIBUF_READY, 30000));
		took = now() - start;
		ASSERT_LE(30000, took);
		best = took < best ? took : best;
	}
	EXPECT_GT(2 * NS_PER_MS, best);
}

TEST_HARNESS_MAIN
