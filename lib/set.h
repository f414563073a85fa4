/* SPDX-License-Identifier: LGPL-2.1-or-later OR MIT */
/*
 * Inside sets: who is in one, and what the two ways of sleeping (io_uring, epoll)
 * do for it.
 */
#ifndef LIB_SET_H
#define LIB_SET_H

#include "internal.h"

/*
 * A channel in a set. It is *awake*, in the set's list, while its own producer or
 * consumer can tell us nothing new but through the pages; else it is *queued*:
 * the kernel will say when there is something to look at.
 */
struct member {
	struct tribuf_set *set;
	struct handle *handle;		/* NULL: removed, but its poll has not ended yet */
	void *data;
	unsigned int events;
	unsigned int vain;		/* looks that found nothing since it was last ready */
	int error;			/* of its poll; reported instead of a look */
	bool awake;
	bool queued;
	struct member *next, *previous;	/* awake */
	struct member *other, **link;	/* all of the set */
};

/* Each returns 0 or a negative errno value, explained. */
struct sleeper {
	/* -ENOTSUP, not explained: this system has no such thing. */
	int (*create)(struct tribuf_set *set);
	void (*destroy)(struct tribuf_set *set);
	int (*add)(struct tribuf_set *set, struct member *m);
	/* Returns whether the kernel still knows it: it is then freed when told. */
	bool (*remove)(struct tribuf_set *set, struct member *m);
	/* Have it queued, at the latest when queue_flush() returns. */
	int (*queue)(struct tribuf_set *set, struct member *m);
	int (*flush)(struct tribuf_set *set);
	/* Call wake() for who is queued no longer. */
	int (*reap)(struct tribuf_set *set);
	/* Sleep until there is something to reap. All members are queued. */
	int (*sleep)(struct tribuf_set *set, int64_t deadline);
};

extern const struct sleeper uring_sleeper;
extern const struct sleeper epoll_sleeper;

struct uring;

struct tribuf_set {
	const struct sleeper *sleeper;
	struct uring *uring;
	int epoll;
	uint32_t process;
	size_t members;
	size_t awake_count;
	struct member *first, *last;	/* awake, looked at in this order */
	struct member *all;
};

/* set.c */
/* The poll of @m has ended, answering @revents or, if negative, an error. */
void wake_member(struct member *m, int revents);
void free_member(struct member *m);

#endif /* LIB_SET_H */
