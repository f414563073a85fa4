// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * The embedded backend, "shm:NAME": the same pages in a file of /dev/shm, for
 * where no module can be loaded. Peers sleep in futexes on the state word. A
 * peer that is killed between its swap and its ring wakes nobody, so no sleep
 * lasts longer than SLEEP, after which the peer's lock is looked at.
 *
 * It has no descriptor to poll and enforces nothing against a hostile peer.
 */
#define _GNU_SOURCE		/* syscall() */
#include "shm.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define SECOND		1000000000ll
#define SLEEP		100000000ll	/* ns, at most, at a time */
#define LOOK		10000000ll	/* ns, at least, between looks at the peer's lock */

/* The one whose times are of 64 bits, as ours are everywhere. */
#ifdef SYS_futex_time64
#define FUTEX_TIME64	SYS_futex_time64
#else
#define FUTEX_TIME64	SYS_futex
#endif

/* ---- a forked child must not hold its parent's roles ---- */

static pthread_mutex_t handles_lock = PTHREAD_MUTEX_INITIALIZER;
static struct handle *handles;

static void before_fork(void)
{
	pthread_mutex_lock(&handles_lock);
}

static void after_fork(void)
{
	pthread_mutex_unlock(&handles_lock);
}

/* The description's locks then end with the parent. */
static void in_child(void)
{
	struct handle *h;

	for (h = handles; h; h = h->shm->next) {
		if (h->fd >= 0)
			close(h->fd);
		h->fd = -1;
	}
	pthread_mutex_unlock(&handles_lock);
}

static void watch_forks(void)
{
	pthread_atfork(before_fork, after_fork, in_child);
}

static void remember(struct handle *h)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, watch_forks);
	pthread_mutex_lock(&handles_lock);
	h->shm->next = handles;
	h->shm->link = &handles;
	if (handles)
		handles->shm->link = &h->shm->next;
	handles = h;
	pthread_mutex_unlock(&handles_lock);
}

static void forget(struct handle *h)
{
	pthread_mutex_lock(&handles_lock);
	if (h->shm->link) {
		*h->shm->link = h->shm->next;
		if (h->shm->next)
			h->shm->next->shm->link = h->shm->link;
	}
	pthread_mutex_unlock(&handles_lock);
}

/* ---- futexes on the state word ---- */

void shm_add(struct shm_counter *counter)
{
	if (!__atomic_add_fetch(&counter->low, 1, __ATOMIC_RELAXED))
		__atomic_add_fetch(&counter->high, 1, __ATOMIC_RELAXED);
}

static uint64_t count_of(const struct shm_counter *counter)
{
	return (uint64_t)__atomic_load_n(&counter->high, __ATOMIC_RELAXED) << 32 |
	       __atomic_load_n(&counter->low, __ATOMIC_RELAXED);
}

void shm_wake(struct handle *h, uint32_t kinds)
{
	struct shm *s = h->shm;

	if (syscall(SYS_futex, &s->state->word, FUTEX_WAKE_BITSET, INT_MAX, NULL, NULL, kinds) > 0)
		shm_add(&s->control->wakes);
}

/*
 * Sleep unless the word is not @word any more. Where there is no such call (a filter of
 * system calls, a 32-bit process on an old kernel), look again each millisecond.
 */
static int doze(struct handle *h, uint32_t word, uint32_t kind, int64_t deadline)
{
	struct timespec until = { .tv_sec = deadline / SECOND, .tv_nsec = (long)(deadline % SECOND) };
	struct timespec pause = { .tv_nsec = 1000000 };

	shm_add(&h->shm->control->sleeps);
	if (!syscall(FUTEX_TIME64, &h->shm->state->word, FUTEX_WAIT_BITSET, word, &until, NULL,
		     kind) || errno == EAGAIN || errno == ETIMEDOUT)
		return 0;
	if (errno != EINTR && !nanosleep(&pause, NULL))
		return 0;
	return fail(EINTR, "a signal came while waiting");
}

/*
 * Whose bit it is clears it: it may have been set for a sleeper that went on to
 * sleep again. Order: clear, then wake. A sleeper that arms between the two
 * keeps its bit; one that armed before sees the word change, or is woken.
 */
static int shm_ring(struct handle *h)
{
	bool produces = h->role == TRIBUF_PRODUCER;

	if (h->pending)
		return 0;
	__atomic_and_fetch(&h->state->word,
			   produces ? ~(TRIBUF_ARMED | TRIBUF_WATCHED) : ~TRIBUF_PACED,
			   __ATOMIC_ACQ_REL);
	shm_add(&h->shm->control->rings);
	shm_wake(h, produces ? SHM_WAKE_CONSUMER | SHM_WAKE_OBSERVER : SHM_WAKE_PRODUCER);
	return 0;
}

static uint32_t arm_bit(const struct handle *h)
{
	return h->role == TRIBUF_PRODUCER ? TRIBUF_PACED :
	       h->role == TRIBUF_CONSUMER ? TRIBUF_ARMED : TRIBUF_WATCHED;
}

static uint32_t wake_bit(const struct handle *h)
{
	return h->role == TRIBUF_PRODUCER ? SHM_WAKE_PRODUCER :
	       h->role == TRIBUF_CONSUMER ? SHM_WAKE_CONSUMER : SHM_WAKE_OBSERVER;
}

/* Arm, look again at the word that was armed, sleep on just that word. */
static int sleep_armed(struct handle *h, int64_t deadline)
{
	uint32_t bit = arm_bit(h), *shared = &h->shm->state->word;
	uint32_t word = __atomic_or_fetch(shared, bit, __ATOMIC_ACQ_REL);
	int err = 0;

	if (tribuf_word_valid(word) && !ready(h, word))
		err = doze(h, word, wake_bit(h), deadline);
	/* The only producer and the only consumer disarm; of observers there may be more. */
	if (bit != TRIBUF_WATCHED && __atomic_load_n(shared, __ATOMIC_RELAXED) & bit)
		__atomic_and_fetch(shared, ~bit, __ATOMIC_RELAXED);
	return err;
}

static int shm_sleep(struct handle *h, unsigned int events, int64_t deadline)
{
	const uint32_t *shared = &h->shm->state->word;
	bool for_frames = events & TRIBUF_READY && !h->pending;
	int64_t latest = now() + SLEEP;
	int err;

	if (latest < deadline)
		deadline = latest;
	if (for_frames)
		err = sleep_armed(h, deadline);
	else
		err = doze(h, __atomic_load_n(shared, __ATOMIC_RELAXED), wake_bit(h), deadline);
	/* Woken for nothing, or by nobody: has the peer died? Look, whatever the time. */
	if (!for_frames || !ready(h, __atomic_load_n(shared, __ATOMIC_RELAXED)))
		h->shm->looked = 0;
	return err;
}

/* For who sleeps elsewhere. Their sleep over, they come back here or stay awake. */
static void shm_arm(struct handle *h, unsigned int events, uint32_t **futex, uint32_t *value)
{
	uint32_t *shared = &h->shm->state->word;

	h->shm->looked = 0;
	shm_add(&h->shm->control->sleeps);
	*futex = shared;
	*value = events & TRIBUF_READY && !h->pending ?
		 __atomic_or_fetch(shared, arm_bit(h), __ATOMIC_ACQ_REL) :
		 __atomic_load_n(shared, __ATOMIC_ACQUIRE);
}

/* ---- who is there ---- */

/* Attached, by its lock; a handle does not see its own. */
static bool attached(const struct handle *h, uint32_t role)
{
	int byte = role == TRIBUF_PRODUCER ? SHM_PRODUCER : SHM_CONSUMER;

	return h->shm->lock == byte || shm_held(h->fd, byte);
}

static bool shm_news(struct handle *h)
{
	const volatile struct tribuf_geometry *g = h->geometry;
	uint32_t role = h->role == TRIBUF_PRODUCER ? TRIBUF_CONSUMER : TRIBUF_PRODUCER;
	uint32_t bit = role == TRIBUF_PRODUCER ? TRIBUF_STATE_PRODUCER : TRIBUF_STATE_CONSUMER;
	uint32_t lasting = ~(TRIBUF_STATE_PRODUCER | TRIBUF_STATE_CONSUMER);
	int64_t time;

	if (((g->state ^ h->news.state) & lasting) ||
	    g->producer_epoch != h->news.producer_epoch ||
	    g->consumer_epoch != h->news.consumer_epoch)
		return true;
	time = now();
	if (time - h->shm->looked < LOOK)
		return false;
	h->shm->looked = time;
	return attached(h, role) != !!(h->news.state & bit);
}

/* Under the META lock: an attach in progress is not half seen. */
static void fill_state(struct handle *h, struct tribuf_info_args *info)
{
	const struct tribuf_geometry *g = h->shm->geometry;

	info->state = g->state & ~(TRIBUF_STATE_PRODUCER | TRIBUF_STATE_CONSUMER);
	if (attached(h, TRIBUF_PRODUCER)) {
		info->state |= TRIBUF_STATE_PRODUCER;
		info->producer_pid = h->shm->control->producer_pid;
	}
	if (attached(h, TRIBUF_CONSUMER)) {
		info->state |= TRIBUF_STATE_CONSUMER;
		info->consumer_pid = h->shm->control->consumer_pid;
	}
	info->producer_epoch = g->producer_epoch;
	info->consumer_epoch = g->consumer_epoch;
	info->observers = shm_count(h->fd, SHM_OBSERVERS, SHM_KEEPERS) +
			  (h->role == TRIBUF_OBSERVER);
	info->keepers = shm_count(h->fd, SHM_KEEPERS, SHM_END) + (h->role == TRIBUF_KEEPER);
}

static void fill_claims(const struct shm *s, struct tribuf_info_args *info)
{
	uint32_t word = __atomic_load_n(&s->state->word, __ATOMIC_RELAXED);
	const struct tribuf_desc *desc;

	info->claimed_word = word;
	info->claimed_format = s->frames->format.version;
	info->claimed_overwritten = s->frames->overwritten;
	if (!tribuf_word_valid(word))
		return;
	desc = &s->frames->desc[tribuf_word_newest(word)];
	info->claimed_seq = desc->seq;
	info->claimed_bytes = desc->bytes;
	info->claimed_timestamp = desc->timestamp;
}

static void fill_rest(const struct handle *h, struct tribuf_info_args *info)
{
	const struct shm *s = h->shm;
	const struct tribuf_geometry *g = s->geometry;
	struct stat st;

	info->channel = g->channel;
	memcpy(info->name, s->name, sizeof(info->name));
	info->slot_size = g->slot_size;
	info->slot_stride = g->slot_stride;
	info->slots_offset = g->slots_offset;
	info->slots = g->slots;
	info->granule = g->granule;
	info->role = h->role;
	if (!fstat(h->fd, &st)) {
		info->uid = st.st_uid;
		info->gid = st.st_gid;
		info->mode = st.st_mode & 0777;
	}
	info->kernel_rings = count_of(&s->control->rings);
	info->kernel_wakes = count_of(&s->control->wakes);
	info->kernel_sleeps = count_of(&s->control->sleeps);
	info->kernel_redelivered = count_of(&s->control->redelivered);
	fill_claims(s, info);
}

/* Whoever calls has the META lock, and has it no more then. */
static void fill_info(struct handle *h, struct tribuf_info_args *info)
{
	fill_state(h, info);
	shm_unlock(h->fd);
	fill_rest(h, info);
}

/* A wait does not wait for the META lock: what it does not learn now, it will. */
static int shm_info(struct handle *h, struct tribuf_info_args *info, unsigned int flags)
{
	int err = 0;

	memset(info, 0, sizeof(*info));
	info->size = sizeof(*info);
	info->flags = flags;
	if (flags & TRIBUF_INFO_PEEK) {
		err = shm_lock(h->fd, SHM_PATIENCE);
		if (err)
			return err;
	} else if (!shm_trylock(h->fd)) {
		info->state = h->news.state;
		info->producer_epoch = h->news.producer_epoch;
		info->consumer_epoch = h->news.consumer_epoch;
		return 0;
	}
	fill_info(h, info);
	return 0;
}

/* ---- observers ---- */

static int shm_observe(struct handle *h, struct tribuf_acquired *told)
{
	const struct tribuf_desc *desc;
	uint32_t word, generation;
	int tries;

	for (tries = 0; tries < TRIBUF_USER_TRIES; tries++) {
		word = __atomic_load_n(&h->state->word, __ATOMIC_ACQUIRE);
		if (!tribuf_word_valid(word))
			return word_spoilt(word);
		desc = &h->frames->desc[tribuf_word_newest(word)];
		generation = __atomic_load_n(&desc->generation, __ATOMIC_ACQUIRE);
		told->slot = tribuf_word_newest(word);
		told->reserved = 0;
		told->desc = *(const volatile struct tribuf_desc *)desc;
		/* Partner: the fence in tribuf_begin(). */
		__atomic_thread_fence(__ATOMIC_ACQUIRE);
		/*
		 * A slot that was recycled may describe a frame that is never
		 * published, if its producer dies now. One that is still the newest,
		 * and then still has its generation, was.
		 */
		word = __atomic_load_n(&h->state->word, __ATOMIC_ACQUIRE);
		if (tribuf_word_newest(word) != told->slot)
			continue;
		if (generation & 1 ||
		    __atomic_load_n(&desc->generation, __ATOMIC_RELAXED) != generation)
			continue;
		if (told->desc.seq <= h->taken)
			return -EAGAIN;
		h->taken = told->desc.seq;
		return 0;
	}
	return -EAGAIN;
}

/* ---- opening and closing ---- */

/* What only the kernel can do. */
static int check_supported(const struct tribuf_options *o)
{
	if (o->flags & TRIBUF_GUARDED)
		return fail(ENOTSUP, "no memory can be guarded without the kernel: use a channel of /dev/tribuf");
	if (o->flags & (TRIBUF_ANONYMOUS | TRIBUF_BY_FD))
		return fail(ENOTSUP, "shm channels have names only: use a channel of /dev/tribuf to pass handles");
	return 0;
}

static int open_channel(struct handle *h, const char *name, const struct tribuf_options *o)
{
	struct tribuf_info_args info;
	int err = check_supported(o);

	if (err)
		return err;
	h->shm = calloc(1, sizeof(*h->shm));
	if (!h->shm)
		return fail(ENOMEM, "out of memory");
	shm_path(h->shm, name);
	if (h->owned)
		remember(h);
	err = shm_attach(h, o);
	if (!err)
		err = shm_info(h, &info, TRIBUF_INFO_PEEK);
	if (err)
		return err;
	h->news.state = info.state;
	h->news.producer_epoch = info.producer_epoch;
	h->news.consumer_epoch = info.consumer_epoch;
	return 0;
}

/* Who leaves last takes the file away, unless another has the name by now. */
static void leave(struct handle *h)
{
	struct shm *s = h->shm;
	struct stat st;

	if (shm_lock(h->fd, SHM_PATIENCE))
		return;		/* a leftover: the next to open finds it */
	__atomic_and_fetch(&s->geometry->state,
			   h->role == TRIBUF_PRODUCER ? ~TRIBUF_STATE_PRODUCER :
			   h->role == TRIBUF_CONSUMER ? ~TRIBUF_STATE_CONSUMER : ~0u,
			   __ATOMIC_RELAXED);
	shm_drop(h->fd, s->lock);
	if (!fstat(h->fd, &st) && st.st_nlink && !shm_count(h->fd, SHM_ROLES, SHM_END))
		unlink(s->path);
	shm_unlock(h->fd);
	shm_wake(h, SHM_WAKE_ALL);
}

static void shm_close(struct handle *h)
{
	struct shm *s = h->shm;

	if (!s)
		return;
	forget(h);
	if (!forked(h)) {
		if (s->lock)
			leave(h);
		if (s->pages)
			munmap(s->pages, TRIBUF_META_PAGES * page_size());
	}
	h->geometry = NULL;
	if (h->fd >= 0)
		close(h->fd);
	free(s);
}

static int shm_fd(const struct handle *h)
{
	return fail(ENOTSUP, "channel 'shm:%s' has no descriptor to poll: use /dev/tribuf, or tribuf_wait() in a thread",
		    h->shm->name);
}

/* ---- list ---- */

#define LIST_PATIENCE	(SECOND / 10)	/* for the META lock of each file */

static bool fill_entry(struct handle *h, struct tribuf_list_entry *entry)
{
	struct tribuf_info_args info = { 0 };

	if (check_layout(h->shm->geometry) || shm_lock(h->fd, LIST_PATIENCE))
		return false;
	fill_info(h, &info);
	memset(entry, 0, sizeof(*entry));
	entry->channel = info.channel;
	memcpy(entry->name, info.name, sizeof(entry->name));
	entry->slot_size = info.slot_size;
	entry->claimed_seq = info.claimed_seq;
	entry->state = info.state;
	entry->uid = info.uid;
	entry->gid = info.gid;
	entry->mode = info.mode;
	entry->producer_pid = info.producer_pid;
	entry->consumer_pid = info.consumer_pid;
	entry->observers = info.observers;
	entry->keepers = info.keepers;
	return true;
}

/*
 * Look into the file of channel @name, as nobody: 1; 0: it is none, or not ours; or an
 * error. By a copy of its pages, since the file may be anybody's, and become shorter.
 */
static int look_into(const char *name, struct tribuf_list_entry *entry)
{
	size_t bytes = TRIBUF_META_PAGES * page_size();
	struct shm s = { .lock = 0 };
	struct handle h = { .shm = &s, .fd = -1 };
	void *pages = malloc(bytes);
	struct stat st;
	int found = 0;

	if (!pages)
		return fail(ENOMEM, "out of memory");
	shm_path(&s, name);
	h.fd = open(s.path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (h.fd < 0 && (errno == EMFILE || errno == ENFILE))
		found = fail(errno, "no descriptor is left to look into %s with: raise the limit (ulimit -n), or close some",
			     s.path);
	if (h.fd >= 0 && !fstat(h.fd, &st) && S_ISREG(st.st_mode) &&
	    pread(h.fd, pages, bytes, 0) == (ssize_t)bytes) {
		shm_place(&s, pages);
		found = fill_entry(&h, entry);
	}
	if (h.fd >= 0)
		close(h.fd);
	free(pages);
	return found;
}

static int shm_list(int (*each)(const struct tribuf_list_entry *channel, void *context),
		    void *context)
{
	struct tribuf_list_entry entry;
	const struct dirent *file;
	const char *name;
	int result = 0;
	DIR *folder = opendir(SHM_DIRECTORY);

	if (!folder)
		return fail(errno, "cannot list " SHM_DIRECTORY ": %s", strerror(errno));
	while (!result && (file = readdir(folder))) {
		name = file->d_name + strlen(SHM_FILE);
		if (strncmp(file->d_name, SHM_FILE, strlen(SHM_FILE)) || check_name(name))
			continue;
		result = look_into(name, &entry);
		if (result > 0)
			result = each(&entry, context);
	}
	closedir(folder);
	return result;
}

const struct backend shm_backend = {
	.name = "shm",
	.open = open_channel,
	.close = shm_close,
	.fd = shm_fd,
	.ring = shm_ring,
	.news = shm_news,
	.sleep = shm_sleep,
	.arm = shm_arm,
	.info = shm_info,
	.observe = shm_observe,
	.list = shm_list,
};
