// SPDX-License-Identifier: GPL-2.0-only
/*
 * Parties of the comparison: the limits of the machine (exchange, lines1, lines2, memcpy) and
 * what Linux has for two processes. See party.h.
 */
#include "party.h"

#include <fcntl.h>
#include <linux/futex.h>
#include <mqueue.h>
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>

/* ---- what both processes have, made before the fork ---- */

static struct way {
	uint64_t flag __attribute__((aligned(128)));
	uint64_t data __attribute__((aligned(128)));
	uint32_t word __attribute__((aligned(128)));
	pthread_mutex_t mutex __attribute__((aligned(128)));
	uint64_t number, value;		/* under the mutex */
	uint32_t sleepers;
} *ways;

static int streams[2][2];	/* of each way, where it is read and where it is written */
static int events[2];
static int in;			/* index of the way that this process takes from */
static uint64_t seen;		/* the last value that it took, or its number */
static uint64_t frame_bytes;
static unsigned char *frame;	/* of its own, for what is copied */
static mqd_t queues[2][2];

static void make_ways(void)
{
	int memory = memfd_create("bench", MFD_CLOEXEC);
	pthread_mutexattr_t shared;

	party_must(memory >= 0 && !ftruncate(memory, sizeof(*ways) * 2));
	ways = mmap(NULL, sizeof(*ways) * 2, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
	party_must(ways != MAP_FAILED);
	pthread_mutexattr_init(&shared);
	pthread_mutexattr_setpshared(&shared, PTHREAD_PROCESS_SHARED);
	for (int i = 0; i < 2; i++) {
		pthread_mutex_init(&ways[i].mutex, &shared);
		events[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		party_must(events[i] >= 0);
	}
}

static void open_ways(const char *name, bool first, uint64_t bytes)
{
	(void)name;
	in = first;
	frame_bytes = bytes;
	frame = malloc(bytes < 8 ? 8 : bytes);
	party_must(frame);
	memset(frame, 1, bytes);
}

/* Where nothing is to be read yet it says so; what has begun to come is waited for. */
static bool read_frame(int fd, uint64_t *value)
{
	ssize_t got = read(fd, frame, frame_bytes);

	if (got < 0)
		return false;
	for (uint64_t have = (uint64_t)got; have < frame_bytes; ) {
		got = read(fd, frame + have, frame_bytes - have);
		party_must(got > 0 || errno == EAGAIN);
		have += got > 0 ? (uint64_t)got : 0;
	}
	memcpy(value, frame, 8);
	return true;
}

static void write_frame(int fd, uint64_t value)
{
	ssize_t put;

	memcpy(frame, &value, 8);
	for (uint64_t have = 0; have < frame_bytes; have += put > 0 ? (uint64_t)put : 0) {
		put = write(fd, frame + have, frame_bytes - have);
		party_must(put > 0 || errno == EAGAIN);
	}
}

/* By @take, which finds nothing as long as @fd is not readable. */
PARTY_INLINE uint64_t wait_readable(int fd, bool (*take)(uint64_t *value))
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	uint64_t value;

	while (!take(&value))
		poll(&p, 1, -1);
	return value;
}

static void wake(uint32_t *word)
{
	syscall(SYS_futex, word, FUTEX_WAKE, 1, NULL, NULL, 0);
}

static void sleep_on(uint32_t *word, uint32_t value)
{
	syscall(SYS_futex, word, FUTEX_WAIT, value, NULL, NULL, 0);
}

/* ---- lines of a cache ---- */

static void lines1_send(uint64_t value)
{
	static uint64_t count;

	/* Every value is another one, as each changes the line. */
	__atomic_store_n(&ways[!in].flag, value << 8 | (++count & 0xff), __ATOMIC_RELEASE);
}

static bool lines1_take(uint64_t *value)
{
	uint64_t found = __atomic_load_n(&ways[in].flag, __ATOMIC_ACQUIRE);

	if (found == seen)
		return false;
	seen = found;
	*value = found >> 8;
	return true;
}

static void lines2_send(uint64_t value)
{
	static uint64_t count;

	ways[!in].data = value;
	__atomic_store_n(&ways[!in].flag, ++count, __ATOMIC_RELEASE);
}

static bool lines2_take(uint64_t *value)
{
	uint64_t found = __atomic_load_n(&ways[in].flag, __ATOMIC_ACQUIRE);

	if (found == seen)
		return false;
	seen = found;
	*value = *(volatile uint64_t *)&ways[in].data;
	return true;
}

static uint64_t exchange_alone(unsigned int count)
{
	static uint32_t word __attribute__((aligned(128)));
	uint64_t start = party_now();

	for (unsigned int i = 0; i < count; i++) {
		uint32_t old = __atomic_load_n(&word, __ATOMIC_RELAXED);

		__atomic_compare_exchange_n(&word, &old, old + 1, 0, __ATOMIC_ACQ_REL,
					    __ATOMIC_RELAXED);
	}
	return party_now() - start;
}

static uint64_t memcpy_alone(unsigned int count)
{
	static unsigned char *to;
	uint64_t start;

	if (!to) {
		to = malloc(frame_bytes);
		party_must(to);
		memset(to, 2, frame_bytes);
	}
	start = party_now();
	for (unsigned int i = 0; i < count; i++) {
		memcpy(to, frame, frame_bytes);
		__asm__ volatile("" : : "r"(to) : "memory");	/* it is wanted */
	}
	return party_now() - start;
}

/* Nothing but the clock, which each call of another party is looked at by. */
static uint64_t empty_alone(unsigned int count, uint64_t *each)
{
	uint64_t start = party_now(), before = start, after;

	for (unsigned int i = 0; i < count; i++) {
		after = party_now();
		each[i] = after - before;
		before = after;
	}
	return party_now() - start;
}

static uint64_t limits_alone(const char *which, unsigned int count, uint64_t *each)
{
	if (!strcmp(which, "memcpy"))
		return memcpy_alone(count);
	if (!strcmp(which, "empty"))
		return empty_alone(count, each);
	return strcmp(which, "exchange") ? 0 : exchange_alone(count);
}

/* ---- a futex; a mutex beside it ---- */

static void futex_send(uint64_t value)
{
	struct way *w = &ways[!in];

	w->data = value;
	__atomic_add_fetch(&w->word, 1, __ATOMIC_RELEASE);
	wake(&w->word);
}

static uint64_t futex_wait(void)
{
	struct way *w = &ways[in];

	while (__atomic_load_n(&w->word, __ATOMIC_ACQUIRE) == (uint32_t)seen)
		sleep_on(&w->word, (uint32_t)seen);
	seen++;
	return w->data;
}

/* Who sends need not enter the kernel unless the other sleeps, as with ours. */
static void mutex_send(uint64_t value)
{
	struct way *w = &ways[!in];

	pthread_mutex_lock(&w->mutex);
	w->value = value;
	w->number++;
	__atomic_store_n(&w->word, (uint32_t)w->number, __ATOMIC_SEQ_CST);
	pthread_mutex_unlock(&w->mutex);
	if (__atomic_load_n(&w->sleepers, __ATOMIC_SEQ_CST))
		wake(&w->word);
}

static bool mutex_take(uint64_t *value)
{
	struct way *w = &ways[in];
	bool fresh;

	pthread_mutex_lock(&w->mutex);
	fresh = w->number != seen;
	if (fresh) {
		seen = w->number;
		*value = w->value;
	}
	pthread_mutex_unlock(&w->mutex);
	return fresh;
}

static uint64_t mutex_wait(void)
{
	struct way *w = &ways[in];
	uint64_t value;

	while (!mutex_take(&value)) {
		__atomic_store_n(&w->sleepers, 1, __ATOMIC_SEQ_CST);
		sleep_on(&w->word, (uint32_t)seen);
		__atomic_store_n(&w->sleepers, 0, __ATOMIC_SEQ_CST);
	}
	return value;
}

/* ---- by descriptor ---- */

static void eventfd_send(uint64_t value)
{
	party_must(write(events[!in], &value, 8) == 8);
}

static bool eventfd_take(uint64_t *value)
{
	return read(events[in], value, 8) == 8;
}

static uint64_t eventfd_wait(void)
{
	return wait_readable(events[in], eventfd_take);
}

/* Before the fork: pipes or sockets. */
static void make_streams(bool sockets)
{
	for (int i = 0; i < 2; i++)
		party_must(!(sockets ? socketpair(AF_UNIX, SOCK_STREAM, 0, streams[i]) :
				       pipe(streams[i])));
}

static void stream_open(const char *name, bool first, uint64_t bytes)
{
	int fd;

	open_ways(name, first, bytes);
	fd = streams[in][0];
	party_must(!fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK));
}

static void stream_send(uint64_t value)
{
	write_frame(streams[!in][1], value);
}

static bool stream_take(uint64_t *value)
{
	return read_frame(streams[in][0], value);
}

static uint64_t stream_wait(void)
{
	return wait_readable(streams[in][0], stream_take);
}

/* Before the fork, so that the names are gone at once. Who takes does not block. */
static void make_queues(uint64_t bytes)
{
	struct mq_attr attr = { .mq_maxmsg = 10, .mq_msgsize = (long)bytes };
	char name[32];

	snprintf(name, sizeof(name), "/bench-%d", getpid());
	for (int i = 0; i < 2; i++) {
		queues[i][1] = mq_open(name, O_CREAT | O_EXCL | O_WRONLY, 0600, &attr);
		queues[i][0] = mq_open(name, O_RDONLY | O_NONBLOCK);
		party_must(queues[i][0] != (mqd_t)-1 && queues[i][1] != (mqd_t)-1);
		mq_unlink(name);
	}
}

static void queue_send(uint64_t value)
{
	memcpy(frame, &value, 8);
	party_must(!mq_send(queues[!in][1], (char *)frame, frame_bytes, 0));
}

static bool mq_take(uint64_t *value)
{
	if (mq_receive(queues[in][0], (char *)frame, frame_bytes, NULL) < 0)
		return false;
	memcpy(value, frame, 8);
	return true;
}

static uint64_t mq_wait(void)
{
	return wait_readable(queues[in][0], mq_take);
}

#define MEANS(variable, name, open, way, take, wait)	\
static const struct means variable = { name, open, NULL, way##_send, take, wait, NULL }

static const struct means limits = {
	"limits", open_ways, NULL, lines1_send, NULL, NULL, limits_alone,
};
MEANS(lines1, "lines1", open_ways, lines1, lines1_take, NULL);
MEANS(lines2, "lines2", open_ways, lines2, lines2_take, NULL);
MEANS(futex, "futex", open_ways, futex, NULL, futex_wait);
MEANS(mutex, "mutex", open_ways, mutex, mutex_take, mutex_wait);
MEANS(event, "eventfd", open_ways, eventfd, eventfd_take, eventfd_wait);
MEANS(a_pipe, "pipe", stream_open, stream, stream_take, stream_wait);
MEANS(a_socket, "socket", stream_open, stream, stream_take, stream_wait);
MEANS(queue, "mq", open_ways, queue, mq_take, mq_wait);

#define TRY(means) do {							\
	if (!strcmp(argv[1], (means).name))				\
		return party_run(&(means), argv);			\
} while (0)

int main(int argc, char **argv)
{
	party_must(argc == 5);
	make_ways();
	make_streams(!strcmp(argv[1], a_socket.name));
	if (!strcmp(argv[1], queue.name))
		make_queues(strtoull(argv[4], NULL, 10));
	TRY(limits);
	TRY(lines1);
	TRY(lines2);
	TRY(futex);
	TRY(mutex);
	TRY(event);
	TRY(a_pipe);
	TRY(a_socket);
	TRY(queue);
	fprintf(stderr, "no means is called %s\n", argv[1]);
	return 2;
}
