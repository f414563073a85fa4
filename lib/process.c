// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * Which process is this, without a system call: a handle is looked at many times for
 * each wait, and getpid() enters the kernel each time. The number is in a page that
 * fork() gives to the child empty (MADV_WIPEONFORK, Linux 4.14), however the child
 * was forked.
 */
#include "internal.h"

#include <sys/mman.h>
#include <unistd.h>

#ifndef MADV_WIPEONFORK		/* older C libraries */
#define MADV_WIPEONFORK	18
#endif

static uint32_t *current;	/* the page; MAP_FAILED: there is none to be had */
static uint32_t newest;		/* the last number that this process or an ancestor took */

/* Emulators that take all advice, and follow none, take this too. */
static bool advice_is_taken(void *page)
{
	return madvise(page, page_size(), -1) && !madvise(page, page_size(), MADV_WIPEONFORK);
}

/* Once and for all, for a number from elsewhere would look like another process. */
static uint32_t *make_page(void)
{
	uint32_t *page = mmap(NULL, page_size(), PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), *first = NULL;

	if (page != MAP_FAILED && !advice_is_taken(page)) {
		munmap(page, page_size());
		page = MAP_FAILED;
	}
	/* Release, for whoever finds it by the acquires: empty, and to be emptied by fork(). */
	if (__atomic_compare_exchange_n(&current, &first, page, false, __ATOMIC_ACQ_REL,
					__ATOMIC_ACQUIRE))
		return page;
	if (page != MAP_FAILED)
		munmap(page, page_size());
	return first;
}

uint32_t this_process(void)
{
	uint32_t *page = __atomic_load_n(&current, __ATOMIC_ACQUIRE), number, none = 0;

	if (!page)
		page = make_page();
	if (page == MAP_FAILED)
		return (uint32_t)getpid();
	number = __atomic_load_n(page, __ATOMIC_RELAXED);
	if (number)
		return number;
	/* The first time in this process: no number that it has inherited a handle with. */
	number = __atomic_add_fetch(&newest, 1, __ATOMIC_RELAXED);
	return __atomic_compare_exchange_n(page, &none, number, false, __ATOMIC_RELAXED,
					   __ATOMIC_RELAXED) ? number : none;
}
