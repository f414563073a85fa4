/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the suites of the kernel ABI share: calls that return -errno, a peer with
 * its pages mapped, the smallest inline frame path, frames whose every byte
 * derives from their number, children that report through their exit status.
 *
 * It knows linux/tribuf.h and nothing of libtribuf, so that a mistake in the
 * library cannot hide one in the kernel.
 */
#ifndef SELFTESTS_COMMON_H
#define SELFTESTS_COMMON_H

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <linux/tribuf.h>

#ifndef WITHOUT_HARNESS		/* programs that are no suites */
/*
 * The harness's time limits are for stock kernels and for the counts of "make
 * check": TRIBUF_PATIENCE, in the environment, multiplies them.
 */
static inline unsigned int patient_alarm(unsigned int seconds)
{
	const char *patience = getenv("TRIBUF_PATIENCE");
	int times = patience ? atoi(patience) : 1;

	return alarm(times > 1 ? seconds * (unsigned int)times : seconds);
}

#define alarm(seconds) patient_alarm(seconds)
#include "kselftest_harness.h"
#undef alarm
#endif

#define DEVICE		"/dev/tribuf"
#define PARAMETERS	"/sys/module/tribuf/parameters/"
#define SLOT		8192u		/* slot size of the cases that do not care */
#define NOBODY		65534u
#define maybe_unused	__attribute__((unused))

/* Suites that skip a helper are fine. */
#define helper static inline maybe_unused

/* ---- time ---- */

#define NS_PER_MS	1000000ull
#define NS_PER_S	1000000000ull

helper uint64_t now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
}

helper uint64_t cpu_time(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
}

/*
 * Goes on while this thread runs or sleeps, not while others keep it from running:
 * what is late for that is not slow. Never back, though the two are not read at once.
 */
helper uint64_t own_time(void)
{
	static __thread uint64_t latest;
	unsigned long long waited = 0;
	FILE *file = fopen("/proc/thread-self/schedstat", "re");
	uint64_t time;

	if (file && fscanf(file, "%*u %llu", &waited) != 1)
		waited = 0;
	if (file)
		fclose(file);
	time = now() - waited;
	latest = time > latest ? time : latest;
	return latest;
}

helper void sleep_ns(uint64_t ns)
{
	struct timespec ts = { (time_t)(ns / NS_PER_S), (long)(ns % NS_PER_S) };

	while (nanosleep(&ts, &ts) && errno == EINTR)
		;
}

helper void sleep_ms(unsigned int ms)
{
	sleep_ns(ms * NS_PER_MS);
}

/* Look every millisecond until @condition holds; false after @ms. */
#define eventually(ms, condition) ({					\
	uint64_t __end = now() + (ms) * NS_PER_MS;			\
	bool __holds;							\
									\
	while (!(__holds = (condition)) && now() < __end)		\
		sleep_ms(1);						\
	__holds;							\
})

/* ---- counts and chance ---- */

/*
 * How often to do what is done often: @n is the sample of "make check"; the
 * environment's TRIBUF_SCALE multiplies it (soak) or divides it (0.1).
 */
helper unsigned long scaled(unsigned long n)
{
	const char *scale = getenv("TRIBUF_SCALE");
	double times = scale ? atof(scale) : 1;

	return times <= 0 || (double)n * times < 1 ? 1 : (unsigned long)((double)n * times);
}

/* xorshift64*: fast, the same everywhere; 0 is no state. */
helper uint64_t chance(uint64_t *state)
{
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return *state * 0x2545f4914f6cdd1dull;
}

/* Different in every run, printed so that a failure can be run again. */
helper uint64_t seed(void)
{
	const char *given = getenv("TRIBUF_SEED");
	uint64_t value = given ? strtoull(given, NULL, 0) : now() * 0x9e3779b97f4a7c15ull;

	printf("# TRIBUF_SEED=%#llx\n", (unsigned long long)value);
	fflush(stdout);
	return value | 1;
}

/* ---- the device ---- */

#define negative_errno(call) ({						\
	long __got = (long)(call);					\
									\
	__got < 0 ? -errno : (int)__got;				\
})

helper int device(int flags)
{
	return negative_errno(open(DEVICE, flags | O_CLOEXEC));
}

helper int tri_ioctl(int fd, unsigned long command, void *args)
{
	return negative_errno(ioctl(fd, command, args));
}

/*
 * One channel name per test process, so that no case sees another's; its
 * children have the name of the first call.
 */
helper const char *test_name(void)
{
	static char name[TRIBUF_NAME_SIZE];

	if (!name[0])
		snprintf(name, sizeof(name), "selftest.%d", getpid());
	return name;
}

/* Arguments of ATTACH; a NULL @name leaves it empty. */
helper struct tribuf_attach_args attach_args(const char *name, uint32_t role, uint32_t flags,
					     uint64_t slot_size)
{
	struct tribuf_attach_args args = {
		.size = sizeof(args),
		.flags = flags,
		.role = role,
		.layout = TRIBUF_LAYOUT_VERSION,
		.fd = -1,
		.mode = 0600,
		.slot_size = slot_size,
	};
	size_t length = name ? strlen(name) : 0;

	if (length)
		memcpy(args.name, name, length < sizeof(args.name) ? length : sizeof(args.name));
	return args;
}

helper int attach(int fd, struct tribuf_attach_args *args)
{
	return tri_ioctl(fd, TRIBUF_IOC_ATTACH, args);
}

/* Attach a new handle with @args: its descriptor, or -errno and no handle. */
helper int attach_new(struct tribuf_attach_args *args)
{
	int fd = device(O_RDWR), err;

	if (fd < 0)
		return fd;
	err = attach(fd, args);
	if (!err)
		return fd;
	close(fd);
	return err;
}

helper int join(const char *name, uint32_t role, uint32_t flags, uint64_t slot_size)
{
	struct tribuf_attach_args args = attach_args(name, role, flags, slot_size);

	return attach_new(&args);
}

/* Attach through the handle @through. */
helper int join_fd(int through, uint32_t role, uint32_t grants)
{
	struct tribuf_attach_args args = attach_args(NULL, role, TRIBUF_BY_FD, 0);

	args.fd = through;
	args.grants = grants;
	return attach_new(&args);
}

/* Is there a channel of that name? Whoever may not read it says no. */
helper bool exists(const char *name)
{
	int fd = join(name, TRIBUF_KEEPER, 0, 0);

	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

helper int info(int fd, struct tribuf_info_args *args, uint32_t flags)
{
	memset(args, 0, sizeof(*args));
	args->size = sizeof(*args);
	args->flags = flags;
	return tri_ioctl(fd, TRIBUF_IOC_INFO, args);
}

/* INFO that changes nothing, for a look at one field; zeroes if it fails. */
helper struct tribuf_info_args peek(int fd)
{
	struct tribuf_info_args args;

	if (info(fd, &args, TRIBUF_INFO_PEEK))
		memset(&args, 0, sizeof(args));
	return args;
}

helper int kernel_publish(int fd, uint64_t bytes, struct tribuf_publish_args *args)
{
	struct tribuf_publish_args own;

	if (!args)
		args = &own;
	memset(args, 0, sizeof(*args));
	args->size = sizeof(*args);
	args->bytes = bytes;
	return tri_ioctl(fd, TRIBUF_IOC_PUBLISH, args);
}

helper int kernel_acquire(int fd, struct tribuf_acquired *frame)
{
	struct tribuf_acquire_args args = { .size = sizeof(args) };
	int err = tri_ioctl(fd, TRIBUF_IOC_ACQUIRE, &args);

	if (frame)
		*frame = args.frame;
	return err;
}

helper int kernel_copy(int fd, uint32_t slot, uint32_t generation, uint64_t offset, void *buf,
		       uint64_t bytes)
{
	struct tribuf_copy_args args = {
		.size = sizeof(args),
		.slot = slot,
		.generation = generation,
		.offset = offset,
		.bytes = bytes,
		.buf = (uintptr_t)buf,
	};

	return tri_ioctl(fd, TRIBUF_IOC_COPY, &args);
}

helper int ring(int fd)
{
	return tri_ioctl(fd, TRIBUF_IOC_RING, NULL);
}

/*
 * Those of @events that poll() reports within @ms, 0: none, or -errno. When its
 * time is over poll() looks once more: what it finds then has woken nobody, and
 * counts as nothing, or a lost wake-up would only look late.
 */
helper int polled(int fd, int events, int ms)
{
	struct pollfd p = { .fd = fd, .events = (short)events };
	uint64_t began = now();
	int n = negative_errno(poll(&p, 1, ms));

	if (n <= 0)
		return n;
	return ms > 0 && now() - began >= (uint64_t)ms * NS_PER_MS ? 0 : p.revents;
}

/* The number that a file of the kernel's holds, or -1. */
helper long read_number(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	char text[32] = "";

	if (fd < 0 || read(fd, text, sizeof(text) - 1) <= 0)
		text[0] = 0;
	if (fd >= 0)
		close(fd);
	return text[0] ? atol(text) : -1;
}

/* A number that the module shows: channels, handles, pages or a limit; else -1. */
helper long parameter(const char *name)
{
	char path[128];

	snprintf(path, sizeof(path), PARAMETERS "%s", name);
	return read_number(path);
}

/* ---- a peer: a handle with its pages ---- */

struct peer {
	int fd;
	struct tribuf_attach_args at;		/* what ATTACH answered */
	struct tribuf_state *state;
	struct tribuf_frames *frames;
	struct tribuf_geometry *geometry;
	unsigned char *slots;
	size_t slots_bytes;			/* 0: small, in @frames */
	uint64_t seq;				/* producer: of its last frame */
};

helper size_t page_size(void)
{
	return (size_t)sysconf(_SC_PAGESIZE);
}

helper size_t page_align(size_t n)
{
	return (n + page_size() - 1) & ~(page_size() - 1);
}

helper off_t page_offset(unsigned int page)
{
	return (off_t)(page * page_size());
}

/* From slot 0's first byte to the last slot's last page. */
helper size_t slots_length(const struct tribuf_attach_args *at)
{
	return (TRIBUF_SLOTS - 1) * (size_t)at->slot_stride + page_align((size_t)at->slot_size);
}

/* mmap() that answers NULL and errno. */
helper void *map(int fd, off_t offset, size_t bytes, int prot)
{
	void *p = mmap(NULL, bytes, prot, MAP_SHARED, fd, offset);

	return p == MAP_FAILED ? NULL : p;
}

/* Map all that the role may, with the rights of the table in linux/tribuf.h. */
helper int peer_map(struct peer *p)
{
	bool produces = p->at.role == TRIBUF_PRODUCER;
	bool peers = produces || p->at.role == TRIBUF_CONSUMER;
	bool guarded = p->at.state & TRIBUF_STATE_GUARDED;
	int state = peers && !guarded ? PROT_READ | PROT_WRITE : PROT_READ;
	int frames = produces && !guarded ? PROT_READ | PROT_WRITE : PROT_READ;
	int data = produces ? PROT_READ | PROT_WRITE : PROT_READ;

	p->geometry = map(p->fd, page_offset(TRIBUF_PAGE_GEOMETRY), page_size(), PROT_READ);
	if (!p->geometry)
		return -errno;
	if (p->at.role == TRIBUF_KEEPER || !p->at.slot_size)	/* PENDING: later */
		return 0;
	p->state = map(p->fd, page_offset(TRIBUF_PAGE_STATE), page_size(), state);
	p->frames = map(p->fd, page_offset(TRIBUF_PAGE_FRAMES), page_size(), frames);
	if (!p->state || !p->frames)
		return -errno;
	if (guarded && !peers)		/* copies */
		return 0;
	if (p->geometry->features & TRIBUF_FEATURE_SMALL) {
		p->slots = (unsigned char *)p->frames + p->at.slots_offset % page_size();
		return 0;
	}
	p->slots_bytes = slots_length(&p->at);
	p->slots = map(p->fd, (off_t)p->at.slots_offset, p->slots_bytes, data);
	return p->slots ? 0 : -errno;
}

/* Unmap and close; what was unmapped or closed by the case is left alone. */
helper void peer_close(struct peer *p)
{
	if (p->slots_bytes)
		munmap(p->slots, p->slots_bytes);
	if (p->frames)
		munmap(p->frames, page_size());
	if (p->state)
		munmap(p->state, page_size());
	if (p->geometry)
		munmap(p->geometry, page_size());
	if (p->fd >= 0)
		close(p->fd);
	memset(p, 0, sizeof(*p));
	p->fd = -1;
}

helper struct tribuf_desc *desc_of(const struct peer *p, uint32_t slot)
{
	return &p->frames->desc[slot];
}

helper unsigned char *slot_of(const struct peer *p, uint32_t slot)
{
	return p->slots + slot * p->at.slot_stride;
}

helper uint32_t word_of(const struct peer *p)
{
	return __atomic_load_n(&p->state->word, __ATOMIC_ACQUIRE);
}

/* The producer's numbers go on from the newest published frame. */
helper uint64_t newest_seq(const struct peer *p)
{
	return desc_of(p, tribuf_word_newest(word_of(p)))->seq;
}

helper int peer_attach(struct peer *p, const struct tribuf_attach_args *args)
{
	int err;

	*p = (struct peer){ .at = *args };
	p->fd = attach_new(&p->at);
	if (p->fd < 0)
		return p->fd;
	err = peer_map(p);
	if (err)
		peer_close(p);
	else if (p->at.role == TRIBUF_PRODUCER)
		p->seq = newest_seq(p);
	return err;
}

helper int peer_open(struct peer *p, const char *name, uint32_t role, uint32_t flags,
		     uint64_t slot_size)
{
	struct tribuf_attach_args args = attach_args(name, role, flags, slot_size);

	return peer_attach(p, &args);
}

/* ---- the inline frame path, in its smallest form ---- */

/* Where the next frame goes. -EPROTO if the word was spoilt. */
helper int begin(struct peer *p)
{
	uint32_t word = word_of(p);
	struct tribuf_desc *desc;

	if (!tribuf_word_valid(word))
		return -EPROTO;
	desc = desc_of(p, tribuf_word_back(word));
	__atomic_store_n(&desc->generation, tribuf_generation_begin(desc->generation),
			 __ATOMIC_RELAXED);
	/* Odd before the first byte changes, for who copies without owning. */
	__atomic_thread_fence(__ATOMIC_RELEASE);
	return (int)tribuf_word_back(word);
}

/*
 * Publish the back slot, which begin() said is @slot. 1: somebody must be rung,
 * 0: nobody, or -EPROTO.
 */
helper int publish_quiet(struct peer *p, int slot, uint64_t bytes)
{
	struct tribuf_desc *desc = desc_of(p, (uint32_t)slot);
	uint32_t word = word_of(p);
	int tries;

	desc->seq = p->seq + 1;
	desc->bytes = bytes;
	desc->timestamp = 0;
	desc->format = p->frames->format.version;
	__atomic_store_n(&desc->generation, tribuf_generation_publish(desc->generation),
			 __ATOMIC_RELEASE);
	for (tries = 0; tries < TRIBUF_USER_TRIES; tries++) {
		if (!tribuf_word_valid(word) || tribuf_word_back(word) != (uint32_t)slot)
			return -EPROTO;
		if (!__atomic_compare_exchange_n(&p->state->word, &word, tribuf_word_publish(word),
						 false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
			continue;
		p->seq++;
		if (word & TRIBUF_FRESH)
			p->frames->overwritten++;
		return tribuf_publish_rings(word);
	}
	return -EPROTO;
}

/* Publish @bytes bytes that are in the slot already; ring if that is due. */
helper int publish(struct peer *p, int slot, uint64_t bytes)
{
	int due = publish_quiet(p, slot, bytes);

	return due > 0 ? ring(p->fd) : due;
}

/* The slot of the newest frame, -EAGAIN: nothing new, or -EPROTO; rings. */
helper int acquire(struct peer *p)
{
	uint32_t word = word_of(p);
	int tries;

	for (tries = 0; tries < TRIBUF_USER_TRIES; tries++) {
		if (!tribuf_word_valid(word))
			return -EPROTO;
		if (!(word & TRIBUF_FRESH))
			return -EAGAIN;
		if (!__atomic_compare_exchange_n(&p->state->word, &word, tribuf_word_acquire(word),
						 false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
			continue;
		if (tribuf_acquire_rings(word))
			ring(p->fd);
		return (int)tribuf_word_middle(word);
	}
	return -EPROTO;
}

/* ---- frames whose every byte derives from their number ---- */

helper uint64_t pattern_word(uint64_t seq, uint64_t i)
{
	return (seq + 1) * 0x9e3779b97f4a7c15ull + i * 0xd1b54a32d192ed03ull;
}

/* Length of frame @seq: small ones mostly, every 64th up to the whole slot. */
helper uint64_t pattern_bytes(uint64_t seq, uint64_t slot_size)
{
	uint64_t mixed = (seq * 0x9e3779b97f4a7c15ull) >> 32;
	uint64_t limit = seq % 64 || slot_size < 256 ? 256 : slot_size;

	return mixed % ((limit < slot_size ? limit : slot_size) + 1);
}

helper void pattern_fill(unsigned char *data, uint64_t seq, uint64_t bytes)
{
	uint64_t i, word;

	for (i = 0; i + 8 <= bytes; i += 8) {
		word = pattern_word(seq, i);
		memcpy(data + i, &word, 8);
	}
	word = pattern_word(seq, i);
	memcpy(data + i, &word, bytes - i);
}

helper bool pattern_holds(const unsigned char *data, uint64_t seq, uint64_t bytes)
{
	uint64_t i, word, got = 0;

	for (i = 0; i + 8 <= bytes; i += 8) {
		memcpy(&got, data + i, 8);
		if (got != pattern_word(seq, i))
			return false;
	}
	word = pattern_word(seq, i);
	return !memcmp(data + i, &word, bytes - i);
}

/* Write and publish the next frame of the pattern: its number, or -errno. */
helper int64_t publish_pattern(struct peer *p)
{
	uint64_t seq = p->seq + 1, bytes = pattern_bytes(seq, p->at.slot_size);
	int slot = begin(p), err;

	if (slot < 0)
		return slot;
	pattern_fill(slot_of(p, (uint32_t)slot), seq, bytes);
	err = publish(p, slot, bytes);
	return err < 0 ? err : (int64_t)seq;
}

/* Is the frame in @slot, which is ours to read, whole? */
helper bool frame_holds(const struct peer *p, int slot)
{
	const struct tribuf_desc *desc = desc_of(p, (uint32_t)slot);

	return desc->bytes == pattern_bytes(desc->seq, p->at.slot_size) &&
	       !(desc->generation & 1) &&
	       pattern_holds(slot_of(p, (uint32_t)slot), desc->seq, desc->bytes);
}

/* ---- children ---- */

/* Run the statement or block in a child; its exit status says how it went. */
#define in_child(...)							\
	((fflush(stdout), fflush(stderr), fork()) ?: ({			\
		prctl(PR_SET_PDEATHSIG, SIGKILL);			\
		{ __VA_ARGS__; }					\
		_exit(0);						\
		0;							\
	}))

/* One that takes several times as long for everything: with kmemleak, or KCSAN. */
helper bool debug_kernel(void)
{
	return !access("/sys/kernel/debug/kmemleak", F_OK) ||
	       !access("/sys/kernel/debug/kcsan", F_OK);
}

/* Run on this CPU, if there is such a one: two peers that share one take turns. */
helper void pin_to_cpu(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	sched_setaffinity(0, sizeof(set), &set);
}

/* In a child: end it, with the line's number if @condition does not hold. */
#define child_must(condition) do {					\
	if (!(condition)) {						\
		fprintf(stderr, "# %s:%d: child: %s does not hold (errno %d)\n",	\
			__FILE__, __LINE__, #condition, errno);		\
		_exit(1);						\
	}								\
} while (0)

/* In a child: end it well if -errno is as expected, else badly and say so. */
#define child_gets(expected, call) do {					\
	long __child_got = (long)(call);					\
									\
	if (__child_got != (expected)) {					\
		fprintf(stderr, "# %s:%d: child: %s: expected %ld, got %ld\n",	\
			__FILE__, __LINE__, #call, (long)(expected), __child_got);	\
		_exit(1);						\
	}								\
} while (0)

/* Its exit status, or 128 + the number of the signal that ended it. */
helper int ended(pid_t pid)
{
	int status;

	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

helper void slay(pid_t pid)
{
	kill(pid, SIGKILL);
	ended(pid);
}

#define EXPECT_CHILD(...) EXPECT_EQ(0, ended(in_child(__VA_ARGS__)))

/* Is our thread @tid asleep? 0 is none. */
helper bool thread_sleeps(pid_t tid)
{
	char path[64], text[256] = "", *state;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", tid);
	f = tid ? fopen(path, "r") : NULL;
	if (!f)
		return false;
	state = fgets(text, sizeof(text), f) ? strrchr(text, ')') : NULL;
	fclose(f);
	return state && state[2] == 'S';
}

/* Memory that children share with the test, zeroed. */
#define shared_with_children(type)					\
	((type *)mmap(NULL, sizeof(type), PROT_READ | PROT_WRITE,	\
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0))

/* ---- memory that may not be there ---- */

static sigjmp_buf touch_env;

helper void touch_failed(int sig)
{
	siglongjmp(touch_env, sig);
}

/*
 * The signal that reading (or writing back) the byte at @address raises, 0: none.
 * Here and not in a child, for children do not inherit the mappings.
 */
helper int touch(volatile unsigned char *address, bool write)
{
	struct sigaction action = { .sa_handler = touch_failed }, segv, bus;
	int sig;

	sigaction(SIGSEGV, &action, &segv);
	sigaction(SIGBUS, &action, &bus);
	sig = sigsetjmp(touch_env, 1);
	if (!sig) {
		unsigned char byte = *address;

		if (write)
			*address = byte;
	}
	sigaction(SIGSEGV, &segv, NULL);
	sigaction(SIGBUS, &bus, NULL);
	return sig;
}

/* ---- files ---- */

helper bool write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool done = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

	close(fd);
	return done;
}

/* A new file for direct I/O, without a name, or -errno: no file system here does it. */
helper int direct_file(void)
{
	static const char * const folders[] = { "/tmp", "/dev/shm", "/vm-out", "/var/tmp" };
	char path[64];
	int fd = -ENOTSUP;

	for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]) && fd < 0; i++) {
		snprintf(path, sizeof(path), "%s/tribuf-direct-XXXXXX", folders[i]);
		fd = negative_errno(mkostemp(path, O_DIRECT | O_CLOEXEC));
		unlink(path);
	}
	return fd;
}

/* ---- other users ---- */

/* Become another user for good, without any group or capability. */
helper void become(uid_t uid)
{
	if (setgroups(0, NULL) || setresgid(uid, uid, uid) || setresuid(uid, uid, uid))
		_exit(99);
}

#endif /* SELFTESTS_COMMON_H */
