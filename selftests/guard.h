/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the suites of guarded channels share: a peer whose metadata are read-only,
 * and touches of memory that may be out of reach, by several threads at once.
 */
#ifndef SELFTESTS_GUARD_H
#define SELFTESTS_GUARD_H

#include "common.h"

/* The pages that the role may map: the metadata only to read. */
helper int guarded_map(struct peer *p)
{
	int data = p->at.role == TRIBUF_PRODUCER ? PROT_READ | PROT_WRITE : PROT_READ;

	p->state = map(p->fd, page_offset(TRIBUF_PAGE_STATE), page_size(), PROT_READ);
	p->frames = map(p->fd, page_offset(TRIBUF_PAGE_FRAMES), page_size(), PROT_READ);
	if (p->at.role == TRIBUF_OBSERVER)
		return p->state && p->frames ? 0 : -errno;
	p->slots_bytes = slots_length(&p->at);
	p->slots = map(p->fd, (off_t)p->at.slots_offset, p->slots_bytes, data);
	return p->state && p->frames && p->slots ? 0 : -errno;
}

helper int guarded_open(struct peer *p, const char *name, uint32_t role, uint32_t flags,
			uint64_t slot_size)
{
	int err;

	*p = (struct peer){ .at = attach_args(name, role, flags | TRIBUF_GUARDED, slot_size) };
	p->fd = attach_new(&p->at);
	if (p->fd < 0)
		return p->fd;
	err = guarded_map(p);
	if (err)
		peer_close(p);
	return err;
}

/* ---- as touch(), for several threads at once ---- */

static __thread sigjmp_buf reach_env;
static __thread siginfo_t reach_info;	/* of the last signal */

helper void out_of_reach(int sig, siginfo_t *info, void *context)
{
	reach_info = *info;
	siglongjmp(reach_env, sig);
}

/* Once per process, before the first reach(). NODEFER: no mask to be restored. */
helper void reach_begin(void)
{
	struct sigaction action = {
		.sa_sigaction = out_of_reach, .sa_flags = SA_SIGINFO | SA_NODEFER,
	};

	sigaction(SIGBUS, &action, NULL);
	sigaction(SIGSEGV, &action, NULL);
}

/* The signal that a read of the byte at @at into @byte raises, 0: none. */
static maybe_unused __attribute__((noinline)) int reach(volatile unsigned char *at,
							unsigned char *byte)
{
	int sig = sigsetjmp(reach_env, 0);

	if (!sig)
		*byte = *at;
	return sig;
}

/* The same for a write. */
static maybe_unused __attribute__((noinline)) int reach_write(volatile unsigned char *at,
							      unsigned char byte)
{
	int sig = sigsetjmp(reach_env, 0);

	if (!sig)
		*at = byte;
	return sig;
}

#endif /* SELFTESTS_GUARD_H */
