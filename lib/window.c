// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * Windows: the channel's pages a second time, at an address that the caller
 * chooses, for runtimes whose programs reach no memory but their own. Knows
 * neither the runtime nor the backend: both have a descriptor to map.
 */
#define _GNU_SOURCE		/* MAP_ANONYMOUS */
#include "internal.h"

#include <string.h>
#include <sys/mman.h>

#define WASM_PAGE	65536ull

static uint64_t round_up(uint64_t bytes, uint64_t to)
{
	return (bytes + to - 1) / to * to;
}

/* Small slots lie in the descriptors, and have no pages of their own. */
static bool small(const struct handle *h)
{
	return !h->slots_map;
}

/* Bytes of a slot that are backed. */
static size_t backed(const struct handle *h)
{
	return (size_t)round_up(h->t.slot_size, page_size());
}

static int check_window(struct handle *h)
{
	int err;

	if (forked(h))
		return forked_handle();
	if (h->role == TRIBUF_KEEPER)
		return fail(EACCES, "a keeper has no frames to look at");
	err = take_geometry(h);
	if (err)
		return err == -EAGAIN ? fail(EAGAIN, "nobody has created the channel yet: wait for TRIBUF_GEOMETRY") : err;
	if (h->guarded)
		return fail(ENOTSUP, "the slots of a guarded channel are there for their owner of the moment alone: use the library's calls");
	return 0;
}

int tribuf_window_size(struct tribuf *handle, struct tribuf_window *window)
{
	struct handle *h = handle_of(handle);
	int err = check_window(h);

	if (err)
		return err;
	window->slots = (size_t)round_up(TRIBUF_META_PAGES * page_size(), WASM_PAGE);
	window->bytes = window->slots;
	if (small(h))
		window->slots = (size_t)h->slots_offset;
	else
		window->bytes += (size_t)round_up((TRIBUF_SLOTS - 1) * h->t.slot_stride +
						  backed(h), WASM_PAGE);
	return 0;
}

static int map_at(const struct handle *h, unsigned char *address, size_t bytes, bool writes,
		  uint64_t offset)
{
	int protection = writes ? PROT_READ | PROT_WRITE : PROT_READ;

	if (mmap(address, bytes, protection, MAP_SHARED | MAP_FIXED, h->fd, (off_t)offset) ==
	    MAP_FAILED)
		return fail(errno, "cannot map the channel into the window: %s", strerror(errno));
	madvise(address, bytes, MADV_DONTFORK);
	return 0;
}

static int map_metadata(const struct handle *h, unsigned char *address)
{
	size_t page = page_size();
	bool produces = h->role == TRIBUF_PRODUCER;
	int err;

	err = map_at(h, address + TRIBUF_PAGE_STATE * page, page,
		     produces || h->role == TRIBUF_CONSUMER, TRIBUF_PAGE_STATE * page);
	if (!err)
		err = map_at(h, address + TRIBUF_PAGE_FRAMES * page, page, produces,
			     TRIBUF_PAGE_FRAMES * page);
	if (!err)
		err = map_at(h, address + TRIBUF_PAGE_GEOMETRY * page, page, false,
			     TRIBUF_PAGE_GEOMETRY * page);
	return err;
}

/* Slot by slot, so that what lies between them stays the caller's memory. */
static int map_slots_at(const struct handle *h, unsigned char *address)
{
	uint32_t i;
	int err;

	for (i = 0; i < TRIBUF_SLOTS; i++) {
		err = map_at(h, address + i * h->t.slot_stride, backed(h),
			     h->role == TRIBUF_PRODUCER,
			     h->slots_offset + i * h->t.slot_stride);
		if (err)
			return err;
	}
	return 0;
}

int tribuf_window_map(struct tribuf *handle, void *address, size_t room)
{
	struct handle *h = handle_of(handle);
	struct tribuf_window window;
	int err = tribuf_window_size(handle, &window);

	if (err)
		return err;
	if ((uintptr_t)address % page_size())
		return fail(EINVAL, "a window begins on a page of %zu bytes", page_size());
	if (room < window.bytes)
		return fail(ENOSPC, "the channel's window needs %zu bytes, %zu are there",
			    window.bytes, room);
	err = map_metadata(h, address);
	if (!err && !small(h))
		err = map_slots_at(h, (unsigned char *)address + window.slots);
	if (err)
		tribuf_window_unmap(handle, address);
	return err;
}

int tribuf_window_unmap(struct tribuf *handle, void *address)
{
	struct tribuf_window window;
	int err = tribuf_window_size(handle, &window);

	if (err)
		return err;
	if (mmap(address, window.bytes, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0) == MAP_FAILED)
		return fail(errno, "cannot take the channel out of its window: %s",
			    strerror(errno));
	return 0;
}
