// SPDX-License-Identifier: GPL-2.0-only
/*
 * Guarded channels: the slots answer only to their owner of the moment.
 *
 * The state word of a guarded channel is read-only to user space, so only the
 * kernel swaps. Whoever gives a slot away loses it from the page tables of their
 * handle first; a touch of it from then on is SIGBUS. Slots are mapped as special
 * entries, which no pin (O_DIRECT, fixed buffers, vmsplice) can look through.
 *
 * A fault against the loss of the slot that it is about to map:
 *
 *	swap				fault
 *	owned = NONE			page table there
 *	full barrier			full barrier
 *	zap, under the PTE lock		under the PTE lock: owned? then set the entry
 *
 * A fault that has the PTE lock first is zapped. One that has it later sees NONE.
 * Where the zap found no page table at all, the two barriers make the fault see
 * NONE. The swap never waits for a fault in progress: that one may sleep for
 * memory in a cgroup that has none.
 *
 * A slot that is short is mapped ahead, by the swap that gives it: there a fault
 * would cost more than its work. That is a fault by other means, with the same look
 * under the PTE lock, and gives up whenever it would have to wait for mmap_lock.
 *
 * A 2 MiB entry is set by the core under a lock of its own choice, so there the
 * look and the setting share @guard_lock, under which nothing sleeps.
 *
 * VM_PFNMAP is needed for this, too: munmap() flushes the TLB of such a mapping
 * before it leaves the file's tree, in which a zap could not find it any more.
 */
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/userfaultfd_k.h>

#include "channel.h"
#include "compat.h"
#include "trace.h"

/**
 * struct tribuf_guard_fault - one slot being mapped
 * @handle: of the mapping
 * @vma: the mapping
 * @slots: memory of the channel; a mapping keeps it
 * @slot: touched
 * @start: address of the first page of the slot that the mapping covers
 * @end: behind the last one
 * @index: of the page at @start within the slot
 */
struct tribuf_guard_fault {
	struct tribuf_handle *handle;
	struct vm_area_struct *vma;
	const struct tribuf_slots *slots;
	u32 slot;
	unsigned long start;
	unsigned long end;
	unsigned long index;
};

/* Slots with fewer pages are mapped ahead: none of them has a 2 MiB entry. */
#define TRIBUF_AHEAD_PAGES	PTRS_PER_PTE

/* From the page at @addr on, which is of the slot, in the order of its pages. */
static struct page *const *tribuf_guard_pages(const struct tribuf_guard_fault *fault,
					      unsigned long addr)
{
	return &fault->slots->page[fault->slot * fault->slots->slot_pages + fault->index +
				   ((addr - fault->start) >> PAGE_SHIFT)];
}

bool tribuf_guard_supported(void)
{
	return IS_ENABLED(CONFIG_ARCH_HAS_PTE_SPECIAL) && COMPAT_SET_PTE;
}

/* The handle may map @slot from now on. */
void tribuf_guard_give(struct tribuf_handle *handle, u32 slot)
{
	WRITE_ONCE(handle->owned, slot);
}

/* When this returns, no thread can reach the handle's slot through a mapping. */
void tribuf_guard_take(struct tribuf_handle *handle)
{
	const struct tribuf_geometry *geometry = handle->channel->geometry;
	u32 slot = handle->owned;

	lockdep_assert_held(&handle->lock);
	if (slot == TRIBUF_OWNED_NONE)
		return;
	spin_lock(&handle->guard_lock);
	WRITE_ONCE(handle->owned, TRIBUF_OWNED_NONE);
	spin_unlock(&handle->guard_lock);
	smp_mb();	/* pairs with tribuf_guard_set_ptes() */
	unmap_mapping_range(handle->inode->i_mapping,
			    geometry->slots_offset + slot * geometry->slot_stride,
			    geometry->slot_stride, 1);
}

/* Which slot, and how much of it the mapping covers. */
static bool tribuf_guard_locate(struct vm_fault *vmf, struct tribuf_guard_fault *fault)
{
	struct vm_area_struct *vma = vmf->vma;
	struct tribuf_handle *handle = vma->vm_file->private_data;
	const struct tribuf_geometry *geometry = handle->channel->geometry;
	unsigned long addr = vmf->address & PAGE_MASK;
	u64 slot, index, before, behind;

	fault->handle = handle;
	fault->vma = vma;
	fault->slots = handle->channel->slots;
	slot = div64_u64_rem(vmf->pgoff - (geometry->slots_offset >> PAGE_SHIFT),
			     geometry->slot_stride >> PAGE_SHIFT, &index);
	if (slot >= TRIBUF_SLOTS || index >= fault->slots->slot_pages)
		return false;
	before = min_t(u64, index, (addr - vma->vm_start) >> PAGE_SHIFT);
	behind = min_t(u64, fault->slots->slot_pages - index, (vma->vm_end - addr) >> PAGE_SHIFT);
	fault->slot = slot;
	fault->start = addr - (before << PAGE_SHIFT);
	fault->end = addr + (behind << PAGE_SHIFT);
	fault->index = index - before;
	return READ_ONCE(handle->owned) == slot;
}

/*
 * Called under the PTE lock for the first entry of a page table that is to be set:
 * sets all that the slot has in it.
 */
static int tribuf_guard_set_ptes(pte_t *pte, unsigned long addr, void *data)
{
	const struct tribuf_guard_fault *fault = data;
	struct page *const *page = tribuf_guard_pages(fault, addr);
	unsigned long end = min(fault->end, (addr & PMD_MASK) + PMD_SIZE);
	pte_t entry;

	smp_mb();	/* pairs with tribuf_guard_take() */
	if (READ_ONCE(fault->handle->owned) != fault->slot)
		return -EACCES;
	for (; addr < end; addr += PAGE_SIZE, pte++, page++) {
		/* There, but not present, is a mark of userfaultfd's, which only watches. */
		if (pte_present(ptep_get(pte)))
			continue;
		entry = pte_mkspecial(pfn_pte(page_to_pfn(*page), fault->vma->vm_page_prot));
		entry = pte_mkyoung(entry);
		if (fault->vma->vm_flags & VM_WRITE)
			entry = pte_mkdirty(entry);
		compat_set_pte(fault->vma->vm_mm, addr, pte, entry);
	}
	return 0;
}

/* One call per page table: what calls back for each entry takes longer than the work. */
static int tribuf_guard_map(struct tribuf_guard_fault *fault)
{
	unsigned long addr = fault->start;
	int err = 0;

	while (!err && addr < fault->end) {
		err = apply_to_page_range(fault->vma->vm_mm, addr, PAGE_SIZE,
					  tribuf_guard_set_ptes, fault);
		addr = (addr & PMD_MASK) + PMD_SIZE;
	}
	return err;
}

static vm_fault_t tribuf_guard_refuse(const struct tribuf_guard_fault *fault)
{
	struct tribuf_channel *channel = fault->handle->channel;

	atomic64_inc(&channel->guard_faults);
	trace_tribuf_guard_fault(channel->id, fault->handle->role);
	return VM_FAULT_SIGBUS;
}

/*
 * apply_to_page_range() takes no 2 MiB entries. Where there may be some, a fault
 * keeps to one page table, which the core found to be there or missing.
 */
static void tribuf_guard_clamp(struct vm_fault *vmf, struct tribuf_guard_fault *fault)
{
	unsigned long first = vmf->address & PMD_MASK;

	if (!COMPAT_PMD_PFNMAP || fault->slots->slot_pages < PTRS_PER_PTE)
		return;
	if (fault->start < first) {
		fault->index += (first - fault->start) >> PAGE_SHIFT;
		fault->start = first;
	}
	fault->end = min(fault->end, first + PMD_SIZE);
}

/* Can a 2 MiB entry map what is around the address? If so, it is page @index. */
static bool tribuf_guard_is_piece(const struct vm_fault *vmf,
				  const struct tribuf_guard_fault *fault, unsigned long *index)
{
	unsigned long addr = vmf->address & PMD_MASK;

	if (addr < fault->start || addr + PMD_SIZE > fault->end)
		return false;
	*index = fault->index + ((addr - fault->start) >> PAGE_SHIFT);
	return tribuf_slots_contiguous(fault->slots, fault->slot, *index);
}

/*
 * A page table and a 2 MiB entry must not meet in one place: the core warns. Which
 * of them it asks for hangs on switches that turn at any moment (sysfs, prctl()),
 * so the first piece that is mapped page by page ends the other for the handle.
 *
 * Return: false if there is such an entry already: another thread was faster.
 */
static bool tribuf_guard_page_by_page(struct vm_fault *vmf, const struct tribuf_guard_fault *fault)
{
	struct tribuf_handle *handle = fault->handle;
	unsigned long index;

	if (!COMPAT_PMD_PFNMAP || !tribuf_guard_is_piece(vmf, fault, &index))
		return true;
	spin_lock(&handle->guard_lock);
	WRITE_ONCE(handle->by_pages, true);
	spin_unlock(&handle->guard_lock);
	return !pmd_leaf(READ_ONCE(*vmf->pmd));
}

/* The whole slot at its first touch: one fault per handover, not one per page. */
static vm_fault_t tribuf_guard_fault(struct vm_fault *vmf)
{
	struct tribuf_guard_fault fault;
	int err;

	if (!tribuf_guard_locate(vmf, &fault))
		return tribuf_guard_refuse(&fault);
	tribuf_guard_clamp(vmf, &fault);
	if (!tribuf_guard_page_by_page(vmf, &fault))
		return VM_FAULT_NOPAGE;
	err = tribuf_guard_map(&fault);
	if (err == -ENOMEM)
		return VM_FAULT_OOM;
	return err ? tribuf_guard_refuse(&fault) : VM_FAULT_NOPAGE;
}

#if COMPAT_PMD_PFNMAP
/* Entries that one fault sets at most beside its own, with @guard_lock held. */
#define TRIBUF_PIECES_AROUND	64

/*
 * The pieces behind the one that was touched and mapped, as far as they are in the
 * same table of entries: so that a slot needs one fault, not one per 2 MiB.
 */
static void tribuf_guard_map_behind(const struct vm_fault *vmf,
				    const struct tribuf_guard_fault *fault)
{
	unsigned long addr = (vmf->address & PMD_MASK) + PMD_SIZE;
	unsigned long end = min3(fault->end, (vmf->address & PUD_MASK) + PUD_SIZE,
				 addr + TRIBUF_PIECES_AROUND * PMD_SIZE);
	unsigned long index = fault->index + ((addr - fault->start) >> PAGE_SHIFT);
	pmd_t *pmd = vmf->pmd + 1;

	for (; addr + PMD_SIZE <= end; addr += PMD_SIZE, pmd++) {
		struct vm_fault next = {
			.vma = vmf->vma, .address = addr, .pmd = pmd, .flags = vmf->flags,
		};

		if (!pmd_none(READ_ONCE(*pmd)) ||
		    !tribuf_slots_contiguous(fault->slots, fault->slot, index) ||
		    compat_insert_pmd(&next, *tribuf_guard_pages(fault, addr),
				      vmf->flags & FAULT_FLAG_WRITE) != VM_FAULT_NOPAGE)
			break;
		index += PTRS_PER_PTE;
	}
}

/* The 2 MiB around the address, if the slot has them in one piece and so is mapped. */
static vm_fault_t tribuf_guard_huge_fault(struct vm_fault *vmf, unsigned int order)
{
	struct tribuf_guard_fault fault;
	vm_fault_t ret = VM_FAULT_SIGBUS;
	unsigned long index;
	struct page *page;

	/* Marks of userfaultfd's bring a page table, at any moment while it watches. */
	if (order != PMD_SHIFT - PAGE_SHIFT || userfaultfd_wp(vmf->vma) ||
	    !tribuf_guard_locate(vmf, &fault) ||
	    !tribuf_guard_is_piece(vmf, &fault, &index))
		return VM_FAULT_FALLBACK;
	page = fault.slots->page[fault.slot * fault.slots->slot_pages + index];

	spin_lock(&fault.handle->guard_lock);
	if (fault.handle->by_pages)
		ret = VM_FAULT_FALLBACK;
	else if (fault.handle->owned == fault.slot)
		ret = compat_insert_pmd(vmf, page, vmf->flags & FAULT_FLAG_WRITE);
	if (ret == VM_FAULT_NOPAGE)
		tribuf_guard_map_behind(vmf, &fault);
	spin_unlock(&fault.handle->guard_lock);
	return ret == VM_FAULT_SIGBUS ? tribuf_guard_refuse(&fault) : ret;
}
#endif

/* A mapping of slots was made: where slot 0 is, or would be. A hint. */
void tribuf_guard_mapped(struct tribuf_handle *handle, const struct vm_area_struct *vma)
{
	u64 offset = (u64)vma->vm_pgoff << PAGE_SHIFT;

	WRITE_ONCE(handle->slots_at,
		   vma->vm_start - (offset - handle->channel->geometry->slots_offset));
}

/* The slot that @handle owns, where @vma has it. mmap_lock is held. */
static void tribuf_guard_fault_ahead(struct tribuf_handle *handle, struct vm_area_struct *vma,
				     unsigned long addr)
{
	struct vm_fault vmf = {
		.vma = vma,
		.address = addr,
		.pgoff = linear_page_index(vma, addr),
	};
	struct tribuf_guard_fault fault;

	/* The hint may be old, and of another process's memory than ours. */
	if (vma->vm_ops != &tribuf_guard_vm_ops || vma->vm_file->private_data != handle ||
	    !(vma->vm_flags & VM_READ) || !tribuf_guard_locate(&vmf, &fault))
		return;
	tribuf_guard_map(&fault);
}

/* After a swap, without any lock: the slot that it gave, if it is short and easy to map. */
void tribuf_guard_map_ahead(struct tribuf_handle *handle)
{
	const struct tribuf_channel *channel = handle->channel;
	unsigned long addr = READ_ONCE(handle->slots_at);
	u32 slot = READ_ONCE(handle->owned);
	struct mm_struct *mm = current->mm;
	struct vm_area_struct *vma;

	if (!addr || !mm || slot == TRIBUF_OWNED_NONE ||
	    channel->slots->slot_pages >= TRIBUF_AHEAD_PAGES || !mmap_read_trylock(mm))
		return;
	addr += slot * channel->geometry->slot_stride;
	vma = vma_lookup(mm, addr);
	if (vma)
		tribuf_guard_fault_ahead(handle, vma, addr);
	mmap_read_unlock(mm);
}

const struct vm_operations_struct tribuf_guard_vm_ops = {
	.fault = tribuf_guard_fault,
#if COMPAT_PMD_PFNMAP
	.huge_fault = tribuf_guard_huge_fault,
#endif
};
