// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * Attaching to an shm channel: its file found, made, taken over from the dead,
 * or refused.
 *
 * All of it happens under the file's META lock, which the kernel frees when its
 * holder is killed. Whether a channel lives is not written anywhere: it does
 * while somebody holds a role's lock. A file that nobody holds is a leftover,
 * whatever is in it: it is unlinked and made anew, so a creator may die at any
 * moment. Who waited for the lock of a file that was unlinked meanwhile sees
 * that and starts again.
 */
#define _GNU_SOURCE		/* fallocate() */
#include "shm.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define OPEN_TRIES	1000	/* each is lost to another process that got ahead */

void shm_path(struct shm *s, const char *name)
{
	snprintf(s->path, sizeof(s->path), SHM_DIRECTORY "/" SHM_FILE "%s", name);
	s->name = s->path + strlen(SHM_DIRECTORY "/" SHM_FILE);
}

static int open_failed(const struct shm *s, int error)
{
	switch (error) {
	case EACCES:
	case EPERM:
		return fail(EACCES, "no right to %s: its owner can create the channel with a wider mode (observers too need to write)",
			    s->path);
	case ELOOP:
		return fail(EACCES, "%s is a symbolic link: remove it", s->path);
	default:
		return fail(error, "cannot open %s: %s", s->path, strerror(error));
	}
}

/* -EAGAIN, not explained: somebody was faster. @made: out: this call made it. */
static int open_file(struct handle *h, const struct tribuf_options *o, bool *made)
{
	const struct shm *s = h->shm;

	*made = false;
	h->fd = open(s->path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (h->fd >= 0)
		return 0;
	if (errno != ENOENT)
		return open_failed(s, errno);
	if (!(o->flags & (TRIBUF_CREATE | TRIBUF_PENDING)))
		return no_channel(s->name);
	h->fd = open(s->path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, o->mode & 0777);
	*made = h->fd >= 0;
	if (h->fd >= 0)
		return 0;
	return errno == EEXIST ? -EAGAIN : open_failed(s, errno);
}

/* Is the file a channel's, of an acceptable owner, and still under its name? */
static int check_file(const struct handle *h, const struct tribuf_options *o)
{
	struct stat st;

	if (fstat(h->fd, &st))
		return fail(errno, "cannot stat %s: %s", h->shm->path, strerror(errno));
	if (!S_ISREG(st.st_mode))
		return fail(EPROTONOSUPPORT, "%s is no regular file: remove it", h->shm->path);
	if (!st.st_nlink)
		return -EAGAIN;
	if (o->flags & TRIBUF_OWNER && st.st_uid != geteuid() && st.st_uid)
		return fail(EPERM, "channel '%s' belongs to user %u, not to you or root: leave out TRIBUF_OWNER to trust it",
			    h->shm->name, st.st_uid);
	return 0;
}

/* Where in @pages what is. */
void shm_place(struct shm *s, unsigned char *pages)
{
	size_t page = page_size();

	s->pages = pages;
	s->state = (void *)pages;
	s->frames = (void *)(pages + TRIBUF_PAGE_FRAMES * page);
	s->geometry = (void *)(pages + TRIBUF_PAGE_GEOMETRY * page);
	s->control = (void *)(pages + TRIBUF_PAGE_GEOMETRY * page + SHM_CONTROL);
}

int shm_map(struct handle *h)
{
	struct shm *s = h->shm;
	size_t page = page_size();

	shm_place(s, map_pages(h, TRIBUF_META_PAGES * page, PROT_READ | PROT_WRITE, 0));
	if (!s->pages)
		return fail(errno, "cannot map %s: %s", s->path, strerror(errno));
	h->geometry = s->geometry;
	return 0;
}

static void unmap_pages(struct handle *h)
{
	if (h->shm->pages)
		munmap(h->shm->pages, TRIBUF_META_PAGES * page_size());
	h->shm->pages = NULL;
	h->geometry = NULL;
}

/* Make the file @bytes long, with all of it backed: or a store might SIGBUS. */
static int grow(int fd, uint64_t from, uint64_t bytes)
{
	sigset_t all, before;
	int err = 0;

	/* A signal undoes all of it; one that comes each 10 ms would do so for ever. */
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &before);
	if (fallocate(fd, 0, (off_t)from, (off_t)(bytes - from)))
		err = errno;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (!err)
		return 0;
	return fail(err, "no room for %llu bytes in " SHM_DIRECTORY ": %s: use smaller slots, free some, or mount it larger",
		    (unsigned long long)bytes, strerror(err));
}

/* The slots that @o asks for. @file_bytes: out: how long the file becomes by them. */
static int plan_geometry(const struct tribuf_options *o, struct tribuf_geometry *g,
			 uint64_t *file_bytes)
{
	uint64_t page = page_size(), stride = (o->slot_size + page - 1) & -page;
	uint32_t granule = o->granule ? o->granule : TRIBUF_GRANULE_DEFAULT;
	uint64_t offset = TRIBUF_META_PAGES * page, bytes;

	if (stride < o->slot_size ||
	    __builtin_mul_overflow(stride, (uint64_t)TRIBUF_SLOTS, &bytes) ||
	    bytes > (uint64_t)INT64_MAX - offset || bytes > SIZE_MAX / 2)
		return fail(EFBIG, "slots of %llu bytes are more than can be mapped",
			    (unsigned long long)o->slot_size);
	if ((bytes - 1) / granule > UINT32_MAX)
		return fail(EINVAL, "references of 32 bits do not reach over slots of %llu bytes by granules of %u: use a larger granule",
			    (unsigned long long)o->slot_size, granule);
	g->features = 0;
	g->granule = granule;
	g->slot_stride = stride;
	g->slots_offset = offset;
	*file_bytes = offset + bytes;
	if (tribuf_slots_are_small(o->slot_size, granule)) {
		g->features = TRIBUF_FEATURE_SMALL;
		g->slot_stride = sizeof(struct tribuf_desc);
		g->slots_offset = SMALL_SLOTS_OFFSET;
		*file_bytes = offset;
	}
	return 0;
}

/* Give a channel without geometry the one that @o asks for. */
static int set_geometry(struct handle *h, const struct tribuf_options *o)
{
	uint64_t pages = TRIBUF_META_PAGES * page_size(), bytes = 0;
	struct tribuf_geometry *g = h->shm->geometry, planned;
	int err = plan_geometry(o, &planned, &bytes);

	if (!err && bytes > pages)
		err = grow(h->fd, pages, bytes);
	if (err)
		return err;
	g->features = planned.features;
	g->slot_stride = planned.slot_stride;
	g->slots_offset = planned.slots_offset;
	g->granule = planned.granule;
	__atomic_and_fetch(&g->state, ~TRIBUF_STATE_PENDING, __ATOMIC_RELAXED);
	/* Last, for it says that the rest is there. Partner: take_geometry(). */
	__atomic_thread_fence(__ATOMIC_RELEASE);
	*(volatile __typeof__(g->slot_size) *)&g->slot_size = o->slot_size;
	return 0;
}

/* A new channel in a file that nobody else is attached to. */
static int initialise(struct handle *h, const struct tribuf_options *o)
{
	struct tribuf_geometry *g;
	struct stat st;
	int err;

	if (ftruncate(h->fd, 0) || fstat(h->fd, &st))
		return fail(errno, "cannot empty %s: %s", h->shm->path, strerror(errno));
	err = grow(h->fd, 0, TRIBUF_META_PAGES * page_size());
	if (!err)
		err = shm_map(h);
	if (err)
		return err;
	g = h->shm->geometry;
	g->magic = TRIBUF_MAGIC;
	g->layout = TRIBUF_LAYOUT_VERSION;
	g->byte_order = TRIBUF_BYTE_ORDER;
	g->channel = st.st_ino;
	g->slots = TRIBUF_SLOTS;
	g->page_size = (uint32_t)page_size();
	g->state = TRIBUF_STATE_PENDING;
	h->shm->state->word = TRIBUF_WORD_INIT;
	return o->slot_size && o->flags & TRIBUF_CREATE ? set_geometry(h, o) : 0;
}

/* Can the channel that @o asks for be made? For then the old one goes. */
static int check_room(const struct tribuf_options *o)
{
	struct tribuf_geometry planned;
	uint64_t bytes = 0;
	int err = plan_geometry(o, &planned, &bytes), fd;

	if (err)
		return err;
	fd = open(SHM_DIRECTORY, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (fd < 0)
		return 0;	/* not told here */
	err = grow(fd, 0, bytes);
	close(fd);
	return err;
}

/* The old channel's handles learn it; its file goes, and a new one is made. */
static int replace(struct handle *h, const struct tribuf_options *o)
{
	struct stat st;
	int err;

	if (fstat(h->fd, &st))
		return fail(errno, "cannot stat %s: %s", h->shm->path, strerror(errno));
	if (st.st_uid != geteuid() && geteuid())
		return fail(EPERM, "channel '%s' belongs to user %u: only that one or root can replace it",
			    h->shm->name, st.st_uid);
	err = check_room(o);
	if (err)
		return err;
	if (unlink(h->shm->path))
		return fail(EPERM, "cannot remove %s: %s", h->shm->path, strerror(errno));
	if (h->shm->geometry->magic == TRIBUF_MAGIC)
		__atomic_or_fetch(&h->shm->geometry->state, TRIBUF_STATE_REPLACED,
				  __ATOMIC_RELEASE);
	shm_wake(h, SHM_WAKE_ALL);
	return -EAGAIN;
}

static int check_length(const struct handle *h, const struct tribuf_geometry *g)
{
	struct stat st;

	if (fstat(h->fd, &st) || st.st_size < 0 ||
	    (uint64_t)st.st_size < g->slots_offset + TRIBUF_SLOTS * g->slot_stride)
		return fail(EPROTO, "%s is shorter than its geometry says: replace the channel (TRIBUF_REPLACE)",
			    h->shm->path);
	return 0;
}

static int join_geometry(struct handle *h, const struct tribuf_options *o)
{
	struct tribuf_geometry g;
	int err;

	if (!h->shm->geometry->slot_size) {
		if (o->flags & TRIBUF_CREATE)
			return set_geometry(h, o);
		return o->flags & TRIBUF_PENDING ? 0 : no_channel(h->shm->name);
	}
	err = check_geometry(h->shm->geometry, &g);
	if (err)
		return err;
	if (!(g.features & TRIBUF_FEATURE_SMALL) &&
	    g.slots_offset != TRIBUF_META_PAGES * page_size())
		return fail(EPROTONOSUPPORT, "%s was laid out by another version of libtribuf: use one version on both sides",
			    h->shm->path);
	err = check_length(h, &g);
	if (err)
		return err;
	if (o->slot_size && o->slot_size != g.slot_size)
		return other_slot_size(h->shm->name, g.slot_size, o->slot_size);
	if (o->granule && o->granule != g.granule)
		return fail(EINVAL, "channel '%s' exists with a granule of %u bytes, not %u: give 0 to join",
			    h->shm->name, g.granule, o->granule);
	return 0;
}

/* The META lock is held: who has the role's lock by now is the one that it is for. */
static int claim_role(struct handle *h)
{
	struct shm *s = h->shm;
	int byte = shm_take(h->fd, h->role);

	if (byte < 0)
		return role_taken(s->name, h->role,
				  h->role == TRIBUF_PRODUCER ? s->control->producer_pid :
				  h->role == TRIBUF_CONSUMER ? s->control->consumer_pid : 0);
	s->lock = byte;
	return 0;
}

/* A channel that somebody else is attached to. */
static int join(struct handle *h, const struct tribuf_options *o)
{
	struct stat st;
	int err;

	if (o->flags & TRIBUF_EXCL)
		return fail(EEXIST, "channel '%s' exists: leave out TRIBUF_EXCL to join it",
			    h->shm->name);
	if (fstat(h->fd, &st) || st.st_size < (off_t)(TRIBUF_META_PAGES * page_size()))
		return fail(EPROTONOSUPPORT, "%s is no channel: remove it", h->shm->path);
	err = shm_map(h);
	if (err)
		return err;
	if (o->flags & TRIBUF_REPLACE)
		return replace(h, o);
	err = check_layout(h->shm->geometry);
	if (!err)
		err = claim_role(h);	/* before it gets a geometry from us */
	return err ? err : join_geometry(h, o);
}

/*
 * A file that nobody is attached to: what is in it has died with its peers. It
 * goes; unless it is another user's in a sticky folder, who let us write.
 */
static int leftover(struct handle *h, const struct tribuf_options *o)
{
	bool gone = !unlink(h->shm->path);

	if (!(o->flags & (TRIBUF_CREATE | TRIBUF_PENDING)))
		return no_channel(h->shm->name);
	return gone ? -EAGAIN : initialise(h, o);
}

static int enter(struct handle *h, const struct tribuf_options *o, bool made)
{
	if (shm_count(h->fd, SHM_ROLES, SHM_END))
		return join(h, o);
	return made ? initialise(h, o) : leftover(h, o);
}

/*
 * Take the role, as the kernel would: a producer's back slot leaves its dead
 * writer's generation, and a consumer gets the newest frame once more.
 */
static int take_over(struct handle *h, const struct tribuf_options *o)
{
	struct shm *s = h->shm;
	uint32_t word = __atomic_load_n(&s->state->word, __ATOMIC_ACQUIRE);
	struct tribuf_desc *desc;
	int tries;

	if (!tribuf_word_valid(word))
		return word_spoilt(word);
	if (h->role == TRIBUF_PRODUCER) {
		desc = &s->frames->desc[tribuf_word_back(word)];
		__atomic_store_n(&desc->generation, tribuf_generation_takeover(desc->generation),
				 __ATOMIC_RELAXED);
		__atomic_thread_fence(__ATOMIC_RELEASE);
		return 0;
	}
	if (h->role != TRIBUF_CONSUMER || !(o->flags & TRIBUF_LATEST))
		return 0;
	for (tries = 0; tries < TRIBUF_USER_TRIES; tries++) {
		if (!tribuf_word_valid(word))
			return word_spoilt(word);
		if (word & TRIBUF_FRESH || !s->frames->desc[tribuf_word_front(word)].seq)
			return 0;
		if (__atomic_compare_exchange_n(&s->state->word, &word,
						tribuf_word_redeliver(word), 0,
						__ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
			shm_add(&s->control->redelivered);
			return 0;
		}
	}
	return word_spoilt(word);
}

static void announce(struct handle *h)
{
	struct tribuf_geometry *g = h->shm->geometry;

	if (h->role == TRIBUF_PRODUCER) {
		h->shm->control->producer_pid = getpid();
		g->producer_epoch++;
		__atomic_or_fetch(&g->state, TRIBUF_STATE_PRODUCER | TRIBUF_STATE_HAD_PRODUCER,
				  __ATOMIC_RELEASE);
	} else if (h->role == TRIBUF_CONSUMER) {
		h->shm->control->consumer_pid = getpid();
		g->consumer_epoch++;
		__atomic_or_fetch(&g->state, TRIBUF_STATE_CONSUMER | TRIBUF_STATE_HAD_CONSUMER,
				  __ATOMIC_RELEASE);
	}
	shm_wake(h, SHM_WAKE_ALL);
}

static int take_role(struct handle *h, const struct tribuf_options *o)
{
	int err = h->shm->lock ? 0 : claim_role(h);

	if (!err)
		err = take_over(h, o);
	if (!err)
		announce(h);
	return err;
}

/* Not attached after all; a file that is nobody's goes. */
static void back_out(struct handle *h)
{
	struct stat st;

	if (!fstat(h->fd, &st) && st.st_nlink && !shm_count(h->fd, SHM_ROLES, SHM_END))
		unlink(h->shm->path);
}

static void drop_file(struct handle *h)
{
	unmap_pages(h);
	if (h->fd >= 0)
		close(h->fd);	/* and with it its locks */
	h->fd = -1;
	h->shm->lock = 0;
}

/* Once. -EAGAIN, not explained: another process got ahead. */
static int try_attach(struct handle *h, const struct tribuf_options *o)
{
	bool made;
	int err = open_file(h, o, &made);

	if (err)
		return err;
	err = shm_lock(h->fd, SHM_PATIENCE);
	if (err)
		return err;
	err = check_file(h, o);
	if (err)
		return err;
	err = enter(h, o, made);
	if (!err)
		err = take_role(h, o);
	if (err && err != -EAGAIN)
		back_out(h);
	return err;
}

/* Leaves the META lock free, and nothing behind if it fails. */
int shm_attach(struct handle *h, const struct tribuf_options *o)
{
	int tries, err;

	for (tries = 0; tries < OPEN_TRIES; tries++) {
		err = try_attach(h, o);
		if (!err) {
			shm_unlock(h->fd);
			return 0;
		}
		drop_file(h);
		if (err != -EAGAIN)
			return err;
	}
	return fail(EBUSY, "%s was removed and made again in each of %d tries: see who does that",
		    h->shm->path, OPEN_TRIES);
}
