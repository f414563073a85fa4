// SPDX-License-Identifier: GPL-2.0-only
/*
 * Everything at once: threads that attach, poll, publish, ring, list and close
 * against each other, for the kernels that watch (data races, lock order, memory
 * that was freed). What the calls answer is tested elsewhere; here each answer
 * must be one that the moment allows, and nothing may be left.
 */
#include "guard.h"

#include <pthread.h>
#include <sys/resource.h>
#include <sys/uio.h>

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

/* For its time, and up to 20 s longer where that was too short for much to happen. */
static bool goes_on(const struct arena *a)
{
	uint64_t time = now(), end = a->end;

	if (__atomic_load_n(&a->rounds, __ATOMIC_RELAXED) < scaled(2000))
		end += 20 * NS_PER_S;
	return time < end && !__atomic_load_n(&a->wrong, __ATOMIC_RELAXED);
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
	EXPECT_LT(scaled(100) / 4, (arena)->rounds);				\
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

/* ---- swaps of a guarded channel against all that is done to its mappings ---- */

#define BIG	(2u << 20)	/* rooms are aligned to it: so the kernel may use 2 MiB entries */

static struct peer guarded[2];	/* producer, consumer */

/*
 * Two rooms in memory that nobody else gets, for the producer's second mapping,
 * which moves to and fro: who touches where it is not gets SIGSEGV.
 */
static unsigned char *room[2];

static void empty_room(int which)
{
	mmap(room[which], guarded[0].slots_bytes, PROT_NONE,
	     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
}

static int fill_room(int which)
{
	return mmap(room[which], guarded[0].slots_bytes, PROT_READ | PROT_WRITE,
		    MAP_SHARED | MAP_FIXED, guarded[0].fd,
		    (off_t)guarded[0].at.slots_offset) == MAP_FAILED ? -errno : 0;
}

static bool make_rooms(void)
{
	size_t each = (guarded[0].slots_bytes + BIG - 1) & ~((size_t)BIG - 1);
	unsigned char *all = mmap(NULL, 2 * each + BIG, PROT_NONE,
				  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (all == MAP_FAILED)
		return false;
	room[0] = (unsigned char *)(((uintptr_t)all + BIG - 1) & ~((uintptr_t)BIG - 1));
	room[1] = room[0] + each;
	return !fill_room(0);
}

static void *swap_for_ever(void *arg)
{
	struct arena *a = arg;

	while (goes_on(a)) {
		MAY(a, kernel_publish(guarded[0].fd, 8, NULL), 0);
		MAY(a, kernel_acquire(guarded[1].fd, NULL), 0);
	}
	return NULL;
}

static void *touch_for_ever(void *arg)
{
	struct arena *a = arg;
	uint64_t random = now() | 1;

	while (goes_on(a)) {
		size_t at = chance(&random) % guarded[0].slots_bytes;
		unsigned char byte;

		reach(guarded[1].slots + at, &byte);
		reach_write(guarded[0].slots + at, 1);
		reach(room[random % 2] + at, &byte);
		reach_write(room[random / 2 % 2] + at, 2);
	}
	return NULL;
}

/* A child with a mapping of its own, which may end by dumping core. */
static void child_dies(bool dumps)
{
	pid_t child = in_child({
		struct rlimit limit = { 1 << 20, 1 << 20 };
		unsigned char byte;

		fill_room(0);
		reach(room[0], &byte);
		if (dumps && !chdir("/tmp") && !setrlimit(RLIMIT_CORE, &limit))
			abort();
	});

	ended(child);
	unlink("/tmp/core");
}

static int look_into(uint64_t random)
{
	unsigned char *at = guarded[random % 2].slots + random % guarded[0].slots_bytes;
	struct iovec here, there = { at, 1 };
	char bytes[4096];
	int fd;

	here = (struct iovec){ bytes, 1 };
	if (process_vm_readv(getpid(), &here, 1, &there, 1, 0) > 0)
		return -EEXIST;
	fd = open(random & 1 ? "/proc/self/smaps" : "/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	lseek(fd, random & 1 ? 0 : (off_t)((uintptr_t)at / page_size() * 8), SEEK_SET);
	while (read(fd, bytes, sizeof(bytes)) == sizeof(bytes) && random++ % 8)
		;
	close(fd);
	return 0;
}

/* One thing or another that a program may do to its mapping in room @at. */
static int disturb(uint64_t random, int *at)
{
	static const int advices[] = {
		MADV_NOHUGEPAGE, MADV_HUGEPAGE, MADV_DONTNEED, MADV_COLD, MADV_WILLNEED,
	};
	static const int rights[] = { PROT_NONE, PROT_READ, PROT_READ | PROT_WRITE };
	size_t bytes = guarded[0].slots_bytes, page = random % (bytes / page_size()) * page_size();

	switch (random >> 32 & 15) {
	case 0 ... 2:
		if (mremap(room[*at], bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED, room[!*at]) ==
		    MAP_FAILED)
			break;
		empty_room(*at);
		*at = !*at;
		return 0;
	case 3 ... 4:
		empty_room(*at);
		return fill_room(*at);
	case 5 ... 6:
		munmap(room[*at] + page, page_size());
		return fill_room(*at);
	case 7 ... 8:
		return negative_errno(mprotect(room[*at] + page, bytes - page, rights[random % 3]));
	case 9 ... 10:
		return negative_errno(madvise(room[*at], bytes, advices[random % 5]));
	case 11 ... 13:
		return negative_errno(prctl(PR_SET_THP_DISABLE, random % 2, 0, 0, 0));
	case 14:
		return look_into(random);
	default:
		child_dies(random % 4 == 0);
		return 0;
	}
	/* In pieces that mprotect() made: they are put together again. */
	empty_room(*at);
	return fill_room(*at);
}

static void *disturb_for_ever(void *arg)
{
	struct arena *a = arg;
	uint64_t random = seed();
	int at = 0;

	while (goes_on(a))
		MAY(a, disturb(chance(&random), &at), EINVAL);
	return NULL;
}

static void race_mappings(struct __test_metadata *_metadata, uint64_t slot_size)
{
	struct arena a = {};
	unsigned char byte;
	int slot;

	reach_begin();
	ASSERT_EQ(0, guarded_open(&guarded[0], test_name(), TRIBUF_PRODUCER, TRIBUF_CREATE,
				  slot_size));
	ASSERT_EQ(0, guarded_open(&guarded[1], test_name(), TRIBUF_CONSUMER, 0, 0));
	ASSERT_TRUE(make_rooms());
	RACE(&a, swap_for_ever, touch_for_ever, touch_for_ever, disturb_for_ever);
	EXPECT_LT(0, peek(guarded[0].fd).kernel_guard_faults);
	/* And it goes on as if nothing had been. */
	slot = (int)tribuf_word_back(word_of(&guarded[0]));
	ASSERT_EQ(0, reach_write(slot_of(&guarded[0], (uint32_t)slot), 3));
	ASSERT_EQ(0, kernel_publish(guarded[0].fd, 8, NULL));
	ASSERT_EQ(0, kernel_acquire(guarded[1].fd, NULL));
	EXPECT_EQ(SIGBUS, reach_write(slot_of(&guarded[0], (uint32_t)slot), 4));
	EXPECT_EQ(0, reach(slot_of(&guarded[1], (uint32_t)slot), &byte));
	EXPECT_EQ(3, byte);
	empty_room(0);
	empty_room(1);
	peer_close(&guarded[0]);
	peer_close(&guarded[1]);
}

TEST_F_TIMEOUT(race, guarded_mappings_of_pages, 120)
{
	race_mappings(_metadata, SLOT);
}

TEST_F_TIMEOUT(race, guarded_mappings_of_pieces, 120)
{
	race_mappings(_metadata, BIG + 4096);
}

TEST_HARNESS_MAIN
