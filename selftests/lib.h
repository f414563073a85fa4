/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the suites of the library share: each case runs on both backends, and
 * where it matters on both kinds of the device's channels, from one source. On
 * machines without the module the device's part is skipped.
 */
#ifndef SELFTESTS_LIB_H
#define SELFTESTS_LIB_H

#include "common.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>

#include <tribuf.h>

/* @prefix of a channel's name: "" or "shm:". @kind of what is created: GUARDED or 0. */
#define BACKENDS(fixture)						\
	FIXTURE_VARIANT(fixture) { const char *prefix; uint32_t kind; };	\
	FIXTURE_VARIANT_ADD(fixture, device) { .prefix = "" };		\
	FIXTURE_VARIANT_ADD(fixture, shm) { .prefix = "shm:" }

#define KINDS(fixture)							\
	BACKENDS(fixture);						\
	FIXTURE_VARIANT_ADD(fixture, guarded) { .prefix = "", .kind = TRIBUF_GUARDED }

#define on_device(variant)	(!(variant)->prefix[0])
#define is_guarded(variant)	((variant)->kind == TRIBUF_GUARDED)

/* What options() asks for, of the variant that is being run. */
static uint32_t created_kind maybe_unused;
static bool on_shm maybe_unused;

/* In FIXTURE_SETUP; 255 is a skip, which this harness else only allows in a test. */
#define REQUIRE_BACKEND(variant) do {					\
	if (on_device(variant) && access(DEVICE, F_OK))			\
		SKIP(_exit(255), "no " DEVICE ": load the module (tribuf load)");	\
	created_kind = (variant)->kind;					\
	on_shm = !on_device(variant);					\
} while (0)

/*
 * Counts for channels of any kind. A guarded one's swaps are calls, and faults. Those of
 * shm need no module: on machines without one they have the full count.
 */
helper unsigned long scaled_by_kind(unsigned long n)
{
	return scaled(created_kind ? n / 20 : on_shm && !access(DEVICE, F_OK) ? n / 4 : n);
}

helper const char *channel_name(const char *prefix)
{
	static char name[TRIBUF_NAME_SIZE + 8];

	snprintf(name, sizeof(name), "%s%s", prefix, test_name());
	return name;
}

helper struct tribuf_options options(uint32_t role, uint32_t flags, uint64_t slot_size)
{
	struct tribuf_options o = TRIBUF_OPTIONS_INIT;

	o.role = role;
	o.flags = flags | (flags & TRIBUF_CREATE ? created_kind : 0);
	o.slot_size = slot_size;
	return o;
}

/* A handle or NULL; @err: out: the error. */
helper int open_as(struct tribuf **handle, const char *name, uint32_t role, uint32_t flags,
		   uint64_t slot_size)
{
	struct tribuf_options o = options(role, flags, slot_size);

	*handle = NULL;
	return tribuf_open(handle, name, &o);
}

/* As tribuf_open_producer(), for a channel of the variant's kind. */
helper int open_producer(struct tribuf **handle, const char *name, uint64_t slot_size)
{
	return open_as(handle, name, TRIBUF_PRODUCER, TRIBUF_DEFAULT | TRIBUF_CREATE, slot_size);
}

/* A mapping that can be read, not written, and never made writable. */
helper bool page_is_read_only(int fd, unsigned int page)
{
	void *map_of = map(fd, page_offset(page), page_size(), PROT_READ);
	bool is;

	if (!map_of)
		return false;
	is = touch(map_of, false) == 0 && touch(map_of, true) == SIGSEGV &&
	     mprotect(map_of, page_size(), PROT_READ | PROT_WRITE) && errno == EACCES;
	munmap(map_of, page_size());
	return is;
}

/* Neither state word nor descriptors can be written through this handle. */
helper bool metadata_is_out_of_reach(const struct tribuf *t)
{
	for (unsigned int page = 0; page < TRIBUF_META_PAGES; page++)
		if (map(tribuf_fd(t), page_offset(page), page_size(), PROT_READ | PROT_WRITE) ||
		    !page_is_read_only(tribuf_fd(t), page))
			return false;
	return true;
}

/* From now on the system call @number fails with @error, here and in children. */
helper int forbid_call(uint32_t number, int error)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (uint32_t)error),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { sizeof(filter) / sizeof(filter[0]), filter };

	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
	       prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) ? -errno : 0;
}

/* Of the channel @name on shm. */
helper const char *shm_file(const char *name)
{
	static char path[128];

	snprintf(path, sizeof(path), "/dev/shm/tribuf.%s", name + 4);
	return path;
}

/* Whoever was killed has left it. */
helper void remove_leftover(const char *name)
{
	if (!strncmp(name, "shm:", 4))
		unlink(shm_file(name));
}

/* Nothing is left of the channel: no name, and no file, which is looked for first. */
helper bool channel_is_gone(const char *name)
{
	struct tribuf *keeper;
	int err;

	if (!strncmp(name, "shm:", 4) && !access(shm_file(name), F_OK))
		return false;
	err = open_as(&keeper, name, TRIBUF_KEEPER, 0, 0);
	if (!err)
		tribuf_close(keeper);
	return err == -ENOENT;
}

/* Publish the next frame of the pattern in common.h: its number, or -errno. */
helper int64_t lib_publish(struct tribuf *t)
{
	struct tribuf_frame frame;
	int err = tribuf_begin(t, &frame);

	if (err)
		return err;
	frame.bytes = pattern_bytes(frame.seq, frame.bytes);
	pattern_fill(frame.data, frame.seq, frame.bytes);
	err = tribuf_publish(t, &frame);
	return err < 0 ? err : (int64_t)frame.seq;
}

/* Is this frame, of a channel with slots of @slot_size bytes, whole? */
helper bool lib_whole(const struct tribuf_frame *frame, uint64_t slot_size)
{
	return !(frame->generation & 1) &&
	       frame->bytes == pattern_bytes(frame->seq, slot_size) &&
	       pattern_holds(frame->data, frame->seq, frame->bytes);
}

/* qemu-user takes MADV_DONTFORK, and does nothing about it. */
helper bool dontfork_works(void)
{
	size_t size = page_size();
	void *page = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int status = 0;
	pid_t pid;

	if (page == MAP_FAILED || madvise(page, size, MADV_DONTFORK))
		return false;
	pid = fork();
	if (!pid)
		_exit(touch(page, false) == SIGSEGV);
	waitpid(pid, &status, 0);
	munmap(page, size);
	return WEXITSTATUS(status);
}

#endif /* SELFTESTS_LIB_H */
