/* SPDX-License-Identifier: LGPL-2.1-or-later OR MIT */
/*
 * Inside libtribuf: the handle behind struct tribuf, and the table of slow
 * paths that a backend fills. The swaps, copies and events above that table
 * work on the mapped pages alone and are the same for every backend.
 */
#ifndef LIB_INTERNAL_H
#define LIB_INTERNAL_H

/* Everything is hidden (-fvisibility=hidden) but what the public header has. */
#pragma GCC visibility push(default)
#include "tribuf.h"
#pragma GCC visibility pop

#include <assert.h>
#include <stdbool.h>
#include <sys/types.h>

#define WORD_NONE	~0u	/* no permutation: leads the frame path into the slow functions */

struct backend;
struct member;

/* Who is attached, as of the last time that it was looked up. */
struct news {
	uint32_t state;			/* TRIBUF_STATE_* */
	uint32_t producer_epoch;
	uint32_t consumer_epoch;
};

/* What tribuf_wait() knows about how long its waits for TRIBUF_READY took of late. */
struct spin {
	int64_t end;			/* when the last one was over; 0: without a frame */
	uint32_t points;		/* for short waits, less those for long ones */
	uint32_t count;			/* of the state word, then */
	uint32_t vain;			/* spins in vain since the last that was not */
	uint32_t skipped;		/* waits until the next try */
	uint32_t checked;		/* waits until @alone is to be found out again */
	bool alone;			/* there is no other CPU that the peer could run on */
};

struct handle {
	const struct backend *backend;
	uint32_t process;		/* this_process(): mappings are not inherited by fork() */
	int fd;
	uint32_t role;
	uint32_t no_word;		/* what t.word points to unless it is the shared one */
	bool pending;			/* geometry not known, slots not mapped */
	bool owned;			/* TRIBUF_OWNED: a forked child must not keep the role */
	bool guarded;			/* the kernel swaps; known when the geometry is */

	/* mapped; NULL where the role has no right to */
	struct tribuf_state *state;
	struct tribuf_frames *frames;
	struct tribuf_geometry *geometry;
	void *slots_map;		/* also NULL if they lie in the descriptors */
	size_t slots_length;
	uint64_t slots_offset;		/* in the file */

	/* tribuf_wait() */
	struct news news;
	bool unread;			/* poll had news: ask INFO */
	bool geometry_due;		/* a first geometry came and was not reported */
	uint32_t back_reported;		/* epoch of the last peer reported as back */
	uint32_t gone_reported;		/* of the last one reported as gone */
	struct spin spin;

	struct shm *shm;		/* of the shm backend */
	struct member *member;		/* of the set that the handle is in */

	struct tribuf t __attribute__((aligned(TRIBUF_LINE)));	/* what programs hold */

	/* observers */
	uint64_t taken;			/* seq of the newest frame told of */
	bool owed;			/* @told was told of, and not copied yet */
	struct tribuf_acquired told;
	uint8_t user[TRIBUF_USER_BYTES];

	struct tribuf_desc *descs;	/* guarded: of this peer's frames, TRIBUF_SLOTS of them */
};

/*
 * Each returns 0 or a negative errno value, explained. Unless said otherwise
 * the handle's geometry page is mapped.
 */
struct backend {
	const char *name;
	bool guards;			/* its channels may be guarded */
	/* Attach: sets fd, geometry, news, pending. On failure close() is called. */
	int (*open)(struct handle *h, const char *name, const struct tribuf_options *options);
	/* Give the role up; copes with whatever open() left. Unmaps nothing. */
	void (*close)(struct handle *h);
	int (*fd)(const struct handle *h);
	int (*ring)(struct handle *h);
	/* Did anybody come or go since h->news? May err on the side of yes. */
	bool (*news)(struct handle *h);
	/* Sleep until @deadline or something may have happened that @events are about. */
	int (*sleep)(struct handle *h, unsigned int events, int64_t deadline);
	/* Say that one goes to sleep, and on what; NULL: on the descriptor. */
	void (*arm)(struct handle *h, unsigned int events, uint32_t **futex, uint32_t *value);
	int (*info)(struct handle *h, struct tribuf_info_args *info, unsigned int flags);
	/* An observer's next frame; -EAGAIN, not explained: nothing new, or outrun. */
	int (*observe)(struct handle *h, struct tribuf_acquired *told);
	int (*list)(int (*each)(const struct tribuf_list_entry *channel, void *context),
		    void *context);
};

extern const struct backend device_backend;
extern const struct backend shm_backend;

/* Functions take struct tribuf, which is in the handle. */
static inline struct handle *handle_of(const struct tribuf *t)
{
	return (struct handle *)((uintptr_t)t - offsetof(struct handle, t));
}

/* The even version after @version, which is odd; 0 stays "never set" when it wraps. */
static inline uint32_t next_version(uint32_t version)
{
	return version + 1 ? version + 1 : 2;
}

/* explain.c */
int fail(int error, const char *format, ...) __attribute__((format(printf, 2, 3), cold));
const char *role_name(uint32_t role);
int other_slot_size(const char *name, uint64_t has, uint64_t wanted);
int role_taken(const char *name, uint32_t role, int32_t pid);
int no_channel(const char *name);

/* process.c */
uint32_t this_process(void);

/* handle.c */
size_t page_size(void);
void *map_pages(const struct handle *h, size_t length, int protection, uint64_t offset);
#define SMALL_SLOTS_OFFSET	(TRIBUF_PAGE_FRAMES * page_size() + \
				 offsetof(struct tribuf_frames, desc[0].small))
int check_layout(const struct tribuf_geometry *g);
int check_name(const char *name);
int check_geometry(const struct tribuf_geometry *shared, struct tribuf_geometry *checked);
int take_geometry(struct handle *h);
bool forked(const struct handle *h);
int forked_handle(void);

/* swap.c */
int start(struct handle *h);
void hold(struct handle *h, const struct tribuf_acquired *acquired);
int word_spoilt(uint32_t word);

/* guarded.c */
int guarded_begin(struct handle *h);
int guarded_publish(struct handle *h, const struct tribuf_frame *frame, unsigned int flags);
int guarded_acquire(struct handle *h);
int guarded_copy(struct handle *h, uint32_t slot, uint32_t generation, uint64_t offset,
		 void *data, size_t bytes);
int guarded_format_set(struct handle *h, const void *data, size_t bytes);

/* device.c */
int device_call(int fd, unsigned long command, void *argument);
int device_failed(const struct handle *h, int error);

/* wait.c */
int64_t now(void);
bool ready(struct handle *h, uint32_t word);
int look(struct handle *h, unsigned int events);
int check_wait(const struct handle *h, unsigned int events);
bool peer_is_gone(const struct handle *h);
short poll_events(const struct handle *h, unsigned int events);
void note_events(struct handle *h, int revents);

/* spin.c */
/* Look for TRIBUF_READY for a while, if that may pay: true if there is something. */
bool spin(struct handle *h, int64_t start, int64_t deadline);
/* A wait for it lasted from @start to @end; or ended without it, whenever. */
void spin_learn(struct handle *h, int64_t start, int64_t end);
void spin_in_vain(struct handle *h);

/* set.c */
void leave_set(struct handle *h);

#endif /* LIB_INTERNAL_H */
