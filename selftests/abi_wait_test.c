// SPDX-License-Identifier: GPL-2.0-only
/*
 * Waiting: poll, epoll (level- and edge-triggered) and read(), who is woken by
 * what, and how few rings that takes. No wake-up may be lost, and nobody may spin.
 */
#include <pthread.h>

#include "common.h"

#define LONG	5000		/* ms; a wake-up that takes longer is lost */

/*
 * Roles are OWNED: they end when the test closes its handle, although children
 * sleep on it too. The children have none of the mappings.
 */
FIXTURE(wait) {
	struct peer p, c, o;
};

FIXTURE_SETUP(wait)
{
	struct tribuf_info_args i;

	ASSERT_EQ(0, peer_open(&self->p, test_name(), TRIBUF_PRODUCER,
			       TRIBUF_OWNED | TRIBUF_CREATE, SLOT));
	ASSERT_EQ(0, peer_open(&self->c, test_name(), TRIBUF_CONSUMER, TRIBUF_OWNED, 0));
	ASSERT_EQ(0, peer_open(&self->o, test_name(), TRIBUF_OBSERVER, 0, 0));
	ASSERT_EQ(0, info(self->p.fd, &i, 0));
	ASSERT_EQ(0, info(self->c.fd, &i, 0));
}

FIXTURE_TEARDOWN(wait)
{
	peer_close(&self->p);
	peer_close(&self->c);
	peer_close(&self->o);
}

/* A child that sleeps in poll() until @events, and ends well if they come. */
static pid_t sleeper(int fd, int events)
{
	return in_child(child_gets(events, polled(fd, events, LONG) & events));
}

/* Has somebody armed @bit, that is, fallen asleep or nearly so? */
static bool armed(const struct peer *p, uint32_t bit)
{
	return eventually(LONG, word_of(p) & bit);
}

static int epoll_on(int fd, uint32_t events)
{
	struct epoll_event event = { .events = events };
	int epoll = epoll_create1(EPOLL_CLOEXEC);

	return epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) ? -errno : epoll;
}

/* The events that come within @ms; 0: none. */
static uint32_t epolled(int epoll, int ms)
{
	struct epoll_event event = {};

	return epoll_wait(epoll, &event, 1, ms) > 0 ? event.events : 0;
}

/* ---- levels ---- */

TEST_F(wait, poll_tells_the_levels)
{
	EXPECT_EQ(0, polled(self->c.fd, POLLIN | POLLOUT | POLLRDHUP, 0));
	EXPECT_EQ(POLLOUT, polled(self->p.fd, POLLIN | POLLOUT | POLLRDHUP, 0));
	EXPECT_EQ(0, polled(self->o.fd, POLLIN | POLLOUT | POLLRDHUP, 0));
	publish_pattern(&self->p);
	EXPECT_EQ(POLLIN, polled(self->c.fd, POLLIN | POLLOUT | POLLRDHUP, 0));
	EXPECT_EQ(0, polled(self->p.fd, POLLIN | POLLOUT | POLLRDHUP, 0));
	EXPECT_EQ(POLLIN, polled(self->o.fd, POLLIN | POLLOUT | POLLRDHUP, 0));
	ASSERT_LE(0, acquire(&self->c));
	EXPECT_EQ(0, polled(self->c.fd, POLLIN, 0));
	EXPECT_EQ(POLLOUT, polled(self->p.fd, POLLOUT, 0));
	/* What the consumer took, the observer has not seen yet. */
	EXPECT_EQ(POLLIN, polled(self->o.fd, POLLIN, 0));
	ASSERT_EQ(0, kernel_acquire(self->o.fd, NULL));
	EXPECT_EQ(0, polled(self->o.fd, POLLIN, 0));
	publish_pattern(&self->p);
	EXPECT_EQ(POLLIN, polled(self->o.fd, POLLIN, 0));
}

TEST_F(wait, nothing_to_tell_before_attach)
{
	int fd = device(O_RDWR);

	EXPECT_EQ(0, polled(fd, POLLIN | POLLOUT | POLLPRI | POLLRDHUP, 20));
	close(fd);
}

TEST_F(wait, time_is_over_if_nothing_comes)
{
	uint64_t began = now();

	EXPECT_EQ(0, polled(self->c.fd, POLLIN, 100));
	EXPECT_LE(99 * NS_PER_MS, now() - began);
}

/* ---- who wakes whom ---- */

TEST_F(wait, publish_wakes_the_consumer)
{
	pid_t child = sleeper(self->c.fd, POLLIN);

	ASSERT_TRUE(armed(&self->p, TRIBUF_ARMED));
	EXPECT_EQ(1, publish_pattern(&self->p));
	EXPECT_EQ(0, ended(child));
}

TEST_F(wait, kernel_publish_wakes_the_consumer)
{
	pid_t child = sleeper(self->c.fd, POLLIN);

	ASSERT_TRUE(armed(&self->p, TRIBUF_ARMED));
	EXPECT_EQ(0, kernel_publish(self->p.fd, 1, NULL));
	EXPECT_EQ(0, ended(child));
}

TEST_F(wait, a_ring_that_was_left_to_another_thread)
{
	struct tribuf_publish_args args = {
		.size = sizeof(args), .flags = TRIBUF_NO_RING, .bytes = 1,
	};
	pid_t child = sleeper(self->c.fd, POLLIN);

	ASSERT_TRUE(armed(&self->p, TRIBUF_ARMED));
	ASSERT_EQ(0, tri_ioctl(self->p.fd, TRIBUF_IOC_PUBLISH, &args));
	EXPECT_EQ(TRIBUF_RING_DUE, args.result);
	sleep_ms(50);
	EXPECT_EQ(0, waitpid(child, NULL, WNOHANG));
	EXPECT_EQ(0, ring(self->p.fd));
	EXPECT_EQ(0, ended(child));
	/* With nobody asleep none is due. */
	ASSERT_EQ(0, kernel_acquire(self->c.fd, NULL));
	kernel_publish(self->p.fd, 1, NULL);
	ASSERT_EQ(0, kernel_acquire(self->c.fd, NULL));
	ASSERT_EQ(0, tri_ioctl(self->p.fd, TRIBUF_IOC_PUBLISH, &args));
	EXPECT_EQ(0, args.result);
}

TEST_F(wait, acquire_wakes_a_paced_producer)
{
	pid_t child;

	for (int round = 0; round < 2; round++) {
		publish_pattern(&self->p);
		child = sleeper(self->p.fd, POLLOUT);
		ASSERT_TRUE(armed(&self->c, TRIBUF_PACED));
		ASSERT_LE(0, round ? acquire(&self->c) : kernel_acquire(self->c.fd, NULL));
		EXPECT_EQ(0, ended(child));
	}
}

TEST_F(wait, publish_wakes_observers_too)
{
	int other = join(test_name(), TRIBUF_OBSERVER, 0, 0);
	pid_t first, second;

	publish_pattern(&self->p);
	ASSERT_EQ(0, kernel_acquire(self->o.fd, NULL));
	ASSERT_EQ(0, kernel_acquire(other, NULL));
	first = sleeper(self->o.fd, POLLIN);
	second = sleeper(other, POLLIN);
	ASSERT_TRUE(armed(&self->p, TRIBUF_WATCHED));
	/* FRESH is set already: the consumer needs no ring, the observers do. */
	sleep_ms(50);
	EXPECT_EQ(2, publish_pattern(&self->p));
	EXPECT_EQ(0, ended(first));
	EXPECT_EQ(0, ended(second));
	close(other);
}

/* A ring is no event: only what there is to see wakes. */
TEST_F(wait, a_ring_for_nothing_wakes_nobody)
{
	pid_t child = sleeper(self->c.fd, POLLIN);

	ASSERT_TRUE(armed(&self->p, TRIBUF_ARMED));
	for (int i = 0; i < 10; i++)
		EXPECT_EQ(0, ring(self->p.fd));
	sleep_ms(50);
	EXPECT_EQ(0, waitpid(child, NULL, WNOHANG));
	EXPECT_EQ(0, peek(self->p.fd).kernel_wakes);
	publish_pattern(&self->p);
	EXPECT_EQ(0, ended(child));
}

static void *poll_in_thread(void *fd)
{
	return (void *)(long)polled(*(int *)fd, POLLIN, LONG);
}

TEST_F(wait, all_threads_of_a_handle_wake)
{
	pthread_t threads[4];
	void *events;

	for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, poll_in_thread, &self->c.fd));
	ASSERT_TRUE(armed(&self->p, TRIBUF_ARMED));
	sleep_ms(50);
	publish_pattern(&self->p);
	for (size_t i = 0; i < ARRAY_SIZE(threads); i++) {
		pthread_join(threads[i], &events);
		EXPECT_EQ(POLLIN, (long)events);
	}
}

/* ---- no wake-up is lost ---- */

enum way { POLL, LEVEL, EDGE, READ };

FIXTURE(flow) {
	const char *name;
	struct peer c;
};

FIXTURE_VARIANT(flow) {
	enum way way;
	bool paced;
};

FIXTURE_VARIANT_ADD(flow, poll) { .way = POLL };
FIXTURE_VARIANT_ADD(flow, poll_paced) { .way = POLL, .paced = true };
FIXTURE_VARIANT_ADD(flow, level) { .way = LEVEL };
FIXTURE_VARIANT_ADD(flow, level_paced) { .way = LEVEL, .paced = true };
FIXTURE_VARIANT_ADD(flow, edge) { .way = EDGE };
FIXTURE_VARIANT_ADD(flow, edge_paced) { .way = EDGE, .paced = true };
FIXTURE_VARIANT_ADD(flow, read) { .way = READ };
FIXTURE_VARIANT_ADD(flow, read_paced) { .way = READ, .paced = true };

FIXTURE_SETUP(flow)
{
	self->name = test_name();
	ASSERT_EQ(0, peer_open(&self->c, self->name, TRIBUF_CONSUMER, TRIBUF_CREATE, SLOT));
}

FIXTURE_TEARDOWN(flow)
{
	peer_close(&self->c);
}

/* Wait until @events; false: nothing came for a long time. */
static bool wait_for(int fd, int epoll, enum way way, short events)
{
	if (way == POLL || way == READ)
		return polled(fd, events, LONG) & events;
	return epolled(epoll, LONG) & (uint32_t)events;
}

/* In a child: publish @count frames, paced, or now fast and now slowly. */
static void produce(const char *name, enum way way, bool paced, unsigned long count)
{
	uint64_t state = count | 1;
	struct peer p;
	int epoll;

	child_gets(0, peer_open(&p, name, TRIBUF_PRODUCER, TRIBUF_OWNED, 0));
	epoll = epoll_on(p.fd, EPOLLOUT | (way == EDGE ? EPOLLET : 0));
	for (unsigned long i = 1; i <= count; i++) {
		while (paced && word_of(&p) & TRIBUF_FRESH)
			child_must(wait_for(p.fd, epoll, way, POLLOUT));
		if (!paced && chance(&state) % 4 == 0)
			sleep_ns(chance(&state) % 100000);
		child_must(publish_pattern(&p) == (int64_t)i);
	}
}

TEST_F_TIMEOUT(flow, every_last_frame_arrives, 120)
{
	unsigned long count = scaled(1000), rings;
	uint64_t taken = 0, last = 0;
	int epoll = epoll_on(self->c.fd, EPOLLIN | (variant->way == EDGE ? EPOLLET : 0));
	struct tribuf_acquired frame;
	int slot;
	pid_t producer;

	producer = in_child(produce(self->name, variant->way, variant->paced, count));
	/* The producer waits for nobody, or for us: the last frame always comes. */
	while (last < count) {
		if (variant->way == READ) {
			ASSERT_EQ(sizeof(frame), read(self->c.fd, &frame, sizeof(frame)));
			slot = (int)frame.slot;
		} else {
			ASSERT_TRUE(wait_for(self->c.fd, epoll, variant->way, POLLIN))
				TH_LOG("lost after frame %llu", (unsigned long long)last);
			slot = acquire(&self->c);
			if (slot == -EAGAIN)	/* an edge from before the last look */
				continue;
		}
		ASSERT_LE(0, slot);
		ASSERT_TRUE(frame_holds(&self->c, slot));
		ASSERT_LT(last, desc_of(&self->c, (uint32_t)slot)->seq);
		last = desc_of(&self->c, (uint32_t)slot)->seq;
		taken++;
	}
	EXPECT_EQ(0, ended(producer));
	if (variant->paced)
		EXPECT_EQ(count, taken);
	/* At most two per sleep and side; a registration that stays: one per frame. */
	rings = peek(self->c.fd).kernel_rings;
	EXPECT_GE(4 * count + 10, rings);
	close(epoll);
}

/* ---- read() ---- */

TEST_F(wait, read_sleeps_until_a_frame_comes)
{
	pid_t child = in_child({
		struct tribuf_acquired frame;

		child_gets(sizeof(frame), read(self->c.fd, &frame, sizeof(frame)));
		child_gets(1, (long)frame.desc.seq);
	});

	ASSERT_TRUE(armed(&self->p, TRIBUF_ARMED));
	publish_pattern(&self->p);
	EXPECT_EQ(0, ended(child));
}

TEST_F(wait, read_of_an_observer_sleeps_too)
{
	int told[2];
	pid_t child;

	ASSERT_EQ(0, pipe(told));
	child = in_child({
		struct tribuf_acquired frame;

		child_gets(sizeof(frame), read(self->o.fd, &frame, sizeof(frame)));
		child_gets(1, (long)frame.desc.seq);
		child_must(write(told[1], "x", 1) == 1);
		child_gets(sizeof(frame), read(self->o.fd, &frame, sizeof(frame)));
		child_gets(2, (long)frame.desc.seq);
	});
	ASSERT_TRUE(armed(&self->p, TRIBUF_WATCHED));
	publish_pattern(&self->p);
	ASSERT_EQ(1, read(told[0], &(char){ 0 }, 1));
	sleep_ms(20);
	publish_pattern(&self->p);
	EXPECT_EQ(0, ended(child));
}

/* It is told so once, and then there is nothing to read: nobody is kept awake by it. */
TEST_F(wait, read_of_an_observer_drops_a_frame_that_is_too_long)
{
	struct tribuf_acquired frame;
	struct tribuf_desc *newest;

	ASSERT_EQ(0, fcntl(self->o.fd, F_SETFL, O_NONBLOCK));
	publish_pattern(&self->p);
	newest = &self->p.frames->desc[tribuf_word_newest(word_of(&self->p))];
	newest->bytes = SLOT + 1;
	EXPECT_EQ(POLLIN, polled(self->o.fd, POLLIN, 0));
	EXPECT_EQ(-1, read(self->o.fd, &frame, sizeof(frame)));
	EXPECT_EQ(EPROTO, errno);
	EXPECT_EQ(0, polled(self->o.fd, POLLIN, 0));
	EXPECT_EQ(-1, read(self->o.fd, &frame, sizeof(frame)));
	EXPECT_EQ(EAGAIN, errno);
	publish_pattern(&self->p);
	EXPECT_EQ(sizeof(frame), read(self->o.fd, &frame, sizeof(frame)));
}

TEST_F(wait, read_ends_when_the_producer_has_left)
{
	struct tribuf_acquired frame;
	pid_t child;

	publish_pattern(&self->p);
	peer_close(&self->p);
	EXPECT_EQ(sizeof(frame), read(self->c.fd, &frame, sizeof(frame)));
	EXPECT_EQ(0, read(self->c.fd, &frame, sizeof(frame)));
	ASSERT_EQ(0, fcntl(self->c.fd, F_SETFL, O_NONBLOCK));
	EXPECT_EQ(0, read(self->c.fd, &frame, sizeof(frame)));
	ASSERT_EQ(0, fcntl(self->c.fd, F_SETFL, 0));
	/* With a new one it waits again. */
	ASSERT_EQ(0, peer_open(&self->p, test_name(), TRIBUF_PRODUCER, TRIBUF_OWNED, 0));
	child = in_child(child_gets(sizeof(frame), read(self->c.fd, &frame, sizeof(frame))));
	ASSERT_TRUE(armed(&self->p, TRIBUF_ARMED));
	publish_pattern(&self->p);
	EXPECT_EQ(0, ended(child));
	/* And is woken by its end. */
	child = in_child(child_gets(0, read(self->c.fd, &frame, sizeof(frame))));
	ASSERT_TRUE(armed(&self->p, TRIBUF_ARMED));
	sleep_ms(20);
	peer_close(&self->p);
	EXPECT_EQ(0, ended(child));
}

TEST_F(wait, read_waits_for_the_first_producer)
{
	const char *name = "selftest.first";
	int consumer = join(name, TRIBUF_CONSUMER, TRIBUF_CREATE, SLOT);
	struct tribuf_acquired frame;
	struct peer p;
	pid_t child;

	ASSERT_LE(0, consumer);
	child = in_child(child_gets(sizeof(frame), read(consumer, &frame, sizeof(frame))));
	sleep_ms(50);
	ASSERT_EQ(0, peer_open(&p, name, TRIBUF_PRODUCER, 0, 0));
	publish_pattern(&p);
	EXPECT_EQ(0, ended(child));
	peer_close(&p);
	close(consumer);
}

static volatile sig_atomic_t signals;

static void count_signal(int sig)
{
	signals++;
	(void)sig;
}

static pid_t read_under_signals(int fd, int flags, int expected)
{
	return in_child({
		struct sigaction action = { .sa_handler = count_signal, .sa_flags = flags };
		struct tribuf_acquired frame;

		sigaction(SIGUSR1, &action, NULL);
		child_gets(expected, negative_errno(read(fd, &frame, sizeof(frame))));
		child_must(signals);
	});
}

TEST_F(wait, read_is_interrupted_by_a_signal)
{
	pid_t child = read_under_signals(self->c.fd, 0, -EINTR);

	ASSERT_TRUE(armed(&self->p, TRIBUF_ARMED));
	sleep_ms(20);
	kill(child, SIGUSR1);
	EXPECT_EQ(0, ended(child));
	EXPECT_EQ(1, publish_pattern(&self->p));
	EXPECT_LE(0, acquire(&self->c));
}

/* One that its producer says is being written, for ever. */
TEST_F(wait, read_of_an_observer_does_not_spin_on_what_it_cannot_have)
{
	pid_t child;

	publish_pattern(&self->p);
	self->p.frames->desc[tribuf_word_newest(word_of(&self->p))].generation |= 1;
	child = in_child({
		struct sigaction action = { .sa_handler = count_signal };
		struct tribuf_acquired frame;

		sigaction(SIGUSR1, &action, NULL);
		child_gets(-EINTR, negative_errno(read(self->o.fd, &frame, sizeof(frame))));
		child_must(cpu_time() < 350 * NS_PER_MS);
	});
	sleep_ms(500);
	kill(child, SIGUSR1);
	EXPECT_EQ(0, ended(child));
}

TEST_F(wait, read_goes_on_after_a_signal_with_sa_restart)
{
	pid_t child = read_under_signals(self->c.fd, SA_RESTART, sizeof(struct tribuf_acquired));

	ASSERT_TRUE(armed(&self->p, TRIBUF_ARMED));
	for (int i = 0; i < 3; i++) {
		sleep_ms(20);
		kill(child, SIGUSR1);
	}
	sleep_ms(20);
	EXPECT_EQ(0, waitpid(child, NULL, WNOHANG));
	publish_pattern(&self->p);
	EXPECT_EQ(0, ended(child));
}

TEST_F(wait, poll_is_interrupted_by_a_signal)
{
	pid_t child = in_child({
		struct sigaction action = { .sa_handler = count_signal, .sa_flags = SA_RESTART };

		sigaction(SIGUSR1, &action, NULL);
		child_gets(-EINTR, polled(self->c.fd, POLLIN, LONG));
	});

	ASSERT_TRUE(armed(&self->p, TRIBUF_ARMED));
	sleep_ms(20);
	kill(child, SIGUSR1);
	EXPECT_EQ(0, ended(child));
}

/* ---- epoll ---- */

FIXTURE(epoll) {
	struct peer p;
	int c;
	int epoll;
	uint32_t mode;
};

FIXTURE_VARIANT(epoll) {
	uint32_t mode;
};

FIXTURE_VARIANT_ADD(epoll, level) { .mode = 0 };
FIXTURE_VARIANT_ADD(epoll, edge) { .mode = EPOLLET };

FIXTURE_SETUP(epoll)
{
	ASSERT_EQ(0, peer_open(&self->p, test_name(), TRIBUF_PRODUCER,
			       TRIBUF_OWNED | TRIBUF_CREATE, SLOT));
	self->c = device(O_RDWR);
	self->epoll = epoll_on(self->c, EPOLLIN | EPOLLRDHUP | variant->mode);
	ASSERT_LE(0, self->epoll);
	EXPECT_EQ(0, epolled(self->epoll, 0));
}

FIXTURE_TEARDOWN(epoll)
{
	peer_close(&self->p);
	close(self->c);
	close(self->epoll);
}

/* Registered before ATTACH, it works all the same. */
TEST_F(epoll, before_attach)
{
	struct tribuf_attach_args args = attach_args(test_name(), TRIBUF_CONSUMER, 0, 0);

	ASSERT_EQ(0, attach(self->c, &args));
	for (int i = 0; i < 10; i++) {
		EXPECT_EQ(0, epolled(self->epoll, 0));
		publish_pattern(&self->p);
		EXPECT_EQ(EPOLLIN, epolled(self->epoll, LONG));
		ASSERT_EQ(0, kernel_acquire(self->c, NULL));
	}
}

TEST_F(epoll, attach_brings_what_was_there)
{
	struct tribuf_attach_args args = attach_args(test_name(), TRIBUF_CONSUMER, 0, 0);
	pid_t waiter;

	publish_pattern(&self->p);
	waiter = in_child(child_gets(EPOLLIN, epolled(self->epoll, LONG)));
	sleep_ms(50);
	ASSERT_EQ(0, attach(self->c, &args));
	EXPECT_EQ(0, ended(waiter));
}

TEST_F(epoll, modified_registration_gets_its_event)
{
	struct tribuf_attach_args args = attach_args(test_name(), TRIBUF_CONSUMER, 0, 0);
	struct epoll_event event = { .events = EPOLLRDHUP | variant->mode };

	ASSERT_EQ(0, attach(self->c, &args));
	ASSERT_EQ(0, epoll_ctl(self->epoll, EPOLL_CTL_MOD, self->c, &event));
	publish_pattern(&self->p);
	EXPECT_EQ(0, epolled(self->epoll, 20));
	event.events |= EPOLLIN;
	ASSERT_EQ(0, epoll_ctl(self->epoll, EPOLL_CTL_MOD, self->c, &event));
	EXPECT_EQ(EPOLLIN, epolled(self->epoll, LONG));
	ASSERT_EQ(0, kernel_acquire(self->c, NULL));
	/* And so does the next frame, armed for by nobody since. */
	publish_pattern(&self->p);
	EXPECT_EQ(EPOLLIN, epolled(self->epoll, LONG));
}

/* Waits are over when the producer dies, and while it is away nobody spins. */
TEST_F(epoll, no_spin_while_the_peer_is_away)
{
	struct tribuf_attach_args args = attach_args(test_name(), TRIBUF_CONSUMER, 0, 0);
	struct epoll_event event = { .events = EPOLLIN | EPOLLPRI | EPOLLRDHUP | EPOLLET };
	uint64_t away = scaled(2) * NS_PER_S, end, cpu;
	struct tribuf_info_args i;
	uint32_t seen = 0, got;
	int wakes = 0;

	ASSERT_EQ(0, attach(self->c, &args));
	ASSERT_EQ(0, info(self->c, &i, 0));
	peer_close(&self->p);
	/* As the library would: edges for the peer, a look at INFO for each. */
	if (!variant->mode)
		event.events = EPOLLIN | EPOLLPRI;
	ASSERT_EQ(0, epoll_ctl(self->epoll, EPOLL_CTL_MOD, self->c, &event));
	end = now() + away;
	cpu = cpu_time();
	while (now() < end) {
		got = epolled(self->epoll, (int)((end - now()) / NS_PER_MS) + 1);
		seen |= got;
		wakes += got != 0;
		if (got & EPOLLPRI)
			ASSERT_EQ(0, info(self->c, &i, 0));
	}
	EXPECT_GE(3, wakes);
	EXPECT_GT(away / 10, cpu_time() - cpu);
	EXPECT_EQ(variant->mode ? EPOLLRDHUP : 0, seen & EPOLLRDHUP);
	EXPECT_FALSE(peek(self->c).state & TRIBUF_STATE_PRODUCER);
	/* Its return is an event. */
	ASSERT_EQ(0, peer_open(&self->p, test_name(), TRIBUF_PRODUCER, TRIBUF_OWNED, 0));
	EXPECT_TRUE(epolled(self->epoll, LONG) & EPOLLPRI);
	ASSERT_EQ(0, info(self->c, &i, 0));
	EXPECT_EQ(2, i.producer_epoch);
	publish_pattern(&self->p);
	EXPECT_TRUE(epolled(self->epoll, LONG) & EPOLLIN);
}

/* ---- the ring rule: how often who must ring ---- */

/* Publish one frame inline: was a ring due? It is made. */
static int rings_for_publish(struct peer *p)
{
	int slot = begin(p), due = publish_quiet(p, slot, 1);

	if (due > 0)
		ring(p->fd);
	return due;
}

TEST_F(wait, nobody_asleep_nobody_rings)
{
	for (int i = 0; i < 1000; i++) {
		ASSERT_EQ(0, rings_for_publish(&self->p));
		if (i % 3 == 0)
			ASSERT_LE(0, acquire(&self->c));
	}
	EXPECT_EQ(0, peek(self->p.fd).kernel_rings);
	EXPECT_EQ(0, peek(self->p.fd).kernel_sleeps);
}

TEST_F(wait, a_look_arms_nothing)
{
	uint32_t word;
	int epoll;

	publish_pattern(&self->p);
	ASSERT_LE(0, acquire(&self->c));
	ASSERT_EQ(0, kernel_acquire(self->o.fd, NULL));
	word = word_of(&self->p);
	polled(self->c.fd, POLLIN, 0);
	polled(self->p.fd, POLLOUT, 0);
	polled(self->o.fd, POLLIN, 0);
	EXPECT_EQ(word, word_of(&self->p));
	/* Nor does a look at a set that watches it, beyond its registration. */
	epoll = epoll_on(self->c.fd, EPOLLIN);
	EXPECT_EQ(0, epolled(epoll, 0));
	close(epoll);
	EXPECT_GE(1, peek(self->p.fd).kernel_sleeps);
}

/* A one-shot wait costs two rings at most: the second finds nobody, and disarms. */
TEST_F(wait, one_sleep_two_rings)
{
	int due = 0;

	EXPECT_EQ(0, polled(self->c.fd, POLLIN, 1));
	EXPECT_TRUE(word_of(&self->p) & TRIBUF_ARMED);
	for (int i = 0; i < 100; i++) {
		due += rings_for_publish(&self->p);
		ASSERT_LE(0, acquire(&self->c));
	}
	EXPECT_EQ(1, due);
	EXPECT_FALSE(word_of(&self->p) & TRIBUF_ARMED);
	EXPECT_EQ(0, peek(self->p.fd).kernel_wakes);
}

TEST_F(wait, a_sleep_that_was_woken_costs_two_rings_at_most)
{
	pid_t child = sleeper(self->c.fd, POLLIN);
	int due = 0;

	ASSERT_TRUE(armed(&self->p, TRIBUF_ARMED));
	for (int i = 0; i < 100; i++) {
		due += rings_for_publish(&self->p);
		if (!i)
			EXPECT_EQ(0, ended(child));
		ASSERT_LE(0, acquire(&self->c));
	}
	EXPECT_EQ(2, due);
	EXPECT_EQ(1, peek(self->p.fd).kernel_wakes);
}

/* A registration stays: one ring per frame that is really taken. */
TEST_F(wait, a_registration_costs_one_ring_per_frame_taken)
{
	int epoll = epoll_on(self->c.fd, EPOLLIN | EPOLLET), due = 0;

	for (int i = 0; i < 100; i++) {
		due += rings_for_publish(&self->p);
		due += rings_for_publish(&self->p);
		due += rings_for_publish(&self->p);
		ASSERT_LE(0, acquire(&self->c));
	}
	EXPECT_EQ(100, due);
	EXPECT_TRUE(word_of(&self->p) & TRIBUF_ARMED);
	close(epoll);
	/* It ends with the registration. */
	due = 0;
	for (int i = 0; i < 10; i++) {
		due += rings_for_publish(&self->p);
		ASSERT_LE(0, acquire(&self->c));
	}
	EXPECT_EQ(1, due);
}

TEST_F(wait, a_slow_consumer_costs_one_ring)
{
	int epoll = epoll_on(self->c.fd, EPOLLIN), due = 0;

	for (int i = 0; i < 100; i++)
		due += rings_for_publish(&self->p);
	EXPECT_EQ(1, due);
	close(epoll);
}

TEST_F(wait, an_observer_costs_a_ring_per_publish_while_it_sleeps)
{
	int epoll, due = 0;

	publish_pattern(&self->p);
	ASSERT_EQ(0, kernel_acquire(self->o.fd, NULL));
	epoll = epoll_on(self->o.fd, EPOLLIN | EPOLLET);
	for (int i = 0; i < 10; i++)
		due += rings_for_publish(&self->p);
	EXPECT_EQ(10, due);
	close(epoll);
	due = 0;
	for (int i = 0; i < 10; i++)
		due += rings_for_publish(&self->p);
	EXPECT_EQ(1, due);
	EXPECT_FALSE(word_of(&self->p) & TRIBUF_WATCHED);
}

TEST_F(wait, a_paced_producer_costs_two_rings_at_most)
{
	publish_pattern(&self->p);
	EXPECT_EQ(0, polled(self->p.fd, POLLOUT, 1));
	EXPECT_TRUE(word_of(&self->p) & TRIBUF_PACED);
	ASSERT_LE(0, acquire(&self->c));
	EXPECT_FALSE(word_of(&self->p) & TRIBUF_PACED);
	EXPECT_EQ(1, peek(self->p.fd).kernel_rings);
	publish_pattern(&self->p);
	ASSERT_LE(0, acquire(&self->c));
	EXPECT_EQ(1, peek(self->p.fd).kernel_rings);
}

/* The word keeps the bits of others: a swap disturbs nobody's sleep. */
TEST_F(wait, swaps_keep_the_arm_bits)
{
	pid_t consumer = sleeper(self->c.fd, POLLIN), observer = sleeper(self->o.fd, POLLIN);
	uint32_t both = TRIBUF_ARMED | TRIBUF_WATCHED;

	ASSERT_TRUE(eventually(LONG, (word_of(&self->p) & both) == both));
	sleep_ms(20);
	EXPECT_LE(0, publish_quiet(&self->p, begin(&self->p), 1));
	EXPECT_EQ(both, word_of(&self->p) & both);
	EXPECT_EQ(0, ring(self->p.fd));
	EXPECT_EQ(0, ended(consumer));
	EXPECT_EQ(0, ended(observer));
}

/* ---- deaths ---- */

TEST_F(wait, the_producers_death_wakes_everyone)
{
	const char *name = test_name();
	int gate[2];
	pid_t producer, consumer, observer;

	peer_close(&self->p);
	ASSERT_EQ(0, pipe(gate));
	producer = in_child({
		struct peer p;

		child_gets(0, peer_open(&p, name, TRIBUF_PRODUCER, TRIBUF_OWNED, 0));
		child_must(write(gate[1], "x", 1) == 1);
		pause();
	});
	ASSERT_EQ(1, read(gate[0], &(char){ 0 }, 1));
	consumer = sleeper(self->c.fd, POLLRDHUP);
	observer = sleeper(self->o.fd, POLLRDHUP);
	ASSERT_TRUE(armed(&self->c, TRIBUF_ARMED) && armed(&self->c, TRIBUF_WATCHED));
	sleep_ms(20);
	slay(producer);
	EXPECT_EQ(0, ended(consumer));
	EXPECT_EQ(0, ended(observer));
}

/* A producer that dies between its swap and its ring: the kernel rings for it. */
TEST_F(wait, death_before_the_ring)
{
	const char *name = test_name();
	pid_t consumer, producer;

	peer_close(&self->p);
	consumer = in_child({
		struct tribuf_acquired frame;

		child_gets(POLLIN, polled(self->c.fd, POLLIN, LONG) & POLLIN);
		child_gets(0, kernel_acquire(self->c.fd, &frame));
	});
	ASSERT_TRUE(armed(&self->c, TRIBUF_ARMED));
	sleep_ms(20);
	producer = in_child({
		struct peer p;

		child_gets(0, peer_open(&p, name, TRIBUF_PRODUCER, TRIBUF_OWNED, 0));
		sleep_ms(20);	/* coming wakes everyone: may they sleep again */
		child_gets(1, publish_quiet(&p, begin(&p), 1));
		raise(SIGKILL);
	});
	EXPECT_EQ(128 + SIGKILL, ended(producer));
	EXPECT_EQ(0, ended(consumer));
}

/* The same for a consumer that made room and died before it told. */
TEST_F(wait, death_of_a_consumer_before_the_ring)
{
	const char *name = test_name();
	pid_t producer, consumer;
	uint32_t word;

	peer_close(&self->c);
	publish_pattern(&self->p);
	producer = sleeper(self->p.fd, POLLOUT);
	ASSERT_TRUE(armed(&self->p, TRIBUF_PACED));
	sleep_ms(20);
	consumer = in_child({
		struct peer c;

		child_gets(0, peer_open(&c, name, TRIBUF_CONSUMER, TRIBUF_OWNED, 0));
		sleep_ms(20);
		word = word_of(&c);
		child_must(__atomic_compare_exchange_n(&c.state->word, &word,
						       tribuf_word_acquire(word), false,
						       __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE));
		raise(SIGKILL);
	});
	EXPECT_EQ(128 + SIGKILL, ended(consumer));
	EXPECT_EQ(0, ended(producer));
}

TEST_F(wait, a_paced_producer_learns_of_its_consumers_death)
{
	pid_t producer;

	publish_pattern(&self->p);
	producer = sleeper(self->p.fd, POLLRDHUP);
	ASSERT_TRUE(armed(&self->p, TRIBUF_PACED));
	sleep_ms(20);
	peer_close(&self->c);
	EXPECT_EQ(0, ended(producer));
}

TEST_F(wait, hang_up_is_for_those_who_had_a_peer)
{
	int lonely = join("selftest.lonely", TRIBUF_CONSUMER, TRIBUF_CREATE, SLOT);
	int producer;

	EXPECT_EQ(0, polled(lonely, POLLRDHUP, 0));
	producer = join("selftest.lonely", TRIBUF_PRODUCER, 0, 0);
	EXPECT_EQ(0, polled(lonely, POLLRDHUP, 0));
	close(producer);
	EXPECT_EQ(POLLRDHUP, polled(lonely, POLLRDHUP, 0));
	producer = join("selftest.lonely", TRIBUF_PRODUCER, 0, 0);
	EXPECT_EQ(0, polled(lonely, POLLRDHUP, 0));
	close(producer);
	close(lonely);
}

TEST_F(wait, replace_wakes_the_old_channels_handles)
{
	pid_t consumer = sleeper(self->c.fd, POLLERR);
	pid_t reader = in_child({
		struct tribuf_acquired frame;

		child_gets(-ESTALE, negative_errno(read(self->o.fd, &frame, sizeof(frame))));
	});

	ASSERT_TRUE(armed(&self->p, TRIBUF_ARMED) && armed(&self->p, TRIBUF_WATCHED));
	sleep_ms(20);
	ASSERT_LE(0, join(test_name(), TRIBUF_PRODUCER, TRIBUF_CREATE | TRIBUF_REPLACE, SLOT));
	EXPECT_EQ(0, ended(consumer));
	EXPECT_EQ(0, ended(reader));
}

/* A sleeper whose own role ends is told, and does not sleep for ever. */
TEST_F(wait, own_role_ended)
{
	int fd = device(O_RDWR), gate[2];
	pid_t owner, waiter, reader;

	peer_close(&self->c);
	ASSERT_EQ(0, pipe(gate));
	owner = in_child({
		struct tribuf_attach_args args = attach_args(test_name(), TRIBUF_CONSUMER,
							     TRIBUF_OWNED, 0);

		child_gets(0, attach(fd, &args));
		child_must(write(gate[1], "x", 1) == 1);
		pause();
	});
	ASSERT_EQ(1, read(gate[0], &(char){ 0 }, 1));
	waiter = sleeper(fd, POLLERR);
	reader = in_child({
		struct tribuf_acquired frame;

		child_gets(-ESTALE, negative_errno(read(fd, &frame, sizeof(frame))));
	});
	ASSERT_TRUE(armed(&self->p, TRIBUF_ARMED));
	sleep_ms(50);
	slay(owner);
	EXPECT_EQ(0, ended(waiter));
	EXPECT_EQ(0, ended(reader));
	close(fd);
}

TEST_HARNESS_MAIN
