// SPDX-License-Identifier: GPL-2.0-only
/*
 * The memory of channels: single zeroed pages, charged to the allocating task's
 * cgroup. Knows pages and slots, nothing of roles and frames.
 */
#include <linux/bitmap.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/sched/signal.h>
#include <linux/sizes.h>

#include "channel.h"
#include "compat.h"

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
	unsigned long i, got;
	int err = -ENOMEM;

	for (i = 0; i < count; i += got) {
		if (!(i % 256))
			cond_resched();
		if (!(i % 256) && task_sigpending(current)) {
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
	if (slot_size > READ_ONCE(tribuf_channel_bytes_max) / TRIBUF_SLOTS ||
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

/*
 * Does somebody beside us and page tables hold the page? The answer may be a yes
 * that is over by the time it is given (an unmap that still gathers pages), never
 * a wrong no: a pin that can write was taken through a mapping that is gone.
 */
static bool tribuf_page_pinned(struct page *page)
{
	return page_count(page) > 1 + compat_page_mapcount(page);
}

/**
 * tribuf_slots_unpin - replace the pages of a slot that something still pins
 * @channel: whose mappings of dead roles have been revoked
 * @slot: the back slot, about to be given to a new producer
 *
 * A dead producer's O_DIRECT read or MSG_ZEROCOPY send may still go on. It keeps
 * the old page; the channel gets a new one. What the slot held was no frame.
 *
 * Return: 0 or -ENOMEM, with part of the pages replaced, which nobody can tell.
 */
int tribuf_slots_unpin(struct tribuf_channel *channel, u32 slot)
{
	struct tribuf_slots *slots;
	struct tribuf_handle *peer;
	unsigned long i;
	int err = 0;

	lockdep_assert_held(&channel->lock);
	down_write(&channel->map_lock);
	slots = channel->slots;
	for (i = 0; slots && i < slots->slot_pages; i++) {
		struct page **place = &slots->page[slot * slots->slot_pages + i];
		loff_t offset = channel->geometry->slots_offset +
				slot * channel->geometry->slot_stride + i * (u64)PAGE_SIZE;
		struct page *page;

		if (!tribuf_page_pinned(*place))
			continue;
		page = tribuf_page_alloc(__GFP_HIGHMEM);
		if (!page) {
			err = -ENOMEM;
			break;
		}
		swap(*place, page);
		list_for_each_entry(peer, &channel->attached, attached)
			unmap_mapping_range(peer->inode->i_mapping, offset, PAGE_SIZE, 1);
		tribuf_page_free(page);
	}
	up_write(&channel->map_lock);
	return err;
}
