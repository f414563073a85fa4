// SPDX-License-Identifier: GPL-2.0-only
/*
 * Every allocation and every copy to or from user space that a call makes, made
 * to fail in turn: the first in the first run, the second in the second, until a
 * run passes without a fault (/proc/thread-self/fail-nth). Each failure must be a
 * documented error that leaves nothing half made, the channel must still work,
 * and nothing may be left when all is closed.
 *
 * Needs a kernel with fault injection (tools/vm -k kasan); elsewhere it skips.
 */
#include "common.h"

#define FAIL_NTH	"/proc/thread-self/fail-nth"
#define DEBUGFS		"/sys/kernel/debug/"
#define FAULTS_MAX	4000

static unsigned long injected_faults;

/* ---- faults ---- */

static void setting(const char *path, const char *value)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd >= 0) {
		if (write(fd, value, strlen(value)) < 0)
			fprintf(stderr, "# %s does not take %s\n", path, value);
		close(fd);
	}
}

/* Whatever may fail at all, silently: single pages too, and those that may wait. */
static void allow_faults(void)
{
	setting(DEBUGFS "failslab/ignore-gfp-wait", "N");
	setting(DEBUGFS "failslab/verbose", "0");
	setting(DEBUGFS "fail_page_alloc/ignore-gfp-wait", "N");
	setting(DEBUGFS "fail_page_alloc/ignore-gfp-highmem", "N");
	setting(DEBUGFS "fail_page_alloc/min-order", "0");
	setting(DEBUGFS "fail_page_alloc/verbose", "0");
	setting(DEBUGFS "fail_usercopy/verbose", "0");
}

/* From here on the @n-th chance for a fault of this thread is one. */
static void faults_begin(int fd, unsigned int n)
{
	char text[16];
	int length = snprintf(text, sizeof(text), "%u", n);

	if (pwrite(fd, text, (size_t)length, 0) != length)
		_exit(98);
}

/*
 * Was there one? These two calls have copies of their own that may fail: if the
 * first one's does, it had not been the turn of any before.
 */
static bool faults_end(int fd)
{
	char text[16] = "1";
	bool injected = pread(fd, text, sizeof(text), 0) > 0 && atoi(text) == 0;

	while (pwrite(fd, "0", 1, 0) != 1)
		;
	injected_faults += injected;
	return injected;
}

/* ---- what the calls have to work with ---- */

struct world {
	uint32_t guarded;		/* TRIBUF_GUARDED or 0 */
	int keeper, producer, consumer, observer;
	int other;			/* keeper of another channel, to be replaced */
	int pending;			/* consumer of a channel without geometry */
	int orphan;			/* keeper of one whose producer left a pinned page */
	int pipe[2];			/* that holds it */
	int spare;			/* a handle that is not attached */
	int fd;				/* what the call opened, or -1 */
	int epoll;
	void *map;			/* what it mapped, or NULL */
	uint64_t seq;			/* of the frame that waits in the mailbox */
};

static const char *name_of(const char *what)
{
	static char name[TRIBUF_NAME_SIZE];

	snprintf(name, sizeof(name), "%.30s.%.16s", test_name(), what);
	return name;
}

/* A slot that a pipe still reads when its producer has gone. */
static int leave_pinned_page(struct world *w)
{
	struct peer p;
	struct iovec piece = { .iov_len = 64 };
	int err;

	w->orphan = join(name_of("orphan"), TRIBUF_KEEPER, TRIBUF_CREATE, SLOT);
	err = peer_open(&p, name_of("orphan"), TRIBUF_PRODUCER, 0, 0);
	if (err)
		return err;
	piece.iov_base = slot_of(&p, tribuf_word_back(word_of(&p)));
	if (pipe(w->pipe) || vmsplice(w->pipe[1], &piece, 1, 0) < 0)
		err = -errno;
	peer_close(&p);
	return err;
}

static int world_open(struct world *w, uint32_t guarded)
{
	struct tribuf_publish_args args;
	int err;

	*w = (struct world){ .guarded = guarded, .fd = -1, .orphan = -1, .pipe = { -1, -1 } };
	w->keeper = join(test_name(), TRIBUF_KEEPER, TRIBUF_CREATE | guarded, SLOT);
	w->producer = join(test_name(), TRIBUF_PRODUCER, guarded, 0);
	w->consumer = join(test_name(), TRIBUF_CONSUMER, guarded, 0);
	w->observer = join(test_name(), TRIBUF_OBSERVER, guarded, 0);
	w->other = join(name_of("other"), TRIBUF_KEEPER, TRIBUF_CREATE | guarded, SLOT);
	w->pending = join(name_of("pending"), TRIBUF_CONSUMER, TRIBUF_PENDING | guarded, 0);
	w->spare = device(O_RDWR);
	w->epoll = epoll_create1(EPOLL_CLOEXEC);
	err = guarded ? 0 : leave_pinned_page(w);
	if (!err)
		err = kernel_publish(w->producer, 64, &args);
	w->seq = args.seq;
	return err;
}

static void close_if(int fd)
{
	if (fd >= 0)
		close(fd);
}

static void world_close(struct world *w)
{
	if (w->map)
		munmap(w->map, page_size());
	close_if(w->fd);
	close_if(w->epoll);
	close_if(w->spare);
	close_if(w->orphan);
	close_if(w->pipe[0]);
	close_if(w->pipe[1]);
	close_if(w->pending);
	close_if(w->other);
	close_if(w->observer);
	close_if(w->consumer);
	close_if(w->producer);
	close_if(w->keeper);
}

/* A frame still goes from the producer to both readers, whole. */
static int works(const struct world *w)
{
	struct tribuf_publish_args args;
	struct tribuf_acquired frame;
	char data[64];
	int err = kernel_publish(w->producer, sizeof(data), &args);

	if (err)
		return err;
	err = kernel_acquire(w->observer, &frame);
	if (err || frame.desc.seq != args.seq)
		return err ?: -ERANGE;
	err = kernel_copy(w->observer, frame.slot, frame.desc.generation, 0, data, sizeof(data));
	if (err)
		return err;
	err = kernel_acquire(w->consumer, &frame);
	if (err || frame.desc.seq != args.seq)
		return err ?: -ERANGE;
	/* Nothing was counted that never came. */
	return args.seq == w->seq + 1 || args.seq == w->seq + 2 ? 0 : -ERANGE;
}

/* ---- the calls: 0 or more, or -errno ---- */

static int do_open(struct world *w)
{
	return w->fd = device(O_RDWR);
}

static int attach_spare(struct world *w, const char *name, uint32_t role, uint32_t flags,
			uint64_t slot_size)
{
	struct tribuf_attach_args args = attach_args(name, role, flags | w->guarded, slot_size);

	return attach(w->spare, &args);
}

static int do_create(struct world *w)
{
	return attach_spare(w, name_of("new"), TRIBUF_PRODUCER, TRIBUF_CREATE, SLOT);
}

/* Guarded: slots in pieces of 2 MiB, or page by page where a piece is not to be had. */
static int do_create_large(struct world *w)
{
	return attach_spare(w, name_of("new"), TRIBUF_PRODUCER, TRIBUF_CREATE,
			    w->guarded ? 2 << 20 : 20 * SLOT);
}

static int do_create_pending(struct world *w)
{
	return attach_spare(w, name_of("new"), TRIBUF_PRODUCER, TRIBUF_PENDING, 0);
}

static int do_join(struct world *w)
{
	return attach_spare(w, test_name(), TRIBUF_OBSERVER, TRIBUF_OWNED, 0);
}

static int do_join_by_fd(struct world *w)
{
	struct tribuf_attach_args args = attach_args(NULL, TRIBUF_KEEPER, TRIBUF_BY_FD, 0);

	args.fd = w->keeper;
	return attach(w->spare, &args);
}

static int do_bring_geometry(struct world *w)
{
	return attach_spare(w, name_of("pending"), TRIBUF_PRODUCER, TRIBUF_CREATE, SLOT);
}

static int do_replace(struct world *w)
{
	return attach_spare(w, name_of("other"), TRIBUF_PRODUCER, TRIBUF_CREATE | TRIBUF_REPLACE,
			    2 * SLOT);
}

static int do_succeed(struct world *w)
{
	return attach_spare(w, name_of("orphan"), TRIBUF_PRODUCER, 0, 0);
}

static int do_publish(struct world *w)
{
	return kernel_publish(w->producer, 64, NULL);
}

static int do_acquire(struct world *w)
{
	return kernel_acquire(w->consumer, NULL);
}

static int do_observe(struct world *w)
{
	return kernel_acquire(w->observer, NULL);
}

static int do_ring(struct world *w)
{
	return ring(w->producer);
}

static int do_copy(struct world *w)
{
	char data[2 * SLOT];

	/* The first frame of a channel has generation 2, in slot 0. */
	return kernel_copy(w->observer, 0, 2, 10, data, SLOT - 10);
}

static int do_set_format(struct world *w)
{
	struct tribuf_format_args args = {
		.size = sizeof(args),
		.flags = TRIBUF_FORMAT_SET,
		.buf = (uintptr_t)"a format",
		.bytes = 8,
	};

	return tri_ioctl(w->producer, TRIBUF_IOC_FORMAT, &args);
}

static int do_get_format(struct world *w)
{
	char data[8];
	struct tribuf_format_args args = {
		.size = sizeof(args),
		.buf = (uintptr_t)data,
		.bytes = sizeof(data),
	};

	return tri_ioctl(w->consumer, TRIBUF_IOC_FORMAT, &args);
}

static int do_info(struct world *w)
{
	struct tribuf_info_args args;

	return info(w->observer, &args, 0);
}

static int do_list(struct world *w)
{
	struct tribuf_list_entry entries[2];
	struct tribuf_list_args args = {
		.size = sizeof(args),
		.entries = (uintptr_t)entries,
		.count = 2,
		.entry_size = sizeof(entries[0]),
	};

	return tri_ioctl(w->spare, TRIBUF_IOC_LIST, &args);
}

static int do_read(struct world *w)
{
	struct tribuf_acquired frame;

	return negative_errno(read(w->consumer, &frame, sizeof(frame)));
}

static int do_observer_read(struct world *w)
{
	struct tribuf_acquired frame;

	return negative_errno(read(w->observer, &frame, sizeof(frame)));
}

static int do_poll(struct world *w)
{
	struct pollfd fds[] = {
		{ .fd = w->spare, .events = POLLIN },
		{ .fd = w->pending, .events = POLLIN },
		{ .fd = w->producer, .events = POLLOUT },	/* a frame waits: not yet */
	};

	return negative_errno(poll(fds, 3, 1));
}

static int do_epoll_add(struct world *w)
{
	struct epoll_event event = { .events = EPOLLIN | EPOLLET };

	return negative_errno(epoll_ctl(w->epoll, EPOLL_CTL_ADD, w->observer, &event));
}

static int do_fdinfo(struct world *w)
{
	char path[64], text[1024];
	int err;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", w->consumer);
	w->fd = negative_errno(open(path, O_RDONLY | O_CLOEXEC));
	if (w->fd < 0)
		return w->fd;
	err = negative_errno(read(w->fd, text, sizeof(text)));
	return err;
}

static int map_and_touch(struct world *w, int fd, off_t offset, int prot)
{
	w->map = map(fd, offset, page_size(), prot);
	if (!w->map)
		return -errno;
	/* A fault that finds no memory for a page table is tried again. */
	(void)*(volatile unsigned char *)w->map;
	return 0;
}

static int do_map_word(struct world *w)
{
	return map_and_touch(w, w->consumer, page_offset(TRIBUF_PAGE_STATE), PROT_READ);
}

static int do_map_geometry(struct world *w)
{
	return map_and_touch(w, w->keeper, page_offset(TRIBUF_PAGE_GEOMETRY), PROT_READ);
}

static int do_map_slot(struct world *w)
{
	/* Slot 1, the back one after the first publish. */
	return map_and_touch(w, w->producer, page_offset(TRIBUF_META_PAGES) + SLOT,
			     PROT_READ | PROT_WRITE);
}

/* ---- the rounds ---- */

FIXTURE(fault) {
	struct world world;
	int fail_nth;
	long channels, handles, pages;
};

FIXTURE_VARIANT(fault) {
	uint32_t guarded;
};

FIXTURE_VARIANT_ADD(fault, direct) {
	.guarded = 0,
};

FIXTURE_VARIANT_ADD(fault, guarded) {
	.guarded = TRIBUF_GUARDED,
};

FIXTURE_SETUP(fault)
{
	self->fail_nth = open(FAIL_NTH, O_RDWR | O_CLOEXEC);
	if (self->fail_nth < 0)
		SKIP(_exit(255), "no fault injection in this kernel: tools/vm -k kasan has it");
	allow_faults();
	self->channels = parameter("channels");
	self->handles = parameter("handles");
	self->pages = parameter("pages");
	ASSERT_LE(0, self->pages);
}

FIXTURE_TEARDOWN(fault)
{
}

static bool documented(int got, const int *errors)
{
	for (; *errors; errors++)
		if (got == -*errors)
			return true;
	return false;
}

static void every_fault(struct __test_metadata *_metadata, FIXTURE_DATA(fault) *self,
			uint32_t guarded, int (*call)(struct world *), const char *creates,
			const int *errors)
{
	struct world *w = &self->world;
	bool injected = true;
	unsigned int n;

	if (guarded && call == do_succeed)
		SKIP(return, "nothing can pin the slots of a guarded channel");
	for (n = 1; injected && n < FAULTS_MAX; n++) {
		int got;

		ASSERT_EQ(0, world_open(w, guarded));
		faults_begin(self->fail_nth, n);
		got = call(w);
		injected = faults_end(self->fail_nth);
		ASSERT_TRUE(got >= 0 || (injected && documented(got, errors)))
			TH_LOG("fault %u: %d (%s)", n, got, strerror(-got));
		ASSERT_EQ(0, works(w)) TH_LOG("after fault %u, which ended with %d", n, got);
		if (creates)
			ASSERT_EQ(got >= 0, exists(name_of(creates))) TH_LOG("after fault %u", n);
		world_close(w);
		ASSERT_EQ(self->handles, parameter("handles")) TH_LOG("after fault %u", n);
		ASSERT_EQ(self->channels, parameter("channels")) TH_LOG("after fault %u", n);
		ASSERT_EQ(self->pages, parameter("pages")) TH_LOG("after fault %u", n);
	}
	EXPECT_FALSE(injected);
	printf("# %lu faults injected\n", injected_faults);
	fflush(stdout);
}

#define FAULTS(call, creates, ...)						\
	TEST_F_TIMEOUT(fault, call, 300)					\
	{									\
		static const int errors[] = { __VA_ARGS__, 0 };			\
										\
		every_fault(_metadata, self, variant->guarded, do_##call, creates, errors);	\
	}

FAULTS(open, NULL, ENOMEM, EFAULT)
FAULTS(create, "new", ENOMEM, EFAULT)
FAULTS(create_large, "new", ENOMEM, EFAULT)
FAULTS(create_pending, NULL, ENOMEM, EFAULT)
FAULTS(join, NULL, EFAULT)
FAULTS(join_by_fd, NULL, EFAULT)
FAULTS(bring_geometry, NULL, ENOMEM, EFAULT)
FAULTS(replace, NULL, ENOMEM, EFAULT)
FAULTS(succeed, NULL, ENOMEM, EFAULT)
FAULTS(publish, NULL, EFAULT)
FAULTS(acquire, NULL, EFAULT)
FAULTS(observe, NULL, EFAULT)
FAULTS(ring, NULL, EFAULT)
FAULTS(copy, NULL, EFAULT)
FAULTS(set_format, NULL, ENOMEM, EFAULT)
FAULTS(get_format, NULL, ENOMEM, EFAULT)
FAULTS(info, NULL, EFAULT)
FAULTS(list, NULL, ENOMEM, EFAULT)
FAULTS(read, NULL, EFAULT)
FAULTS(observer_read, NULL, EFAULT)
FAULTS(poll, NULL, ENOMEM, EFAULT)
FAULTS(epoll_add, NULL, ENOMEM, EFAULT)
FAULTS(fdinfo, NULL, ENOMEM, EFAULT)
FAULTS(map_word, NULL, ENOMEM)
FAULTS(map_geometry, NULL, ENOMEM)
FAULTS(map_slot, NULL, ENOMEM)

TEST_HARNESS_MAIN
