// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * tribuf_wait(): what there is to report, and the loop around a backend's
 * sleep. Levels are looked at; that a peer came or went is told once, by
 * comparing epochs with those told of before. The same for who polls the
 * descriptor in a loop of their own.
 */
#define _GNU_SOURCE		/* POLLRDHUP */
#include "internal.h"

#include <poll.h>
#include <time.h>

#define SECOND		1000000000ll
#define EVENTS		(TRIBUF_READY | TRIBUF_PEER_GONE | TRIBUF_PEER_BACK | TRIBUF_GEOMETRY)

int64_t now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * SECOND + ts.tv_nsec;
}

/* Is there, by @word, what this role waits for? */
bool ready(struct handle *h, uint32_t word)
{
	switch (h->role) {
	case TRIBUF_PRODUCER:
		return !(word & TRIBUF_FRESH);
	case TRIBUF_CONSUMER:
		return word & TRIBUF_FRESH;
	default:
		return h->owed || tribuf_read_once(h->frames->desc[tribuf_word_newest(word)].seq) >
				  h->taken;
	}
}

/* TRIBUF_READY, 0, or -EPROTO. */
static int look_ready(struct handle *h)
{
	uint32_t word;

	if (h->pending)
		return 0;
	word = __atomic_load_n(&h->state->word, __ATOMIC_RELAXED);
	if (!tribuf_word_valid(word))
		return word_spoilt(word);
	return ready(h, word) ? (int)TRIBUF_READY : 0;
}

/* Learn who came and went, if anybody did. Clears EPOLLPRI, or poll would not sleep. */
static int read_news(struct handle *h)
{
	struct tribuf_info_args info;
	int err;

	if (!h->unread && !h->backend->news(h))
		return 0;
	err = h->backend->info(h, &info, 0);
	if (err)
		return err;
	h->unread = false;
	h->news.state = info.state;
	h->news.producer_epoch = info.producer_epoch;
	h->news.consumer_epoch = info.consumer_epoch;
	return 0;
}

/* Report what @events ask for and was not reported yet. */
static unsigned int report_peer(struct handle *h, unsigned int events)
{
	bool produces = h->role == TRIBUF_PRODUCER;
	uint32_t epoch = produces ? h->news.consumer_epoch : h->news.producer_epoch;
	bool present = h->news.state & (produces ? TRIBUF_STATE_CONSUMER : TRIBUF_STATE_PRODUCER);
	uint32_t gone = epoch && present ? epoch - 1 : epoch;	/* the last one that left */
	unsigned int bits = 0;

	if (events & TRIBUF_PEER_GONE && gone != h->gone_reported) {
		h->gone_reported = gone;
		bits |= TRIBUF_PEER_GONE;
	}
	if (events & TRIBUF_PEER_BACK && epoch != h->back_reported) {
		h->back_reported = epoch;
		bits |= TRIBUF_PEER_BACK;
	}
	return bits;
}

static unsigned int report_geometry(struct handle *h, unsigned int events)
{
	if (!(events & TRIBUF_GEOMETRY))
		return 0;
	if (h->news.state & TRIBUF_STATE_REPLACED)
		return TRIBUF_GEOMETRY;
	if (!h->geometry_due || h->pending)
		return 0;
	h->geometry_due = false;
	return TRIBUF_GEOMETRY;
}

/* The bits of @events that hold now, or a negative errno value. */
int look(struct handle *h, unsigned int events)
{
	unsigned int bits;
	int ready_bit, err;

	err = take_geometry(h);
	if (err && err != -EAGAIN)
		return err;
	ready_bit = look_ready(h);
	if (ready_bit < 0)
		return ready_bit;
	bits = (unsigned int)ready_bit & events;
	err = read_news(h);
	if (err)
		return bits ? (int)bits : err;	/* frames before bad news */
	bits |= report_peer(h, events) | report_geometry(h, events);
	if (!bits && h->news.state & TRIBUF_STATE_REPLACED)
		return fail(ESTALE, "another channel was made under this name (TRIBUF_REPLACE): close this handle and open that one");
	return (int)bits;
}

static int wait_until(struct handle *h, unsigned int events, int64_t deadline)
{
	int64_t start;
	int bits = look(h, events);

	if (bits || deadline == INT64_MIN)
		return bits;
	start = now();
	if (start >= deadline)
		return 0;
	if (events & TRIBUF_READY && spin(h, start, deadline))
		bits = look(h, events);
	while (!bits && (deadline == INT64_MAX || now() < deadline)) {
		bits = h->backend->sleep(h, events, deadline);
		if (!bits)
			bits = look(h, events);
	}
	if (bits > 0 && bits & (int)TRIBUF_READY)
		spin_learn(h, start, now());
	else if (events & TRIBUF_READY && bits != -EINTR)
		spin_in_vain(h);
	return bits;
}

int check_wait(const struct handle *h, unsigned int events)
{
	if (forked(h))
		return forked_handle();
	if (h->role == TRIBUF_KEEPER)
		return fail(EACCES, "a keeper has nothing to wait for");
	if (!events || events & ~EVENTS)
		return fail(EINVAL, "events are %#x: give at least one of TRIBUF_READY, _PEER_GONE, _PEER_BACK, _GEOMETRY, and no other bits",
			    events);
	return 0;
}

int tribuf_wait(struct tribuf *handle, unsigned int events, int64_t timeout)
{
	int64_t deadline = INT64_MAX;
	int err = check_wait(handle_of(handle), events);

	if (err)
		return err;
	if (timeout < TRIBUF_FOREVER)
		return fail(EINVAL, "a timeout of %lld ns: give 0 or more, or TRIBUF_FOREVER",
			    (long long)timeout);
	/* A look alone needs no clock. */
	if (timeout == 0)
		deadline = INT64_MIN;
	else if (timeout != TRIBUF_FOREVER && __builtin_add_overflow(now(), timeout, &deadline))
		deadline = INT64_MAX;
	return wait_until(handle_of(handle), events, deadline);
}

int tribuf_wait_until(struct tribuf *handle, unsigned int events, int64_t deadline)
{
	int err = check_wait(handle_of(handle), events);

	return err ? err : wait_until(handle_of(handle), events, deadline);
}

/* Was the peer once there, and is it gone? As of the last look: POLLRDHUP holds. */
bool peer_is_gone(const struct handle *h)
{
	uint32_t had = h->role == TRIBUF_PRODUCER ? TRIBUF_STATE_HAD_CONSUMER :
						    TRIBUF_STATE_HAD_PRODUCER;
	uint32_t has = h->role == TRIBUF_PRODUCER ? TRIBUF_STATE_CONSUMER :
						    TRIBUF_STATE_PRODUCER;

	return (h->news.state & (had | has)) == had;
}

short poll_events(const struct handle *h, unsigned int events)
{
	uint32_t peer = h->role == TRIBUF_PRODUCER ? TRIBUF_STATE_CONSUMER : TRIBUF_STATE_PRODUCER;
	short mask = 0;

	if (events & TRIBUF_READY)
		mask |= h->role == TRIBUF_PRODUCER ? POLLOUT : POLLIN;
	/* A level that stays while the peer is away: only the next one's leaving is news. */
	if (events & TRIBUF_PEER_GONE && h->news.state & peer)
		mask |= POLLRDHUP;
	/*
	 * A peer that comes is no event for who waits for it to go again, but
	 * without noticing it above, its going would not be either.
	 */
	if (events & (TRIBUF_PEER_BACK | TRIBUF_GEOMETRY | TRIBUF_PEER_GONE) || h->pending)
		mask |= POLLPRI;
	return mask;
}

/* Poll answered @revents: is there anything that INFO must be asked about? */
void note_events(struct handle *h, int revents)
{
	if (revents & ~(POLLIN | POLLRDNORM | POLLOUT | POLLWRNORM))
		h->unread = true;
}

int tribuf_poll_events(struct tribuf *handle, unsigned int events)
{
	int err = check_wait(handle_of(handle), events);

	if (!err)
		err = tribuf_fd(handle);
	return err < 0 ? err : poll_events(handle_of(handle), events);
}

int tribuf_polled(struct tribuf *handle, unsigned int events, int revents)
{
	int err = check_wait(handle_of(handle), events);

	if (!err)
		err = tribuf_fd(handle);
	if (err < 0)
		return err;
	note_events(handle_of(handle), revents);
	return look(handle_of(handle), events);
}

/* What comes between arming and looking changes the word, on which nobody sleeps then. */
int tribuf_arm(struct tribuf *handle, unsigned int events, uint32_t **futex, uint32_t *value)
{
	struct handle *h = handle_of(handle);
	uint32_t armed, *word;
	int bits = check_wait(h, events);

	if (!bits)
		bits = look(h, events);
	if (bits)
		return bits;
	if (!h->backend->arm)
		return fail(ENOTSUP, "a channel of /dev/tribuf has a descriptor to sleep on: use tribuf_fd()");
	h->backend->arm(h, events, &word, &armed);
	bits = look(h, events);
	if (!bits) {
		*futex = word;
		*value = armed;
	}
	return bits;
}
