// SPDX-License-Identifier: GPL-2.0-only
/*
 * The shm backend's file: what may lie under a channel's name, what may have been
 * done to a channel from outside, and how each of it is refused. The layout of the
 * file (pages, bytes that are locked) is repeated here on purpose: programs of two
 * versions meet in it.
 */
#include "lib.h"

#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/time.h>

#define BYTE_META	0
#define BYTE_PRODUCER	1
#define BYTE_OBSERVERS	64
#define CONTROL_RINGS	(2048 + 8)	/* bytes from the start of the geometry's page: low, high */

FIXTURE(shm) {
	const char *name;
	char path[128];
	struct tribuf *t;
};

FIXTURE_SETUP(shm)
{
	self->name = channel_name("shm:");
	snprintf(self->path, sizeof(self->path), "%s", shm_file(self->name));
	self->t = NULL;
}

FIXTURE_TEARDOWN(shm)
{
	tribuf_close(self->t);
	unlink(self->path);
	rmdir(self->path);
}

static int produce(FIXTURE_DATA(shm) *self, uint32_t flags)
{
	return open_as(&self->t, self->name, TRIBUF_PRODUCER, flags | TRIBUF_CREATE, SLOT);
}

/* Open, close, and tell how it went. */
static int try(const char *name, uint32_t role, uint32_t flags, uint64_t slot_size)
{
	struct tribuf *t;
	int err = open_as(&t, name, role, flags, slot_size);

	tribuf_close(t);
	return err;
}

/* ---- what is no channel ---- */

static int is_mine(const struct tribuf_list_entry *channel, void *context)
{
	return !strcmp((const char *)channel->name, test_name());
}

TEST_F(shm, symbolic_link_is_not_followed)
{
	ASSERT_EQ(0, symlink("/dev/null", self->path));
	EXPECT_EQ(0, tribuf_list(TRIBUF_BACKEND_SHM, is_mine, NULL));
	EXPECT_EQ(-EACCES, produce(self, 0));
	EXPECT_EQ(-EACCES, try(self->name, TRIBUF_CONSUMER, TRIBUF_PENDING, 0));
}

TEST_F(shm, folder_is_refused)
{
	ASSERT_EQ(0, mkdir(self->path, 0700));
	EXPECT_EQ(-EISDIR, produce(self, 0));
}

TEST_F(shm, pipe_is_refused)
{
	ASSERT_EQ(0, mkfifo(self->path, 0600));
	EXPECT_EQ(-EPROTONOSUPPORT, produce(self, 0));
}

TEST_F(shm, file_that_is_nobodys_is_a_leftover_whatever_is_in_it)
{
	int fd = open(self->path, O_RDWR | O_CREAT, 0600);

	ASSERT_LE(0, fd);
	ASSERT_EQ(5, write(fd, "hello", 5));
	close(fd);
	EXPECT_EQ(-ENOENT, try(self->name, TRIBUF_CONSUMER, 0, 0));
	fd = open(self->path, O_RDWR | O_CREAT, 0600);
	close(fd);
	ASSERT_EQ(0, produce(self, 0));
	EXPECT_EQ(1, lib_publish(self->t));
}

static int lock_bytes(int fd, int byte, int count)
{
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = byte,
			      .l_len = count };

	return fcntl(fd, F_OFD_SETLK, &lock);
}

static int lock_byte(int fd, int byte)
{
	return lock_bytes(fd, byte, 1);
}

TEST_F(shm, file_that_somebody_has_locked_is_no_channel_if_it_is_too_short)
{
	int fd = open(self->path, O_RDWR | O_CREAT, 0600);

	ASSERT_EQ(0, lock_byte(fd, BYTE_PRODUCER));
	EXPECT_EQ(-EPROTONOSUPPORT, produce(self, 0));
	close(fd);
}

TEST_F(shm, process_stopped_in_the_middle_is_waited_for_but_not_for_ever)
{
	int fd;

	ASSERT_EQ(0, produce(self, 0));
	fd = open(self->path, O_RDWR);
	ASSERT_EQ(0, lock_byte(fd, BYTE_META));
	EXPECT_EQ(-EBUSY, try(self->name, TRIBUF_CONSUMER, 0, 0));
	close(fd);
	EXPECT_EQ(0, try(self->name, TRIBUF_CONSUMER, 0, 0));
}

/* ---- strangers, who may open the file ---- */

TEST_F(shm, a_strangers_locks_hang_nobody)
{
	struct tribuf_info_args info;
	uint64_t began;
	int fd;

	umask(0);
	ASSERT_EQ(0, produce(self, 0));
	fd = open(self->path, O_RDWR);
	/* Of all observers and some keepers, in one piece. */
	ASSERT_EQ(0, lock_bytes(fd, BYTE_OBSERVERS, 2 * TRIBUF_OBSERVERS_MAX));
	alarm(10);
	EXPECT_EQ(1, tribuf_list(TRIBUF_BACKEND_SHM, is_mine, NULL));
	EXPECT_EQ(0, tribuf_info(self->t, &info));
	EXPECT_EQ(TRIBUF_OBSERVERS_MAX, info.observers);
	alarm(0);
	/* Whoever lists waits for nobody: it may be any file. */
	ASSERT_EQ(0, lock_byte(fd, BYTE_META));
	began = now();
	EXPECT_EQ(0, tribuf_list(TRIBUF_BACKEND_SHM, is_mine, NULL));
	EXPECT_GT(2 * NS_PER_S, now() - began);
	close(fd);
}

static int has_blank(const struct tribuf_list_entry *channel, void *context)
{
	return strchr((const char *)channel->name, '\033') || strchr((const char *)channel->name, ' ');
}

TEST_F(shm, names_that_are_none_are_not_listed)
{
	char other[sizeof(self->path) + 8];

	ASSERT_EQ(0, produce(self, 0));
	snprintf(other, sizeof(other), "%s\033[7m b", self->path);
	ASSERT_EQ(0, link(self->path, other));
	EXPECT_EQ(0, tribuf_list(TRIBUF_BACKEND_SHM, has_blank, NULL));
	unlink(other);
	EXPECT_EQ(1, tribuf_list(TRIBUF_BACKEND_SHM, is_mine, NULL));
}

/* The folder takes the last one: no list would look like no channels. */
TEST_F(shm, list_tells_of_a_lack_of_descriptors)
{
	ASSERT_EQ(0, produce(self, 0));
	EXPECT_CHILD({
		int next = dup(0);
		struct rlimit limit;

		close(next);
		child_must(!getrlimit(RLIMIT_NOFILE, &limit));
		limit.rlim_cur = (rlim_t)next + 1;
		child_must(!setrlimit(RLIMIT_NOFILE, &limit));
		child_gets(-EMFILE, tribuf_list(TRIBUF_BACKEND_SHM, is_mine, NULL));
		child_must(strstr(tribuf_explain(), "ulimit -n"));
	});
	EXPECT_EQ(1, tribuf_list(TRIBUF_BACKEND_SHM, is_mine, NULL));
}

/* ---- what fails leaves everything as it was ---- */

TEST_F(shm, who_gets_no_role_brings_no_geometry)
{
	ASSERT_EQ(0, open_as(&self->t, self->name, TRIBUF_CONSUMER, TRIBUF_PENDING, 0));
	EXPECT_EQ(-EBUSY, try(self->name, TRIBUF_CONSUMER, TRIBUF_CREATE, 64));
	EXPECT_EQ(0, try(self->name, TRIBUF_PRODUCER, TRIBUF_CREATE, SLOT));
}

TEST_F(shm, refused_replacement_leaves_the_channel)
{
	struct tribuf_options o = options(TRIBUF_PRODUCER, TRIBUF_CREATE | TRIBUF_REPLACE, 0);
	static const struct { uint64_t size; int err; } refused[] = {
		{ UINT64_MAX / 2, -EFBIG },	/* more than can be mapped */
		{ 1ull << 36, -EINVAL },	/* by granules of 8 */
		{ 1ull << 33, -ENOSPC },
	};
	struct tribuf *t;
	struct statvfs room;

	ASSERT_EQ(0, produce(self, 0));
	ASSERT_EQ(0, statvfs("/dev/shm", &room));
	for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
		if (sizeof(size_t) == 4 && i)
			break;		/* none of them can be mapped */
		if (refused[i].err == -ENOSPC && room.f_bavail * room.f_bsize > 3 * refused[i].size)
			break;
		o.slot_size = refused[i].size;
		EXPECT_EQ(refused[i].err, tribuf_open(&t, self->name, &o));
	}
	EXPECT_EQ(1, lib_publish(self->t));
	EXPECT_EQ(0, try(self->name, TRIBUF_CONSUMER, 0, 0));
}

static void nothing(int sig)
{
}

TEST_F(shm, signals_do_not_keep_a_channel_from_being_made)
{
	struct itimerval often = { .it_value.tv_usec = 1000, .it_interval.tv_usec = 1000 };
	struct sigaction action = { .sa_handler = nothing };
	int err;

	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &often, NULL);
	err = open_as(&self->t, self->name, TRIBUF_PRODUCER, TRIBUF_CREATE, 16u << 20);
	often.it_value.tv_usec = 0;
	setitimer(ITIMER_REAL, &often, NULL);
	EXPECT_EQ(0, err);
}

/* ---- where the system call to sleep by is refused ---- */

static int forbid_futexes(void)
{
#ifdef SYS_futex_time64
	int err = forbid_call(SYS_futex_time64, EPERM);

	if (err)
		return err;
#endif
	return forbid_call(SYS_futex, EPERM);
}

TEST_F(shm, wait_does_not_spin_where_it_may_not_sleep)
{
	struct tribuf_info_args info;
	pid_t child;

	ASSERT_EQ(0, produce(self, 0));
	child = in_child({
		struct tribuf *t;

		child_gets(0, tribuf_open_consumer(&t, self->name));
		if (forbid_futexes())
			_exit(4);
		child_gets(0, tribuf_wait(t, TRIBUF_READY, NS_PER_S / 4));
		child_gets(0, tribuf_info(t, &info));
		child_must(info.kernel_sleeps > 1 && info.kernel_sleeps < 500);
	});
	switch (ended(child)) {
	case 4:
		SKIP(return, "no filters of system calls here");
	case 0:
		break;
	default:
		EXPECT_TRUE(false);
	}
}

/* ---- rights ---- */

TEST_F(shm, rights_are_the_files)
{
	if (getuid())
		SKIP(return, "needs root, to become somebody else");
	ASSERT_EQ(0, produce(self, 0));
	EXPECT_CHILD({
		become(NOBODY);
		child_gets(-EACCES, try(self->name, TRIBUF_CONSUMER, 0, 0));
	});
	ASSERT_EQ(0, chmod(self->path, 0666));
	EXPECT_CHILD({
		become(NOBODY);
		child_gets(0, try(self->name, TRIBUF_CONSUMER, 0, 0));
		child_gets(0, try(self->name, TRIBUF_CONSUMER, TRIBUF_OWNER, 0));
		child_gets(-EPERM, try(self->name, TRIBUF_PRODUCER,
				       TRIBUF_CREATE | TRIBUF_REPLACE, SLOT));
	});
	/* Somebody else's: OWNER trusts it as little as a file of root's in another's name. */
	ASSERT_EQ(0, chown(self->path, NOBODY, NOBODY));
	EXPECT_EQ(-EPERM, try(self->name, TRIBUF_CONSUMER, TRIBUF_OWNER, 0));
}

TEST_F(shm, leftover_of_another_user_in_a_sticky_folder_is_used_again)
{
	int fd;

	if (getuid())
		SKIP(return, "needs root, to become somebody else");
	fd = open(self->path, O_RDWR | O_CREAT, 0666);
	ASSERT_EQ(0, fchmod(fd, 0666));
	close(fd);
	EXPECT_CHILD({
		struct tribuf *t;

		become(NOBODY);
		child_gets(0, open_as(&t, self->name, TRIBUF_PRODUCER, TRIBUF_CREATE, SLOT));
		child_must(lib_publish(t) == 1);
		tribuf_close(t);
	});
}

/* ---- channels that were tampered with ---- */

/* The file's pages, as any program could map them. */
static unsigned char *pages_of(const char *path)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);
	void *pages = mmap(NULL, TRIBUF_META_PAGES * page_size(), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	close(fd);
	return pages == MAP_FAILED ? NULL : pages;
}

/* With that in one field of the geometry at @g, which is @good. */
#define REFUSED(error, field, value) do {					\
	g->field = value;							\
	EXPECT_EQ(-(error), try(self->name, TRIBUF_CONSUMER, 0, 0))		\
		TH_LOG("%s", #field);						\
	*g = good;								\
} while (0)

TEST_F(shm, geometry_that_makes_no_sense_is_refused)
{
	struct tribuf_geometry *g, good;
	unsigned char *pages;

	ASSERT_EQ(0, produce(self, 0));
	pages = pages_of(self->path);
	ASSERT_NE(NULL, pages);
	g = (struct tribuf_geometry *)(pages + TRIBUF_PAGE_GEOMETRY * page_size());
	good = *g;
	REFUSED(EPROTONOSUPPORT, magic, 0);
	REFUSED(EPROTONOSUPPORT, byte_order, ~good.byte_order);
	REFUSED(EPROTONOSUPPORT, layout, good.layout + 1);
	REFUSED(EPROTONOSUPPORT, features, TRIBUF_FEATURES + 1);
	REFUSED(EPROTO, features, TRIBUF_FEATURE_SMALL);
	REFUSED(EPROTONOSUPPORT, page_size, 2 * good.page_size);
	REFUSED(EPROTO, slots, 4);
	REFUSED(EPROTO, granule, 0);
	REFUSED(EPROTO, granule, 3);
	REFUSED(EPROTO, granule, 2 * TRIBUF_GRANULE_MAX);
	REFUSED(EPROTO, slot_size, good.slot_stride + 1);
	REFUSED(EPROTO, slot_stride, good.slot_stride + 1);
	REFUSED(EPROTO, slot_stride, 1ull << 63);
	REFUSED(EPROTO, slot_stride, 16 * good.slot_stride);	/* beyond the file */
	REFUSED(EPROTO, slots_offset, 1);
	REFUSED(EPROTO, slots_offset, page_size());
	REFUSED(EPROTO, slots_offset, 1ull << 63);
	REFUSED(EPROTONOSUPPORT, slots_offset, good.slots_offset + page_size());
	EXPECT_EQ(0, try(self->name, TRIBUF_CONSUMER, 0, 0));
	munmap(pages, TRIBUF_META_PAGES * page_size());
}

/* And of slots that lie in their descriptors. */
TEST_F(shm, geometry_of_small_slots_that_makes_no_sense_is_refused)
{
	struct tribuf_geometry *g, good;
	unsigned char *pages;

	ASSERT_EQ(0, open_as(&self->t, self->name, TRIBUF_PRODUCER, TRIBUF_CREATE, 8));
	pages = pages_of(self->path);
	ASSERT_NE(NULL, pages);
	g = (struct tribuf_geometry *)(pages + TRIBUF_PAGE_GEOMETRY * page_size());
	good = *g;
	ASSERT_EQ(TRIBUF_FEATURE_SMALL, good.features);
	REFUSED(EPROTO, features, 0);
	REFUSED(EPROTO, slot_size, TRIBUF_SMALL_BYTES + 1);
	REFUSED(EPROTO, granule, 2 * sizeof(struct tribuf_desc));
	REFUSED(EPROTO, slot_stride, page_size());
	REFUSED(EPROTO, slots_offset, good.slots_offset + 1);
	REFUSED(EPROTO, slots_offset, TRIBUF_META_PAGES * page_size());
	EXPECT_EQ(0, try(self->name, TRIBUF_CONSUMER, 0, 0));
	munmap(pages, TRIBUF_META_PAGES * page_size());
}

/* The same, found by one who waited for a geometry. */
TEST_F(shm, geometry_that_comes_and_makes_no_sense_is_refused)
{
	struct tribuf_frame frame;
	struct tribuf_geometry *g;
	unsigned char *pages;

	ASSERT_EQ(0, open_as(&self->t, self->name, TRIBUF_CONSUMER, TRIBUF_PENDING, 0));
	EXPECT_EQ(0, tribuf_acquire(self->t, &frame));
	EXPECT_EQ(-ENOENT, try(self->name, TRIBUF_PRODUCER, 0, 0));
	pages = pages_of(self->path);
	ASSERT_NE(NULL, pages);
	g = (struct tribuf_geometry *)(pages + TRIBUF_PAGE_GEOMETRY * page_size());
	g->slot_stride = 1;
	g->granule = 64;
	/* The kernel writes the size first, and takes the state away last. */
	g->slot_size = SLOT;
	EXPECT_EQ(0, tribuf_acquire(self->t, &frame));
	g->state &= ~TRIBUF_STATE_PENDING;
	EXPECT_EQ(-EPROTO, tribuf_acquire(self->t, &frame));
	g->state |= TRIBUF_STATE_PENDING;
	g->slot_size = 0;
	munmap(pages, TRIBUF_META_PAGES * page_size());
}

TEST_F(shm, spoilt_word_is_refused_until_it_is_replaced)
{
	struct tribuf_state *state;
	struct tribuf *p;

	ASSERT_EQ(0, open_as(&self->t, self->name, TRIBUF_KEEPER, TRIBUF_CREATE, SLOT));
	state = (struct tribuf_state *)pages_of(self->path);
	ASSERT_NE(NULL, state);
	state->word = 0;
	EXPECT_EQ(-EPROTO, try(self->name, TRIBUF_PRODUCER, 0, 0));
	EXPECT_EQ(-EPROTO, try(self->name, TRIBUF_CONSUMER, TRIBUF_LATEST, 0));
	ASSERT_EQ(0, open_as(&p, self->name, TRIBUF_PRODUCER, TRIBUF_CREATE | TRIBUF_REPLACE, SLOT));
	EXPECT_EQ(1, lib_publish(p));
	tribuf_close(p);
	munmap(state, TRIBUF_META_PAGES * page_size());
}

TEST_F(shm, counters_carry_over_32_bits)
{
	struct tribuf_info_args info;
	unsigned char *pages;

	ASSERT_EQ(0, produce(self, 0));
	pages = pages_of(self->path);
	ASSERT_NE(NULL, pages);
	*(uint32_t *)(pages + TRIBUF_PAGE_GEOMETRY * page_size() + CONTROL_RINGS) = UINT32_MAX;
	ASSERT_EQ(0, tribuf_ring(self->t));
	ASSERT_EQ(0, tribuf_info(self->t, &info));
	EXPECT_EQ(1ull << 32, info.kernel_rings);
	munmap(pages, TRIBUF_META_PAGES * page_size());
}

/* ---- limits ---- */

TEST_F(shm, slots_that_fit_nowhere_are_refused_and_leave_nothing)
{
	struct tribuf_options o = options(TRIBUF_PRODUCER, TRIBUF_CREATE, 1ull << 40);
	struct tribuf *t;
	/* A 32-bit program cannot even map them. */
	bool small = sizeof(size_t) == 4;

	o.granule = TRIBUF_GRANULE_MAX;
	EXPECT_EQ(small ? -EFBIG : -ENOSPC, tribuf_open(&t, self->name, &o));
	/* References of 32 bits do not reach that far by small granules. */
	EXPECT_EQ(small ? -EFBIG : -EINVAL, try(self->name, TRIBUF_PRODUCER, TRIBUF_CREATE, 1ull << 37));
	EXPECT_EQ(-EFBIG, try(self->name, TRIBUF_PRODUCER, TRIBUF_CREATE, 1ull << 62));
	EXPECT_EQ(-EFBIG, try(self->name, TRIBUF_PRODUCER, TRIBUF_CREATE, UINT64_MAX));
	EXPECT_TRUE(channel_is_gone(self->name));
}

TEST_F(shm, geometry_must_be_the_channels)
{
	struct tribuf_options o = options(TRIBUF_CONSUMER, TRIBUF_CREATE, SLOT);
	struct tribuf *t;

	ASSERT_EQ(0, produce(self, 0));
	EXPECT_EQ(-EINVAL, try(self->name, TRIBUF_CONSUMER, TRIBUF_CREATE, 2 * SLOT));
	o.granule = 4096;
	EXPECT_EQ(-EINVAL, tribuf_open(&t, self->name, &o));
	EXPECT_EQ(-EEXIST, try(self->name, TRIBUF_CONSUMER, TRIBUF_CREATE | TRIBUF_EXCL, SLOT));
	EXPECT_EQ(-EBUSY, try(self->name, TRIBUF_PRODUCER, 0, 0));
}

/* ---- what it cannot do ---- */

TEST_F(shm, lacks_are_told)
{
	EXPECT_EQ(-ENOTSUP, try(self->name, TRIBUF_PRODUCER, TRIBUF_CREATE | TRIBUF_GUARDED, SLOT));
	ASSERT_EQ(0, produce(self, 0));
	EXPECT_EQ(-ENOTSUP, tribuf_fd(self->t));
}

/* ---- a forked child has none of it ---- */

TEST_F(shm, inherited_handles_are_refused)
{
	unsigned char data[SLOT];
	struct tribuf_info_args info;
	struct tribuf_frame frame;
	struct tribuf *c, *o;

	ASSERT_EQ(0, produce(self, 0));
	ASSERT_EQ(0, open_as(&c, self->name, TRIBUF_CONSUMER, TRIBUF_DEFAULT, 0));
	ASSERT_EQ(0, open_as(&o, self->name, TRIBUF_OBSERVER, TRIBUF_DEFAULT, 0));
	ASSERT_EQ(1, lib_publish(self->t));
	EXPECT_CHILD({
		struct tribuf_gen_index nowhere = { 0, 0 };
		size_t bytes = sizeof(data);
		uint32_t version;

		child_gets(-ESTALE, tribuf_info(o, &info));
		child_gets(-ESTALE, tribuf_snapshot(o, &frame, data, sizeof(data)));
		child_gets(-ESTALE, tribuf_copy(o, nowhere, data, 1));
		child_gets(-ESTALE, tribuf_format_get(c, data, &bytes, &version));
		child_gets(-ESTALE, tribuf_format_set(self->t, data, 1));
		child_gets(-ESTALE, tribuf_ring(self->t));
		child_gets(-ESTALE, tribuf_wait(c, TRIBUF_READY, 0));
		tribuf_close(o);
		tribuf_close(c);
		tribuf_close(self->t);
	});
	/* And what it closed is still ours. */
	EXPECT_EQ(1, tribuf_acquire(c, &frame));
	EXPECT_EQ(1, tribuf_snapshot(o, &frame, data, sizeof(data)));
	tribuf_close(c);
	tribuf_close(o);
}

/* ---- who sleeps while the peer attaches ---- */

/* As if it slept: its bit is there when the peer looks at the word for the first time. */
TEST_F(shm, first_publish_rings_for_who_slept_before)
{
	struct tribuf *c;

	ASSERT_EQ(0, open_as(&c, self->name, TRIBUF_CONSUMER, TRIBUF_CREATE, SLOT));
	__atomic_fetch_or(c->word, TRIBUF_ARMED, __ATOMIC_SEQ_CST);
	ASSERT_EQ(0, produce(self, 0));
	EXPECT_EQ(1, lib_publish(self->t));
	EXPECT_EQ(0, *c->word & TRIBUF_ARMED);
	tribuf_close(c);
}

TEST_F(shm, first_acquire_rings_for_who_slept_before)
{
	struct tribuf_frame frame;
	struct tribuf *c;

	ASSERT_EQ(0, produce(self, 0));
	__atomic_fetch_or(self->t->word, TRIBUF_PACED, __ATOMIC_SEQ_CST);
	ASSERT_EQ(0, open_as(&c, self->name, TRIBUF_CONSUMER, 0, 0));
	ASSERT_EQ(1, lib_publish(self->t));
	ASSERT_EQ(1, tribuf_acquire(c, &frame));
	EXPECT_EQ(0, *c->word & TRIBUF_PACED);
	tribuf_close(c);
}

TEST_HARNESS_MAIN
