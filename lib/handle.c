// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * Handles: opened, mapped, described and closed. Which backend is behind one is
 * decided here, by its name, and nowhere else.
 */
#include "internal.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef MADV_POPULATE_READ	/* older C libraries */
#define MADV_POPULATE_READ	22
#define MADV_POPULATE_WRITE	23
#endif

#define SHM_PREFIX	"shm:"
#define LOOK_ALIKE	4096		/* bytes between addresses whose last 12 bits are the same */
#define HUGE_ALIGNMENT	(2ull << 20)	/* of slots that the kernel can map by 2 MiB entries */

size_t page_size(void)
{
	return (size_t)sysconf(_SC_PAGESIZE);
}

bool forked(const struct handle *h)
{
	return h->process != this_process();
}

int forked_handle(void)
{
	return fail(ESTALE, "the handle belongs to the process that opened it: open another after fork()");
}

int check_layout(const struct tribuf_geometry *g)
{
	/* In the other byte order the magic itself is reversed. */
	if (g->magic == __builtin_bswap32(TRIBUF_MAGIC) ||
	    (g->magic == TRIBUF_MAGIC && g->byte_order != TRIBUF_BYTE_ORDER))
		return fail(EPROTONOSUPPORT, "the channel's byte order is not this machine's");
	if (g->magic != TRIBUF_MAGIC)
		return fail(EPROTONOSUPPORT, "no tribuf channel is behind this name (magic %#x)",
			    g->magic);
	if (g->layout != TRIBUF_LAYOUT_VERSION || g->features & ~TRIBUF_FEATURES)
		return fail(EPROTONOSUPPORT,
			    "the channel has layout %u with features %#x, this program knows layout %u: rebuild it against that version of libtribuf",
			    g->layout, g->features, TRIBUF_LAYOUT_VERSION);
	if (g->page_size != page_size())
		return fail(EPROTONOSUPPORT, "the channel's pages are of %u bytes, ours of %zu",
			    g->page_size, page_size());
	return 0;
}

/* Where the geometry says that the slots are. */
static bool slots_placed(const struct tribuf_geometry *g)
{
	uint64_t bytes;

	if (g->features & TRIBUF_FEATURE_SMALL)
		return tribuf_slots_are_small(g->slot_size, g->granule) &&
		       g->slot_stride == sizeof(struct tribuf_desc) &&
		       g->slots_offset == SMALL_SLOTS_OFFSET;
	return g->slot_size <= g->slot_stride && g->slot_stride % g->page_size == 0 &&
	       g->slots_offset % g->page_size == 0 &&
	       g->slots_offset >= TRIBUF_META_PAGES * (uint64_t)g->page_size &&
	       !__builtin_mul_overflow(g->slot_stride, (uint64_t)TRIBUF_SLOTS, &bytes) &&
	       bytes <= SIZE_MAX / 2 && g->slots_offset <= INT64_MAX - bytes &&
	       (bytes - 1) / g->granule <= UINT32_MAX;
}

/* @checked: out: a private copy of @shared, which may change at any time. */
int check_geometry(const struct tribuf_geometry *shared, struct tribuf_geometry *checked)
{
	struct tribuf_geometry g = *(const volatile struct tribuf_geometry *)shared;
	int err = check_layout(&g);

	if (err)
		return err;
	if (g.slots != TRIBUF_SLOTS || !g.granule || g.granule & (g.granule - 1) ||
	    g.granule > TRIBUF_GRANULE_MAX || !slots_placed(&g))
		return fail(EPROTO, "the channel's geometry page makes no sense: %u slots of %llu bytes, %llu apart: replace the channel (TRIBUF_REPLACE)",
			    g.slots, (unsigned long long)g.slot_size,
			    (unsigned long long)g.slot_stride);
	*checked = g;
	return 0;
}

static void unmap(struct handle *h)
{
	if (h->slots_map)
		munmap(h->slots_map, h->slots_length);
	if (h->frames)
		munmap(h->frames, page_size());
	if (h->state)
		munmap(h->state, page_size());
	h->slots_map = NULL;
	h->frames = NULL;
	h->state = NULL;
}

static int map_failed(const char *what)
{
	return fail(errno, "cannot map the channel's %s: %s%s", what, strerror(errno),
		    errno == ENOMEM ? ": free memory or address space (ulimit -v)" : "");
}

/*
 * Where slots of 2 MiB alignment may go: an address with the same alignment, or
 * the kernel cannot use 2 MiB entries. A hint: somebody may be faster.
 */
static void *huge_address(size_t length)
{
	unsigned char *room = mmap(NULL, length + HUGE_ALIGNMENT, PROT_NONE,
				   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (room == MAP_FAILED)
		return NULL;
	munmap(room, length + HUGE_ALIGNMENT);
	return room + (-(uintptr_t)room & (HUGE_ALIGNMENT - 1));
}

/*
 * A part of the channel. Not for a forked child: its parent holds the role.
 * NULL: errno.
 */
void *map_pages(const struct handle *h, size_t length, int protection, uint64_t offset)
{
	void *hint = offset && offset % HUGE_ALIGNMENT == 0 ? huge_address(length) : NULL;
	void *start = mmap(hint, length, protection, MAP_SHARED, h->fd,
			   (off_t)offset);

	if (start == MAP_FAILED)
		return NULL;
	madvise(start, length, MADV_DONTFORK);
	return start;
}

/*
 * So that the frame path does not fault. One by one, for MAP_POPULATE would end
 * at the gap behind the first slot. Where the kernel is too old for it (before
 * 5.14), the first frames fault instead.
 */
static void populate_slots(const struct handle *h, const struct tribuf_geometry *g)
{
	int how = h->role == TRIBUF_PRODUCER ? MADV_POPULATE_WRITE : MADV_POPULATE_READ;
	unsigned char *slot = h->slots_map;
	uint32_t i;

	for (i = 0; i < TRIBUF_SLOTS; i++, slot += g->slot_stride)
		madvise(slot, (size_t)g->slot_size, how);
}

static int map_slots(struct handle *h, const struct tribuf_geometry *g)
{
	int protection = h->role == TRIBUF_PRODUCER ? PROT_READ | PROT_WRITE : PROT_READ;

	/* Up to the last page that is backed. */
	h->slots_length = (size_t)((TRIBUF_SLOTS - 1) * g->slot_stride +
				   ((g->slot_size + g->page_size - 1) & -(uint64_t)g->page_size));
	h->slots_map = map_pages(h, h->slots_length, protection, g->slots_offset);
	if (!h->slots_map)
		return map_failed("slots");
	/* A guarded slot comes with its owner's first touch, and goes with the swap. */
	if (!h->guarded)
		populate_slots(h, g);
	return 0;
}

/* A guarded peer's frame path works on these; kept if the mapping fails and is tried anew. */
static bool own_descriptors(struct handle *h)
{
	if (!h->descs)
		h->descs = calloc(TRIBUF_SLOTS, sizeof(*h->descs));
	return h->descs;
}

/* Map all that the role has a right to, once the geometry is known. */
static int map(struct handle *h, const struct tribuf_geometry *g)
{
	bool peer = h->role == TRIBUF_PRODUCER || h->role == TRIBUF_CONSUMER;
	bool swaps = peer && !h->guarded;
	bool writes = h->role == TRIBUF_PRODUCER && !h->guarded;

	h->state = map_pages(h, page_size(), swaps ? PROT_READ | PROT_WRITE : PROT_READ,
			     TRIBUF_PAGE_STATE);
	if (!h->state)
		return map_failed("state word");
	h->frames = map_pages(h, page_size(), writes ? PROT_READ | PROT_WRITE : PROT_READ,
			      TRIBUF_PAGE_FRAMES * page_size());
	if (!h->frames)
		return map_failed("descriptors");
	if (peer && h->guarded && !own_descriptors(h))
		return fail(ENOMEM, "out of memory");
	if (g->features & TRIBUF_FEATURE_SMALL || (!peer && h->guarded))
		return 0;
	return map_slots(h, g);
}

/*
 * Map the slots and start on the frame path, if the geometry is known by now.
 * -EAGAIN, not explained: it is not. Changes nothing unless it succeeds.
 */
int take_geometry(struct handle *h)
{
	struct tribuf_geometry g;
	int err;

	if (!h->pending || h->role == TRIBUF_KEEPER)
		return 0;
	/*
	 * The kernel says last that nothing is pending, the shm backend how large a
	 * slot is. Partners: tribuf_channel_set_geometry(), set_geometry().
	 */
	if (__atomic_load_n(&h->geometry->state, __ATOMIC_ACQUIRE) & TRIBUF_STATE_PENDING ||
	    !tribuf_read_once(h->geometry->slot_size))
		return -EAGAIN;
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	err = check_geometry(h->geometry, &g);
	if (err)
		return err;
	h->guarded = h->backend->guards && g.state & TRIBUF_STATE_GUARDED;
	err = map(h, &g);
	if (err) {
		unmap(h);
		return err;
	}
	h->t.desc = h->frames->desc;
	h->t.slots = h->slots_map;
	if (g.features & TRIBUF_FEATURE_SMALL)
		h->t.slots = h->frames->desc[0].small;
	h->slots_offset = g.slots_offset;
	h->t.slot_stride = g.slot_stride;
	h->t.slot_size = g.slot_size;
	h->t.granule_shift = (uint32_t)__builtin_ctz(g.granule);
	err = start(h);
	if (err) {
		unmap(h);
		return err;
	}
	h->pending = false;
	return 0;
}

static void destroy(struct handle *h)
{
	/* A forked child does not have the mappings: something else may be there. */
	if (!forked(h)) {
		unmap(h);
		if (h->geometry)
			munmap(h->geometry, page_size());
	}
	free(h->descs);
	free(h);
}

void tribuf_close(struct tribuf *handle)
{
	struct handle *h = handle_of(handle);

	if (!handle)
		return;
	if (h->member)
		leave_set(h);
	h->backend->close(h);
	destroy(h);
}

static int check_struct(const struct tribuf_options *o)
{
	size_t i;

	if (o->size != sizeof(*o))
		return fail(EINVAL, "tribuf_options.size is %u, not %zu: start from TRIBUF_OPTIONS_INIT",
			    o->size, sizeof(*o));
	for (i = 0; i < sizeof(o->reserved) / sizeof(o->reserved[0]); i++)
		if (o->reserved[i])
			return fail(EINVAL, "tribuf_options.reserved is not zero: start from TRIBUF_OPTIONS_INIT");
	if (o->role < TRIBUF_PRODUCER || o->role > TRIBUF_KEEPER)
		return fail(EINVAL, "%u is no role: use TRIBUF_PRODUCER, _CONSUMER, _OBSERVER or _KEEPER",
			    o->role);
	if (o->mode & ~0777u)
		return fail(EINVAL, "a mode of %#o: only permission bits are allowed", o->mode);
	if (o->granule & (o->granule - 1) || o->granule > TRIBUF_GRANULE_MAX)
		return fail(EINVAL, "a granule of %u bytes: use a power of two of at most %d, or 0",
			    o->granule, TRIBUF_GRANULE_MAX);
	return 0;
}

/* Do the flags go together, and with the rest? The kernel asks the same. */
static int check_flags(const struct tribuf_options *o)
{
	uint32_t flags = o->flags;

	if (flags & ~TRIBUF_ATTACH_FLAGS)
		return fail(EINVAL, "unknown flags %#x", flags & ~TRIBUF_ATTACH_FLAGS);
	if (flags & TRIBUF_CREATE && !o->slot_size)
		return fail(EINVAL, "TRIBUF_CREATE needs a slot_size");
	if (flags & (TRIBUF_EXCL | TRIBUF_REPLACE | TRIBUF_ANONYMOUS) && !(flags & TRIBUF_CREATE))
		return fail(EINVAL, "TRIBUF_EXCL, TRIBUF_REPLACE and TRIBUF_ANONYMOUS go with TRIBUF_CREATE");
	if (flags & TRIBUF_REPLACE &&
	    (flags & (TRIBUF_EXCL | TRIBUF_ANONYMOUS) || o->role != TRIBUF_PRODUCER))
		return fail(EINVAL, "TRIBUF_REPLACE is for a producer, without TRIBUF_EXCL and TRIBUF_ANONYMOUS");
	if (flags & TRIBUF_PENDING && !(flags & TRIBUF_CREATE) && (o->slot_size || o->granule))
		return fail(EINVAL, "TRIBUF_PENDING takes the creator's geometry: leave slot_size and granule 0");
	if (flags & TRIBUF_BY_FD && flags & (TRIBUF_CREATE | TRIBUF_PENDING))
		return fail(EINVAL, "TRIBUF_BY_FD is for an existing channel: leave out TRIBUF_CREATE and TRIBUF_PENDING");
	if (!(flags & TRIBUF_BY_FD) && (o->grants || o->fd != -1))
		return fail(EINVAL, "fd and grants go with TRIBUF_BY_FD: else -1 and 0");
	return 0;
}

static int check_options(const struct tribuf_options *o, const char *name)
{
	int err = check_struct(o);

	if (!err)
		err = check_flags(o);
	if (!err && !name && !(o->flags & (TRIBUF_ANONYMOUS | TRIBUF_BY_FD)))
		err = fail(EINVAL, "no name: give one, or TRIBUF_ANONYMOUS or TRIBUF_BY_FD");
	return err;
}

int check_name(const char *name)
{
	size_t length = strlen(name), i;

	if (!length)
		return fail(EINVAL, "the channel's name is empty");
	if (length >= TRIBUF_NAME_SIZE)
		return fail(ENAMETOOLONG, "the channel's name has %zu bytes: at most %d fit",
			    length, TRIBUF_NAME_SIZE - 1);
	if (!strcmp(name, ".") || !strcmp(name, ".."))
		return fail(EINVAL, "'%s' is no name for a channel", name);
	for (i = 0; i < length; i++)
		if (name[i] == '/' || (unsigned char)name[i] <= ' ' || name[i] == 0x7f)
			return fail(EINVAL, "byte %zu of the channel's name is %s: use others",
				    i + 1, name[i] == '/' ? "a slash" : "a blank or a control character");
	return 0;
}

/*
 * A load that seems to be of what was stored just now, because the last 12 bits of
 * the addresses are the same, waits for that store, and an exchange does too (it
 * cost up to half of a publish). The word, the descriptors and small frames are at
 * the beginning of their pages.
 */
static bool collides(const struct handle *h)
{
	uintptr_t start = (uintptr_t)&h->t % LOOK_ALIKE;

	return start < TRIBUF_SLOTS * sizeof(struct tribuf_desc) - TRIBUF_LINE ||
	       start > LOOK_ALIKE - sizeof(h->t);
}

/* What is allocated beside one that collides does not; or is slower, that is all. */
static struct handle *allocate(void)
{
	struct handle *h = aligned_alloc(TRIBUF_LINE, sizeof(*h)), *beside;

	if (!h || !collides(h))
		return h;
	beside = aligned_alloc(TRIBUF_LINE, sizeof(*h));
	free(h);
	return beside;
}

static struct handle *create(const struct backend *backend, const struct tribuf_options *o)
{
	struct handle *h = allocate();

	if (!h)
		return NULL;
	memset(h, 0, sizeof(*h));
	h->backend = backend;
	h->process = this_process();
	h->fd = -1;
	h->role = o->role;
	h->owned = o->flags & TRIBUF_OWNED;
	h->pending = true;
	h->no_word = WORD_NONE;
	h->t.word = &h->no_word;
	return h;
}

/* What tribuf_wait() has to tell of later is what changes from here on. */
static void start_news(struct handle *h)
{
	uint32_t epoch = h->role == TRIBUF_PRODUCER ? h->news.consumer_epoch
						    : h->news.producer_epoch;

	h->back_reported = epoch;
	/* The latest peer's death is news, even if it came before we did. */
	h->gone_reported = epoch ? epoch - 1 : 0;
}

static int open_with(struct tribuf **handle, const struct backend *backend, const char *name,
		     const struct tribuf_options *o)
{
	struct handle *h;
	int err;

	err = name ? check_name(name) : 0;
	if (err)
		return err;
	h = create(backend, o);
	if (!h)
		return fail(ENOMEM, "out of memory");
	err = backend->open(h, name, o);
	if (!err) {
		start_news(h);
		err = take_geometry(h);
		h->geometry_due = err == -EAGAIN;
		if (err == -EAGAIN)
			err = 0;
	}
	if (err) {
		tribuf_close(&h->t);
		return err;
	}
	*handle = &h->t;
	return 0;
}

int tribuf_open(struct tribuf **handle, const char *name, const struct tribuf_options *options)
{
	static const struct tribuf_options consumer = TRIBUF_OPTIONS_INIT;
	const struct tribuf_options *o = options ? options : &consumer;
	int err = check_options(o, name);

	if (err)
		return err;
	if (name && !strncmp(name, SHM_PREFIX, strlen(SHM_PREFIX)))
		return open_with(handle, &shm_backend, name + strlen(SHM_PREFIX), o);
	return open_with(handle, &device_backend, name, o);
}

int tribuf_open_producer(struct tribuf **handle, const char *name, uint64_t slot_size)
{
	struct tribuf_options o = TRIBUF_OPTIONS_INIT;

	o.role = TRIBUF_PRODUCER;
	o.flags |= TRIBUF_CREATE;
	o.slot_size = slot_size;
	return tribuf_open(handle, name, &o);
}

int tribuf_open_consumer(struct tribuf **handle, const char *name)
{
	struct tribuf_options o = TRIBUF_OPTIONS_INIT;

	o.flags |= TRIBUF_PENDING;
	return tribuf_open(handle, name, &o);
}

int tribuf_fd(const struct tribuf *handle)
{
	return handle_of(handle)->backend->fd(handle_of(handle));
}

int tribuf_info(struct tribuf *handle, struct tribuf_info_args *info)
{
	struct handle *h = handle_of(handle);
	struct tribuf_info_args filled;
	int err;

	if (forked(h))
		return forked_handle();
	err = h->backend->info(h, &filled, TRIBUF_INFO_PEEK);
	if (!err)
		*info = filled;
	return err;
}

int tribuf_ring(struct tribuf *handle)
{
	struct handle *h = handle_of(handle);

	if (forked(h))
		return forked_handle();
	if (h->role != TRIBUF_PRODUCER && h->role != TRIBUF_CONSUMER)
		return fail(EACCES, "a %s has nobody to wake", role_name(h->role));
	return h->backend->ring(h);
}

int tribuf_list(unsigned int backend,
		int (*each)(const struct tribuf_list_entry *channel, void *context),
		void *context)
{
	switch (backend) {
	case TRIBUF_BACKEND_DEVICE:
		return device_backend.list(each, context);
	case TRIBUF_BACKEND_SHM:
		return shm_backend.list(each, context);
	default:
		return fail(ENOTSUP, "there is no backend %u", backend);
	}
}
