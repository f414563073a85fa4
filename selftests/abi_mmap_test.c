// SPDX-License-Identifier: GPL-2.0-only
/*
 * Mappings: who may map what and how (every cell of the table in linux/tribuf.h),
 * ways around it that must not work, and memory that is taken back when a role
 * ends although somebody still looks at it.
 */
#include <linux/userfaultfd.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "common.h"

#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif

/* As system calls that transfer one page say it. */
#define PAGE ((ssize_t)page_size())

#define refused(p) ((p) == NULL && (errno == EACCES || errno == EINVAL || errno == EPERM))

enum region { STATE = TRIBUF_PAGE_STATE, FRAMES = TRIBUF_PAGE_FRAMES,
	      GEOMETRY = TRIBUF_PAGE_GEOMETRY, SLOTS };

enum rights { NONE, R, RW };

/* A handle of one role, and where one region lies in it. */
FIXTURE(cell) {
	int keeper;
	int fd;
	off_t offset;
	size_t bytes;
};

FIXTURE_VARIANT(cell) {
	uint32_t role;
	enum region region;
	enum rights rights;
};

#define CELL(role_name, region_name, may)				\
	FIXTURE_VARIANT_ADD(cell, role_name##_##region_name) {		\
		.role = TRIBUF_##role_name, .region = region_name, .rights = may,	\
	}

CELL(PRODUCER, STATE, RW);
CELL(PRODUCER, FRAMES, RW);
CELL(PRODUCER, GEOMETRY, R);
CELL(PRODUCER, SLOTS, RW);
CELL(CONSUMER, STATE, RW);
CELL(CONSUMER, FRAMES, R);
CELL(CONSUMER, GEOMETRY, R);
CELL(CONSUMER, SLOTS, R);
CELL(OBSERVER, STATE, R);
CELL(OBSERVER, FRAMES, R);
CELL(OBSERVER, GEOMETRY, R);
CELL(OBSERVER, SLOTS, R);
CELL(KEEPER, STATE, NONE);
CELL(KEEPER, FRAMES, NONE);
CELL(KEEPER, GEOMETRY, R);
CELL(KEEPER, SLOTS, NONE);

FIXTURE_SETUP(cell)
{
	struct tribuf_attach_args args = attach_args(test_name(), variant->role, 0, 0);

	self->keeper = join(test_name(), TRIBUF_KEEPER, TRIBUF_CREATE, SLOT);
	self->fd = attach_new(&args);
	ASSERT_LE(0, self->fd);
	self->offset = page_offset(variant->region);
	self->bytes = page_size();
	if (variant->region == SLOTS) {
		self->offset = (off_t)args.slots_offset;
		self->bytes = slots_length(&args);
	}
}

FIXTURE_TEARDOWN(cell)
{
	close(self->fd);
	close(self->keeper);
}

TEST_F(cell, is_what_the_table_says)
{
	unsigned char *r = map(self->fd, self->offset, self->bytes, PROT_READ), *w;
	bool r_refused = refused(r);

	EXPECT_EQ(variant->rights == NONE, r_refused);
	w = map(self->fd, self->offset, self->bytes, PROT_READ | PROT_WRITE);
	EXPECT_EQ(variant->rights != RW, refused(w));
	if (w)
		EXPECT_EQ(0, touch(w + self->bytes - 1, true));
	w = map(self->fd, self->offset, self->bytes, PROT_WRITE);
	EXPECT_EQ(variant->rights != RW, refused(w));
	if (!r)
		return;
	EXPECT_EQ(0, touch(r, false));
	EXPECT_EQ(0, touch(r + self->bytes - 1, false));
	EXPECT_EQ(SIGSEGV, touch(r, true));
}

/* What was mapped for reading can become writable only if the table says so. */
TEST_F(cell, mprotect_gives_no_more)
{
	unsigned char *r = map(self->fd, self->offset, self->bytes, PROT_READ);
	int writable = variant->rights == RW ? 0 : -EACCES;

	if (variant->rights == NONE)
		return;
	ASSERT_NE(NULL, r);
	EXPECT_EQ(writable, negative_errno(mprotect(r, self->bytes, PROT_READ | PROT_WRITE)));
	EXPECT_EQ(writable, negative_errno(mprotect(r, page_size(), PROT_WRITE)));
	EXPECT_EQ(-EACCES, negative_errno(mprotect(r, self->bytes, PROT_READ | PROT_EXEC)));
	EXPECT_EQ(0, mprotect(r, self->bytes, PROT_NONE));
	EXPECT_EQ(SIGSEGV, touch(r, false));
	EXPECT_EQ(writable, negative_errno(mprotect(r, self->bytes, PROT_READ | PROT_WRITE)));
	EXPECT_EQ(0, mprotect(r, self->bytes, PROT_READ));
	EXPECT_EQ(0, touch(r, false));
}

TEST_F(cell, never_executable)
{
	EXPECT_TRUE(refused(map(self->fd, self->offset, self->bytes, PROT_EXEC)));
	EXPECT_TRUE(refused(map(self->fd, self->offset, self->bytes, PROT_READ | PROT_EXEC)));
	EXPECT_TRUE(refused(map(self->fd, self->offset, self->bytes,
				PROT_READ | PROT_WRITE | PROT_EXEC)));
}

TEST_F(cell, never_private)
{
	EXPECT_EQ(MAP_FAILED, mmap(NULL, self->bytes, PROT_READ, MAP_PRIVATE, self->fd,
				   self->offset));
	EXPECT_EQ(MAP_FAILED, mmap(NULL, self->bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE, self->fd,
				   self->offset));
}

TEST_F(cell, mremap_moves_and_shrinks_but_never_grows)
{
	unsigned char *p = map(self->fd, self->offset, self->bytes, PROT_READ), *moved;
	unsigned char *room = mmap(NULL, self->bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS,
				   -1, 0);

	if (variant->rights == NONE)
		return;
	ASSERT_NE(NULL, p);
	EXPECT_EQ(MAP_FAILED, mremap(p, self->bytes, self->bytes + page_size(), MREMAP_MAYMOVE));
	EXPECT_EQ(MAP_FAILED, mremap(p, 0, self->bytes, MREMAP_MAYMOVE));
	EXPECT_EQ(MAP_FAILED, mremap(p, self->bytes, self->bytes,
				     MREMAP_MAYMOVE | MREMAP_DONTUNMAP));
	moved = mremap(p, self->bytes, self->bytes, MREMAP_MAYMOVE | MREMAP_FIXED, room);
	ASSERT_EQ(room, moved);
	EXPECT_EQ(0, touch(moved + self->bytes - 1, false));
	EXPECT_EQ(variant->rights == RW ? 0 : -EACCES,
		  negative_errno(mprotect(moved, self->bytes, PROT_READ | PROT_WRITE)));
	if (self->bytes > page_size()) {
		EXPECT_EQ(moved, mremap(moved, self->bytes, page_size(), 0));
		EXPECT_EQ(SIGSEGV, touch(moved + page_size(), false));
	}
}

/* Given up and touched again: the same page, with what was in it. */
TEST_F(cell, comes_back_after_dontneed)
{
	unsigned char *p = map(self->fd, self->offset, self->bytes, PROT_READ);
	unsigned char before[64];

	if (variant->rights == NONE)
		return;
	ASSERT_NE(NULL, p);
	if (variant->rights == RW && variant->region != STATE) {
		ASSERT_EQ(0, mprotect(p, self->bytes, PROT_READ | PROT_WRITE));
		memset(p + self->bytes - 64, 0x5a, 64);
	}
	memcpy(before, p + self->bytes - 64, 64);
	EXPECT_EQ(0, madvise(p, self->bytes, MADV_DONTNEED));
	EXPECT_EQ(0, touch(p + self->bytes - 1, false));
	EXPECT_EQ(0, memcmp(before, p + self->bytes - 64, 64));
	EXPECT_EQ(0, touch(p, false));
}

TEST_F(cell, lengths_and_offsets_beyond)
{
	size_t page = page_size();
	off_t end = self->offset + (off_t)self->bytes;
	static const unsigned int shifts[] = { 31, 32, 40, 43, 62 };

	EXPECT_EQ(NULL, map(self->fd, self->offset, 0, PROT_READ));
	EXPECT_EQ(NULL, map(self->fd, self->offset + 1, page, PROT_READ));
	EXPECT_EQ(NULL, map(self->fd, self->offset + (off_t)page / 2, page, PROT_READ));
	/* Into the next region, or beyond the last. */
	EXPECT_EQ(NULL, map(self->fd, self->offset, self->bytes + 4 * page, PROT_READ));
	EXPECT_EQ(NULL, map(self->fd, self->offset, 1 << 30, PROT_READ));
	if (variant->region != SLOTS)
		EXPECT_EQ(NULL, map(self->fd, self->offset, 2 * page, PROT_READ));
	EXPECT_EQ(NULL, map(self->fd, end + (1 << 21), page, PROT_READ));
	for (size_t i = 0; i < ARRAY_SIZE(shifts); i++) {
		off_t beyond = self->offset + (off_t)(1ull << shifts[i]);

		EXPECT_EQ(NULL, map(self->fd, beyond, page, PROT_READ))
			TH_LOG("shift %u", shifts[i]);
	}
	EXPECT_EQ(NULL, map(self->fd, (off_t)(~0ull & ~(page - 1)), page, PROT_READ));
}

TEST_F(cell, a_handle_open_for_reading_never_writes)
{
	struct tribuf_attach_args args = attach_args(NULL, variant->role, TRIBUF_BY_FD, 0);
	int fd = device(O_RDONLY);

	if (variant->role != TRIBUF_OBSERVER && variant->role != TRIBUF_KEEPER)
		return;
	args.fd = self->keeper;
	ASSERT_EQ(0, attach(fd, &args));
	EXPECT_EQ(variant->rights == NONE, !map(fd, self->offset, self->bytes, PROT_READ));
	EXPECT_TRUE(refused(map(fd, self->offset, self->bytes, PROT_READ | PROT_WRITE)));
	close(fd);
}

/* ---- parts, and whole ---- */

FIXTURE(mapped) {
	int keeper;
	struct peer p, c;
};

FIXTURE_SETUP(mapped)
{
	self->keeper = join(test_name(), TRIBUF_KEEPER, TRIBUF_CREATE, 3 * page_size() - 100);
	ASSERT_LE(0, self->keeper);
	ASSERT_EQ(0, peer_open(&self->p, test_name(), TRIBUF_PRODUCER, TRIBUF_OWNED, 0));
	ASSERT_EQ(0, peer_open(&self->c, test_name(), TRIBUF_CONSUMER, TRIBUF_OWNED, 0));
}

FIXTURE_TEARDOWN(mapped)
{
	peer_close(&self->p);
	peer_close(&self->c);
	close(self->keeper);
}

TEST_F(mapped, part_by_part_is_the_same_memory)
{
	uint64_t stride = self->p.at.slot_stride;

	for (uint32_t slot = 0; slot < TRIBUF_SLOTS; slot++) {
		off_t offset = (off_t)(self->p.at.slots_offset + slot * stride + page_size());
		unsigned char *part = map(self->c.fd, offset, 2 * page_size(), PROT_READ);

		ASSERT_NE(NULL, part);
		slot_of(&self->p, slot)[page_size() + 5] = (unsigned char)(slot + 7);
		EXPECT_EQ(slot + 7, part[5]);
		munmap(part, 2 * page_size());
	}
	EXPECT_NE(NULL, map(self->p.fd, 0, page_size(), PROT_READ | PROT_WRITE));
}

/* Beyond a slot's last page there may be a gap, which is no memory at all. */
TEST_F(mapped, gaps_are_not_backed)
{
	struct peer p;
	size_t used;

	ASSERT_EQ(0, peer_open(&p, "selftest.gap", TRIBUF_PRODUCER, TRIBUF_CREATE,
			       (2 << 20) + 1));
	used = page_align((2 << 20) + 1);
	EXPECT_EQ(0, touch(p.slots + used - 1, true));
	if (p.at.slot_stride > used) {
		EXPECT_EQ(SIGBUS, touch(p.slots + used, true));
		EXPECT_EQ(SIGBUS, touch(p.slots + p.at.slot_stride - 1, false));
	}
	EXPECT_EQ(0, touch(p.slots + p.at.slot_stride, true));
	EXPECT_EQ(0, p.at.slots_offset % (2 << 20));
	EXPECT_EQ(0, p.at.slot_stride % (2 << 20));
	peer_close(&p);
}

/* ---- ways around ---- */

/* Tracing is a right over the process, not over the memory of others. */
TEST_F(mapped, ptrace_cannot_write_a_consumers_slots)
{
	const char *name = test_name();
	unsigned char **where = mmap(NULL, page_size(), PROT_READ | PROT_WRITE,
				     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	char path[64], byte = 'x';
	struct iovec here = { .iov_base = &byte, .iov_len = 1 }, there;
	pid_t tracee;
	int status, mem;

	peer_close(&self->c);
	tracee = in_child({
		struct peer c;

		child_gets(0, peer_open(&c, name, TRIBUF_CONSUMER, TRIBUF_OWNED, 0));
		*where = c.slots;
		ptrace(PTRACE_TRACEME);
		raise(SIGSTOP);
		child_must(c.slots[0] == 'p');
	});
	ASSERT_EQ(tracee, waitpid(tracee, &status, 0));
	ASSERT_TRUE(WIFSTOPPED(status));
	memset(self->p.slots, 'p', 16);
	errno = 0;
	EXPECT_EQ('p', ptrace(PTRACE_PEEKDATA, tracee, *where, NULL) & 0xff);
	EXPECT_GT(0, ptrace(PTRACE_POKEDATA, tracee, *where, (void *)0x7878787878787878));
	snprintf(path, sizeof(path), "/proc/%d/mem", tracee);
	mem = open(path, O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, mem);
	EXPECT_GT(0, pwrite(mem, &byte, 1, (off_t)(uintptr_t)*where));
	there = (struct iovec){ .iov_base = *where, .iov_len = 1 };
	EXPECT_GT(0, process_vm_writev(tracee, &here, 1, &there, 1, 0));
	EXPECT_EQ('p', self->p.slots[0]);
	kill(tracee, SIGCONT);
	ptrace(PTRACE_DETACH, tracee, NULL, NULL);
	EXPECT_EQ(0, ended(tracee));
	close(mem);
}

/* Mappings are not inherited; who insists has one that ends with the role. */
TEST_F(mapped, children_inherit_no_mapping)
{
	unsigned char *slots = self->c.slots;

	EXPECT_CHILD(child_gets(SIGSEGV, touch(slots, false)));
	EXPECT_CHILD(child_gets(SIGSEGV, touch((unsigned char *)self->p.state, false)));
}

TEST_F(mapped, madv_dofork_does_not_outlive_the_role)
{
	int told[2], go[2];
	pid_t heir;
	char byte;

	ASSERT_EQ(0, pipe(told));
	ASSERT_EQ(0, pipe(go));
	if (madvise(self->p.slots, self->p.slots_bytes, MADV_DOFORK))
		return;		/* refusing it is as good */
	self->p.slots[0] = 's';
	heir = in_child({
		close(self->p.fd);
		child_must(self->p.slots[0] == 's');
		child_must(write(told[1], "x", 1) == 1);
		child_must(read(go[0], &byte, 1) == 1);
		child_gets(SIGBUS, touch(self->p.slots, false));
		child_gets(SIGBUS, touch(self->p.slots, true));
	});
	ASSERT_EQ(1, read(told[0], &byte, 1));
	close(self->p.fd);
	self->p.fd = -1;
	ASSERT_EQ(1, write(go[1], "x", 1));
	EXPECT_EQ(0, ended(heir));
}

TEST_F(mapped, role_ended_means_sigbus_everywhere)
{
	unsigned char *second = map(self->p.fd, (off_t)self->p.at.slots_offset, page_size(),
				    PROT_READ | PROT_WRITE);
	struct peer successor;

	ASSERT_NE(NULL, second);
	close(self->p.fd);
	self->p.fd = -1;
	/* Both the pages that were there and those that never were. */
	for (size_t at = 0; at < self->p.slots_bytes; at += page_size() / 2) {
		size_t in_slot = at % self->p.at.slot_stride;

		if (in_slot < page_align(self->p.at.slot_size))
			EXPECT_EQ(SIGBUS, touch(self->p.slots + at, at % page_size()));
	}
	EXPECT_EQ(SIGBUS, touch(second, true));
	EXPECT_EQ(SIGBUS, touch((unsigned char *)self->p.state, true));
	EXPECT_EQ(SIGBUS, touch((unsigned char *)self->p.frames, true));
	EXPECT_EQ(SIGBUS, touch((unsigned char *)self->p.geometry, false));
	/* The successor's are its own, and the peer's are untouched. */
	ASSERT_EQ(0, peer_open(&successor, test_name(), TRIBUF_PRODUCER, 0, 0));
	EXPECT_EQ(0, touch(successor.slots, true));
	EXPECT_EQ(SIGBUS, touch(second, true));
	EXPECT_EQ(0, touch(self->c.slots, false));
	peer_close(&successor);
}

/* ---- slots as memory for other system calls (direct channels) ---- */

TEST_F(mapped, frames_go_through_a_pipe_without_a_copy)
{
	struct iovec v = { .iov_base = self->p.slots, .iov_len = page_size() };
	char got[16];
	int pipes[2];

	ASSERT_EQ(0, pipe(pipes));
	memcpy(self->p.slots, "spliced", 8);
	ASSERT_EQ(PAGE, vmsplice(pipes[1], &v, 1, 0));
	/* The page itself is in the pipe: what changes now still comes through. */
	memcpy(self->p.slots, "changed", 8);
	ASSERT_EQ((ssize_t)sizeof(got), read(pipes[0], got, sizeof(got)));
	EXPECT_STREQ("changed", got);
	v.iov_base = self->c.slots;
	EXPECT_EQ(PAGE, vmsplice(pipes[1], &v, 1, 0));
}

TEST_F(mapped, frames_go_through_system_calls)
{
	char path[] = "/tmp/tribuf-file-XXXXXX", got[64] = "";
	struct iovec here = { .iov_base = got, .iov_len = 8 };
	struct iovec there = { .iov_base = self->c.slots, .iov_len = 8 };
	int fd = mkstemp(path);

	ASSERT_LE(0, fd);
	unlink(path);
	memcpy(self->p.slots, "bytes!!", 8);
	EXPECT_EQ(PAGE, write(fd, self->c.slots, page_size()));
	EXPECT_EQ(8, pread(fd, self->p.slots + 100, 8, 0));
	EXPECT_STREQ("bytes!!", (char *)self->c.slots + 100);
	/* Into memory that is not the consumer's to write, no call writes. */
	EXPECT_EQ(-EFAULT, negative_errno(pread(fd, self->c.slots + 200, 8, 0)));
	EXPECT_EQ(0, self->p.slots[200]);
	EXPECT_EQ(8, process_vm_readv(getpid(), &here, 1, &there, 1, 0));
	EXPECT_STREQ("bytes!!", got);
	close(fd);
}

/* A file system that does direct I/O reads and writes slots in place. */
TEST_F(mapped, direct_io)
{
	int fd = direct_file();

	if (fd < 0)
		SKIP(return, "no file system here does O_DIRECT");
	memset(self->p.slots, 'd', page_size());
	EXPECT_EQ(PAGE, pwrite(fd, self->c.slots, page_size(), 0));
	memset(self->p.slots, 0, page_size());
	EXPECT_EQ(PAGE, pread(fd, self->p.slots, page_size(), 0));
	EXPECT_EQ('d', self->c.slots[page_size() - 1]);
	EXPECT_GT(0, pread(fd, self->c.slots, page_size(), 0));
	close(fd);
}

/*
 * A page of a slot that something still has in its hands when its producer dies
 * (here: a pipe) is not the next producer's: what that one writes must not appear in
 * somebody's stream, nor what comes by that way in its frames.
 */
TEST_F(mapped, pinned_pages_of_a_dead_producer_are_replaced)
{
	uint32_t back = tribuf_word_back(word_of(&self->p));
	const char *name = test_name();
	unsigned char got[TRIBUF_SLOTS * 4096];
	struct peer successor;
	int pipes[2];

	ASSERT_EQ(0, pipe(pipes));
	peer_close(&self->p);
	EXPECT_CHILD(
		struct peer p;
		struct iovec v[TRIBUF_SLOTS];

		child_gets(0, peer_open(&p, name, TRIBUF_PRODUCER, TRIBUF_OWNED, 0));
		for (uint32_t i = 0; i < TRIBUF_SLOTS; i++) {
			v[i] = (struct iovec){ .iov_base = slot_of(&p, i), .iov_len = 4096 };
			memset(v[i].iov_base, 'o', 4096);
		}
		child_gets(sizeof(got), vmsplice(pipes[1], v, TRIBUF_SLOTS, 0));
	);
	ASSERT_EQ('o', slot_of(&self->c, tribuf_word_front(word_of(&self->c)))[0]);
	ASSERT_EQ(0, peer_open(&successor, name, TRIBUF_PRODUCER, 0, 0));
	/* What was published, and may be in somebody's hand, is still there. */
	for (uint32_t i = 0; i < TRIBUF_SLOTS; i++)
		EXPECT_EQ(i == back ? 0 : 'o', slot_of(&self->c, i)[4095]);
	for (uint32_t i = 0; i < TRIBUF_SLOTS; i++)
		memset(slot_of(&successor, i), 'n', 4096);
	ASSERT_EQ(sizeof(got), read(pipes[0], got, sizeof(got)));
	for (uint32_t i = 0; i < TRIBUF_SLOTS; i++) {
		EXPECT_EQ('o', got[i * 4096]);
		EXPECT_EQ('o', got[i * 4096 + 4095]);
	}
	/* And it is the successor's frame that the consumer sees. */
	ASSERT_LE(0, publish(&successor, begin(&successor), 4096));
	ASSERT_EQ((int)back, acquire(&self->c));
	EXPECT_EQ('n', slot_of(&self->c, back)[0]);
	EXPECT_EQ('n', slot_of(&self->c, back)[4095]);
	peer_close(&successor);
}

#ifndef UFFD_FEATURE_WP_ASYNC
#define UFFD_FEATURE_WP_UNPOPULATED	(1 << 13)
#define UFFD_FEATURE_WP_ASYNC		(1 << 15)
#endif

/*
 * Whoever tracks writes marks pages that are not there yet, too: in the place of an
 * entry is a mark then, and the page must come nevertheless, by a store of ours and of
 * the kernel's.
 */
TEST_F(mapped, pages_that_are_watched_for_writes_come)
{
	struct uffdio_api api = {
		.api = UFFD_API, .features = UFFD_FEATURE_WP_ASYNC | UFFD_FEATURE_WP_UNPOPULATED,
	};
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC), zero = open("/dev/zero", O_RDONLY);
	struct uffdio_register range = {
		.range = { (uintptr_t)self->p.slots, self->p.slots_bytes },
		.mode = UFFDIO_REGISTER_MODE_WP,
	};
	struct uffdio_writeprotect protect = {
		.range = range.range, .mode = UFFDIO_WRITEPROTECT_MODE_WP,
	};

	if (fd < 0 || ioctl(fd, UFFDIO_API, &api) || ioctl(fd, UFFDIO_REGISTER, &range))
		SKIP(return, "this kernel lets nobody watch a device's memory");
	for (int i = 0; i < 2; i++) {
		ASSERT_EQ(0, madvise(self->p.slots, self->p.slots_bytes, MADV_DONTNEED));
		ASSERT_EQ(0, ioctl(fd, UFFDIO_WRITEPROTECT, &protect));
		alarm(10);
		EXPECT_EQ(i ? PAGE : 0, i ? read(zero, self->p.slots, page_size()) :
					    touch(self->p.slots, true));
		alarm(0);
	}
	close(zero);
	close(fd);
}

TEST_F(mapped, slots_stay_out_of_core_dumps)
{
	char line[256], flags[256] = "";
	unsigned long start = 0;
	FILE *smaps = fopen("/proc/self/smaps", "r");

	ASSERT_NE(NULL, smaps);
	while (fgets(line, sizeof(line), smaps)) {
		unsigned long from, to;

		if (sscanf(line, "%lx-%lx", &from, &to) == 2)
			start = from;
		if (!strncmp(line, "VmFlags:", 8) && start == (unsigned long)self->c.slots)
			strcpy(flags, line);
	}
	fclose(smaps);
	EXPECT_NE(NULL, strstr(flags, " dd"));
	EXPECT_NE(NULL, strstr(flags, " dc"));
	EXPECT_NE(NULL, strstr(flags, " de"));
	EXPECT_EQ(NULL, strstr(flags, " mw"));
	EXPECT_EQ(NULL, strstr(flags, " me"));
}

TEST_HARNESS_MAIN
