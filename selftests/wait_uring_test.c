// SPDX-License-Identifier: GPL-2.0-only
/*
 * Channels on an io_uring of one's own, by tribuf_uring.h; and that no way to end a
 * program with requests under way hangs it or keeps the module in use.
 */
#include <sys/eventfd.h>

#include "wait.h"

#define RING_ENTRIES	16

FIXTURE(uring) {
	struct tribuf *p, *c;
	struct io_uring ring;
};

FIXTURE_SETUP(uring)
{
	REQUIRE_DEVICE();
	ASSERT_EQ(0, open_as(&self->c, test_name(), TRIBUF_CONSUMER, TRIBUF_CREATE, SLOT));
	ASSERT_EQ(0, open_as(&self->p, test_name(), TRIBUF_PRODUCER, 0, 0));
	ASSERT_EQ(0, io_uring_queue_init(RING_ENTRIES, &self->ring, 0));
}

FIXTURE_TEARDOWN(uring)
{
	io_uring_queue_exit(&self->ring);
	tribuf_close(self->c);
	tribuf_close(self->p);
}

/* What the next answer says, and @got: out: the answer. -ETIME: none within @ms. */
static int answer(struct io_uring *ring, unsigned int ms, struct io_uring_cqe *got)
{
	struct __kernel_timespec timeout = { ms / 1000, ms % 1000 * (long long)NS_PER_MS };
	struct io_uring_cqe *cqe = NULL;

	got->res = -ETIME;
	got->flags = 0;
	io_uring_submit(ring);
	io_uring_wait_cqe_timeout(ring, &cqe, &timeout);
	if (cqe) {
		*got = *cqe;
		io_uring_cqe_seen(ring, cqe);
	}
	return got->res;
}

TEST_F(uring, multishot_answers_for_each_frame)
{
	struct tribuf_frame frame;
	struct io_uring_cqe cqe;

	ASSERT_EQ(0, tribuf_uring_wait(io_uring_get_sqe(&self->ring), self->c, TRIBUF_READY));
	for (int i = 1; i <= 20; i++) {
		answer(&self->ring, 5, &cqe);
		ASSERT_EQ(-ETIME, cqe.res);
		lib_publish(self->p);
		answer(&self->ring, LONG, &cqe);
		ASSERT_EQ(TRIBUF_READY, tribuf_uring_woken(self->c, TRIBUF_READY, &cqe));
		ASSERT_EQ(1, tribuf_uring_queued(&cqe));
		ASSERT_EQ(1, tribuf_acquire(self->c, &frame));
		ASSERT_EQ(i, frame.seq);
		ASSERT_EQ(0, tribuf_uring_woken(self->c, TRIBUF_READY, &cqe));
	}
}

TEST_F(uring, multishot_tells_of_peers)
{
	unsigned int events = TRIBUF_PEER_GONE | TRIBUF_PEER_BACK, seen = 0;
	struct io_uring_cqe cqe;

	ASSERT_LE(0, tribuf_wait(self->c, events, 0));
	ASSERT_EQ(0, tribuf_uring_wait(io_uring_get_sqe(&self->ring), self->c, events));
	for (int round = 0; round < 3; round++) {
		tribuf_close(self->p);
		for (seen = 0; !(seen & TRIBUF_PEER_GONE); ) {
			answer(&self->ring, LONG, &cqe);
			ASSERT_LE(0, cqe.res);
			ASSERT_EQ(1, tribuf_uring_queued(&cqe));
			seen |= (unsigned int)tribuf_uring_woken(self->c, events, &cqe);
		}
		ASSERT_EQ(0, open_as(&self->p, test_name(), TRIBUF_PRODUCER, 0, 0));
		for (seen = 0; !(seen & TRIBUF_PEER_BACK); ) {
			answer(&self->ring, LONG, &cqe);
			ASSERT_LE(0, cqe.res);
			seen |= (unsigned int)tribuf_uring_woken(self->c, events, &cqe);
		}
	}
	/* And then there is silence. */
	answer(&self->ring, 50, &cqe);
	EXPECT_EQ(-ETIME, cqe.res);
}

TEST_F(uring, one_shot_answers_once)
{
	struct io_uring_cqe cqe;

	ASSERT_EQ(0, tribuf_uring_wait_once(io_uring_get_sqe(&self->ring), self->c, TRIBUF_READY));
	lib_publish(self->p);
	answer(&self->ring, LONG, &cqe);
	EXPECT_EQ(TRIBUF_READY, tribuf_uring_woken(self->c, TRIBUF_READY, &cqe));
	EXPECT_EQ(0, tribuf_uring_queued(&cqe));
}

TEST_F(uring, read_takes_the_frame)
{
	struct tribuf_acquired acquired;
	struct tribuf_frame frame;
	struct io_uring_cqe cqe;

	for (int i = 1; i <= 20; i++) {
		ASSERT_EQ(0, tribuf_uring_read(io_uring_get_sqe(&self->ring), self->c, &acquired));
		if (i % 2)
			ASSERT_EQ(-ETIME, answer(&self->ring, 5, &cqe));
		lib_publish(self->p);
		answer(&self->ring, LONG, &cqe);
		ASSERT_EQ(1, tribuf_uring_frame(self->c, &acquired, &cqe, &frame));
		ASSERT_EQ(i, frame.seq);
		ASSERT_TRUE(lib_whole(&frame, SLOT));
		ASSERT_EQ(0, tribuf_acquire(self->c, &frame));
	}
	/* The end of the stream. */
	ASSERT_EQ(0, tribuf_uring_read(io_uring_get_sqe(&self->ring), self->c, &acquired));
	ASSERT_EQ(-ETIME, answer(&self->ring, 5, &cqe));
	tribuf_close(self->p);
	self->p = NULL;
	answer(&self->ring, LONG, &cqe);
	EXPECT_EQ(0, tribuf_uring_frame(self->c, &acquired, &cqe, &frame));
}

TEST_F(uring, observers_and_producers_wait_too)
{
	struct tribuf_acquired acquired;
	unsigned char copy[SLOT];
	struct tribuf_frame frame;
	struct io_uring_cqe cqe;
	struct tribuf *o;

	ASSERT_EQ(0, open_as(&o, test_name(), TRIBUF_OBSERVER, 0, 0));
	ASSERT_EQ(0, tribuf_uring_wait(io_uring_get_sqe(&self->ring), o, TRIBUF_READY));
	ASSERT_EQ(-ETIME, answer(&self->ring, 5, &cqe));
	lib_publish(self->p);
	answer(&self->ring, LONG, &cqe);
	ASSERT_EQ(TRIBUF_READY, tribuf_uring_woken(o, TRIBUF_READY, &cqe));
	ASSERT_EQ(1, tribuf_snapshot(o, &frame, copy, sizeof(copy)));
	/* The producer, for an empty mailbox. */
	ASSERT_EQ(0, tribuf_uring_wait_once(io_uring_get_sqe(&self->ring), self->p, TRIBUF_READY));
	ASSERT_EQ(-ETIME, answer(&self->ring, 5, &cqe));
	ASSERT_EQ(1, tribuf_acquire(self->c, &frame));
	answer(&self->ring, LONG, &cqe);
	ASSERT_EQ(TRIBUF_READY, tribuf_uring_woken(self->p, TRIBUF_READY, &cqe));
	/* An observer's read does not take it from the consumer. */
	ASSERT_EQ(0, tribuf_uring_read(io_uring_get_sqe(&self->ring), o, &acquired));
	lib_publish(self->p);
	do {
		answer(&self->ring, LONG, &cqe);
	} while (cqe.flags & IORING_CQE_F_MORE);	/* of the multishot wait */
	ASSERT_EQ(1, tribuf_uring_frame(o, &acquired, &cqe, &frame));
	EXPECT_EQ(2, frame.seq);
	EXPECT_EQ(1, tribuf_acquire(self->c, &frame));
	tribuf_close(o);
}

TEST_F(uring, refuses)
{
	struct tribuf_acquired acquired;
	struct io_uring_cqe cqe;
	struct tribuf *keeper, *shm;
	struct io_uring_sqe sqe;
	int unattached = device(O_RDWR);

	ASSERT_EQ(0, open_as(&keeper, test_name(), TRIBUF_KEEPER, 0, 0));
	ASSERT_EQ(0, open_as(&shm, channel_name("shm:"), TRIBUF_CONSUMER, TRIBUF_CREATE, SLOT));
	EXPECT_EQ(-EACCES, tribuf_uring_wait(&sqe, keeper, TRIBUF_READY));
	EXPECT_EQ(-ENOTSUP, tribuf_uring_wait(&sqe, shm, TRIBUF_READY));
	EXPECT_EQ(-ENOTSUP, tribuf_uring_wait_once(&sqe, shm, TRIBUF_READY));
	EXPECT_EQ(-ENOTSUP, tribuf_uring_read(&sqe, shm, &acquired));
	EXPECT_EQ(-EINVAL, tribuf_uring_wait(&sqe, self->c, 0));
	/* No sleep either: the answer comes at once. */
	io_uring_prep_read(io_uring_get_sqe(&self->ring), unattached, &acquired,
			   sizeof(acquired), 0);
	EXPECT_EQ(-ENOTCONN, answer(&self->ring, LONG, &cqe));
	ASSERT_EQ(0, tribuf_uring_read(io_uring_get_sqe(&self->ring), self->p, &acquired));
	EXPECT_EQ(-EACCES, answer(&self->ring, LONG, &cqe));
	io_uring_prep_read(io_uring_get_sqe(&self->ring), tribuf_fd(self->c), &acquired, 8, 0);
	EXPECT_EQ(-EINVAL, answer(&self->ring, LONG, &cqe));
	/* A request that was cancelled says so. */
	io_uring_prep_poll_add(io_uring_get_sqe(&self->ring), tribuf_fd(self->c), POLLIN);
	ASSERT_EQ(-ETIME, answer(&self->ring, 5, &cqe));
	io_uring_prep_poll_remove(io_uring_get_sqe(&self->ring), 0);
	for (int i = 0; i < 2; i++) {
		answer(&self->ring, LONG, &cqe);
		EXPECT_TRUE(cqe.res == 0 || tribuf_uring_woken(self->c, TRIBUF_READY, &cqe) ==
			    -ECANCELED);
	}
	close(unattached);
	tribuf_close(keeper);
	tribuf_close(shm);
}

/* ---- attaching while requests are answered ---- */

struct noise {
	int event;
	bool stop;
};

/* Each answer is handed to the thread that asked by what looks like a signal to it. */
static void *answer_all_the_time(void *arg)
{
	struct noise *noise = arg;
	uint64_t one = 1;

	pin_to_cpu(1);
	while (!__atomic_load_n(&noise->stop, __ATOMIC_RELAXED)) {
		if (write(noise->event, &one, sizeof(one)) != sizeof(one))
			break;
		sleep_ns(20000);
	}
	return NULL;
}

TEST_F_TIMEOUT(uring, answers_do_not_interrupt_an_attach, 120)
{
	struct noise noise = { .event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK) };
	struct io_uring_sqe *sqe = io_uring_get_sqe(&self->ring);
	unsigned int answered = 0;
	pthread_t thread;
	int fd;

	pin_to_cpu(0);
	io_uring_prep_poll_multishot(sqe, noise.event, POLLIN | EPOLLET);
	ASSERT_EQ(1, io_uring_submit(&self->ring));
	ASSERT_EQ(0, pthread_create(&thread, NULL, answer_all_the_time, &noise));
	for (int i = 0; i < 10; i++) {
		fd = join("selftest.large", TRIBUF_PRODUCER, TRIBUF_CREATE, 4 << 20);
		EXPECT_LE(0, fd);
		close(fd);
		answered += io_uring_cq_ready(&self->ring);
		io_uring_cq_advance(&self->ring, io_uring_cq_ready(&self->ring));
	}
	__atomic_store_n(&noise.stop, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	EXPECT_LT(10, answered);
	close(noise.event);
}

/* ---- the end, with requests under way ---- */

enum end { LEAVE, EXIT, EXECUTE, KILLED, ENDS };

static const char *const end_names[ENDS] = { "ring exit", "exit", "exec", "kill" };

/* A consumer, observers and a paced producer with requests of all kinds queued. */
static void queue_all(struct io_uring *ring, struct tribuf *t[4], struct tribuf_acquired *acquired)
{
	static const uint32_t roles[] = {
		TRIBUF_CONSUMER, TRIBUF_PRODUCER, TRIBUF_OBSERVER, TRIBUF_OBSERVER,
	};
	char name[TRIBUF_NAME_SIZE];

	snprintf(name, sizeof(name), "ends.%d", getpid());
	child_gets(0, io_uring_queue_init(RING_ENTRIES, ring, 0));
	for (int i = 0; i < 4; i++)
		child_gets(0, open_as(&t[i], name, roles[i],
				      i % 2 ? TRIBUF_OWNED : TRIBUF_CREATE, SLOT));
	lib_publish(t[1]);
	child_gets(0, tribuf_uring_wait_once(io_uring_get_sqe(ring), t[1], TRIBUF_READY));
	child_gets(0, tribuf_uring_wait(io_uring_get_sqe(ring), t[0], TRIBUF_READY));
	child_gets(0, tribuf_uring_wait(io_uring_get_sqe(ring), t[2], TRIBUF_READY));
	/* The first takes the frame, the second waits for another. */
	for (int i = 0; i < 2; i++) {
		child_gets(0, tribuf_uring_read(io_uring_get_sqe(ring), t[0], &acquired[i]));
		child_gets(0, tribuf_uring_read(io_uring_get_sqe(ring), t[3], &acquired[i + 2]));
	}
	child_must(io_uring_submit(ring) > 0);
}

static void end_with_requests(enum end end, bool work_on)
{
	struct tribuf_acquired acquired[4];
	struct tribuf *t[4];
	struct io_uring ring;

	queue_all(&ring, t, acquired);
	/* Some are being answered at that very moment. */
	if (work_on)
		lib_publish(t[1]);
	switch (end) {
	case LEAVE:
		io_uring_queue_exit(&ring);
		for (int i = 0; i < 4; i++)
			tribuf_close(t[i]);
		break;
	case EXECUTE:
		execl("/bin/true", "true", NULL);
		_exit(9);
	case KILLED:
		kill(getpid(), SIGKILL);
		break;
	default:
		break;
	}
}

/* Users of the module: what rmmod goes by. */
static long module_users(void)
{
	FILE *f = fopen("/sys/module/tribuf/refcnt", "r");
	long users = -1;

	if (f && fscanf(f, "%ld", &users) != 1)
		users = -1;
	if (f)
		fclose(f);
	return users;
}

static bool has_ended(pid_t pid, int *status)
{
	return waitpid(pid, status, WNOHANG) == pid;
}

FIXTURE(ends) {
	long users;
};

FIXTURE_SETUP(ends)
{
	REQUIRE_DEVICE();
	self->users = module_users();
	ASSERT_LE(0, self->users);
}

FIXTURE_TEARDOWN(ends)
{
}

TEST_F_TIMEOUT(ends, never_hang_or_keep_the_module, 900)
{
	unsigned long rounds = scaled(500);
	uint64_t state = seed();
	int status;

	for (unsigned long i = 0; i < rounds; i++) {
		enum end end = (enum end)(i % ENDS);
		pid_t child = in_child(end_with_requests(end, chance(&state) % 2));

		ASSERT_TRUE(eventually(10 * LONG, has_ended(child, &status)))
			TH_LOG("%s hangs, in round %lu", end_names[end], i);
		ASSERT_EQ(end == KILLED ? SIGKILL : 0, status)
			TH_LOG("%s, in round %lu", end_names[end], i);
	}
	printf("# %lu ends with requests under way\n", rounds);
	fflush(stdout);
	EXPECT_TRUE(eventually(10 * LONG, module_users() == self->users))
		TH_LOG("%ld users of the module instead of %ld", module_users(),
			       self->users);
	EXPECT_TRUE(eventually(LONG, parameter("handles") == 0));
	EXPECT_TRUE(eventually(LONG, parameter("channels") == 0));
	EXPECT_TRUE(eventually(LONG, parameter("pages") == 0));
}

TEST_HARNESS_MAIN
