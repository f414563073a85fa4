// SPDX-License-Identifier: GPL-2.0-only
/*
 * Both ends of a channel in one process, a thread each, for a sanitizer that
 * watches threads (selftests/sanitize). It knows memory by its address, and the
 * ends map the same pages at different ones; so there, and there only, mmap() is
 * replaced by one that gives every byte of a file one address, and locks of a file
 * are told to the sanitizer.
 */
#include "lib.h"

#include <pthread.h>
#include <stdarg.h>
#include <sys/stat.h>

#ifdef __SANITIZE_THREAD__

#include <sanitizer/tsan_interface.h>

#define WINDOW	(64ul << 20)	/* room for a file */
#define WINDOWS	16

struct window {
	dev_t dev;
	ino_t ino;
	unsigned char *base;	/* of the file's first byte */
	int users;		/* mappings */
};

static struct window windows[WINDOWS];
static pthread_mutex_t windows_lock = PTHREAD_MUTEX_INITIALIZER;

/* The names that they have in a library built for large files. */
void *__real_mmap64(void *addr, size_t length, int prot, int flags, int fd, off_t offset);
int __real_munmap(void *addr, size_t length);
int __real_fcntl64(int fd, int command, ...);
int __real_close(int fd);
void *__wrap_mmap64(void *addr, size_t length, int prot, int flags, int fd, off_t offset);
int __wrap_munmap(void *addr, size_t length);
int __wrap_fcntl64(int fd, int command, ...);
int __wrap_close(int fd);

static struct window *window_of(const struct stat *st, int fd)
{
	struct window *spare = NULL;

	for (int i = 0; i < WINDOWS; i++) {
		struct window *w = &windows[i];

		if (w->users && w->dev == st->st_dev && w->ino == st->st_ino)
			return w;
		if (!w->users)
			spare = w;
	}
	if (spare)
		*spare = (struct window){
			.dev = st->st_dev,
			.ino = st->st_ino,
			/* All that the file may ever have. */
			.base = __real_mmap64(NULL, WINDOW, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0),
		};
	return spare;
}

void *__wrap_mmap64(void *addr, size_t length, int prot, int flags, int fd, off_t offset)
{
	struct window *w;
	struct stat st;

	if (fd < 0 || fstat(fd, &st) || !(flags & MAP_SHARED))
		return __real_mmap64(addr, length, prot, flags, fd, offset);
	pthread_mutex_lock(&windows_lock);
	w = window_of(&st, fd);
	w->users++;
	pthread_mutex_unlock(&windows_lock);
	return w->base + offset;
}

int __wrap_munmap(void *addr, size_t length)
{
	bool ours = false;

	pthread_mutex_lock(&windows_lock);
	for (int i = 0; i < WINDOWS && !ours; i++) {
		struct window *w = &windows[i];

		ours = w->users && (unsigned char *)addr >= w->base &&
		       (unsigned char *)addr < w->base + WINDOW;
		if (ours && !--w->users)
			__real_munmap(w->base, WINDOW);
	}
	pthread_mutex_unlock(&windows_lock);
	return ours ? 0 : __real_munmap(addr, length);
}

/* What stands for all locks of a file. */
static void *lock_of(int fd)
{
	static char lock[256];
	struct stat st;

	return fstat(fd, &st) ? NULL : &lock[st.st_ino % sizeof(lock)];
}

int __wrap_fcntl64(int fd, int command, ...)
{
	void *arg, *lock = lock_of(fd);
	struct flock *what;
	va_list args;
	int err;

	va_start(args, command);
	arg = va_arg(args, void *);
	va_end(args);
	what = command == F_OFD_SETLK ? arg : NULL;
	if (what && what->l_type == F_UNLCK)
		__tsan_release(lock);
	err = __real_fcntl64(fd, command, arg);
	/* Also one who only looks learns from who has unlocked. */
	if (command == F_OFD_GETLK || (what && what->l_type == F_WRLCK && !err))
		__tsan_acquire(lock);
	return err;
}

int __wrap_close(int fd)
{
	void *lock = lock_of(fd);

	if (lock)
		__tsan_release(lock);
	return __real_close(fd);
}

#endif

/* ---- one producer, one consumer, one observer ---- */

#define PATIENCE	(20 * (int64_t)NS_PER_S)

FIXTURE(lib_thread) {
	const char *name;
	struct tribuf *p, *c, *o;
};

BACKENDS(lib_thread);

FIXTURE_SETUP(lib_thread)
{
	REQUIRE_BACKEND(variant);
	self->name = channel_name(variant->prefix);
	ASSERT_EQ(0, open_producer(&self->p, self->name, SLOT));
	ASSERT_EQ(0, tribuf_open_consumer(&self->c, self->name));
	ASSERT_EQ(0, open_as(&self->o, self->name, TRIBUF_OBSERVER, TRIBUF_DEFAULT, 0));
}

FIXTURE_TEARDOWN(lib_thread)
{
	tribuf_close(self->p);
	tribuf_close(self->c);
	tribuf_close(self->o);
	EXPECT_TRUE(channel_is_gone(self->name));
}

struct job {
	struct tribuf *t;
	uint64_t frames;
	bool paced;
	int64_t result;		/* last frame, or -errno */
};

/* Publishes, in pace with the consumer if it is so said. */
static void *produce(void *arg)
{
	struct job *job = arg;

	for (uint64_t i = 0; i < job->frames; i++) {
		job->result = lib_publish(job->t);
		if (job->result < 0)
			return NULL;
		if (job->paced && tribuf_wait(job->t, TRIBUF_READY, PATIENCE) != TRIBUF_READY) {
			job->result = -ETIMEDOUT;
			return NULL;
		}
	}
	return NULL;
}

/* Takes whole frames only, until the last has come. */
static void *consume(void *arg)
{
	struct job *job = arg;
	struct tribuf_frame frame = { 0 };
	uint64_t last = 0;
	int got;

	while (last < job->frames) {
		got = tribuf_acquire(job->t, &frame);
		if (!got && job->paced)
			got = tribuf_wait(job->t, TRIBUF_READY, PATIENCE) ? 0 : -ETIMEDOUT;
		if (got < 0) {
			job->result = got;
			return NULL;
		}
		if (!got)
			continue;
		if (!lib_whole(&frame, SLOT) || frame.seq <= last || (job->paced && frame.seq != last + 1)) {
			job->result = -EBADMSG;
			return NULL;
		}
		last = frame.seq;
	}
	job->result = (int64_t)last;
	return NULL;
}

/* Copies whole frames only, until the last has come. */
static void *observe(void *arg)
{
	unsigned char data[SLOT];
	struct job *job = arg;
	struct tribuf_frame frame;
	uint64_t last = 0;
	int got;

	while (last < job->frames) {
		got = tribuf_snapshot(job->t, &frame, data, sizeof(data));
		if (got == -EAGAIN || !got) {
			tribuf_wait(job->t, TRIBUF_READY, NS_PER_MS);
			continue;
		}
		if (got < 0 || !lib_whole(&frame, SLOT) || frame.seq <= last) {
			job->result = got < 0 ? got : -EBADMSG;
			return NULL;
		}
		last = frame.seq;
	}
	job->result = (int64_t)last;
	return NULL;
}

static void run(struct __test_metadata *_metadata, void *(*work[])(void *), struct job *jobs, int n)
{
	pthread_t thread[3];

	for (int i = 0; i < n; i++)
		ASSERT_EQ(0, pthread_create(&thread[i], NULL, work[i], &jobs[i]));
	for (int i = 0; i < n; i++)
		pthread_join(thread[i], NULL);
	for (int i = 0; i < n; i++) {
		EXPECT_EQ((int64_t)jobs[i].frames, jobs[i].result)
			TH_LOG("thread %d", i);
	}
}

TEST_F_TIMEOUT(lib_thread, frames_at_full_speed, 120)
{
	void *(*work[])(void *) = { produce, consume };
	uint64_t frames = scaled(200000);
	struct job jobs[] = {
		{ .t = self->p, .frames = frames },
		{ .t = self->c, .frames = frames },
	};

	run(_metadata, work, jobs, 2);
}

TEST_F_TIMEOUT(lib_thread, paced_frames, 120)
{
	void *(*work[])(void *) = { produce, consume };
	uint64_t frames = scaled(20000);
	struct job jobs[] = {
		{ .t = self->p, .frames = frames, .paced = true },
		{ .t = self->c, .frames = frames, .paced = true },
	};

	run(_metadata, work, jobs, 2);
}

TEST_F_TIMEOUT(lib_thread, observed_frames, 120)
{
	void *(*work[])(void *) = { produce, consume, observe };
	uint64_t frames = scaled(20000);
	struct job jobs[] = {
		{ .t = self->p, .frames = frames, .paced = true },
		{ .t = self->c, .frames = frames, .paced = true },
		{ .t = self->o, .frames = frames },
	};

	run(_metadata, work, jobs, 3);
}

/* ---- formats ---- */

static void *set_formats(void *arg)
{
	struct job *job = arg;
	uint32_t format[16];

	for (uint32_t i = 1; i <= job->frames; i++) {
		for (int k = 0; k < 16; k++)
			format[k] = i;
		job->result = tribuf_format_set(job->t, format, sizeof(format));
		if (job->result < 0)
			return NULL;
		job->result = i;
	}
	return NULL;
}

static void *get_formats(void *arg)
{
	struct job *job = arg;
	uint32_t format[16] = { 0 }, version;
	int err;

	while (format[0] < job->frames) {
		size_t bytes = sizeof(format);

		err = tribuf_format_get(job->t, format, &bytes, &version);
		if (err == -EAGAIN)
			continue;
		if (err || (bytes && (bytes != sizeof(format) || format[0] != format[15]))) {
			job->result = err ? err : -EBADMSG;
			return NULL;
		}
	}
	job->result = format[0];
	return NULL;
}

TEST_F_TIMEOUT(lib_thread, formats, 120)
{
	void *(*work[])(void *) = { set_formats, get_formats };
	uint64_t count = scaled(20000);
	struct job jobs[] = {
		{ .t = self->p, .frames = count },
		{ .t = self->c, .frames = count },
	};

	run(_metadata, work, jobs, 2);
}

/* ---- roles that come and go ---- */

struct visitor {
	const char *name;
	uint32_t role;
	uint64_t rounds;
	int wrong;
};

static void *come_and_go(void *arg)
{
	struct visitor *v = arg;
	struct tribuf *t;

	for (uint64_t i = 0; i < v->rounds; i++) {
		int err = open_as(&t, v->name, v->role, TRIBUF_DEFAULT | TRIBUF_CREATE, SLOT);

		if (err && err != -EBUSY)
			v->wrong = err;
		if (!err && v->role == TRIBUF_PRODUCER && lib_publish(t) < 0)
			v->wrong = -EPROTO;
		if (!err)
			tribuf_close(t);
	}
	return NULL;
}

FIXTURE(lib_visitors) {
	const char *name;
};

BACKENDS(lib_visitors);

FIXTURE_SETUP(lib_visitors)
{
	REQUIRE_BACKEND(variant);
	self->name = channel_name(variant->prefix);
}

FIXTURE_TEARDOWN(lib_visitors)
{
	EXPECT_TRUE(channel_is_gone(self->name));
}

TEST_F_TIMEOUT(lib_visitors, come_and_go, 120)
{
	uint64_t rounds = scaled(500);
	struct visitor visitor[] = {
		{ self->name, TRIBUF_PRODUCER, rounds, 0 },
		{ self->name, TRIBUF_CONSUMER, rounds, 0 },
		{ self->name, TRIBUF_OBSERVER, rounds, 0 },
	};
	pthread_t thread[3];

	for (int i = 0; i < 3; i++)
		ASSERT_EQ(0, pthread_create(&thread[i], NULL, come_and_go, &visitor[i]));
	for (int i = 0; i < 3; i++)
		pthread_join(thread[i], NULL);
	for (int i = 0; i < 3; i++)
		EXPECT_EQ(0, visitor[i].wrong);
}

TEST_HARNESS_MAIN
