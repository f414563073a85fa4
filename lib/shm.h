/* SPDX-License-Identifier: LGPL-2.1-or-later OR MIT */
/*
 * The embedded backend's file: the pages of linux/tribuf.h in the same order, then
 * the slots. What the kernel would keep to itself is behind the geometry, in the
 * page that the inline functions and windows never write.
 */
#ifndef LIB_SHM_H
#define LIB_SHM_H

#include "internal.h"

#define SHM_DIRECTORY	"/dev/shm"
#define SHM_FILE	"tribuf."		/* before a channel's name */
#define SHM_CONTROL	2048		/* offset in the geometry's page */

/*
 * Bytes of the file that are locked (OFD locks). Whoever holds one of those from
 * SHM_ROLES on is attached; the kernel frees them at death.
 */
enum {
	SHM_META = 0,			/* held while attaching, leaving, looking */
	SHM_ROLES = 1,
	SHM_PRODUCER = SHM_ROLES,
	SHM_CONSUMER,
	SHM_OBSERVERS = 64,
	SHM_KEEPERS = SHM_OBSERVERS + TRIBUF_OBSERVERS_MAX,
	SHM_END = SHM_KEEPERS + 4096,
};

/* Two halves, for 32-bit processes have no 64-bit atomics here. */
struct shm_counter {
	uint32_t low;
	uint32_t high;
};

struct shm_control {
	int32_t producer_pid;
	int32_t consumer_pid;
	struct shm_counter rings;
	struct shm_counter wakes;
	struct shm_counter sleeps;
	struct shm_counter redelivered;
};

static_assert(sizeof(struct tribuf_geometry) <= SHM_CONTROL, "no room before it");
static_assert(SHM_CONTROL + sizeof(struct shm_control) <= 4096, "no room for it");

struct shm {
	unsigned char *pages;		/* TRIBUF_META_PAGES of them, all read-write */
	struct tribuf_state *state;
	struct tribuf_frames *frames;
	struct tribuf_geometry *geometry;
	struct shm_control *control;
	char path[sizeof(SHM_DIRECTORY "/" SHM_FILE) + TRIBUF_NAME_SIZE];
	char *name;			/* the end of it */
	int lock;			/* the role's byte, 0: none */
	int64_t looked;			/* when the peer's lock was looked at last */
	struct handle *next, **link;	/* handles to be closed in a forked child */
};

/* shm_lock.c */
#define SHM_PATIENCE	5000000000ll	/* ns; META is held for microseconds */
int shm_lock(int fd, int64_t patience);	/* -EBUSY, explained, after that */
bool shm_trylock(int fd);
void shm_unlock(int fd);
int shm_take(int fd, uint32_t role);	/* its byte, or -EBUSY, not explained */
void shm_drop(int fd, int byte);
bool shm_held(int fd, int byte);	/* by another handle */
uint32_t shm_count(int fd, int from, int to);

/* shm_file.c */
int shm_attach(struct handle *h, const struct tribuf_options *o);
int shm_map(struct handle *h);
void shm_place(struct shm *s, unsigned char *pages);
void shm_path(struct shm *s, const char *name);

/* shm.c */
void shm_wake(struct handle *h, uint32_t kinds);
void shm_add(struct shm_counter *counter);

#define SHM_WAKE_PRODUCER	(1u << 0)
#define SHM_WAKE_CONSUMER	(1u << 1)
#define SHM_WAKE_OBSERVER	(1u << 2)
#define SHM_WAKE_ALL		7u

#endif /* LIB_SHM_H */
