/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What differs between the kernels that the module builds for, behind named
 * helpers. No other file asks for LINUX_VERSION_CODE.
 */
#ifndef TRIBUF_COMPAT_H
#define TRIBUF_COMPAT_H

#include <linux/ipc_namespace.h>
#include <linux/mm.h>
#include <linux/ns_common.h>
#include <linux/poll.h>
#include <linux/proc_ns.h>
#include <linux/shm.h>
#include <linux/version.h>
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 9, 0)
#include <linux/cacheinfo.h>
#elif defined(CONFIG_ARM)
#include <asm/cachetype.h>
#endif

/* vm_flags became read-only, to be changed through helpers, in 6.3. */
static inline void compat_vm_flags_mod(struct vm_area_struct *vma, unsigned long set,
				       unsigned long clear)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 3, 0)
	vm_flags_mod(vma, set, clear);
#else
	vma->vm_flags = (vma->vm_flags | set) & ~clear;
#endif
}

/* put_ipc_ns() is not exported before 6.12; the namespace's own operations are. */
static inline void compat_put_ipc_ns(struct ipc_namespace *ns)
{
#ifdef CONFIG_IPC_NS
	ns->ns.ops->put(&ns->ns);
#endif
}

/*
 * Can the data cache hold a page twice, once for each address that it is mapped
 * at? Before 6.9 no function tells; there SHMLBA does, with one exception: 32-bit
 * ARM sets it for its oldest cores, and knows at run time what it has.
 */
static inline bool compat_dcache_aliases(void)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 9, 0)
	return cpu_dcache_is_aliasing();
#elif defined(CONFIG_ARM)
	return cache_is_vivt() || cache_is_vipt_aliasing();
#else
	return SHMLBA > PAGE_SIZE;
#endif
}

/* Will poll() queue us, or only look? poll_does_not_wait() went away in 7.x. */
static inline bool compat_poll_queues(const struct poll_table_struct *table)
{
	return table && table->_qproc;
}

/* May a module change page-table entries? POWER does not export what does it. */
#ifdef CONFIG_PPC
#define COMPAT_SET_PTE	0
static inline void compat_clear_pte(struct mm_struct *mm, unsigned long addr, pte_t *pte)
{
}

static inline void compat_set_pte(struct mm_struct *mm, unsigned long addr, pte_t *pte,
				  pte_t entry)
{
}
#else
#define COMPAT_SET_PTE	1
static inline void compat_clear_pte(struct mm_struct *mm, unsigned long addr, pte_t *pte)
{
	pte_clear(mm, addr, pte);
}

static inline void compat_set_pte(struct mm_struct *mm, unsigned long addr, pte_t *pte,
				  pte_t entry)
{
	set_pte_at(mm, addr, pte, entry);
}
#endif

/*
 * May 2 MiB entries map what no pin may see through? Only where the core keeps
 * fast GUP off them; before 6.12 it would pin straight through such an entry.
 */
#ifdef CONFIG_ARCH_SUPPORTS_PMD_PFNMAP
#define COMPAT_PMD_PFNMAP	1

/* pfn_t went away in 6.17. */
static inline vm_fault_t compat_insert_pmd(struct vm_fault *vmf, struct page *page, bool write)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 17, 0)
	return vmf_insert_pfn_pmd(vmf, page_to_pfn(page), write);
#else
	return vmf_insert_pfn_pmd(vmf, (pfn_t){ .val = page_to_pfn(page) }, write);
#endif
}
#else
#define COMPAT_PMD_PFNMAP	0
#endif

#endif /* TRIBUF_COMPAT_H */
