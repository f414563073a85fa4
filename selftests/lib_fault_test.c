// SPDX-License-Identifier: GPL-2.0-only
/*
 * Each call by which the library asks the system for something is made to fail
 * in turn, until one run needs no failure any more: what the library then returns
 * is an error, explained, or success without what failed; nothing is lost, and
 * afterwards everything works. Likewise, another process gets in between before
 * each of them. The linker puts our functions there (--wrap, see the Makefile).
 */
#include "lib.h"

#include <dirent.h>
#include <sys/stat.h>

#define ROUNDS	1000		/* more calls than any operation makes */

/* ---- calls that fail when told to ---- */

static unsigned long countdown;	/* to the call that fails; 0: none does */
static int rival = -1;		/* or, before which this pipe is told: none fails then */
static int open_error = EMFILE, ioctl_error = ENOMEM;

static bool fails(int error)
{
	if (!countdown || --countdown)
		return false;
	if (rival >= 0) {
		(void)!write(rival, "x", 1);
		sleep_ms(5);
		return false;
	}
	errno = error;
	return true;
}

/* What the C library calls them where long has 32 bits, and time_t 64 in the library. */
#if __SIZEOF_LONG__ == 4
#define fstat64		__fstat64_time64
#define fcntl64		__fcntl_time64
#define ioctl		__ioctl_time64
#define ppoll		__ppoll64
#define epoll_pwait2	__epoll_pwait2_time64
#endif
#define FAULTY(...)	FAULTY_CALL(__VA_ARGS__)
#define REAL(name)	REAL_CALL(name)
#define WRAP(name)	WRAP_CALL(name)
#define REAL_CALL(name)	__real_##name
#define WRAP_CALL(name)	__wrap_##name

#define FAULTY_CALL(type, name, failure, error, parameters, arguments)	\
type __real_##name parameters;						\
type __wrap_##name parameters;						\
type __wrap_##name parameters						\
{									\
	return fails(error) ? (failure) : __real_##name arguments;	\
}

/* Those with a variable argument: it fits a register, whatever it is. */
FAULTY(void *, malloc, NULL, ENOMEM, (size_t size), (size))
FAULTY(void *, calloc, NULL, ENOMEM, (size_t n, size_t size), (n, size))
FAULTY(void *, mmap64, MAP_FAILED, ENOMEM,
       (void *start, size_t length, int protection, int flags, int fd, off64_t offset),
       (start, length, protection, flags, fd, offset))
FAULTY(int, open64, -1, open_error, (const char *path, int flags, mode_t mode), (path, flags, mode))
FAULTY(int, fstat64, -1, EIO, (int fd, struct stat64 *st), (fd, st))
FAULTY(int, ftruncate64, -1, EIO, (int fd, off64_t length), (fd, length))
FAULTY(int, fallocate64, -1, ENOSPC, (int fd, int mode, off64_t from, off64_t length),
       (fd, mode, from, length))
FAULTY(int, unlink, -1, EPERM, (const char *path), (path))
FAULTY(int, ioctl, -1, ioctl_error, (int fd, unsigned long command, void *argument),
       (fd, command, argument))
FAULTY(DIR *, opendir, NULL, EMFILE, (const char *path), (path))
FAULTY(int, ppoll, -1, ENOMEM,
       (struct pollfd *fds, nfds_t n, const struct timespec *timeout, const sigset_t *mask),
       (fds, n, timeout, mask))
FAULTY(int, epoll_create1, -1, EMFILE, (int flags), (flags))
FAULTY(int, epoll_ctl, -1, ENOSPC, (int epoll, int command, int fd, struct epoll_event *event),
       (epoll, command, fd, event))
FAULTY(int, epoll_pwait2, -1, ENOMEM,
       (int epoll, struct epoll_event *events, int n, const struct timespec *timeout,
	const sigset_t *mask), (epoll, events, n, timeout, mask))

struct dirent64 *__real_readdir64(DIR *folder);
struct dirent64 *__wrap_readdir64(DIR *folder);

/* Other processes' channels, and what they left behind, would be looked at as well. */
struct dirent64 *__wrap_readdir64(DIR *folder)
{
	struct dirent64 *file;

	do {
		file = __real_readdir64(folder);
	} while (file && !strstr(file->d_name, test_name()));
	return file;
}

int REAL(fcntl64)(int fd, int command, void *argument);
int WRAP(fcntl64)(int fd, int command, void *argument);

/* Giving a lock back asks for nothing, and cannot fail. */
int WRAP(fcntl64)(int fd, int command, void *argument)
{
	const struct flock64 *lock = argument;

	if (!(command == F_OFD_SETLK && lock->l_type == F_UNLCK) && fails(ENOLCK))
		return -1;
	return REAL(fcntl64)(fd, command, argument);
}

#if __SIZEOF_LONG__ == 4
#undef fstat64
#undef fcntl64
#undef ioctl
#undef ppoll
#undef epoll_pwait2
#endif

/* ---- what may not be lost ---- */

static unsigned int descriptors(void)
{
	unsigned int n = 0;
	int fd;

	for (fd = 0; fd < 256; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

static unsigned int mappings(void)
{
	FILE *maps = fopen("/proc/self/maps", "r");
	unsigned int n = 0;
	char line[512];

	while (maps && fgets(line, sizeof(line), maps))
		n += strstr(line, "tribuf.") || strstr(line, DEVICE);
	if (maps)
		fclose(maps);
	return n;
}

/* ---- operations, each of which leaves things as they were ---- */

FIXTURE(fault) {
	const char *name;
	struct tribuf *producer;	/* of the channel @name */
	struct tribuf *handle;		/* what an operation has to close */
	struct tribuf *other;
	struct tribuf_set *set;
};

BACKENDS(fault);

FIXTURE_SETUP(fault)
{
	REQUIRE_BACKEND(variant);
	self->name = channel_name(variant->prefix);
	ASSERT_EQ(0, open_as(&self->producer, self->name, TRIBUF_PRODUCER, TRIBUF_CREATE, SLOT));
	ASSERT_EQ(1, lib_publish(self->producer));
}

FIXTURE_TEARDOWN(fault)
{
	tribuf_close(self->producer);
	EXPECT_TRUE(channel_is_gone(self->name));
}

typedef FIXTURE_DATA(fault) scene;
typedef int operation(scene *s);

/* Clean up without faults; what an operation left is its own to give back. */
static void clear(scene *s)
{
	tribuf_set_destroy(s->set);
	tribuf_close(s->handle);
	tribuf_close(s->other);
	s->set = NULL;
	s->handle = NULL;
	s->other = NULL;
}

static const char *other_name(const scene *s)
{
	static char name[TRIBUF_NAME_SIZE + 8];

	snprintf(name, sizeof(name), "%s.other", s->name);
	return name;
}

static int create(scene *s)
{
	return open_as(&s->handle, other_name(s), TRIBUF_PRODUCER, TRIBUF_CREATE, SLOT);
}

static int consume(scene *s)
{
	struct tribuf_frame frame;
	int err = open_as(&s->handle, s->name, TRIBUF_CONSUMER, TRIBUF_LATEST, 0);

	return err ? err : tribuf_acquire(s->handle, &frame);
}

static int observe(scene *s)
{
	unsigned char data[SLOT];
	struct tribuf_frame frame;
	int err = open_as(&s->handle, s->name, TRIBUF_OBSERVER, 0, 0);

	return err ? err : tribuf_snapshot(s->handle, &frame, data, sizeof(data));
}

/* Both sides of a channel that gets its geometry while a consumer waits for it. */
static int learn_geometry(scene *s)
{
	int err = open_as(&s->handle, other_name(s), TRIBUF_CONSUMER, TRIBUF_PENDING, 0);

	if (!err)
		err = open_as(&s->other, other_name(s), TRIBUF_PRODUCER, TRIBUF_CREATE, 3 << 20);
	return err ? err : tribuf_wait(s->handle, TRIBUF_GEOMETRY | TRIBUF_PEER_BACK, 0);
}

static int replace(scene *s)
{
	int err = open_as(&s->other, other_name(s), TRIBUF_PRODUCER, TRIBUF_CREATE, SLOT);

	return err ? err : open_as(&s->handle, other_name(s), TRIBUF_PRODUCER,
				   TRIBUF_CREATE | TRIBUF_REPLACE, SLOT);
}

static int close_again(scene *s)
{
	int err = create(s);

	tribuf_close(s->handle);
	s->handle = NULL;
	return err;
}

static int talk(scene *s)
{
	struct tribuf_info_args info;
	int err = open_as(&s->handle, s->name, TRIBUF_CONSUMER, 0, 0);

	if (!err)
		err = tribuf_info(s->handle, &info);
	if (!err)
		err = tribuf_ring(s->handle);
	if (!err)
		err = tribuf_wait(s->handle, TRIBUF_READY | TRIBUF_PEER_GONE, NS_PER_MS);
	return err;
}

static int one_more(const struct tribuf_list_entry *channel, void *context)
{
	(void)channel;
	++*(int *)context;
	return 0;
}

static int list(scene *s)
{
	int n = 0, err = tribuf_list(strncmp(s->name, "shm:", 4) ? TRIBUF_BACKEND_DEVICE :
				     TRIBUF_BACKEND_SHM, one_more, &n);

	return err ? err : n;
}

static int wait_on_set(scene *s, unsigned int flags)
{
	struct tribuf_ready ready;
	int err = open_as(&s->handle, s->name, TRIBUF_CONSUMER, 0, 0);

	if (!err)
		err = tribuf_set_create(&s->set, flags);
	if (!err)
		err = tribuf_set_add(s->set, s->handle, TRIBUF_READY, NULL);
	if (!err)
		err = tribuf_set_wait(s->set, &ready, 1, NS_PER_MS);
	return err < 0 ? err : tribuf_set_remove(s->set, s->handle);
}

static int set_by_uring(scene *s)
{
	return wait_on_set(s, 0);
}

static int set_by_epoll(scene *s)
{
	return wait_on_set(s, TRIBUF_SET_EPOLL);
}

/* ---- the cases ---- */

/* Has the error that the library returned last been explained? Once for each. */
static bool explained(void)
{
	static const char mark[] = "there is no backend 99";
	bool is = strcmp(tribuf_explain(), mark);

	tribuf_list(99, one_more, NULL);
	return is && !strcmp(tribuf_explain(), mark);
}

static void fail_each_call(struct __test_metadata *_metadata, scene *s, operation *run)
{
	unsigned int files = descriptors(), maps = mappings();
	unsigned long n, failures = 0;
	bool failed;
	int err;

	explained();
	for (n = 1; n < ROUNDS; n++) {
		countdown = n;
		err = run(s);
		failed = !countdown;
		countdown = 0;
		if (err < 0) {
			failures++;
			EXPECT_TRUE(explained());
		}
		clear(s);
		EXPECT_EQ(files, descriptors());
		EXPECT_EQ(maps, mappings());
		if (!failed)
			break;
	}
	/* The round without a failed call. */
	EXPECT_LE(0, err);
	EXPECT_GT(ROUNDS, n);
	EXPECT_LT(0, failures);
	EXPECT_TRUE(channel_is_gone(other_name(s)));
}

#define FAULTS_OF(name, run)						\
TEST_F(fault, name)							\
{									\
	fail_each_call(_metadata, self, run);				\
}

FAULTS_OF(creating, create)
FAULTS_OF(consuming, consume)
FAULTS_OF(observing, observe)
FAULTS_OF(learning_the_geometry, learn_geometry)
FAULTS_OF(replacing, replace)
FAULTS_OF(talking, talk)
FAULTS_OF(listing, list)

/*
 * What the device's file or its driver may answer to who attaches, whoever is to blame:
 * told as documented, with words that help.
 */
TEST_F(fault, answers_to_an_attach_are_explained)
{
	static const struct {
		bool of_open;
		int answer, told;
		const char *word;
	} cases[] = {
		{ true, ENOENT, ENODEV, "tribuf load" },
		{ true, ENXIO, ENODEV, "tribuf load" },
		{ false, ENOTTY, ENODEV, "something else" },
		{ false, EINVAL, EINVAL, "tribuf_open(3)" },
		{ false, EPROTONOSUPPORT, EPROTONOSUPPORT, "layout" },
		{ false, ENOSPC, ENOSPC, "limit" },
		{ false, EBADF, EBADF, "no open tribuf handle" },
		{ false, ENOTCONN, ENOTCONN, "not attached" },
		{ false, ESTALE, ESTALE, "replaced" },
		{ false, EOPNOTSUPP, EOPNOTSUPP, "TRIBUF_GUARDED" },
		{ false, ERANGE, ERANGE, "cannot open channel" },
	};

	if (!on_device(variant))
		SKIP(return, "shm asks no driver");
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		bool told = false;

		/* Each call in turn: those of another kind fail in their own ways. */
		for (unsigned long n = 1; n < 20 && !told; n++) {
			int err;

			*(cases[i].of_open ? &open_error : &ioctl_error) = cases[i].answer;
			countdown = n;
			err = create(self);
			countdown = 0;
			open_error = EMFILE;
			ioctl_error = ENOMEM;
			told = err == -cases[i].told && strstr(tribuf_explain(), cases[i].word);
			clear(self);
		}
		EXPECT_TRUE(told) TH_LOG("%s: %s", strerror(cases[i].answer), tribuf_explain());
	}
}

/* A file whose removal failed is a leftover, which the next creator takes over. */
TEST_F(fault, closing)
{
	fail_each_call(_metadata, self, close_again);
}

/* Creates the channel too, as soon as it is told; 0 or an error, and holds on to it. */
static pid_t rival_creator(const scene *s, const int go[2], int told)
{
	return in_child({
		struct tribuf *t;
		int err;

		close(go[1]);
		child_must(read(go[0], &(char){ 0 }, 1) == 1);
		err = open_as(&t, other_name(s), TRIBUF_PRODUCER, TRIBUF_CREATE | TRIBUF_EXCL, SLOT);
		child_must(write(told, &err, sizeof(err)) == sizeof(err));
		while (read(go[0], &(char){ 0 }, 1) > 0)
			;
		tribuf_close(t);
	});
}

/* Whatever creator comes in between, before whichever call: one of them has the channel. */
TEST_F(fault, a_rival_before_each_call_of_a_creator)
{
	bool met = true;

	for (unsigned long n = 1; met; n++) {
		int go[2], told[2], mine, theirs = 0;
		pid_t child;

		ASSERT_EQ(0, pipe(go));
		ASSERT_EQ(0, pipe(told));
		child = rival_creator(self, go, told[1]);
		rival = go[1];
		countdown = n;
		mine = open_as(&self->handle, other_name(self), TRIBUF_PRODUCER,
			       TRIBUF_CREATE | TRIBUF_EXCL, SLOT);
		met = !countdown;
		countdown = 0;
		rival = -1;
		/* A second word is not read before the first was answered. */
		ASSERT_EQ(1, write(go[1], "x", 1));
		ASSERT_EQ(sizeof(theirs), read(told[0], &theirs, sizeof(theirs)));
		EXPECT_TRUE((!mine && theirs == -EEXIST) || (mine == -EEXIST && !theirs))
			TH_LOG("call %lu: %d here, %d there", n, mine, theirs);
		clear(self);
		close(go[1]);
		EXPECT_EQ(0, ended(child));
		close(go[0]);
		close(told[0]);
		close(told[1]);
		EXPECT_TRUE(channel_is_gone(other_name(self)));
	}
}

/* Sets are for channels of the device. */
TEST_F(fault, a_set_by_io_uring)
{
	if (!on_device(variant))
		SKIP(return, "no sets of shm channels");
	fail_each_call(_metadata, self, set_by_uring);
}

TEST_F(fault, a_set_by_epoll)
{
	if (!on_device(variant))
		SKIP(return, "no sets of shm channels");
	fail_each_call(_metadata, self, set_by_epoll);
}

TEST_HARNESS_MAIN
