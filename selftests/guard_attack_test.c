// SPDX-License-Identifier: GPL-2.0-only
/*
 * Time of check to time of use: every way that Linux offers to change a frame
 * after the consumer acquired it, or to read a slot after it was given back.
 *
 * Each way is tried on a guarded channel, where it must fail with one exact error
 * and change nothing, and on ordinary shared memory (a memfd that both sides have
 * mapped), where it must succeed: so each case is known to bite. First one try per
 * handover, after it; then two threads that try at any moment.
 *
 * /dev/mem is left out: it needs root, and reaches no RAM under STRICT_DEVMEM.
 */
#include "guard.h"

#include <liburing.h>
#include <pthread.h>
#include <linux/futex.h>
#include <linux/userfaultfd.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ	22
#define MADV_POPULATE_WRITE	23
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE		25
#endif

#define SECTOR		512u	/* what O_DIRECT aligns to */
#define ATTACKERS	2	/* threads that try at any moment */

/* What a strike answers whose thread got a signal instead of an error. */
#define KILLED(sig)	(-1000 - (sig))

/* ---- the ground: two peers that hand frames over ---- */

FIXTURE(attack) {
	struct peer p, c;
	uint32_t word;			/* of ordinary memory, which has none */
	uint64_t random;
};

FIXTURE_VARIANT(attack) {
	bool guarded;
	uint64_t slot_size;
};

FIXTURE_VARIANT_ADD(attack, guarded) { .guarded = true, .slot_size = SLOT };
/* A piece of 2 MiB and a page, where the kernel maps the former by one entry. */
FIXTURE_VARIANT_ADD(attack, large) { .guarded = true, .slot_size = (2u << 20) + 4096 };
FIXTURE_VARIANT_ADD(attack, ordinary) { .slot_size = SLOT };

typedef FIXTURE_DATA(attack) ground;

static int ordinary_open(ground *g, uint64_t slot_size)
{
	struct peer *p = &g->p, *c = &g->c;

	p->at.slot_size = slot_size;
	p->at.slot_stride = page_align(slot_size);
	p->slots_bytes = TRIBUF_SLOTS * p->at.slot_stride;
	*c = *p;
	p->fd = memfd_create("ordinary", MFD_CLOEXEC);
	if (p->fd < 0 || ftruncate(p->fd, (off_t)p->slots_bytes))
		return -errno;
	c->fd = dup(p->fd);
	p->slots = map(p->fd, 0, p->slots_bytes, PROT_READ | PROT_WRITE);
	c->slots = map(c->fd, 0, c->slots_bytes, PROT_READ);
	g->word = TRIBUF_WORD_INIT;
	return p->slots && c->slots ? 0 : -errno;
}

FIXTURE_SETUP(attack)
{
	self->random = seed();
	reach_begin();
	if (!variant->guarded) {
		ASSERT_EQ(0, ordinary_open(self, variant->slot_size));
		return;
	}
	ASSERT_EQ(0, guarded_open(&self->p, test_name(), TRIBUF_PRODUCER, TRIBUF_CREATE,
				  variant->slot_size));
	ASSERT_EQ(0, guarded_open(&self->c, test_name(), TRIBUF_CONSUMER, 0, 0));
}

FIXTURE_TEARDOWN(attack)
{
	peer_close(&self->p);
	peer_close(&self->c);
}


static uint32_t owned(const ground *g)
{
	return g->p.state ? word_of(&g->p) : g->word;
}

static int publish_frame(ground *g)
{
	if (g->p.state)
		return kernel_publish(g->p.fd, g->p.at.slot_size, NULL);
	g->word = tribuf_word_publish(g->word);
	return 0;
}

static int acquire_frame(ground *g)
{
	if (g->p.state)
		return kernel_acquire(g->c.fd, NULL);
	g->word = tribuf_word_acquire(g->word);
	return 0;
}

/* ---- an attack ---- */

/**
 * struct attack - one attacker, and what it aims at
 * @by: whose descriptor, mapping and old pointers it has
 * @guarded: so is the channel
 * @reads: to read what it may not, instead of writing it
 * @way: how
 * @at: the byte: an old pointer
 * @slot: that it lies in
 * @byte: to write, or what was read
 * @own: mapping of the attacker's own of all slots, if the way has one
 * @other: more memory of the attacker's
 * @file: a descriptor of the attacker's, also @pipe
 * @child: a process of the attacker's
 * @uring: its io_uring
 */
struct attack {
	struct peer *by;
	bool guarded;
	bool reads;
	const struct way *way;
	unsigned char *at;
	uint32_t slot;
	unsigned char byte;

	unsigned char *own;
	unsigned char *other;
	int file, pipe[2];
	pid_t child;
	struct io_uring uring;
};

/**
 * struct way - steps of an attack, each 0 or -errno; those that are NULL do nothing
 * @begin: once; a failure means that this machine has not got it
 * @aim: each time, while the slot is still the attacker's
 * @strike: after the slot was given away
 * @undo: what @aim did
 * @end: what @begin did
 * @cost: how many rounds of a cheap way one of these takes
 * @alone: not by several threads at any moment
 */
struct way {
	int (*begin)(struct attack *a);
	int (*aim)(struct attack *a);
	int (*strike)(struct attack *a);
	void (*undo)(struct attack *a);
	void (*end)(struct attack *a);
	unsigned int cost;
	bool alone;
};

static uint64_t step_of(const struct peer *p)
{
	return p->at.slot_size > SLOT ? page_size() : SECTOR;
}

static void target(struct attack *a, uint32_t slot, uint64_t random)
{
	uint64_t step = step_of(a->by);

	a->slot = slot;
	a->at = slot_of(a->by, slot) + random % (a->by->at.slot_size / step) * step;
	a->byte = (unsigned char)(random >> 32);
}

static int begin_attack(struct attack *a)
{
	a->file = a->pipe[0] = a->pipe[1] = -1;
	return a->way->begin ? a->way->begin(a) : 0;
}

static void end_attack(struct attack *a)
{
	if (a->way->end)
		a->way->end(a);
	if (a->child > 0)
		slay(a->child);
	close(a->file);
	close(a->pipe[0]);
	close(a->pipe[1]);
	if (a->own)
		munmap(a->own, a->by->slots_bytes);
	if (a->other)
		munmap(a->other, a->by->slots_bytes);
}

/* Aim and strike; the first error of the two. @between: what the victims do. */
static int try_attack(struct attack *a, int (*between)(void *), void *context)
{
	int aimed = a->way->aim ? a->way->aim(a) : 0;
	int err = between ? between(context) : 0;

	if (!err)
		err = a->way->strike(a);
	if (a->way->undo)
		a->way->undo(a);
	return aimed ?: err;
}

/* ---- steps that ways share ---- */

static int protection(const struct attack *a)
{
	return a->reads ? PROT_READ : PROT_READ | PROT_WRITE;
}

/* The load or store that all is about, by the pointer @at. */
static int touch_at(struct attack *a, unsigned char *at)
{
	int sig = a->reads ? reach(at, &a->byte) : reach_write(at, a->byte);

	return sig ? KILLED(sig) : 0;
}

static off_t offset_of(const struct attack *a, const unsigned char *at)
{
	return (off_t)(a->by->at.slots_offset + (uint64_t)(at - a->by->slots));
}

static int map_own(struct attack *a)
{
	a->own = map(a->by->fd, (off_t)a->by->at.slots_offset, a->by->slots_bytes, protection(a));
	return a->own ? 0 : -errno;
}

/* The byte in the attacker's own mapping. */
static unsigned char *in_own(const struct attack *a)
{
	return a->own + (a->at - a->by->slots);
}

static unsigned char *page_of(unsigned char *at)
{
	return (unsigned char *)((uintptr_t)at & ~(page_size() - 1));
}

static int one_byte(ssize_t moved)
{
	return moved == 1 ? 0 : moved < 0 ? -errno : -EIO;
}

static int open_pipe(struct attack *a)
{
	return negative_errno(pipe2(a->pipe, O_NONBLOCK | O_CLOEXEC));
}

static void drain(const struct attack *a)
{
	char rest[4096];

	while (read(a->pipe[0], rest, sizeof(rest)) > 0)
		;
}

/* ---- by the processor ---- */

static int by_old_pointer(struct attack *a)
{
	return touch_at(a, a->at);
}

static const struct way old_pointer = { .strike = by_old_pointer };

static int by_own_mapping(struct attack *a)
{
	return touch_at(a, in_own(a));
}

static const struct way second_mapping = { .begin = map_own, .strike = by_own_mapping };

static int by_new_mapping(struct attack *a)
{
	unsigned char *page = map(a->by->fd, offset_of(a, page_of(a->at)), page_size(),
				  protection(a));
	int err;

	if (!page)
		return -errno;
	err = touch_at(a, page + (a->at - page_of(a->at)));
	munmap(page, page_size());
	return err;
}

static const struct way mapping_made_after = { .strike = by_new_mapping };

/* A place that the attacker's mapping moves to, and then another one. */
static int map_own_and_room(struct attack *a)
{
	a->other = mmap(NULL, a->by->slots_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	return a->other == MAP_FAILED ? -errno : map_own(a);
}

static int by_moved_mapping(struct attack *a)
{
	size_t bytes = a->by->slots_bytes;

	if (mremap(a->own, bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED, a->other) == MAP_FAILED)
		return -errno;
	a->own = a->other;
	/* Not where it was: another thread may have got that by now. */
	a->other = mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (a->other == MAP_FAILED)
		return -errno;
	return touch_at(a, in_own(a));
}

static const struct way mremap_moves = {
	.begin = map_own_and_room, .strike = by_moved_mapping, .cost = 4,
};

static int by_remapped_page(struct attack *a, size_t bytes, int flags)
{
	unsigned char *page = mremap(page_of(in_own(a)), bytes, page_size(),
				     MREMAP_MAYMOVE | flags, NULL);
	int err;

	if (page == MAP_FAILED)
		return -errno;
	err = touch_at(a, page + (a->at - page_of(a->at)));
	munmap(page, page_size());
	return err;
}

/* An old length of 0 asks for a second mapping of the same. */
static int by_duplicate(struct attack *a)
{
	return by_remapped_page(a, 0, 0);
}

static const struct way mremap_duplicates = { .begin = map_own, .strike = by_duplicate };

static int by_leaving_behind(struct attack *a)
{
	return by_remapped_page(a, page_size(), MREMAP_DONTUNMAP);
}

static const struct way mremap_dontunmap = { .begin = map_own, .strike = by_leaving_behind };

/* A page that is mapped for another slot is made to show this one. */
static int by_remapped_file_page(struct attack *a)
{
	off_t other = offset_of(a, slot_of(a->by, (a->slot + 1) % TRIBUF_SLOTS));
	unsigned char *page = map(a->by->fd, other, page_size(), protection(a));
	int err;

	if (!page)
		return -errno;
	err = negative_errno(remap_file_pages(page, page_size(), 0,
			     (size_t)offset_of(a, page_of(a->at)) / page_size(), 0));
	if (!err)
		err = touch_at(a, page + (a->at - page_of(a->at)));
	munmap(page, page_size());
	return err;
}

static const struct way remap_file = { .strike = by_remapped_file_page };

static int by_protection(struct attack *a)
{
	if (mprotect(a->own, a->by->slots_bytes, PROT_NONE) ||
	    mprotect(a->own, a->by->slots_bytes, protection(a)))
		return -errno;
	return touch_at(a, in_own(a));
}

static const struct way mprotect_and_back = {
	.begin = map_own, .strike = by_protection, .cost = 2,
};

/* ---- by other handles and processes ---- */

static int by_second_handle(struct attack *a)
{
	struct peer second = { .fd = -1 };
	char path[32];
	int err;

	if (a->guarded)
		return guarded_open(&second, test_name(), a->by->at.role, 0, 0);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", a->by->fd);
	second = *a->by;
	second.fd = open(path, O_RDWR | O_CLOEXEC);
	second.slots = map(second.fd, 0, second.slots_bytes, protection(a));
	err = second.slots ? touch_at(a, second.slots + (a->at - a->by->slots)) : -errno;
	peer_close(&second);
	return err;
}

static const struct way second_handle = { .strike = by_second_handle, .cost = 2 };

/* Leave, and come back as one's own successor. */
static int by_successor(struct attack *a)
{
	ptrdiff_t offset = a->at - a->by->slots;
	int err = 0;

	if (a->guarded) {
		peer_close(a->by);
		err = guarded_open(a->by, test_name(),
				   a->reads ? TRIBUF_CONSUMER : TRIBUF_PRODUCER, 0, 0);
	} else {
		munmap(a->by->slots, a->by->slots_bytes);
		a->by->slots = map(a->by->fd, 0, a->by->slots_bytes, protection(a));
	}
	a->at = a->by->slots + offset;
	return err ?: touch_at(a, a->at);
}

static const struct way successor = { .strike = by_successor, .cost = 8, .alone = true };

/* A child that has the mapping by inheritance, if it has it. */
static int by_heir(struct attack *a)
{
	unsigned char *told = a->other;
	pid_t child = in_child({
		int answer = touch_at(a, a->own ? in_own(a) : a->at);

		told[0] = a->byte;
		_exit(answer ? KILLED(answer) : 0);
	});
	int sig = ended(child);

	if (a->reads)
		a->byte = told[0];
	return sig ? KILLED(sig) : 0;
}

static int share_memory(struct attack *a)
{
	a->other = mmap(NULL, a->by->slots_bytes, PROT_READ | PROT_WRITE,
			MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	return a->other == MAP_FAILED ? -errno : 0;
}

static const struct way forked_child = {
	.begin = share_memory, .strike = by_heir, .cost = 50, .alone = true,
};

/* The same after having asked that children inherit it. */
static int by_forced_heir(struct attack *a)
{
	int err = negative_errno(madvise(a->own, a->by->slots_bytes, MADV_DOFORK));

	return by_heir(a) ? err ?: KILLED(SIGSEGV) : 0;
}

static int map_own_and_share(struct attack *a)
{
	return share_memory(a) ?: map_own(a);
}

static const struct way madv_dofork = {
	.begin = map_own_and_share, .strike = by_forced_heir, .cost = 50, .alone = true,
};

/* What a child is told and answers, a struct per strike. */
struct order {
	ptrdiff_t offset;
	int answer;
	unsigned char byte;
};

static void obey(struct attack *a, int sock)
{
	struct order order;

	a->own = NULL;
	child_gets(0, map_own(a));
	while (read(sock, &order, sizeof(order)) == sizeof(order)) {
		a->byte = order.byte;
		order.answer = touch_at(a, a->own + order.offset);
		order.byte = a->byte;
		child_must(write(sock, &order, sizeof(order)) == sizeof(order));
	}
}

/* A child with a mapping of its own, by the descriptor that it inherited. */
static int raise_child(struct attack *a)
{
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
		return -errno;
	a->child = in_child(close(pair[0]); obey(a, pair[1]));
	close(pair[1]);
	a->file = pair[0];
	return 0;
}

static int by_child(struct attack *a)
{
	struct order order = { .offset = a->at - a->by->slots, .byte = a->byte };

	if (write(a->file, &order, sizeof(order)) != sizeof(order) ||
	    read(a->file, &order, sizeof(order)) != sizeof(order))
		return -EIO;
	a->byte = order.byte;
	return order.answer;
}

static const struct way other_process = { .begin = raise_child, .strike = by_child, .cost = 4 };

static int by_process_vm(struct attack *a)
{
	struct iovec here = { &a->byte, 1 }, there = { a->at, 1 };

	return one_byte((a->reads ? process_vm_readv : process_vm_writev)(getpid(), &here, 1,
									  &there, 1, 0));
}

static const struct way process_vm = { .strike = by_process_vm };

static int open_mem(struct attack *a)
{
	a->file = open("/proc/self/mem", O_RDWR | O_CLOEXEC);
	return a->file < 0 ? -errno : 0;
}

static int by_proc_mem(struct attack *a)
{
	off_t at = (off_t)(uintptr_t)a->at;

	return one_byte(a->reads ? pread(a->file, &a->byte, 1, at) :
				   pwrite(a->file, &a->byte, 1, at));
}

static const struct way proc_mem = { .begin = open_mem, .strike = by_proc_mem };

/* A child that is stopped, with a mapping of its own. */
static int raise_tracee(struct attack *a)
{
	unsigned char **where;
	int status;

	if (share_memory(a))
		return -errno;
	where = (unsigned char **)(void *)a->other;
	a->child = in_child({
		child_gets(0, map_own(a));
		*where = a->own;
		child_must(!ptrace(PTRACE_TRACEME));
		raise(SIGSTOP);
	});
	if (waitpid(a->child, &status, 0) != a->child || !WIFSTOPPED(status))
		return -ECHILD;
	return 0;
}

static int by_ptrace(struct attack *a)
{
	unsigned char *at = *(unsigned char **)(void *)a->other + (a->at - a->by->slots);
	long word;

	errno = 0;
	if (!a->reads)
		return negative_errno(ptrace(PTRACE_POKEDATA, a->child, at,
					     (void *)(0x0101010101010101ul * a->byte)));
	word = ptrace(PTRACE_PEEKDATA, a->child, at, NULL);
	a->byte = (unsigned char)word;
	return -errno;
}

static const struct way ptrace_data = { .begin = raise_tracee, .strike = by_ptrace };

/* ---- by system calls that move bytes ---- */

static int by_pipe(struct attack *a)
{
	int err;

	if (a->reads) {
		err = one_byte(write(a->pipe[1], a->at, 1));
		return err ?: one_byte(read(a->pipe[0], &a->byte, 1));
	}
	if (write(a->pipe[1], &a->byte, 1) != 1)
		return -EIO;
	err = one_byte(read(a->pipe[0], a->at, 1));
	drain(a);
	return err;
}

static const struct way read_and_write = { .begin = open_pipe, .strike = by_pipe };

/* The driver's own calls are no way around it either. */
static int by_answer_of_copy(struct attack *a)
{
	if (!a->guarded)
		return by_pipe(a);
	return kernel_copy(a->by->fd, a->slot, desc_of(a->by, a->slot)->generation, 1, a->at, 1);
}

static const struct way answer_of_copy = { .begin = open_pipe, .strike = by_answer_of_copy };

static int open_direct(struct attack *a)
{
	a->file = direct_file();
	return a->file < 0 ? a->file : 0;
}

/* The file's only sector becomes @byte; the slot gets it from there. */
static int read_direct(struct attack *a, unsigned char byte)
{
	unsigned char sector[SECTOR] __attribute__((aligned(SECTOR)));
	ssize_t moved;

	memset(sector, byte, SECTOR);
	if (pwrite(a->file, sector, SECTOR, 0) != SECTOR)
		return -EIO;
	moved = pread(a->file, a->at, SECTOR, 0);
	return moved == SECTOR ? 0 : moved < 0 ? -errno : -EIO;
}

static int write_direct(struct attack *a)
{
	unsigned char sector[SECTOR] __attribute__((aligned(SECTOR)));
	ssize_t moved = pwrite(a->file, a->at, SECTOR, 0);

	if (moved != SECTOR)
		return moved < 0 ? -errno : -EIO;
	if (pread(a->file, sector, SECTOR, 0) != SECTOR)
		return -EIO;
	a->byte = sector[0];
	return 0;
}

/* Refused even while the slot is the attacker's, so that nothing is in flight later. */
static int aim_direct(struct attack *a)
{
	return a->reads ? write_direct(a) : read_direct(a, a->byte);
}

static int by_direct_io(struct attack *a)
{
	return a->reads ? write_direct(a) : read_direct(a, (unsigned char)~a->byte);
}

static const struct way direct_io = {
	.begin = open_direct, .aim = aim_direct, .strike = by_direct_io, .cost = 8,
};

static int open_uring(struct attack *a)
{
	return open_pipe(a) ?: io_uring_queue_init(4, &a->uring, 0);
}

static void close_uring(struct attack *a)
{
	io_uring_queue_exit(&a->uring);
}

static int completed(struct attack *a)
{
	struct io_uring_cqe *cqe;
	int err = io_uring_wait_cqe(&a->uring, &cqe);

	if (err)
		return err;
	err = cqe->res == 1 ? 0 : cqe->res < 0 ? cqe->res : -EIO;
	io_uring_cqe_seen(&a->uring, cqe);
	return err;
}

/* A buffer that is pinned before the slot is given away. */
static int register_buffer(struct attack *a)
{
	struct iovec buffer = { page_of(a->at), page_size() };

	return io_uring_register_buffers(&a->uring, &buffer, 1);
}

static void unregister_buffer(struct attack *a)
{
	io_uring_unregister_buffers(&a->uring);
	drain(a);
}

static int by_fixed_buffer(struct attack *a)
{
	if (write(a->pipe[1], &a->byte, 1) != 1)
		return -EIO;
	io_uring_prep_read_fixed(io_uring_get_sqe(&a->uring), a->pipe[0], a->at, 1, 0, 0);
	io_uring_submit(&a->uring);
	return completed(a);
}

static const struct way uring_fixed_buffer = {
	.begin = open_uring, .aim = register_buffer, .strike = by_fixed_buffer,
	.undo = unregister_buffer, .end = close_uring, .cost = 4,
};

/* A read that waits for its byte while the slot is given away. */
static int submit_read(struct attack *a)
{
	io_uring_prep_read(io_uring_get_sqe(&a->uring), a->pipe[0], a->at, 1, 0);
	return io_uring_submit(&a->uring) == 1 ? 0 : -EIO;
}

static int by_waiting_read(struct attack *a)
{
	if (write(a->pipe[1], &a->byte, 1) != 1)
		return -EIO;
	return completed(a);
}

static void drain_pipe(struct attack *a)
{
	drain(a);
}

static const struct way uring_read_that_waits = {
	.begin = open_uring, .aim = submit_read, .strike = by_waiting_read, .undo = drain_pipe,
	.end = close_uring, .cost = 4,
};

/* Into a slot vmsplice() copies; of a slot it takes the page itself. */
static int splice_page(struct attack *a)
{
	struct iovec part = { a->at, 1 };

	return a->reads ? one_byte(vmsplice(a->pipe[1], &part, 1, SPLICE_F_GIFT)) : 0;
}

static int by_splice(struct attack *a)
{
	struct iovec part = { a->at, 1 };

	if (a->reads)
		return one_byte(read(a->pipe[0], &a->byte, 1));
	if (write(a->pipe[1], &a->byte, 1) != 1)
		return -EIO;
	return one_byte(vmsplice(a->pipe[0], &part, 1, 0));
}

static const struct way spliced_page = {
	.begin = open_pipe, .aim = splice_page, .strike = by_splice, .undo = drain_pipe,
};

static int loopback_up(void)
{
	struct ifreq request = { .ifr_name = "lo" };
	int sock = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), err;

	err = negative_errno(ioctl(sock, SIOCGIFFLAGS, &request));
	request.ifr_flags |= IFF_UP;
	if (!err)
		err = negative_errno(ioctl(sock, SIOCSIFFLAGS, &request));
	close(sock);
	return err;
}

/* A socket that sends to itself, without a copy if it can. */
static int open_socket(struct attack *a)
{
	struct sockaddr_in to = {
		.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	struct timeval patience = { .tv_sec = 10 };
	socklen_t length = sizeof(to);
	int one = 1, err = loopback_up();

	if (err)
		return err;
	a->file = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (setsockopt(a->file, SOL_SOCKET, SO_ZEROCOPY, &one, sizeof(one)) ||
	    setsockopt(a->file, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) ||
	    bind(a->file, (struct sockaddr *)&to, sizeof(to)) ||
	    getsockname(a->file, (struct sockaddr *)&to, &length) ||
	    connect(a->file, (struct sockaddr *)&to, sizeof(to)))
		return -errno;
	return 0;
}

static int by_zerocopy(struct attack *a)
{
	unsigned char control[128];
	struct msghdr done = { .msg_control = control, .msg_controllen = sizeof(control) };
	int err = one_byte(send(a->file, a->at, 1, MSG_ZEROCOPY));

	if (err)
		return err;
	recvmsg(a->file, &done, MSG_ERRQUEUE);
	/* On a busy machine it comes later. */
	return one_byte(recv(a->file, &a->byte, 1, 0));
}

static const struct way zerocopy_send = { .begin = open_socket, .strike = by_zerocopy, .cost = 4 };

static int by_futex(struct attack *a)
{
	uint32_t none = 0;
	int set = FUTEX_OP(FUTEX_OP_SET, a->byte, FUTEX_OP_CMP_EQ, 0);

	return negative_errno(syscall(SYS_futex, &none, FUTEX_WAKE_OP_PRIVATE, 0, 0, a->at, set));
}

static const struct way futex_wake_op = { .strike = by_futex };

/* ---- by who serves page faults ---- */

static int open_userfault(struct attack *a, uint64_t features)
{
	struct uffdio_api api = { .api = UFFD_API, .features = features };

	a->file = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	if (a->file < 0 || ioctl(a->file, UFFDIO_API, &api))
		return -errno;
	return share_memory(a) ?: map_own(a);
}

static int open_userfault_missing(struct attack *a)
{
	return open_userfault(a, 0);
}

/* A page that is taken away and comes again as the attacker's. */
static int by_userfault(struct attack *a)
{
	unsigned char *page = page_of(in_own(a));
	struct uffdio_register range = {
		.range = { (uintptr_t)page, page_size() }, .mode = UFFDIO_REGISTER_MODE_MISSING,
	};
	struct uffdio_copy copy = {
		.dst = (uintptr_t)page, .src = (uintptr_t)a->other, .len = page_size(),
	};
	int err = negative_errno(ioctl(a->file, UFFDIO_REGISTER, &range));

	if (err)
		return err;
	err = negative_errno(madvise(page, page_size(), MADV_REMOVE));
	memset(a->other, ~a->byte, page_size());
	if (!err)
		err = negative_errno(ioctl(a->file, UFFDIO_COPY, &copy));
	ioctl(a->file, UFFDIO_UNREGISTER, &range.range);
	return err;
}

static const struct way userfault_missing = {
	.begin = open_userfault_missing, .strike = by_userfault, .cost = 4, .alone = true,
};

#ifndef UFFD_FEATURE_WP_ASYNC
#define UFFD_FEATURE_WP_UNPOPULATED	(1 << 13)
#define UFFD_FEATURE_WP_ASYNC		(1 << 15)
#endif

/* Of kernels from 6.7 on, which differ in what memory they let it watch. */
static int open_userfault_async(struct attack *a)
{
	return open_userfault(a, UFFD_FEATURE_WP_ASYNC | UFFD_FEATURE_WP_UNPOPULATED);
}

/* It takes note of what is written, and must neither open a way nor hold anything up. */
static int watch_own(struct attack *a)
{
	struct uffdio_register range = {
		.range = { (uintptr_t)page_of(in_own(a)), page_size() },
		.mode = UFFDIO_REGISTER_MODE_WP,
	};
	struct uffdio_writeprotect protect = {
		.range = range.range, .mode = UFFDIO_WRITEPROTECT_MODE_WP,
	};

	if (ioctl(a->file, UFFDIO_REGISTER, &range))
		return a->guarded && errno == EINVAL ? 0 : -errno;
	if (ioctl(a->file, UFFDIO_WRITEPROTECT, &protect))
		return -errno;
	return touch_at(a, in_own(a) + 1);
}

static void unwatch_own(struct attack *a)
{
	struct uffdio_range range = { (uintptr_t)page_of(in_own(a)), page_size() };

	ioctl(a->file, UFFDIO_UNREGISTER, &range);
}

static const struct way userfault_watches = {
	.begin = open_userfault_async, .aim = watch_own, .strike = by_own_mapping,
	.undo = unwatch_own, .cost = 2, .alone = true,
};

/* ---- by advice ---- */

/* The advice, whose error is told if it did not help the touch that follows. */
static int by_advice(struct attack *a, int advice)
{
	int err = negative_errno(madvise(page_of(in_own(a)), page_size(), advice));
	int answer = touch_at(a, in_own(a));

	return answer ? err ?: answer : 0;
}

/* Kernels without huge pages or merging know no such advice, not even for no bytes. */
static int map_own_if_known(struct attack *a, int advice)
{
	return madvise(NULL, 0, advice) ? -errno : map_own(a);
}

#define ADVICE(lower, upper)						\
	static int begin_madv_##lower(struct attack *a)			\
	{								\
		return map_own_if_known(a, MADV_##upper);		\
	}								\
	static int by_madv_##lower(struct attack *a)			\
	{								\
		return by_advice(a, MADV_##upper);			\
	}								\
	static const struct way madv_##lower = {			\
		.begin = begin_madv_##lower, .strike = by_madv_##lower,	\
	}

ADVICE(cold, COLD);
ADVICE(collapse, COLLAPSE);
ADVICE(dodump, DODUMP);
ADVICE(dontneed, DONTNEED);
ADVICE(free, FREE);
ADVICE(hugepage, HUGEPAGE);
ADVICE(mergeable, MERGEABLE);
ADVICE(nohugepage, NOHUGEPAGE);
ADVICE(pageout, PAGEOUT);
ADVICE(populate_read, POPULATE_READ);
ADVICE(populate_write, POPULATE_WRITE);
ADVICE(remove, REMOVE);
ADVICE(willneed, WILLNEED);
ADVICE(wipeonfork, WIPEONFORK);

/* ---- rounds ---- */

/* Where a frame is written and looked at: all of it, or a word of each page. */
static size_t stride_of(const ground *g)
{
	return g->p.at.slot_size > SLOT ? page_size() : sizeof(uint64_t);
}

static void fill(const ground *g, unsigned char *slot, uint64_t seq)
{
	for (size_t i = 0; i < g->p.at.slot_size; i += stride_of(g)) {
		uint64_t word = pattern_word(seq, i);

		memcpy(slot + i, &word, sizeof(word));
	}
}

static void look(const ground *g, const unsigned char *slot, unsigned char *copy)
{
	for (size_t i = 0; i < g->p.at.slot_size; i += stride_of(g))
		memcpy(copy + i, slot + i, sizeof(uint64_t));
}

static bool changed(const ground *g, const unsigned char *slot, const unsigned char *copy)
{
	for (size_t i = 0; i < g->p.at.slot_size; i += stride_of(g))
		if (memcmp(copy + i, slot + i, sizeof(uint64_t)))
			return true;
	return false;
}

struct tally {
	unsigned long handovers, hits, others;
	int other;		/* an answer that was not the one expected */
	unsigned long strikes;	/* at any moment */
};

/* One handover, with everything that it needs between aim and strike. */
struct handover {
	ground *g;
	struct attack *a;
	unsigned char *copy;
	uint64_t seq;
};

/* The producer's frame changes hands. What the consumer sees is kept. */
static int give_frame(void *context)
{
	struct handover *h = context;
	int err = publish_frame(h->g) ?: acquire_frame(h->g);

	if (!err)
		look(h->g, slot_of(&h->g->c, tribuf_word_front(owned(h->g))), h->copy);
	return err;
}

/* The consumer's slot goes back to the producer, who writes the next frame there. */
static int take_frame(void *context)
{
	struct handover *h = context;
	int err = publish_frame(h->g) ?: acquire_frame(h->g) ?: publish_frame(h->g);

	if (!err)
		fill(h->g, slot_of(&h->g->p, tribuf_word_back(owned(h->g))), ++h->seq);
	return err;
}

/* Did the producer change the frame that the consumer holds? */
static bool try_change(struct handover *h, int *answer)
{
	struct attack *a = h->a;
	uint32_t slot = tribuf_word_back(owned(h->g));

	fill(h->g, slot_of(&h->g->p, slot), ++h->seq);
	target(a, slot, chance(&h->g->random));
	a->byte = (unsigned char)~*a->at;
	*answer = try_attack(a, give_frame, h);
	return changed(h->g, slot_of(&h->g->c, tribuf_word_front(owned(h->g))), h->copy);
}

/* Did the consumer read what the producer writes? */
static bool try_read(struct handover *h, int *answer)
{
	struct attack *a = h->a;

	target(a, tribuf_word_front(owned(h->g)), chance(&h->g->random));
	*answer = try_attack(a, take_frame, h);
	return !*answer && a->byte == slot_of(&h->g->p, a->slot)[a->at - slot_of(a->by, a->slot)];
}

/* One try for each handover, after it. */
static void in_turns(struct handover *h, unsigned long rounds, int expected, struct tally *t)
{
	while (rounds--) {
		int answer = 0;

		t->hits += h->a->reads ? try_read(h, &answer) : try_change(h, &answer);
		t->handovers++;
		if (answer == expected)
			continue;
		t->others++;
		t->other = answer;
	}
}

/* ---- at any moment ---- */

struct attacker {
	struct attack a;
	pthread_t thread;
	uint64_t random;
	unsigned long strikes;
	bool stop;
};

static void *attack_for_ever(void *arg)
{
	struct attacker *at = arg;
	struct attack *a = &at->a;
	int err = begin_attack(a);

	while (!err && !__atomic_load_n(&at->stop, __ATOMIC_RELAXED)) {
		target(a, (uint32_t)(chance(&at->random) % TRIBUF_SLOTS), chance(&at->random));
		try_attack(a, NULL, NULL);
		__atomic_add_fetch(&at->strikes, 1, __ATOMIC_RELAXED);
	}
	end_attack(a);
	return NULL;
}

/* Enough? On ordinary memory: when it was seen to happen. */
static bool enough(const struct handover *h, const struct attacker *attackers,
		   unsigned long rounds, const struct tally *t)
{
	if (!h->a->guarded)
		return t->hits;
	for (int i = 0; i < ATTACKERS; i++)
		if (!__atomic_load_n(&attackers[i].strikes, __ATOMIC_RELAXED))
			return false;
	return t->handovers >= rounds;
}

/* Whatever the attackers write: a frame that the consumer holds stays as it is. */
static void at_any_moment(struct handover *h, unsigned long rounds, struct tally *t)
{
	struct attacker attackers[ATTACKERS] = {};
	const unsigned char *slot;

	for (int i = 0; i < ATTACKERS; i++) {
		attackers[i].a = (struct attack){
			.by = h->a->by, .guarded = h->a->guarded, .way = h->a->way,
		};
		attackers[i].random = chance(&h->g->random);
		pthread_create(&attackers[i].thread, NULL, attack_for_ever, &attackers[i]);
	}
	while (!enough(h, attackers, rounds, t)) {
		fill(h->g, slot_of(&h->g->p, tribuf_word_back(owned(h->g))), ++h->seq);
		if (give_frame(h))
			break;
		slot = slot_of(&h->g->c, tribuf_word_front(owned(h->g)));
		t->hits += changed(h->g, slot, h->copy);
		t->handovers++;
	}
	for (int i = 0; i < ATTACKERS; i++) {
		__atomic_store_n(&attackers[i].stop, true, __ATOMIC_RELAXED);
		pthread_join(attackers[i].thread, NULL);
		t->strikes += attackers[i].strikes;
	}
}

/* ---- the cases ---- */

static unsigned long rounds_of(const struct way *way, const struct peer *p)
{
	unsigned long rounds = p->at.slot_size > SLOT ? scaled(32) : scaled(350);

	return rounds / (way->cost ?: 1) + 1;
}

static void run(struct __test_metadata *_metadata, ground *g,
		const FIXTURE_VARIANT(attack) *variant, const struct way *way, bool reads,
		int expected)
{
	struct attack a = {
		.by = reads ? &g->c : &g->p, .guarded = variant->guarded, .reads = reads,
		.way = way,
	};
	struct handover h = { .g = g, .a = &a, .copy = malloc(variant->slot_size) };
	unsigned long rounds = rounds_of(way, &g->p);
	struct tally t = {}, free_for_all = {};
	int err = begin_attack(&a);

	if (err)
		SKIP(return, "not on this machine: %s", strerror(-err));
	in_turns(&h, variant->guarded ? rounds : 8, variant->guarded ? expected : 0, &t);
	end_attack(&a);
	EXPECT_EQ(0, t.others) TH_LOG("%lu answered otherwise, the last %d (%d expected)",
				      t.others, t.other, variant->guarded ? expected : 0);
	EXPECT_EQ(variant->guarded ? 0 : t.handovers, t.hits);
	if (!reads && !way->alone) {
		at_any_moment(&h, rounds / 8 + 1, &free_for_all);
		EXPECT_LT(0, free_for_all.strikes);
		EXPECT_EQ(variant->guarded, !free_for_all.hits);
	}
	printf("# %lu handovers and %lu strikes, %lu hit\n", t.handovers + free_for_all.handovers,
	       t.handovers + free_for_all.strikes, t.hits + free_for_all.hits);
	fflush(stdout);
	free(h.copy);
}

#define CHANGES_BY(name, answer)					\
	TEST_F_TIMEOUT(attack, changes_by_##name, 120)			\
	{								\
		run(_metadata, self, variant, &name, false, answer);	\
	}

#define READS_BY(name, answer)						\
	TEST_F_TIMEOUT(attack, reads_by_##name, 120)			\
	{								\
		run(_metadata, self, variant, &name, true, answer);	\
	}

CHANGES_BY(old_pointer, KILLED(SIGBUS))
CHANGES_BY(second_mapping, KILLED(SIGBUS))
CHANGES_BY(mapping_made_after, KILLED(SIGBUS))
CHANGES_BY(mremap_moves, KILLED(SIGBUS))
CHANGES_BY(mremap_duplicates, -EFAULT)
CHANGES_BY(mremap_dontunmap, -EINVAL)
CHANGES_BY(remap_file, KILLED(SIGBUS))
CHANGES_BY(mprotect_and_back, KILLED(SIGBUS))
CHANGES_BY(second_handle, -EBUSY)
CHANGES_BY(successor, KILLED(SIGBUS))
CHANGES_BY(forked_child, KILLED(SIGSEGV))
CHANGES_BY(other_process, KILLED(SIGBUS))
CHANGES_BY(process_vm, -EFAULT)
CHANGES_BY(proc_mem, -EIO)
CHANGES_BY(ptrace_data, -EIO)
CHANGES_BY(read_and_write, -EFAULT)
CHANGES_BY(answer_of_copy, -EFAULT)
CHANGES_BY(direct_io, -EFAULT)
CHANGES_BY(uring_fixed_buffer, -EFAULT)
CHANGES_BY(uring_read_that_waits, -EFAULT)
CHANGES_BY(spliced_page, -EFAULT)
CHANGES_BY(futex_wake_op, -EFAULT)
CHANGES_BY(userfault_missing, -EINVAL)
CHANGES_BY(userfault_watches, KILLED(SIGBUS))
CHANGES_BY(madv_cold, -EINVAL)
CHANGES_BY(madv_collapse, -EINVAL)
CHANGES_BY(madv_dodump, -EINVAL)
CHANGES_BY(madv_dofork, -EINVAL)
CHANGES_BY(madv_dontneed, -EINVAL)
CHANGES_BY(madv_free, -EINVAL)
CHANGES_BY(madv_hugepage, KILLED(SIGBUS))
CHANGES_BY(madv_mergeable, KILLED(SIGBUS))
CHANGES_BY(madv_nohugepage, KILLED(SIGBUS))
CHANGES_BY(madv_pageout, -EINVAL)
CHANGES_BY(madv_populate_read, -EINVAL)
CHANGES_BY(madv_populate_write, -EINVAL)
CHANGES_BY(madv_remove, -ENODEV)
CHANGES_BY(madv_willneed, KILLED(SIGBUS))
CHANGES_BY(madv_wipeonfork, -EINVAL)

READS_BY(old_pointer, KILLED(SIGBUS))
READS_BY(second_mapping, KILLED(SIGBUS))
READS_BY(mapping_made_after, KILLED(SIGBUS))
READS_BY(mremap_moves, KILLED(SIGBUS))
READS_BY(mremap_duplicates, -EFAULT)
READS_BY(remap_file, KILLED(SIGBUS))
READS_BY(mprotect_and_back, KILLED(SIGBUS))
READS_BY(second_handle, -EBUSY)
READS_BY(successor, KILLED(SIGBUS))
READS_BY(forked_child, KILLED(SIGSEGV))
READS_BY(other_process, KILLED(SIGBUS))
READS_BY(process_vm, -EFAULT)
READS_BY(proc_mem, -EIO)
READS_BY(ptrace_data, -EIO)
READS_BY(read_and_write, -EFAULT)
READS_BY(direct_io, -EFAULT)
READS_BY(spliced_page, -EFAULT)
READS_BY(zerocopy_send, -EFAULT)
READS_BY(madv_dontneed, -EINVAL)
READS_BY(madv_populate_read, -EINVAL)

TEST_HARNESS_MAIN
