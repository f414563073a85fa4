// SPDX-License-Identifier: GPL-2.0-only
/*
 * Mappings: which role may map what and how, faults, and taking mappings back
 * when a role ends.
 *
 * Pages are put in by the fault handler alone, in batches, never by ->mmap: a
 * mapping that is being made cannot be revoked yet, since the core links it to
 * the file only after ->mmap has returned. A fault and a revocation exclude each
 * other through map_lock. Who wants no fault later passes MAP_POPULATE.
 *
 * A fault may wait for memory, for seconds in a cgroup that has too little, and must
 * not keep the peers waiting: so its page table is made before it takes map_lock.
 */
#include <linux/mm.h>

#include "channel.h"
#include "compat.h"

/* Pages that one fault puts in: what one page-table page maps. */
#define TRIBUF_FAULT_BATCH	PTRS_PER_PTE

/**
 * struct tribuf_region - a part of a channel that can be mapped
 * @first: its first page
 * @pages: how many
 * @readers: TRIBUF_GRANT() mask of the roles that may read
 * @writers: and write
 */
struct tribuf_region {
	u64 first;
	u64 pages;
	u32 readers;
	u32 writers;
};

#define TRIBUF_PEERS	(TRIBUF_GRANT(TRIBUF_PRODUCER) | TRIBUF_GRANT(TRIBUF_CONSUMER))
#define TRIBUF_READERS	(TRIBUF_PEERS | TRIBUF_GRANT(TRIBUF_OBSERVER))

/* Of a direct channel; of a guarded one, no role may write these. */
static const struct tribuf_region tribuf_meta_region[TRIBUF_META_PAGES] = {
	[TRIBUF_PAGE_STATE] = { TRIBUF_PAGE_STATE, 1, TRIBUF_READERS, TRIBUF_PEERS },
	[TRIBUF_PAGE_FRAMES] = { TRIBUF_PAGE_FRAMES, 1, TRIBUF_READERS,
				 TRIBUF_GRANT(TRIBUF_PRODUCER) },
	[TRIBUF_PAGE_GEOMETRY] = { TRIBUF_PAGE_GEOMETRY, 1, TRIBUF_GRANT_ALL, 0 },
};

/* The region that @count pages from @first lie in. */
static int tribuf_region_find(const struct tribuf_channel *channel, u64 first, u64 count,
			      struct tribuf_region *region)
{
	const struct tribuf_geometry *geometry = channel->geometry;

	/* Before there are slots it is open which kind of channel this will be. */
	if (first != TRIBUF_PAGE_GEOMETRY && tribuf_channel_state(channel) & TRIBUF_STATE_PENDING)
		return -EAGAIN;
	if (first < TRIBUF_META_PAGES) {
		*region = tribuf_meta_region[first];
	} else {
		/* No page, if the slots are small. */
		region->first = geometry->slots_offset >> PAGE_SHIFT;
		region->pages = (u64)TRIBUF_SLOTS * geometry->slot_stride >> PAGE_SHIFT;
		region->readers = channel->guarded ? TRIBUF_PEERS : TRIBUF_READERS;
		region->writers = TRIBUF_GRANT(TRIBUF_PRODUCER);
	}
	if (channel->guarded && first < TRIBUF_META_PAGES)
		region->writers = 0;
	if (first < region->first || first - region->first >= region->pages ||
	    count > region->pages - (first - region->first))
		return -EINVAL;
	return 0;
}

/* The page at @pgoff of the file; NULL for the gap behind a slot's last page. */
static struct page *tribuf_page_at(struct tribuf_channel *channel, u64 pgoff)
{
	const struct tribuf_geometry *geometry = channel->geometry;
	const struct tribuf_slots *slots = channel->slots;
	u64 slot, index;

	lockdep_assert_held(&channel->map_lock);
	if (pgoff < TRIBUF_META_PAGES)
		return channel->meta[pgoff];
	if (!slots || !slots->slot_pages || pgoff < geometry->slots_offset >> PAGE_SHIFT)
		return NULL;
	pgoff -= geometry->slots_offset >> PAGE_SHIFT;
	slot = div64_u64_rem(pgoff, geometry->slot_stride >> PAGE_SHIFT, &index);
	if (slot >= TRIBUF_SLOTS || index >= slots->slot_pages)
		return NULL;
	return slots->page[slot * slots->slot_pages + index];
}

/* The page at @pgoff of the file, with a reference for the caller; NULL if there is none. */
struct page *tribuf_page_get(struct tribuf_channel *channel, u64 pgoff)
{
	struct page *page;

	down_read(&channel->map_lock);
	page = tribuf_page_at(channel, pgoff);
	if (page)
		get_page(page);
	up_read(&channel->map_lock);
	return page;
}

/*
 * Called under the PTE lock, with a page table there. What is there, but not present,
 * is a mark of userfaultfd's, which only watches: in its place nothing can be
 * inserted, and the touch would fault for ever.
 */
static int tribuf_make_way(pte_t *pte, unsigned long addr, void *data)
{
	const struct vm_area_struct *vma = data;
	pte_t entry = ptep_get(pte);

	if (!pte_none(entry) && !pte_present(entry))
		compat_clear_pte(vma->vm_mm, addr, pte);
	return 0;
}

/* The page asked for, and its neighbours within the batch that are not there yet. */
static vm_fault_t tribuf_fault_batch(struct tribuf_channel *channel, struct vm_fault *vmf)
{
	struct vm_area_struct *vma = vmf->vma;
	unsigned long wanted = vmf->address & PAGE_MASK;
	unsigned long start = max(vma->vm_start,
				  round_down(wanted, TRIBUF_FAULT_BATCH * PAGE_SIZE));
	unsigned long addr = wanted;
	u64 pgoff = vmf->pgoff;
	struct page *page;
	int err;

	page = tribuf_page_at(channel, pgoff);
	if (!page)
		return VM_FAULT_SIGBUS;
	err = vm_insert_page(vma, addr, page);
	if (err && err != -EBUSY)	/* EBUSY: another thread was faster */
		return err == -ENOMEM ? VM_FAULT_OOM : VM_FAULT_SIGBUS;

	pgoff -= (wanted - start) >> PAGE_SHIFT;
	for (addr = start; addr - start < TRIBUF_FAULT_BATCH * PAGE_SIZE && addr < vma->vm_end;
	     addr += PAGE_SIZE, pgoff++) {
		page = tribuf_page_at(channel, pgoff);
		if (!page || addr == wanted)
			continue;
		err = vm_insert_page(vma, addr, page);
		if (err && err != -EBUSY)
			break;
	}
	return VM_FAULT_NOPAGE;
}

static vm_fault_t tribuf_fault(struct vm_fault *vmf)
{
	struct tribuf_handle *handle = vmf->vma->vm_file->private_data;
	struct tribuf_channel *channel = tribuf_channel_of(handle);
	vm_fault_t ret = VM_FAULT_SIGBUS;

	/* The batch lies within the one page table. */
	if (apply_to_page_range(vmf->vma->vm_mm, vmf->address & PAGE_MASK, PAGE_SIZE,
				tribuf_make_way, vmf->vma))
		return VM_FAULT_OOM;
	down_read(&channel->map_lock);
	if (!READ_ONCE(handle->ended))
		ret = tribuf_fault_batch(channel, vmf);
	up_read(&channel->map_lock);
	return ret;
}

static const struct vm_operations_struct tribuf_vm_ops = {
	.fault = tribuf_fault,
};

/*
 * tribuf_mmap - map a part of one region
 *
 * EINVAL: MAP_PRIVATE, or not within one region; EACCES: the role may not read,
 * or write, or anybody execute; EAGAIN: no slots yet, and not page 2; ENOTCONN; ESTALE.
 */
int tribuf_mmap(struct file *file, struct vm_area_struct *vma)
{
	struct tribuf_handle *handle = file->private_data;
	struct tribuf_channel *channel = tribuf_channel_of(handle);
	unsigned long set = VM_DONTEXPAND | VM_DONTCOPY;
	unsigned long clear = VM_MAYEXEC;
	struct tribuf_region region;
	int err;

	if (!channel)
		return -ENOTCONN;
	if (READ_ONCE(handle->ended))
		return -ESTALE;
	if (!(vma->vm_flags & VM_MAYSHARE))
		return -EINVAL;
	err = tribuf_region_find(channel, vma->vm_pgoff, vma_pages(vma), &region);
	if (err)
		return err;
	if (!tribuf_role_in(handle, region.readers) || vma->vm_flags & VM_EXEC)
		return -EACCES;
	if (!tribuf_role_in(handle, region.writers)) {
		if (vma->vm_flags & VM_WRITE)
			return -EACCES;
		clear |= VM_MAYWRITE;	/* nor by mprotect(), ever */
	}
	vma->vm_ops = &tribuf_vm_ops;
	if (region.first < TRIBUF_META_PAGES) {
		set |= VM_MIXEDMAP;
	} else if (!channel->guarded) {
		set |= VM_MIXEDMAP | VM_DONTDUMP;
	} else {
		set |= VM_IO | VM_PFNMAP | VM_DONTDUMP;
		if (COMPAT_PMD_PFNMAP)
			set |= VM_HUGEPAGE;	/* without it the core asks for no 2 MiB entry */
		vma->vm_ops = &tribuf_guard_vm_ops;
		tribuf_guard_mapped(handle, vma);
	}
	compat_vm_flags_mod(vma, set, clear);
	return 0;
}

/*
 * Take away what a handle whose role has ended has mapped. Passing through
 * map_lock waits for faults that may not have seen @ended; later ones see it.
 */
void tribuf_revoke(struct tribuf_handle *handle)
{
	struct tribuf_channel *channel = handle->channel;

	lockdep_assert_not_held(&channel->lock);
	WARN_ON_ONCE(!READ_ONCE(handle->ended));
	down_write(&channel->map_lock);
	up_write(&channel->map_lock);
	unmap_mapping_range(handle->inode->i_mapping, 0, 0, 1);
}
