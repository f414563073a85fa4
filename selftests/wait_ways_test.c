// SPDX-License-Identifier: GPL-2.0-only
/*
 * Many asleep at once: the same handle in several ways, all roles of a channel,
 * handles that are closed under a sleeper; timeouts, signals and refusals in each
 * way to wait.
 */
#include "wait.h"

FIXTURE(ways) {
	struct tribuf *p, *c;
	struct waiter w;
};

ALL_WAYS(ways);

FIXTURE_SETUP(ways)
{
	REQUIRE_DEVICE();
	ASSERT_EQ(0, open_as(&self->p, test_name(), TRIBUF_PRODUCER, TRIBUF_CREATE, SLOT));
	ASSERT_EQ(0, open_as(&self->c, test_name(), TRIBUF_CONSUMER, 0, 0));
	ASSERT_EQ(0, waiter_open(&self->w, variant->way, self->c, POLLIN));
}

FIXTURE_TEARDOWN(ways)
{
	waiter_close(&self->w);
	tribuf_close(self->c);
	tribuf_close(self->p);
}

/* Sleeps in a thread of its own. */
struct sleeper {
	struct waiter *w;
	struct tribuf_frame frame;
	int result;
	pid_t tid;
	uint64_t woke;
	pthread_t thread;
};

static void *sleep_in_thread(void *arg)
{
	struct sleeper *s = arg;

	__atomic_store_n(&s->tid, gettid(), __ATOMIC_RELEASE);
	s->result = waiter_sleep(s->w, 2 * LONG, &s->frame);
	s->woke = now();
	return NULL;
}

static bool start_sleeper(struct sleeper *s, struct waiter *w)
{
	*s = (struct sleeper){ .w = w };
	return !pthread_create(&s->thread, NULL, sleep_in_thread, s) &&
	       eventually(LONG, thread_sleeps(__atomic_load_n(&s->tid, __ATOMIC_ACQUIRE)));
}

TEST_F(ways, a_frame_wakes)
{
	struct tribuf_frame frame;
	struct sleeper s;
	uint64_t start;

	for (int i = 1; i <= 5; i++) {
		ASSERT_TRUE(start_sleeper(&s, &self->w));
		start = now();
		ASSERT_EQ(i, lib_publish(self->p));
		pthread_join(s.thread, NULL);
		EXPECT_GT(start + NS_PER_S, s.woke);
		ASSERT_EQ(way_reads(variant->way), s.result);
		if (!s.result)
			ASSERT_EQ(1, tribuf_acquire(self->c, &frame));
		ASSERT_EQ(0, tribuf_acquire(self->c, &frame));
	}
}

/* Never early; and, at least once in ten times, hardly late. */
TEST_F(ways, timeouts_are_kept)
{
	struct tribuf_frame frame;
	uint64_t start, took, best = UINT64_MAX;

	if (variant->way == WAY_READ)
		return;		/* has none */
	for (int i = 0; i < 10; i++) {
		start = now();
		ASSERT_EQ(0, waiter_sleep(&self->w, 3, &frame));
		took = now() - start;
		ASSERT_LE(3 * NS_PER_MS, took);
		best = took < best ? took : best;
	}
	EXPECT_GT(8 * NS_PER_MS, best);
}

static void no_signal(int sig)
{
}

TEST_F(ways, a_signal_ends_the_wait)
{
	struct sigaction action = { .sa_handler = no_signal };
	struct sleeper s;

	sigaction(SIGUSR1, &action, NULL);
	ASSERT_TRUE(start_sleeper(&s, &self->w));
	pthread_kill(s.thread, SIGUSR1);
	pthread_join(s.thread, NULL);
	/* liburing does not tell a signal from the time's end after a submission. */
	EXPECT_TRUE(s.result == -EINTR || self->w.ring_made) TH_LOG("%d", s.result);
	EXPECT_GT(now(), s.woke);
	/* Nothing was lost by it. */
	ASSERT_EQ(1, lib_publish(self->p));
	ASSERT_EQ(way_reads(variant->way), waiter_sleep(&self->w, LONG, &s.frame));
}

/* ---- a descriptor that is closed under its sleeper ---- */

FIXTURE(closed) {
	struct tribuf *p;
	int fd;
};

FIXTURE_VARIANT(closed) {
	enum way way;
	int told;
};

FIXTURE_VARIANT_ADD(closed, poll) { .way = WAY_POLL, .told = POLLERR };
FIXTURE_VARIANT_ADD(closed, select) { .way = WAY_SELECT, .told = 1 };
FIXTURE_VARIANT_ADD(closed, read) { .way = WAY_READ, .told = -ESTALE };
FIXTURE_VARIANT_ADD(closed, uring_poll) { .way = WAY_URING_POLL, .told = POLLERR };
FIXTURE_VARIANT_ADD(closed, uring_read) { .way = WAY_URING_READ, .told = -ESTALE };

/* A role of its own, not of libtribuf, whose handles are closed as a whole. */
FIXTURE_SETUP(closed)
{
	REQUIRE_DEVICE();
	ASSERT_EQ(0, open_as(&self->p, test_name(), TRIBUF_PRODUCER, TRIBUF_CREATE, SLOT));
	self->fd = join(test_name(), TRIBUF_CONSUMER, TRIBUF_OWNED, 0);
	ASSERT_LE(0, self->fd);
}

FIXTURE_TEARDOWN(closed)
{
	tribuf_close(self->p);
}

struct raw {
	enum way way;
	int fd, told;
	pid_t tid;
};

static int raw_uring(struct raw *r)
{
	struct __kernel_timespec timeout = { LONG / 1000, 0 };
	struct tribuf_acquired acquired;
	struct io_uring_cqe *cqe = NULL;
	struct io_uring ring;
	int told = -ETIME;

	if (io_uring_queue_init(2, &ring, 0))
		return -ENOMEM;
	if (r->way == WAY_URING_POLL)
		io_uring_prep_poll_add(io_uring_get_sqe(&ring), r->fd, POLLIN);
	else
		io_uring_prep_read(io_uring_get_sqe(&ring), r->fd, &acquired, sizeof(acquired), 0);
	io_uring_submit_and_wait_timeout(&ring, &cqe, 1, &timeout, NULL);
	if (cqe)
		told = cqe->res;
	io_uring_queue_exit(&ring);
	return told;
}

static void *wait_raw(void *arg)
{
	struct waiter w = { .fd = ((struct raw *)arg)->fd, .events = POLLIN };
	struct tribuf_acquired acquired;
	struct raw *r = arg;

	__atomic_store_n(&r->tid, gettid(), __ATOMIC_RELEASE);
	if (r->way == WAY_POLL)
		r->told = polled(r->fd, POLLIN, LONG);
	else if (r->way == WAY_SELECT)
		r->told = sleep_in_select(&w, LONG);
	else if (r->way == WAY_READ)
		r->told = negative_errno(read(r->fd, &acquired, sizeof(acquired)));
	else
		r->told = raw_uring(r);
	return NULL;
}

/* With TRIBUF_OWNED the role ends there and then, and its sleepers are told. */
TEST_F(closed, ends_the_wait)
{
	struct raw r = { .way = variant->way, .fd = self->fd };
	pthread_t thread;

	ASSERT_EQ(0, pthread_create(&thread, NULL, wait_raw, &r));
	ASSERT_TRUE(eventually(LONG, thread_sleeps(__atomic_load_n(&r.tid, __ATOMIC_ACQUIRE))));
	ASSERT_EQ(0, close(self->fd));
	pthread_join(thread, NULL);
	/* poll() may look again when the descriptor is gone already. */
	if (variant->way != WAY_POLL || r.told != POLLNVAL)
		EXPECT_EQ(variant->told, r.told);
	EXPECT_TRUE(eventually(LONG, !peek(tribuf_fd(self->p)).consumer_pid));
}

/* ---- one handle, all ways at once ---- */

static const enum way together[] = {
	WAY_POLL, WAY_PPOLL, WAY_SELECT, WAY_LEVEL, WAY_EDGE, WAY_ONESHOT, WAY_EXCLUSIVE,
	WAY_NESTED, WAY_URING_POLL, WAY_URING_MULTISHOT,
};

FIXTURE(crowd) {
	struct tribuf *p, *c;
};

FIXTURE_SETUP(crowd)
{
	REQUIRE_DEVICE();
	ASSERT_EQ(0, open_as(&self->p, test_name(), TRIBUF_PRODUCER, TRIBUF_CREATE, SLOT));
	ASSERT_EQ(0, open_as(&self->c, test_name(), TRIBUF_CONSUMER, 0, 0));
}

FIXTURE_TEARDOWN(crowd)
{
	tribuf_close(self->c);
	tribuf_close(self->p);
}

TEST_F_TIMEOUT(crowd, one_frame_wakes_all_on_one_handle, 300)
{
	struct waiter w[ARRAY_SIZE(together)];
	struct sleeper s[ARRAY_SIZE(together)];
	struct tribuf_frame frame;
	uint64_t start;

	for (size_t i = 0; i < ARRAY_SIZE(together); i++)
		ASSERT_EQ(0, waiter_open(&w[i], together[i], self->c, POLLIN));
	for (unsigned long round = 0; round < scaled(20); round++) {
		for (size_t i = 0; i < ARRAY_SIZE(together); i++)
			ASSERT_TRUE(start_sleeper(&s[i], &w[i]));
		start = now();
		lib_publish(self->p);
		for (size_t i = 0; i < ARRAY_SIZE(together); i++) {
			pthread_join(s[i].thread, NULL);
			ASSERT_EQ(0, s[i].result);
			ASSERT_GT(start + LONG * NS_PER_MS, s[i].woke)
				TH_LOG("way %d", together[i]);
		}
		ASSERT_EQ(1, tribuf_acquire(self->c, &frame));
		/* What stays is still told of that frame, once. */
		for (size_t i = 0; i < ARRAY_SIZE(together); i++)
			if (w[i].queued)
				waiter_sleep(&w[i], 0, &frame);
	}
	for (size_t i = 0; i < ARRAY_SIZE(together); i++)
		waiter_close(&w[i]);
}

/* ---- as many observers as there may be ---- */

TEST_F_TIMEOUT(crowd, one_ring_wakes_all_observers, 120)
{
	static struct sleeper s[TRIBUF_OBSERVERS_MAX];
	struct tribuf *o[TRIBUF_OBSERVERS_MAX];
	struct waiter w[TRIBUF_OBSERVERS_MAX];
	struct tribuf_frame frame;
	unsigned char copy[SLOT];
	uint64_t start, rings;

	for (int i = 0; i < TRIBUF_OBSERVERS_MAX; i++) {
		ASSERT_EQ(0, open_as(&o[i], test_name(), TRIBUF_OBSERVER, 0, 0));
		ASSERT_EQ(0, waiter_open(&w[i], WAY_POLL, o[i], POLLIN));
	}
	for (unsigned long round = 0; round < scaled(3); round++) {
		for (int i = 0; i < TRIBUF_OBSERVERS_MAX; i++)
			ASSERT_TRUE(start_sleeper(&s[i], &w[i]));
		rings = rings_of(self->p);
		start = now();
		lib_publish(self->p);
		for (int i = 0; i < TRIBUF_OBSERVERS_MAX; i++) {
			pthread_join(s[i].thread, NULL);
			ASSERT_EQ(0, s[i].result);
			ASSERT_GT(start + LONG * NS_PER_MS, s[i].woke);
			ASSERT_EQ(1, tribuf_snapshot(o[i], &frame, copy, sizeof(copy)));
		}
		EXPECT_EQ(rings + 1, rings_of(self->p));
		/* Awake: the first publish finds out, the others need not ask. */
		for (int i = 0; i < 10; i++)
			lib_publish(self->p);
		EXPECT_GE(rings + 2, rings_of(self->p));
		for (int i = 0; i < TRIBUF_OBSERVERS_MAX; i++)
			ASSERT_EQ(1, tribuf_snapshot(o[i], &frame, copy, sizeof(copy)));
		/* The consumer sees what it would see without them. */
		ASSERT_EQ(1, tribuf_acquire(self->c, &frame));
		ASSERT_EQ(11 * (round + 1), frame.seq);
	}
	for (int i = 0; i < TRIBUF_OBSERVERS_MAX; i++)
		tribuf_close(o[i]);
}

/* ---- all roles asleep at once ---- */

/* In a child: each frame that comes, by @way, until number @count. */
static void observe(enum way way, uint64_t count)
{
	static unsigned char copy[SLOT];
	struct tribuf_frame frame;
	struct waiter w;
	struct tribuf *o;
	uint64_t last = 0;
	int result;

	child_gets(0, open_as(&o, test_name(), TRIBUF_OBSERVER, 0, 0));
	child_gets(0, waiter_open(&w, way, o, POLLIN));
	while (last < count) {
		result = tribuf_snapshot(o, &frame, copy, sizeof(copy));
		if (result == 1) {
			child_must(frame.seq > last);
			child_must(lib_whole(&frame, SLOT));
			last = frame.seq;
		} else if (result != -EAGAIN) {
			child_gets(0, result);
			child_gets(0, waiter_sleep(&w, 60000, &frame));
		}
	}
}

static void produce_paced(enum way way, uint64_t count)
{
	struct tribuf_frame frame;
	struct waiter w;
	struct tribuf *p;

	child_gets(0, open_as(&p, test_name(), TRIBUF_PRODUCER, 0, 0));
	child_gets(0, waiter_open(&w, way, p, POLLOUT));
	for (uint64_t i = 1; i <= count; i++) {
		while (!tribuf_wait(p, TRIBUF_READY, 0))
			child_gets(0, waiter_sleep(&w, 60000, &frame));
		child_gets((long)i, (long)lib_publish(p));
	}
	/* Going would wake whoever slept through the last frame. */
	pause();
}

FIXTURE(everyone) {
	struct tribuf *c;
	struct waiter w;
};

ALL_WAYS(everyone);

FIXTURE_SETUP(everyone)
{
	REQUIRE_DEVICE();
	ASSERT_EQ(0, open_as(&self->c, test_name(), TRIBUF_CONSUMER, TRIBUF_CREATE, SLOT));
	ASSERT_EQ(0, waiter_open(&self->w, variant->way, self->c, POLLIN));
}

FIXTURE_TEARDOWN(everyone)
{
	waiter_close(&self->w);
	tribuf_close(self->c);
}

TEST_F_TIMEOUT(everyone, sleeps_and_none_is_forgotten, 600)
{
	/* What an observer or a producer cannot do: read() takes frames. */
	enum way other = way_reads(variant->way) ? WAY_POLL : variant->way;
	uint64_t count = scaled(1000), last = 0;
	struct tribuf_frame frame;
	pid_t producer, observers[3];
	struct watchdog dog;
	int result;

	for (size_t i = 0; i < ARRAY_SIZE(observers); i++)
		observers[i] = in_child(observe(i ? other : WAY_WAIT, count));
	producer = in_child(produce_paced(other, count));
	ASSERT_EQ(0, watchdog_start(&dog, self->c, TRIBUF_FRESH, producer));
	while (last < count && !dog.lost) {
		result = way_reads(variant->way) ? 0 : tribuf_acquire(self->c, &frame);
		if (!result) {
			dog.sleeps++;
			result = waiter_sleep(&self->w, 60000, &frame);
			dog.sleeps++;
		}
		ASSERT_LE(0, result);
		if (!result)
			continue;
		/* Paced: not one is missing. */
		ASSERT_EQ(last + 1, frame.seq);
		last = frame.seq;
	}
	EXPECT_EQ(0, watchdog_stop(&dog));
	EXPECT_EQ(count, last);
	for (size_t i = 0; i < ARRAY_SIZE(observers); i++)
		EXPECT_EQ(0, ended(observers[i]));
	slay(producer);
}

/* ---- observers of large frames ---- */

#define LARGE	(8u << 20)
#define HERTZ	60

static void publish_large(unsigned long count)
{
	struct tribuf_info_args info;
	struct tribuf_frame frame;
	struct tribuf *p;
	uint64_t next;

	child_gets(0, open_as(&p, test_name(), TRIBUF_PRODUCER, TRIBUF_CREATE, LARGE));
	/* On a busy machine it comes when all would be over. */
	child_must(eventually(LONG, !tribuf_info(p, &info) && info.observers));
	next = now();
	for (unsigned long i = 0; i < count; i++, next += NS_PER_S / HERTZ) {
		while (now() < next)
			sleep_ns(next - now());
		child_gets(0, tribuf_begin(p, &frame));
		memset(frame.data, (int)i, 4096);
		child_must(tribuf_publish(p, &frame) >= 0);
	}
	pause();
}

FIXTURE(large) {
	unsigned char *copy;
	struct tribuf *o;
	pid_t producer;
};

FIXTURE_SETUP(large)
{
	REQUIRE_DEVICE();
	test_name();		/* its children's too, from here on */
	self->copy = malloc(LARGE);
	ASSERT_NE(NULL, self->copy);
	memset(self->copy, 0, LARGE);
}

FIXTURE_TEARDOWN(large)
{
	tribuf_close(self->o);
	free(self->copy);
}

/* Look on at what the child @producer publishes, as soon as it does. */
static bool look_on(FIXTURE_DATA(large) *self, pid_t producer)
{
	self->producer = producer;
	return eventually(LONG, !open_as(&self->o, test_name(), TRIBUF_OBSERVER, 0, 0));
}

TEST_F_TIMEOUT(large, copies_succeed, 120)
{
	unsigned long count = scaled(200), good = 0, outrun = 0;
	struct tribuf_frame frame = {};
	int result;

	ASSERT_TRUE(look_on(self, in_child(publish_large(count))));
	while (frame.seq < count) {
		result = tribuf_wait(self->o, TRIBUF_READY, LONG * (int64_t)NS_PER_MS);
		ASSERT_EQ(TRIBUF_READY, result);
		result = tribuf_snapshot(self->o, &frame, self->copy, LARGE);
		ASSERT_TRUE(result == 1 || result == -EAGAIN) TH_LOG("%s", tribuf_explain());
		*(result == 1 ? &good : &outrun) += 1;
	}
	printf("# %lu copies, %lu outrun\n", good, outrun);
	fflush(stdout);
	EXPECT_LE(99 * (good + outrun), 100 * good);
	/* Most frames were seen, or the rate was not what it is meant to be. */
	EXPECT_LT(count / 10, good);
	slay(self->producer);
}

/* In a child: frames that are as large, and published far faster than they are copied. */
static void publish_without_pause(void)
{
	struct tribuf_frame frame;
	struct tribuf *p;

	pin_to_cpu(1);
	child_gets(0, open_as(&p, test_name(), TRIBUF_PRODUCER, TRIBUF_CREATE, LARGE));
	for (;;) {
		child_gets(0, tribuf_begin(p, &frame));
		child_must(tribuf_publish(p, &frame) >= 0);
	}
}

/* Then an observer gives up, and says so, instead of trying for ever. */
TEST_F_TIMEOUT(large, copies_that_are_always_outrun_end, 120)
{
	struct tribuf_frame frame;
	uint64_t start;
	int result;

	pin_to_cpu(0);
	ASSERT_TRUE(look_on(self, in_child(publish_without_pause())));
	/* A producer that is not running at the moment outruns nobody. */
	start = now();
	do {
		result = tribuf_snapshot(self->o, &frame, self->copy, LARGE);
	} while (result >= 0 && now() < start + 4 * LONG * NS_PER_MS);
	EXPECT_EQ(-EAGAIN, result);
	EXPECT_NE(NULL, strstr(tribuf_explain(), "faster"));
	slay(self->producer);
	/* What it left is whole, and is had. */
	EXPECT_EQ(1, tribuf_snapshot(self->o, &frame, self->copy, LARGE));
}

TEST_HARNESS_MAIN
