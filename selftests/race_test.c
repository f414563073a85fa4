// SPDX-License-Identifier: GPL-2.0-only
/*
 * Everything at once: threads that attach, poll, publish, ring, list and close
 * against each other, for the kernels that watch (data races, lock order, memory
 * that was freed). What the calls answer is tested elsewhere; here each answer
 * must be one that the moment allows, and nothing may be left.
 */
#include "common.h"

#include <pthread.h>

#define WORKERS	4

FIXTURE(race) {
	long channels, handles, pages;
};

FIXTURE_SETUP(race)
{
	test_name();	/* one name for all threads */
	self->channels = parameter("channels");
	self->handles = parameter("handles");
	self->pages = parameter("pages");
	ASSERT_LE(0, self->pages);
}

FIXTURE_TEARDOWN(race)
{
	EXPECT_TRUE(eventually(5000, parameter("handles") == self->handles));
	EXPECT_TRUE(eventually(5000, parameter("channels") == self->channels));
	EXPECT_TRUE(eventually(5000, parameter("pages") == self->pages));
}

/* What the threads of a case share. */
struct arena {
	uint64_t end;
	int fd;				/* of the handle of this round */
	unsigned long rounds;		/* work done, all threads together */
	int wrong;			/* the first answer that none may be */
	int line;
};

static bool goes_on(const struct arena *a)
{
	return now() < a->end && !__atomic_load_n(&a->wrong, __ATOMIC_RELAXED);
}

/* Note an answer that is neither >= 0 nor one of the @allowed, a bit per errno. */
static void note(struct arena *a, int line, int answer, const int *allowed, int count)
{
	__atomic_add_fetch(&a->rounds, 1, __ATOMIC_RELAXED);
	if (answer >= 0)
		return;
	for (int i = 0; i < count; i++)
		if (answer == -allowed[i])
			return;
	a->line = line;
	__atomic_store_n(&a->wrong, answer, __ATOMIC_RELAXED);
}

#define MAY(arena, call, ...) do {						\
	static const int __allowed[] = { __VA_ARGS__ };				\
										\
	note(arena, __LINE__, (int)(call), __allowed,				\
	     (int)(sizeof(__allowed) / sizeof(int)));				\
} while (0)

#define RACE(arena, ...) do {							\
	void *(*const __work[])(void *) = { __VA_ARGS__ };			\
	size_t __n = sizeof(__work) / sizeof(__work[0]);			\
	pthread_t __threads[WORKERS];						\
										\
	(arena)->end = now() + scaled(1500) * NS_PER_MS;			\
	for (size_t i = 0; i < __n; i++)					\
		ASSERT_EQ(0, pthread_create(&__threads[i], NULL, __work[i], arena));	\
	for (size_t i = 0; i < __n; i++)					\
		pthread_join(__threads[i], NULL);				\
	EXPECT_EQ(0, (arena)->wrong) TH_LOG("in line %d", (arena)->line);	\
	EXPECT_LT(100, (arena)->rounds);					\
	printf("# %lu calls\n", (arena)->rounds);				\
	fflush(stdout);								\
} while (0)

/* ---- one handle: ATTACH against everything that may come before it ---- */

/* A new handle takes the place of the old one, and is attached while it is used. */
static void *replace_handle(void *arg)
{
	struct arena *a = arg;
	struct tribuf_attach_args args;

	while (goes_on(a)) {
		int fd = device(O_RDWR);

		MAY(a, fd, EMFILE);
		/* Closes the old one, which other threads may be inside of. */
		MAY(a, negative_errno(dup2(fd, a->fd)), EBUSY);
		close(fd);
		args = attach_args(test_name(), TRIBUF_PRODUCER, TRIBUF_CREATE, SLOT);
		MAY(a, attach(a->fd, &args), EISCONN, EBUSY);
	}
	return NULL;
}

static void *attach_too(void *arg)
{
	struct arena *a = arg;
	struct tribuf_attach_args args;

	while (goes_on(a)) {
		args = attach_args(test_name(), TRIBUF_CONSUMER, TRIBUF_CREATE | TRIBUF_LATEST, SLOT);
		MAY(a, attach(a->fd, &args), EISCONN, EBUSY);
		sched_yield();
	}
	return NULL;
}

static void *use_handle(void *arg)
{
	struct arena *a = arg;
	struct tribuf_acquired frame;
	struct tribuf_info_args i;

	while (goes_on(a)) {
		MAY(a, polled(a->fd, POLLIN | POLLOUT | POLLPRI, 0), 0);
		MAY(a, info(a->fd, &i, 0), ENOTCONN, ESTALE);
		MAY(a, kernel_publish(a->fd, 8, NULL), ENOTCONN, EACCES, ESTALE);
		MAY(a, kernel_acquire(a->fd, &frame), ENOTCONN, EACCES, EAGAIN, ESTALE);
		MAY(a, ring(a->fd), ENOTCONN, ESTALE);
		MAY(a, polled(a->fd, POLLPRI, 1), 0);
	}
	return NULL;
}

static void *map_and_show(void *arg)
{
	struct arena *a = arg;
	char path[64], text[512];

	while (goes_on(a)) {
		unsigned char *page = map(a->fd, page_offset(TRIBUF_PAGE_GEOMETRY), page_size(),
					  PROT_READ);
		int fd;

		MAY(a, page ? 0 : -errno, ENOTCONN, ESTALE);
		if (page)
			munmap(page, page_size());
		snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", a->fd);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		MAY(a, negative_errno(read(fd, text, sizeof(text))), EBADF);
		close(fd);
	}
	return NULL;
}

TEST_F_TIMEOUT(race, attach_against_use, 120)
{
	struct arena a = { .fd = device(O_RDWR) };

	ASSERT_LE(0, a.fd);
	RACE(&a, replace_handle, attach_too, use_handle, map_and_show);
	close(a.fd);
}

/* ---- one channel: peers that come and go, each by itself ---- */

static void come_and_go(struct arena *a, uint32_t role, uint32_t flags)
{
	struct tribuf_acquired frame;

	while (goes_on(a)) {
		int fd = join(test_name(), role, flags | TRIBUF_CREATE, SLOT);

		MAY(a, fd, EBUSY, EINTR);
		if (fd < 0)
			continue;
		for (int i = 0; i < 8; i++) {
			if (role == TRIBUF_PRODUCER)
				MAY(a, kernel_publish(fd, 64, NULL), ESTALE, EPROTO);
			else
				MAY(a, kernel_acquire(fd, &frame), EAGAIN, ESTALE, EPROTO);
			MAY(a, polled(fd, POLLIN | POLLOUT, i % 2), 0);
		}
		close(fd);
	}
}

static void *produce(void *arg)
{
	come_and_go(arg, TRIBUF_PRODUCER, TRIBUF_OWNED);
	return NULL;
}

static void *replace(void *arg)
{
	come_and_go(arg, TRIBUF_PRODUCER, TRIBUF_REPLACE);
	return NULL;
}

static void *consume(void *arg)
{
	come_and_go(arg, TRIBUF_CONSUMER, TRIBUF_LATEST);
	return NULL;
}

static void *observe(void *arg)
{
	come_and_go(arg, TRIBUF_OBSERVER, 0);
	return NULL;
}

static void *list_all(void *arg)
{
	struct arena *a = arg;
	struct tribuf_list_entry entry[16];
	int fd = device(O_RDWR);

	while (goes_on(a)) {
		struct tribuf_list_args args = {
			.size = sizeof(args),
			.entries = (uintptr_t)entry,
			.count = 16,
			.entry_size = sizeof(entry[0]),
		};

		MAY(a, tri_ioctl(fd, TRIBUF_IOC_LIST, &args), 0);
	}
	close(fd);
	return NULL;
}

TEST_F_TIMEOUT(race, peers_come_and_go, 120)
{
	struct arena a = {};

	RACE(&a, produce, consume, observe, list_all);
}

TEST_F_TIMEOUT(race, incarnations_come_and_go, 120)
{
	struct arena a = {};

	RACE(&a, produce, replace, consume, list_all);
}

/* ---- geometry that comes while others wait for it ---- */

static void *wait_for_geometry(void *arg)
{
	struct arena *a = arg;
	struct tribuf_info_args i;

	while (goes_on(a)) {
		int fd = join(test_name(), TRIBUF_PRODUCER, TRIBUF_PENDING, 0);

		MAY(a, fd, EBUSY);
		for (int n = 0; fd >= 0 && n < 20; n++) {
			void *slots;

			MAY(a, kernel_publish(fd, 8, NULL), EAGAIN, ESTALE);
			MAY(a, info(fd, &i, 0), ESTALE);
			slots = map(fd, (off_t)(i.slots_offset ?: 1 << 20), page_size(), PROT_READ);
			MAY(a, slots ? 0 : -errno, EAGAIN, EINVAL, ESTALE);
			if (slots) {
				touch(slots, false);
				munmap(slots, page_size());
			}
		}
		if (fd >= 0)
			close(fd);
	}
	return NULL;
}

static void *bring_geometry(void *arg)
{
	struct arena *a = arg;

	while (goes_on(a)) {
		int fd = join(test_name(), TRIBUF_CONSUMER, TRIBUF_CREATE, SLOT);

		MAY(a, fd, EBUSY);
		MAY(a, polled(fd, POLLIN, 1), EBADF);
		if (fd >= 0)
			close(fd);
	}
	return NULL;
}

TEST_F_TIMEOUT(race, geometry_comes, 120)
{
	struct arena a = {};

	RACE(&a, wait_for_geometry, bring_geometry, list_all);
}

/* ---- frames, formats and copies on a channel that stays ---- */

static int taker[2];	/* consumer, observer */

/* Frames whose descriptors say their number twice more, each in another place. */
static int publish_numbered(int fd, uint64_t number)
{
	struct tribuf_publish_args args = {
		.size = sizeof(args),
		.bytes = 64,
		.cookie = number,
		.timestamp = ~number,
	};

	return tri_ioctl(fd, TRIBUF_IOC_PUBLISH, &args);
}

static bool numbered_whole(const struct tribuf_desc *desc)
{
	return desc->cookie == desc->seq && desc->timestamp == ~desc->seq;
}

static void *publish_all(void *arg)
{
	struct arena *a = arg;
	uint64_t number = 0;
	uint8_t format[64] = { 1 };
	struct tribuf_format_args f = {
		.size = sizeof(f),
		.flags = TRIBUF_FORMAT_SET,
		.buf = (uintptr_t)format,
		.bytes = sizeof(format),
	};

	while (goes_on(a)) {
		MAY(a, publish_numbered(a->fd, ++number), 0);
		f.bytes = sizeof(format);
		MAY(a, tri_ioctl(a->fd, TRIBUF_IOC_FORMAT, &f), 0);
		if (a->rounds % 16 == 0)
			MAY(a, polled(a->fd, POLLOUT, 1), 0);
	}
	return NULL;
}

static void take_all(struct arena *a, int fd)
{
	struct tribuf_acquired frame;
	unsigned char data[256];

	while (goes_on(a)) {
		struct tribuf_format_args f = {
			.size = sizeof(f),
			.buf = (uintptr_t)data,
			.bytes = sizeof(data),
		};
		int err = kernel_acquire(fd, &frame);

		MAY(a, err, EAGAIN);
		MAY(a, err || numbered_whole(&frame.desc) ? 0 : -EBADMSG, 0);
		if (!err)
			MAY(a, kernel_copy(fd, frame.slot, frame.desc.generation, 0, data, 64),
			    ESTALE);
		else
			MAY(a, polled(fd, POLLIN, 1), 0);
		MAY(a, tri_ioctl(fd, TRIBUF_IOC_FORMAT, &f), EAGAIN);
	}
}

static void *take_as_consumer(void *arg)
{
	take_all(arg, taker[0]);
	return NULL;
}

static void *take_as_observer(void *arg)
{
	take_all(arg, taker[1]);
	return NULL;
}

TEST_F_TIMEOUT(race, frames_and_formats, 120)
{
	struct arena a = { .fd = join(test_name(), TRIBUF_PRODUCER, TRIBUF_CREATE, SLOT) };

	taker[0] = join(test_name(), TRIBUF_CONSUMER, 0, 0);
	taker[1] = join(test_name(), TRIBUF_OBSERVER, 0, 0);
	ASSERT_LE(0, a.fd);
	ASSERT_LE(0, taker[0]);
	ASSERT_LE(0, taker[1]);
	RACE(&a, publish_all, take_as_consumer, take_as_observer, list_all);
	close(taker[0]);
	close(taker[1]);
	close(a.fd);
}

TEST_HARNESS_MAIN
