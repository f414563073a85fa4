// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the operations of a program do, in the processes and threads that it asks
 * for. Nothing here judges an answer: whatever the kernel says is right, as long
 * as it says nothing in its log and nothing stays behind.
 *
 * Mappings lie at addresses of their own, a gigabyte each, so that a thread that
 * touches what another has just unmapped meets nothing of the program's own.
 */
#include "fuzz.h"

#include <liburing.h>
#include <pthread.h>
#include <sys/fsuid.h>
#include <sys/time.h>
#include <sys/uio.h>

#define MAP_PLACE(i)	(0x100000000000ull + ((uint64_t)(i) << 30))
#define MAP_MOVED	(1ull << 29)
#define BUFFER		(1u << 16)

/* What the operations of all lanes work on. Racing lanes race for it: on purpose. */
static struct {
	int fd[HANDLES];
	struct mapping {
		unsigned char *at;
		size_t bytes;
	} map[MAPS];
	int epoll;
	int pipe[2];
	pid_t child;
	struct io_uring ring;
	bool has_ring;
	pthread_mutex_t ring_lock;	/* liburing's, not the driver's */
} w;

static _Thread_local unsigned char buffer[BUFFER] __attribute__((aligned(8)));

static int fd_of(uint32_t handle)
{
	return __atomic_load_n(&w.fd[handle % HANDLES], __ATOMIC_RELAXED);
}

static void put_fd(uint32_t handle, int fd)
{
	int old = __atomic_exchange_n(&w.fd[handle % HANDLES], fd, __ATOMIC_RELAXED);

	if (old >= 0)
		close(old);
}

/* ---- touching what may not be there ---- */

static _Thread_local sigjmp_buf fault_env;
static _Thread_local volatile bool fault_expected;

static void on_fault(int sig)
{
	if (!fault_expected)
		_exit(100 + sig);
	siglongjmp(fault_env, sig);
}

#define TOUCHING(...) ({						\
	int __sig = sigsetjmp(fault_env, 1);				\
									\
	fault_expected = true;						\
	if (!__sig) {							\
		__VA_ARGS__;						\
	}								\
	fault_expected = false;						\
	-__sig;								\
})

static struct mapping map_of(uint32_t handle)
{
	return w.map[handle % MAPS];
}

/* ---- handles ---- */

static int run_open(const struct op *op)
{
	int fd = device((int)(op->arg[0] & (O_ACCMODE | O_NONBLOCK)));

	put_fd(op->handle, fd);
	return fd < 0 ? fd : 0;
}

static int run_close(const struct op *op)
{
	put_fd(op->handle, -1);
	return 0;
}

static int run_dup(const struct op *op)
{
	int fd = negative_errno(fcntl(fd_of(op->handle), F_DUPFD_CLOEXEC, 0));

	if (fd >= 0)
		put_fd(op->arg[0], fd);
	return fd < 0 ? fd : 0;
}

/* Names few enough that handles meet. */
static const char *name_of(uint32_t which)
{
	static const char *const names[] = { "fuzz.0", "fuzz.1", "..", "a/b",
		"fuzz.9012345678901234567890123456789012345678901234567890123456" };

	return names[which % 5];
}

/* The third argument: slot size, its upper byte the name. */
static int run_attach(const struct op *op)
{
	struct tribuf_attach_args args = attach_args(name_of(op->arg[2] >> 24), op->arg[0],
						     op->arg[1], op->arg[2] & 0xffffff);

	if (args.flags & TRIBUF_ANONYMOUS)
		memset(args.name, 0, sizeof(args.name));
	return attach(fd_of(op->handle), &args);
}

static int run_attach_fd(const struct op *op)
{
	struct tribuf_attach_args args = attach_args(NULL, op->arg[1], TRIBUF_BY_FD, 0);

	args.fd = fd_of(op->arg[0]);
	args.grants = op->arg[2];
	return attach(fd_of(op->handle), &args);
}

/* Any command with any bytes: the size, then what a seed says. */
static int run_raw(const struct op *op)
{
	uint64_t rng = op->arg[2] | 1ull << 40;
	uint32_t size = op->arg[1] & 0x3ff;

	for (size_t i = 0; i < 1024; i += 8) {
		uint64_t bits = chance(&rng);

		/* Mostly zeroes: rubbish does not get beyond the first check. */
		bits = bits & 7 ? 0 : bits;
		memcpy(buffer + i, &bits, 8);
	}
	memcpy(buffer, &size, 4);
	return tri_ioctl(fd_of(op->handle), _IOC(_IOC_READ | _IOC_WRITE, TRIBUF_IOC_MAGIC,
						 op->arg[0] & 0xff, size), buffer);
}

/* As above, but the struct lies in a mapping of the device's own. */
static int run_raw_mapped(const struct op *op)
{
	struct mapping map = map_of(op->arg[1]);

	return tri_ioctl(fd_of(op->handle), _IOC(_IOC_READ | _IOC_WRITE, TRIBUF_IOC_MAGIC,
						 op->arg[0] & 0xff, 0),
			 map.at ? map.at + op->arg[2] % map.bytes : NULL);
}

/* ---- frames ---- */

static int run_publish(const struct op *op)
{
	struct tribuf_publish_args args = {
		.size = sizeof(args),
		.bytes = op->arg[0],
		.flags = op->arg[1],
		.timestamp = op->arg[2],
	};

	return tri_ioctl(fd_of(op->handle), TRIBUF_IOC_PUBLISH, &args);
}

static int run_acquire(const struct op *op)
{
	return kernel_acquire(fd_of(op->handle), NULL);
}

static int run_ring(const struct op *op)
{
	return tri_ioctl(fd_of(op->handle), TRIBUF_IOC_RING, (void *)(uintptr_t)op->arg[0]);
}

static int run_copy(const struct op *op)
{
	return kernel_copy(fd_of(op->handle), op->arg[0], op->arg[1], op->arg[2] & 0x3fff, buffer,
			   op->arg[2] >> 16);
}

static int run_format(const struct op *op)
{
	struct tribuf_format_args args = {
		.size = sizeof(args),
		.flags = op->arg[0] & 3,
		.bytes = op->arg[1],
		.buf = (uintptr_t)buffer,
	};

	return tri_ioctl(fd_of(op->handle), TRIBUF_IOC_FORMAT, &args);
}

static int run_info(const struct op *op)
{
	struct tribuf_info_args args;

	return info(fd_of(op->handle), &args, op->arg[0]);
}

static int run_list(const struct op *op)
{
	struct tribuf_list_args args = {
		.size = sizeof(args),
		.cursor = op->arg[1],
		.entries = (uintptr_t)buffer,
		.count = op->arg[0] % (BUFFER / sizeof(struct tribuf_list_entry)),
		.entry_size = sizeof(struct tribuf_list_entry),
	};

	return tri_ioctl(fd_of(op->handle), TRIBUF_IOC_LIST, &args);
}

static int run_fdinfo(const struct op *op)
{
	char path[64];
	int fd, got;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd_of(op->handle));
	fd = open(path, O_RDONLY | O_CLOEXEC);
	got = negative_errno(read(fd, buffer, 1024));
	close(fd);
	return got < 0 ? got : 0;
}

/* ---- waiting ---- */

/*
 * A read that would sleep for ever is ended by a signal that is on its way; by the
 * next one, if that came before the read, or to another thread.
 */
static int run_read(const struct op *op)
{
	static const struct itimerval often = { { 0, 2000 }, { 0, 2000 } }, never;
	int got;

	setitimer(ITIMER_REAL, &often, NULL);
	got = negative_errno(read(fd_of(op->handle), buffer, op->arg[0] & 0x3ff));
	setitimer(ITIMER_REAL, &never, NULL);
	return got < 0 ? got : 0;
}

static int run_poll(const struct op *op)
{
	struct pollfd fds[2] = {
		{ .fd = fd_of(op->handle), .events = (short)op->arg[0] },
		{ .fd = fd_of(op->arg[1]), .events = (short)op->arg[0] },
	};

	return negative_errno(poll(fds, 2, (int)(op->arg[2] & 3)));
}

static int run_epoll(const struct op *op)
{
	struct epoll_event event = { .events = op->arg[1], .data.u32 = op->handle };

	return negative_errno(epoll_ctl(w.epoll, 1 + (int)(op->arg[0] % 3), fd_of(op->handle),
					&event));
}

static int run_epoll_wait(const struct op *op)
{
	struct epoll_event events[8];

	return negative_errno(epoll_wait(w.epoll, events, 8, (int)(op->arg[0] & 3)));
}

static int with_ring(int (*call)(const struct op *), const struct op *op)
{
	int got = -EBUSY;

	if (pthread_mutex_trylock(&w.ring_lock))
		return got;
	if (!w.has_ring)
		w.has_ring = !io_uring_queue_init(16, &w.ring, 0);
	if (w.has_ring)
		got = call(op);
	pthread_mutex_unlock(&w.ring_lock);
	return got;
}

static int submit_uring(const struct op *op)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&w.ring);
	int fd = fd_of(op->handle);

	if (!sqe)
		return -EAGAIN;
	switch (op->arg[0] % 4) {
	case 0:
		io_uring_prep_poll_multishot(sqe, fd, op->arg[1]);
		break;
	case 1:
		io_uring_prep_poll_add(sqe, fd, op->arg[1]);
		break;
	case 2:
		io_uring_prep_read(sqe, fd, buffer, 512, 0);
		break;
	default:
		io_uring_prep_cancel_fd(sqe, fd, IORING_ASYNC_CANCEL_ALL);
		break;
	}
	return io_uring_submit(&w.ring);
}

static int reap_uring(const struct op *op)
{
	struct io_uring_cqe *cqe;
	int n = 0;

	io_uring_get_events(&w.ring);
	while (!io_uring_peek_cqe(&w.ring, &cqe)) {
		io_uring_cqe_seen(&w.ring, cqe);
		n++;
	}
	return n;
}

static int run_uring(const struct op *op)
{
	return with_ring(submit_uring, op);
}

static int run_uring_reap(const struct op *op)
{
	return with_ring(reap_uring, op);
}

/* ---- mappings ---- */

/* Regions 0 to 2 are the pages, 3 to 5 the slots from the first, second, third on. */
static off_t region_offset(int fd, uint32_t region)
{
	struct tribuf_info_args i = peek(fd);

	if (region < 3)
		return page_offset(region);
	if (region < 6)
		return (off_t)(i.slots_offset + (region - 3) * i.slot_stride);
	return (off_t)region << 12;
}

static int run_map(const struct op *op)
{
	struct mapping *map = &w.map[op->handle % MAPS];
	int fd = fd_of(op->handle);
	size_t bytes = (size_t)(op->arg[2] & 0xfff) * page_size();
	unsigned char *at;

	at = mmap((void *)MAP_PLACE(op->handle % MAPS), bytes, (int)(op->arg[1] & 7),
		  MAP_SHARED | MAP_FIXED, fd, region_offset(fd, op->arg[0]));
	if (at == MAP_FAILED)
		return -errno;
	*map = (struct mapping){ at, bytes };
	return 0;
}

static int run_unmap(const struct op *op)
{
	struct mapping map = map_of(op->handle);
	size_t from = map.bytes ? op->arg[0] % map.bytes & ~(page_size() - 1) : 0;
	size_t bytes = (op->arg[1] & 0xfff) * page_size();

	return negative_errno(munmap(map.at + from, bytes < map.bytes - from ? bytes : map.bytes - from));
}

static int run_remap(const struct op *op)
{
	struct mapping *map = &w.map[op->handle % MAPS];
	void *place = (void *)(MAP_PLACE(op->handle % MAPS) ^ (op->arg[0] & 1 ? MAP_MOVED : 0));
	size_t bytes = (op->arg[1] & 0xfff) * page_size();
	int flags = MREMAP_MAYMOVE | MREMAP_FIXED | (op->arg[0] & 2 ? MREMAP_DONTUNMAP : 0);
	void *at = mremap(map->at, op->arg[0] & 4 ? 0 : map->bytes, bytes, flags, place);

	if (at == MAP_FAILED)
		return -errno;
	*map = (struct mapping){ at, bytes };
	return 0;
}

static int run_protect(const struct op *op)
{
	struct mapping map = map_of(op->handle);
	size_t bytes = (op->arg[1] & 0xfff) * page_size();

	return negative_errno(mprotect(map.at, bytes < map.bytes ? bytes : map.bytes,
				       (int)(op->arg[0] & 7)));
}

static int run_advise(const struct op *op)
{
	struct mapping map = map_of(op->handle);

	return negative_errno(madvise(map.at, map.bytes, (int)op->arg[0]));
}

static void touch_byte(volatile unsigned char *at, const struct op *op)
{
	if (op->arg[1] & 1)
		*at = (unsigned char)op->arg[2];
	else
		(void)*at;
}

static int run_touch(const struct op *op)
{
	const struct mapping map = map_of(op->handle);

	return TOUCHING(touch_byte(map.at + (map.bytes ? op->arg[0] % map.bytes : 0), op));
}

/* Rubbish where the other side looks: the word, descriptors, the format, frames. */
static int run_scribble(const struct op *op)
{
	const struct mapping map = map_of(op->handle);

	return TOUCHING(__atomic_store_n(
		(uint32_t *)(map.at + (map.bytes ? op->arg[0] % map.bytes & ~3ul : 0)),
		op->arg[1], __ATOMIC_RELAXED));
}

/* A swap as the frame path does it, on whatever is mapped. */
static int run_swap(const struct op *op)
{
	struct mapping map = map_of(op->handle);
	uint32_t *word = (uint32_t *)map.at;

	return TOUCHING(uint32_t old = __atomic_load_n(word, __ATOMIC_ACQUIRE);
			uint32_t new = op->arg[0] & 1 ? tribuf_word_publish(old) :
						       tribuf_word_acquire(old);
			__atomic_compare_exchange_n(word, &old, new, false, __ATOMIC_ACQ_REL,
						    __ATOMIC_ACQUIRE));
}

static int run_set_word(const struct op *op)
{
	struct mapping map = map_of(op->handle);

	return TOUCHING(__atomic_store_n((uint32_t *)map.at, op->arg[0], __ATOMIC_RELEASE));
}

/* The kernel's own ways to user memory, into and out of mapped slots. */
static int run_pin(const struct op *op)
{
	struct mapping map = map_of(op->handle);
	struct iovec there = { map.at, map.bytes < BUFFER ? map.bytes : BUFFER };
	struct iovec here = { buffer, there.iov_len };

	switch (op->arg[0] % 4) {
	case 0:
		return negative_errno(vmsplice(w.pipe[1], &there, 1, SPLICE_F_NONBLOCK));
	case 1:
		return negative_errno(process_vm_readv(getpid(), &here, 1, &there, 1, 0)) < 0 ?
		       -errno : 0;
	case 2:
		return negative_errno(process_vm_writev(getpid(), &here, 1, &there, 1, 0)) < 0 ?
		       -errno : 0;
	default:
		return negative_errno(read(w.pipe[0], buffer, BUFFER)) < 0 ? -errno : 0;
	}
}

/* ---- processes ---- */

/* A child that inherits the handles, and goes in one of several ways. */
static void child_lives(const struct op *op)
{
	struct mapping map = map_of(op->handle);

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	switch (op->arg[0] % 4) {
	case 0:
		_exit(0);
	case 1:
		put_fd(op->handle, -1);
		break;
	case 2:
		TOUCHING((void)*(volatile unsigned char *)map.at);
		break;
	default:
		kernel_publish(fd_of(op->handle), 1, NULL);
		break;
	}
	sleep_ms(op->arg[1] & 15);
	_exit(0);
}

static int run_fork(const struct op *op)
{
	pid_t old = __atomic_exchange_n(&w.child, 0, __ATOMIC_RELAXED);
	pid_t pid;

	if (old > 0)
		waitpid(old, NULL, 0);
	pid = fork();
	if (!pid)
		child_lives(op);
	__atomic_store_n(&w.child, pid, __ATOMIC_RELAXED);
	return pid < 0 ? -errno : 0;
}

static int run_kill(const struct op *op)
{
	pid_t pid = __atomic_exchange_n(&w.child, 0, __ATOMIC_RELAXED);

	if (pid <= 0)
		return -ESRCH;
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	return 0;
}

static int run_become(const struct op *op)
{
	setfsuid(op->arg[0] & 1 ? NOBODY : 0);
	return 0;
}

static int run_unshare(const struct op *op)
{
	return negative_errno(unshare(op->arg[0] & 1 ? CLONE_NEWIPC : CLONE_FILES));
}

static int run_pause(const struct op *op)
{
	sleep_ns((op->arg[0] & 0xfff) * 1000ull);
	return 0;
}

const struct op_kind ops[] = {
	{ "open",	8,  { OPEN_FLAGS },			run_open },
	{ "close",	6,  { NOTHING },			run_close },
	{ "dup",	2,  { HANDLE },				run_dup },
	{ "attach",	16, { ROLE, FLAGS, SIZE },		run_attach },
	{ "attach_fd",	4,  { HANDLE, ROLE, GRANTS },		run_attach_fd },
	{ "raw",	6,  { COMMAND, ANY, ANY },		run_raw },
	{ "raw_mapped",	2,  { COMMAND, HANDLE, OFFSET },	run_raw_mapped },
	{ "publish",	10, { SIZE, SMALL, ANY },		run_publish },
	{ "acquire",	10, { NOTHING },			run_acquire },
	{ "ring",	3,  { NOTHING },			run_ring },
	{ "copy",	5,  { SLOT_NR, GENERATION, ANY },	run_copy },
	{ "format",	4,  { SMALL, SIZE },			run_format },
	{ "info",	3,  { SMALL },				run_info },
	{ "list",	3,  { ANY, SMALL },			run_list },
	{ "fdinfo",	2,  { NOTHING },			run_fdinfo },
	{ "read",	4,  { ANY },				run_read },
	{ "poll",	4,  { EVENTS, HANDLE, SMALL },		run_poll },
	{ "epoll",	5,  { SMALL, EVENTS },			run_epoll },
	{ "epoll_wait",	3,  { SMALL },				run_epoll_wait },
	{ "uring",	4,  { SMALL, EVENTS },			run_uring },
	{ "uring_reap",	3,  { NOTHING },			run_uring_reap },
	{ "map",	12, { REGION, PROT, PAGES },		run_map },
	{ "unmap",	4,  { OFFSET, PAGES },			run_unmap },
	{ "remap",	3,  { SMALL, PAGES },			run_remap },
	{ "protect",	4,  { PROT, PAGES },			run_protect },
	{ "advise",	4,  { ADVICE },				run_advise },
	{ "touch",	14, { OFFSET, SMALL, ANY },		run_touch },
	{ "scribble",	8,  { OFFSET, ANY },			run_scribble },
	{ "swap",	6,  { SMALL },				run_swap },
	{ "set_word",	4,  { WORD },				run_set_word },
	{ "pin",	4,  { SMALL },				run_pin },
	{ "fork",	4,  { SMALL, SMALL },			run_fork },
	{ "kill",	3,  { NOTHING },			run_kill },
	{ "become",	2,  { SMALL },				run_become },
	{ "unshare",	1,  { SMALL },				run_unshare },
	{ "pause",	2,  { MICROSECONDS },			run_pause },
};

const unsigned int ops_count = sizeof(ops) / sizeof(ops[0]);

/* ---- a program ---- */

struct lane {
	const struct program *program;
	struct lane_log *log;
	const struct watcher *watcher;
	unsigned int number;
	unsigned int *waiting;		/* shared: lanes that have not come yet */
};

/* Racing lanes begin together. */
static void meet(unsigned int *waiting)
{
	__atomic_sub_fetch(waiting, 1, __ATOMIC_ACQ_REL);
	for (int i = 0; i < 2000 && __atomic_load_n(waiting, __ATOMIC_ACQUIRE); i++)
		sched_yield();
}

static void *lane_run(void *arg)
{
	const struct lane *lane = arg;
	const struct program *p = lane->program;
	struct lane_log *log = &lane->log[lane->number];

	if (lane->number != LANE_FIRST)
		meet(lane->waiting);
	lane->watcher->begin(lane->number);
	for (unsigned int i = 0; i < p->count; i++) {
		const struct op *op = &p->op[i];

		if (p->racing && op->lane != lane->number)
			continue;
		log->result[log->done].kind = op->kind;
		log->result[log->done].answer = ops[op->kind].run(op);
		log->done++;
	}
	lane->watcher->end(lane->number);
	return NULL;
}

static void on_alarm(int sig)
{
}

static void prepare(void)
{
	struct sigaction fault = { .sa_handler = on_fault, .sa_flags = SA_NODEFER };
	struct sigaction alarmed = { .sa_handler = on_alarm };

	sigaction(SIGSEGV, &fault, NULL);
	sigaction(SIGBUS, &fault, NULL);
	sigaction(SIGALRM, &alarmed, NULL);
	signal(SIGPIPE, SIG_IGN);
	for (int i = 0; i < HANDLES; i++)
		w.fd[i] = -1;
	w.epoll = epoll_create1(EPOLL_CLOEXEC);
	if (pipe2(w.pipe, O_NONBLOCK | O_CLOEXEC))
		_exit(99);
	pthread_mutex_init(&w.ring_lock, NULL);
}

/* Do it all, in a process made for it. */
void program_run(const struct program *p, struct lane_log *log, const struct watcher *watcher)
{
	unsigned int *waiting = shared_with_children(unsigned int);
	struct lane lane[LANES];
	pthread_t thread[2];
	pid_t process;

	prepare();
	for (unsigned int i = 0; i < LANES; i++)
		lane[i] = (struct lane){ p, log, watcher, i, waiting };
	*waiting = p->racing ? LANES - 1 : 0;
	lane_run(&lane[LANE_FIRST]);
	if (!p->racing)
		return;
	process = fork();
	if (!process) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		lane_run(&lane[LANE_PROCESS]);
		_exit(0);
	}
	for (int i = 0; i < 2; i++)
		pthread_create(&thread[i], NULL, lane_run, &lane[LANE_THREAD + i]);
	for (int i = 0; i < 2; i++)
		pthread_join(thread[i], NULL);
	waitpid(process, NULL, 0);
}
