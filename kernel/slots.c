// SPDX-License-Identifier: GPL-2.0-only
/*
 * The memory of channels: single zeroed pages, charged to the allocating task's
 * cgroup. Knows pages and slots, nothing of roles and frames.
 */
#include <linux/bitmap.h>
#include <linux/highmem.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/sched/signal.h>
#include <linux/sizes.h>

#include "channel.h"

unsigned long long tribuf_channel_bytes_max = SZ_1G;
module_param_named(channel_bytes_max, tribuf_channel_bytes_max, ullong, 0644);
MODULE_PARM_DESC(channel_bytes_max, "Bytes that the slots of one channel may have (1 GiB)");

atomic_long_t tribuf_pages_live;

/* From here on slots are aligned so that 2 MiB entries can map them. */
#define TRIBUF_BIG_SLOT		SZ_2M

/* What one such entry maps, where pages are 4 KiB. */
#define TRIBUF_PIECE_ORDER	(PMD_SHIFT - PAGE_SHIFT)
#define TRIBUF_PIECE_PAGES	BIT(TRIBUF_PIECE_ORDER)

static u64 tribuf_slot_align(u64 slot_size)
{
	return slot_size >= TRIBUF_BIG_SLOT ? max_t(u64, TRIBUF_BIG_SLOT, PAGE_SIZE) : PAGE_SIZE;
}

u64 tribuf_slot_stride(u64 slot_size)
{
	return round_up(slot_size, tribuf_slot_align(slot_size));
}

u64 tribuf_slots_offset(u64 slot_size)
{
	return round_up(TRIBUF_META_PAGES * PAGE_SIZE, tribuf_slot_align(slot_size));
}

/*
 * RETRY_MAYFAIL keeps the OOM killer away, also that of a cgroup at its limit:
 * who wants a channel that does not fit gets ENOMEM, nobody gets killed.
 */
struct page *tribuf_page_alloc(gfp_t extra)
{
	struct page *page = alloc_page(GFP_KERNEL_ACCOUNT | __GFP_ZERO | __GFP_RETRY_MAYFAIL |
				       __GFP_NOWARN | extra);

	if (page)
		atomic_long_inc(&tribuf_pages_live);
	return page;
}

void tribuf_page_free(struct page *page)
{
	atomic_long_dec(&tribuf_pages_live);
	put_page(page);
}

/*
 * One piece of memory that a 2 MiB entry can map, as pages that live and die one
 * by one. Not worth any effort of the allocator's: single pages do too.
 */
static bool tribuf_piece_alloc(struct page **place)
{
	struct page *page = alloc_pages(GFP_KERNEL_ACCOUNT | __GFP_ZERO | __GFP_NORETRY |
					__GFP_NOWARN | __GFP_HIGHMEM, TRIBUF_PIECE_ORDER);
	unsigned long i;

	if (!page)
		return false;
	split_page(page, TRIBUF_PIECE_ORDER);
	for (i = 0; i < TRIBUF_PIECE_PAGES; i++)
		place[i] = page + i;
	atomic_long_add(TRIBUF_PIECE_PAGES, &tribuf_pages_live);
	return true;
}

static unsigned long tribuf_piece_of(const struct tribuf_slots *slots, u32 slot,
				     unsigned long index)
{
	return slot * DIV_ROUND_UP(slots->slot_pages, TRIBUF_PIECE_PAGES) +
	       index / TRIBUF_PIECE_PAGES;
}

/* Do the pages from @index on lie in one piece that a 2 MiB entry can map? */
bool tribuf_slots_contiguous(const struct tribuf_slots *slots, u32 slot, unsigned long index)
{
	return slots->pieces && !(index % TRIBUF_PIECE_PAGES) &&
	       test_bit(tribuf_piece_of(slots, slot, index), slots->pieces);
}

static void tribuf_slots_free_pages(struct tribuf_slots *slots, unsigned long count)
{
	unsigned long i;

	for (i = 0; i < count; i++) {
		tribuf_page_free(slots->page[i]);
		if (!(i % 1024))
			cond_resched();
	}
	bitmap_free(slots->pieces);
	kvfree(slots);
}

/* Fill in pages from @at on, a piece or a page. Return how many, 0: no memory. */
static unsigned long tribuf_slots_fill_some(struct tribuf_slots *slots, unsigned long at)
{
	u32 slot = at / slots->slot_pages;
	unsigned long index = at % slots->slot_pages;

	if (slots->pieces && !(index % TRIBUF_PIECE_PAGES) &&
	    slots->slot_pages - index >= TRIBUF_PIECE_PAGES &&
	    tribuf_piece_alloc(&slots->page[at])) {
		__set_bit(tribuf_piece_of(slots, slot, index), slots->pieces);
		return TRIBUF_PIECE_PAGES;
	}
	slots->page[at] = tribuf_page_alloc(__GFP_HIGHMEM);
	return slots->page[at] ? 1 : 0;
}

/*
 * A signal ends it, but not the task work that io_uring sends by the same way; and
 * one without a handler (a stop, the freezer) only makes the caller begin anew.
 */
static int tribuf_slots_fill(struct tribuf_slots *slots)
{
	unsigned long count = TRIBUF_SLOTS * slots->slot_pages;
	unsigned long i, got = 1;
	int err = -ENOMEM;

	for (i = 0; i < count; i += got) {
		bool look = got > 1 || !(i % 256);

		if (look)
			cond_resched();
		if (look && task_sigpending(current)) {
			err = -ERESTARTNOHAND;
			break;
		}
		got = tribuf_slots_fill_some(slots, i);
		if (!got)
			break;
	}
	if (i == count)
		return 0;
	tribuf_slots_free_pages(slots, i);
	return err;
}

/**
 * tribuf_slots_alloc - memory for the slots of a channel, charged to the caller
 * @slot_size: bytes of a slot
 * @granule: bytes per step of a reference's index
 * @guarded: pages for all slots, in memory that 2 MiB entries can map where there is such
 *
 * Return: the slots, or ERR_PTR of -EINVAL (0), -EFBIG (limit per channel, or an
 * overflow), -ENOSPC (limit per user), -ENOMEM, -ERESTARTNOHAND.
 */
struct tribuf_slots *tribuf_slots_alloc(u64 slot_size, u32 granule, bool guarded)
{
	struct tribuf_charge *charge;
	struct tribuf_slots *slots;
	unsigned long pages = 0;
	int err;

	if (!slot_size)
		return ERR_PTR(-EINVAL);
	/* Also keeps the sums below, and offsets of mappings, from overflowing. */
	if (slot_size > div_u64(READ_ONCE(tribuf_channel_bytes_max), TRIBUF_SLOTS) ||
	    slot_size > (u64)LONG_MAX / (2 * TRIBUF_SLOTS))
		return ERR_PTR(-EFBIG);
	if (guarded || !tribuf_slots_are_small(slot_size, granule))
		pages = DIV_ROUND_UP_ULL(slot_size, PAGE_SIZE);
	charge = tribuf_charge((u64)pages * TRIBUF_SLOTS * PAGE_SIZE, 0);
	if (IS_ERR(charge))
		return ERR_CAST(charge);
	slots = kvzalloc(struct_size(slots, page, TRIBUF_SLOTS * pages),
			 GFP_KERNEL_ACCOUNT | __GFP_RETRY_MAYFAIL | __GFP_NOWARN);
	err = -ENOMEM;
	if (!slots)
		goto err_uncharge;
	slots->charge = charge;
	slots->slot_pages = pages;
	if (guarded && pages >= TRIBUF_PIECE_PAGES)
		slots->pieces = bitmap_zalloc(tribuf_piece_of(slots, TRIBUF_SLOTS, 0),
					      GFP_KERNEL_ACCOUNT);
	err = tribuf_slots_fill(slots);
	if (err)
		goto err_uncharge;
	return slots;

err_uncharge:
	tribuf_uncharge(charge);
	return ERR_PTR(err);
}

void tribuf_slots_free(struct tribuf_slots *slots)
{
	if (!slots)
		return;
	tribuf_uncharge(slots->charge);
	tribuf_slots_free_pages(slots, TRIBUF_SLOTS * slots->slot_pages);
}

/**
 * tribuf_pages_alloc - pages to replace others with
 * @pages: where they go, linked by their lru
 * @count: how many
 *
 * Return: 0, -ENOMEM or -ERESTARTNOHAND, with those that were had in @pages.
 */
int tribuf_pages_alloc(struct list_head *pages, unsigned long count)
{
	struct page *page;

	while (count--) {
		if (task_sigpending(current))
			return -ERESTARTNOHAND;
		page = tribuf_page_alloc(__GFP_HIGHMEM);
		if (!page)
			return -ENOMEM;
		list_add(&page->lru, pages);
		cond_resched();
	}
	return 0;
}

void tribuf_pages_free(struct list_head *pages)
{
	struct page *page, *next;

	list_for_each_entry_safe(page, next, pages, lru)
		tribuf_page_free(page);
}

/**
 * tribuf_slots_unpin - replace the pages that something still pins
 * @channel: a direct one, whose mappings of dead roles have been revoked
 * @back: the slot that is about to be given to a new producer
 * @spares: pages to take instead
 *
 * A dead producer's O_DIRECT read or MSG_ZEROCOPY send may still go on, and would
 * write into its successor's frames. It keeps the old pages; the channel gets new
 * ones: copies, but in back, which held no frame. Readers lose nothing by that.
 *
 * Everything is unmapped first, and nobody maps while we have map_lock: a page that
 * has another reference then is pinned, or looks so, never the other way round.
 *
 * Return: how many spares were missing; the other pages have been replaced, which
 * nobody can tell.
 */
unsigned long tribuf_slots_unpin(struct tribuf_channel *channel, u32 back,
				 struct list_head *spares)
{
	const struct tribuf_geometry *geometry = channel->geometry;
	unsigned long i, count, missing = 0;
	struct tribuf_handle *peer;
	struct page *page, **place;

	lockdep_assert_held(&channel->lock);
	down_write(&channel->map_lock);
	count = channel->slots ? TRIBUF_SLOTS * channel->slots->slot_pages : 0;
	list_for_each_entry(peer, &channel->attached, attached)
		if (count && peer->role != TRIBUF_KEEPER)
			unmap_mapping_range(peer->inode->i_mapping, geometry->slots_offset,
					    TRIBUF_SLOTS * geometry->slot_stride, 1);
	for (i = 0; i < count; i++) {
		if (!(i % 1024))
			cond_resched();
		place = &channel->slots->page[i];
		if (page_count(*place) == 1)
			continue;
		page = list_first_entry_or_null(spares, struct page, lru);
		if (!page) {
			missing++;
			continue;
		}
		list_del(&page->lru);
		if (i / channel->slots->slot_pages != back)
			copy_highpage(page, *place);
		swap(*place, page);
		tribuf_page_free(page);
	}
	up_write(&channel->map_lock);
	return missing;
}
