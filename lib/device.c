// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * The device backend: /dev/tribuf by ioctl and poll. The kernel keeps roles,
 * rights and sleepers; see linux/tribuf.h for every call and its errors.
 */
#define _GNU_SOURCE		/* ppoll() */
#include "internal.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define DEVICE		"/dev/tribuf"
#define SECOND		1000000000ll
#define LIST_BATCH	16

/* ioctl() whose error is a return value. */
int device_call(int fd, unsigned long command, void *argument)
{
	return ioctl(fd, command, argument) < 0 ? -errno : 0;
}

static int device_missing(int error)
{
	switch (error) {
	case ENOENT:
	case ENXIO:
	case ENODEV:
		return fail(ENODEV, DEVICE " is not there: load the module (tribuf load, or modprobe tribuf), or use shm:NAME, which needs none");
	case EACCES:
	case EPERM:
		return fail(EACCES, "no right to open " DEVICE ": ask root for it (chmod, or a udev rule)");
	default:
		return fail(error, "cannot open " DEVICE ": %s", strerror(error));
	}
}

/* A producer writes, and a direct channel's consumer; all others may do with less. */
static int open_device(uint32_t role)
{
	int fd = open(DEVICE, O_RDWR | O_CLOEXEC);

	if (fd < 0 && (errno == EACCES || errno == EROFS) && role != TRIBUF_PRODUCER)
		fd = open(DEVICE, O_RDONLY | O_CLOEXEC);
	return fd < 0 ? device_missing(errno) : fd;
}

static int not_ours(void)
{
	return fail(ENODEV, DEVICE " is something else than tribuf's device: remove that file and load the module");
}

/* Until @each returns non-zero, which is then returned. */
static int list_from(int fd, int (*each)(const struct tribuf_list_entry *channel, void *context),
		     void *context)
{
	struct tribuf_list_entry entries[LIST_BATCH];
	struct tribuf_list_args list = {
		.size = sizeof(list),
		.entries = (uintptr_t)entries,
		.entry_size = sizeof(entries[0]),
	};
	uint32_t i;
	int result;

	do {
		list.count = LIST_BATCH;
		result = device_call(fd, TRIBUF_IOC_LIST, &list);
		if (result)
			return result == -ENOTTY ? not_ours() :
			       fail(-result, "cannot list channels: %s", strerror(-result));
		for (i = 0; i < list.count && i < LIST_BATCH; i++) {
			result = each(&entries[i], context);
			if (result)
				return result;
		}
	} while (list.count == LIST_BATCH);
	return 0;
}

struct wanted {
	const char *name;
	struct tribuf_list_entry entry;
};

static int is_wanted(const struct tribuf_list_entry *channel, void *context)
{
	struct wanted *wanted = context;

	if (strncmp((const char *)channel->name, wanted->name, TRIBUF_NAME_SIZE))
		return 0;
	wanted->entry = *channel;
	return 1;
}

/* The entry of channel @name; false: there is none, or it is not ours to see. */
static bool find(int fd, const char *name, struct tribuf_list_entry *found)
{
	struct wanted wanted = { .name = name };

	if (list_from(fd, is_wanted, &wanted) != 1)
		return false;
	*found = wanted.entry;
	return true;
}

/* What of an existing channel the call did not want. */
static int explain_mismatch(int fd, const char *name, const struct tribuf_options *o)
{
	struct tribuf_list_entry entry;

	if (!name || !find(fd, name, &entry))
		return fail(EINVAL, "the options do not go together, or the channel has another geometry: see tribuf_open(3)");
	if (o->flags & TRIBUF_GUARDED && !(entry.state & TRIBUF_STATE_GUARDED))
		return fail(EINVAL, "channel '%s' is not guarded: open it without TRIBUF_GUARDED, or replace it (TRIBUF_REPLACE, as producer)",
			    name);
	if (o->flags & TRIBUF_CREATE && !(o->flags & TRIBUF_GUARDED) &&
	    entry.state & TRIBUF_STATE_GUARDED)
		return fail(EINVAL, "channel '%s' is guarded: open it with TRIBUF_GUARDED, or without TRIBUF_CREATE to join either kind",
			    name);
	if (o->slot_size && entry.slot_size && o->slot_size != entry.slot_size)
		return other_slot_size(name, entry.slot_size, o->slot_size);
	return fail(EINVAL, "channel '%s' exists with another granule, or the options do not go together: see tribuf_open(3)",
		    name);
}

static int explain_busy(int fd, const char *name, const struct tribuf_options *o)
{
	struct tribuf_list_entry entry;
	int32_t pid = 0;

	if (name && find(fd, name, &entry))
		pid = o->role == TRIBUF_PRODUCER ? entry.producer_pid :
		      o->role == TRIBUF_CONSUMER ? entry.consumer_pid : 0;
	return role_taken(name ? name : "(no name)", o->role, pid);
}

static int explain_attach(int fd, const char *name, const struct tribuf_options *o, int error)
{
	const char *shown = name ? name : "(no name)";

	switch (error) {
	case ENOTTY:
		return not_ours();
	case EINVAL:
		return explain_mismatch(fd, name, o);
	case EBUSY:
		return explain_busy(fd, name, o);
	case EPROTONOSUPPORT:
		return fail(error, "the loaded module does not know layout %u: load the module that came with this library",
			    TRIBUF_LAYOUT_VERSION);
	case ENOENT:
		return no_channel(shown);
	case EEXIST:
		return fail(error, "channel '%s' exists: leave out TRIBUF_EXCL to join it", shown);
	case EACCES:
		return fail(error, "no right to be %s of channel '%s': its owner can give a wider mode or pass a handle",
			    role_name(o->role), shown);
	case EPERM:
		return fail(error, "channel '%s' belongs to another user, or the handle grants less than was asked for",
			    shown);
	case EFBIG:
		return fail(error, "slots of %llu bytes exceed the limit per channel: raise the module's parameter (/sys/module/tribuf/parameters)",
			    (unsigned long long)o->slot_size);
	case ENOSPC:
		return fail(error, "the user's channels are at their limit: close some, or raise the module's parameter (/sys/module/tribuf/parameters)");
	case ENOMEM:
		return fail(error, "no memory for three slots of %llu bytes", (unsigned long long)o->slot_size);
	case EBADF:
		return fail(error, "descriptor %d is no open tribuf handle", o->fd);
	case ENOTCONN:
		return fail(error, "the handle of descriptor %d is not attached to a channel", o->fd);
	case ESTALE:
		return fail(error, "the channel of descriptor %d is gone or was replaced", o->fd);
	case EPROTO:
		return fail(error, "a peer has spoilt the state word of channel '%s': replace it (TRIBUF_REPLACE, as producer)",
			    shown);
	case EOPNOTSUPP:
		return fail(error, "this kernel has no guarded channels: leave out TRIBUF_GUARDED");
	default:
		return fail(error, "cannot open channel '%s': %s", shown, strerror(error));
	}
}

static int attach(struct handle *h, const char *name, const struct tribuf_options *o)
{
	struct tribuf_attach_args args = {
		.size = sizeof(args),
		.flags = o->flags,
		.role = o->role,
		.layout = TRIBUF_LAYOUT_VERSION,
		.fd = o->fd,
		.mode = o->mode,
		.slot_size = o->slot_size,
		.granule = o->granule,
		.grants = o->grants,
	};
	int err;

	if (name && !(o->flags & (TRIBUF_ANONYMOUS | TRIBUF_BY_FD)))
		memcpy(args.name, name, strlen(name));
	err = device_call(h->fd, TRIBUF_IOC_ATTACH, &args);
	if (err)
		return explain_attach(h->fd, name, o, -err);
	h->news.state = args.state;
	h->news.producer_epoch = args.producer_epoch;
	h->news.consumer_epoch = args.consumer_epoch;
	return 0;
}

static int device_open(struct handle *h, const char *name, const struct tribuf_options *o)
{
	struct tribuf_geometry checked;
	int err;

	h->fd = open_device(o->role);
	if (h->fd < 0)
		return h->fd;
	err = attach(h, name, o);
	if (err)
		return err;
	h->geometry = map_pages(h, page_size(), PROT_READ, TRIBUF_PAGE_GEOMETRY * page_size());
	if (!h->geometry)
		return fail(errno, "cannot map the channel's geometry: %s", strerror(errno));
	/* The rest of a pending channel's geometry is checked when it comes. */
	return h->news.state & TRIBUF_STATE_PENDING ? 0 : check_geometry(h->geometry, &checked);
}

static void device_close(struct handle *h)
{
	if (h->fd >= 0)
		close(h->fd);
}

static int device_fd(const struct handle *h)
{
	return h->fd;
}

int device_failed(const struct handle *h, int error)
{
	if (error == ESTALE)
		return fail(error, "this handle's role has ended, or the channel was replaced: close it and open the channel again");
	if (error == EPROTO)
		return word_spoilt(__atomic_load_n(&h->state->word, __ATOMIC_RELAXED));
	return fail(error, DEVICE ": %s", strerror(error));
}

static int device_ring(struct handle *h)
{
	int err = device_call(h->fd, TRIBUF_IOC_RING, NULL);

	return err ? device_failed(h, -err) : 0;
}

static bool device_news(struct handle *h)
{
	const volatile struct tribuf_geometry *g = h->geometry;

	return g->state != h->news.state || g->producer_epoch != h->news.producer_epoch ||
	       g->consumer_epoch != h->news.consumer_epoch;
}

static int device_sleep(struct handle *h, unsigned int events, int64_t deadline)
{
	struct pollfd poll = { .fd = h->fd, .events = poll_events(h, events) };
	struct timespec timeout = { 0 };
	int64_t left;
	int n;

	if (deadline != INT64_MAX) {
		left = deadline - now();
		if (left <= 0)
			return 0;
		timeout.tv_sec = left / SECOND;
		timeout.tv_nsec = (long)(left % SECOND);
	}
	n = ppoll(&poll, 1, deadline == INT64_MAX ? NULL : &timeout, NULL);
	if (n < 0 && errno == EINTR)
		return fail(EINTR, "a signal came while waiting");
	if (n < 0)
		return device_failed(h, errno);
	note_events(h, poll.revents);
	return 0;
}

static int device_info(struct handle *h, struct tribuf_info_args *info, unsigned int flags)
{
	int err;

	memset(info, 0, sizeof(*info));
	info->size = sizeof(*info);
	info->flags = flags;
	err = device_call(h->fd, TRIBUF_IOC_INFO, info);
	return err ? device_failed(h, -err) : 0;
}

/* By the kernel, which then knows for poll what this observer has taken. */
static int device_observe(struct handle *h, struct tribuf_acquired *told)
{
	struct tribuf_acquire_args args = { .size = sizeof(args) };
	int err = device_call(h->fd, TRIBUF_IOC_ACQUIRE, &args);

	if (err == -EAGAIN)
		return err;
	if (err)
		return device_failed(h, -err);
	*told = args.frame;
	h->taken = told->desc.seq;
	return 0;
}

static int device_list(int (*each)(const struct tribuf_list_entry *channel, void *context),
		       void *context)
{
	int fd = open_device(TRIBUF_KEEPER), result;

	if (fd < 0)
		return fd;
	result = list_from(fd, each, context);
	close(fd);
	return result;
}

const struct backend device_backend = {
	.name = "device",
	.guards = true,
	.open = device_open,
	.close = device_close,
	.fd = device_fd,
	.ring = device_ring,
	.news = device_news,
	.sleep = device_sleep,
	.info = device_info,
	.observe = device_observe,
	.list = device_list,
};
