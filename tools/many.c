// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * tribuf sub --all, --set: takes the frames of many channels, which it waits for by
 * one set, and says of each in a line which channel it came from.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include "tool.h"

#define READY 64		/* channels that one wait may report */
#define EVENTS (TRIBUF_READY | TRIBUF_PEER_GONE | TRIBUF_PEER_BACK | TRIBUF_GEOMETRY)

struct member {
	struct tribuf *channel;
	char name[TRIBUF_NAME_SIZE + 1];
	struct member *next;
};

struct many {
	const struct many_options *options;
	struct tribuf_set *set;
	struct member *members;
	size_t waited_for;		/* members that frames may still come from */
	uint64_t taken;
	void *copy;			/* observer's */
	size_t room;
	int error;			/* that ended it */
};

static int member_failed(struct many *m, const char *name, int err)
{
	m->error = taking_failed(err, name);
	return err;
}

static void leave(struct many *m, struct member *member)
{
	tribuf_close(member->channel);
	member->channel = NULL;
	m->waited_for--;
}

static int member_open(struct many *m, struct member *member)
{
	struct tribuf_options how = TRIBUF_OPTIONS_INIT;
	int err;

	how.role = m->options->observe ? TRIBUF_OBSERVER : TRIBUF_CONSUMER;
	if (m->options->observe)
		how.flags &= ~(uint32_t)TRIBUF_LATEST;
	if (!m->options->all)		/* a name may be waited for */
		how.flags |= TRIBUF_PENDING;
	err = tribuf_open(&member->channel, member->name, &how);
	if (err)
		return err;
	err = tribuf_set_add(m->set, member->channel, EVENTS, member);
	if (err) {
		tribuf_close(member->channel);
		member->channel = NULL;
	}
	return err;
}

/*
 * Of all channels we take those that we may have: others are busy, spoilt, or gone by
 * now. What we lack ourselves, we would lack for the next one too.
 */
static bool passed_over(const struct many *m, int err)
{
	return m->options->all && (err == -EBUSY || err == -EACCES || err == -EPERM ||
				   err == -ENOENT || err == -ESTALE || err == -EPROTO);
}

static int add(struct many *m, const char *name)
{
	struct member *member = calloc(1, sizeof(*member));
	int err;

	if (!member)
		return member_failed(m, name, -ENOMEM);
	snprintf(member->name, sizeof(member->name), "%.*s", TRIBUF_NAME_SIZE, name);
	err = member_open(m, member);
	if (err) {
		free(member);
		return passed_over(m, err) ? 0 : member_failed(m, name, err);
	}
	member->next = m->members;
	m->members = member;
	m->waited_for++;
	return 0;
}

static int add_listed(const struct tribuf_list_entry *channel, void *many)
{
	char name[TRIBUF_NAME_SIZE + 1];

	snprintf(name, sizeof(name), "%.*s", TRIBUF_NAME_SIZE, (const char *)channel->name);
	return *name ? add(many, name) : 0;
}

static int add_all(struct many *m)
{
	int err = tribuf_list(TRIBUF_BACKEND_DEVICE, add_listed, m);

	if (err && !m->error)
		m->error = channel_failed(err, "list", "the channels");
	if (err)
		return err;
	if (m->members)
		return 0;
	complain("there is no channel that could be taken frames from (see tribuf ls)");
	m->error = EXIT_FAILED;
	return -ENOENT;
}

static int snapshot(struct many *m, struct member *member, struct tribuf_frame *frame)
{
	int result = tribuf_snapshot(member->channel, frame, m->copy, m->room);
	void *larger;

	if (result == -EAGAIN)		/* outrun: there is a newer one, at the next turn */
		return 0;
	if (result != -EMSGSIZE)
		return result;
	larger = realloc(m->copy, (size_t)frame->bytes);
	if (!larger)
		return -ENOMEM;
	m->copy = larger;
	m->room = (size_t)frame->bytes;
	return snapshot(m, member, frame);
}

static bool enough(const struct many *m)
{
	return m->options->count && m->taken == m->options->count;
}

/* One frame of each channel that is ready, so that none keeps the others waiting. */
static int take(struct many *m, struct member *member)
{
	struct tribuf_frame frame = { .bytes = 0 };
	int result = m->options->observe ? snapshot(m, member, &frame) :
		     tribuf_acquire(member->channel, &frame);

	if (result == 1) {
		m->taken++;
		printf("%s %" PRIu64 " %" PRIu64 "\n", member->name, frame.seq, frame.bytes);
	}
	return result;
}

static bool replaced(struct member *member)
{
	struct tribuf_info_args info;

	return !tribuf_info(member->channel, &info) && info.state & TRIBUF_STATE_REPLACED;
}

/* 0, or what ended this channel alone. */
static int member_ready(struct many *m, struct member *member, int events)
{
	int result = events;

	if (events >= 0)
		result = events & (int)TRIBUF_READY ? take(m, member) : 0;
	if (result < 0 || enough(m))
		return result;
	if (events & (int)TRIBUF_GEOMETRY && !(events & (int)TRIBUF_READY) && replaced(member))
		return -ESTALE;
	if (!(events & (int)TRIBUF_PEER_GONE) || m->options->follow)
		return 0;
	/* What was published last is taken before we let go of it. */
	result = take(m, member);
	if (result >= 0)
		leave(m, member);
	return result;
}

static void handle_ready(struct many *m, const struct tribuf_ready *ready)
{
	struct member *member = ready->data;
	int err = member_ready(m, member, ready->events);

	if (err == -ESTALE && m->options->follow) {
		tribuf_close(member->channel);
		member->channel = NULL;
		err = member_open(m, member);
	}
	/* The others go on. */
	if (err < 0) {
		member_failed(m, member->name, err);
		leave(m, member);
	}
}

static int wait_ready(struct many *m, struct tribuf_ready *ready)
{
	int n = tribuf_set_wait(m->set, ready, READY, m->options->timeout);

	if (n == -EINTR)
		return 0;
	if (n < 0)
		m->error = channel_failed(n, "wait for", "the channels");
	if (n)
		return n;
	complain("timeout: no %sframe came on any channel", m->taken ? "further " : "");
	m->error = EXIT_TIMEOUT;
	return -ETIMEDOUT;
}

static void take_all(struct many *m)
{
	struct tribuf_ready ready[READY];
	int n = 0, i, error = 0;

	while (!error && n >= 0 && m->waited_for && !enough(m) && !signal_caught()) {
		n = wait_ready(m, ready);
		for (i = 0; i < n && !enough(m); i++)
			handle_ready(m, &ready[i]);
		/* A line is of use when it comes, as the frame is. */
		error = flush_output();
	}
	if (error && !signal_caught())
		m->error = output_failed(NULL, error);
}

static int open_all(struct many *m, char **names, size_t count)
{
	size_t i;
	int err = tribuf_set_create(&m->set, 0);

	if (err) {
		m->error = channel_failed(err, "wait for", "channels");
		return err;
	}
	if (m->options->all)
		return add_all(m);
	for (i = 0; i < count && !err; i++)
		err = add(m, names[i]);
	return err;
}

int sub_many(const struct many_options *options, char **names, size_t count)
{
	struct many m = { .options = options };
	struct member *member;

	signals_catch();
	if (!open_all(&m, names, count))
		take_all(&m);
	while ((member = m.members)) {
		m.members = member->next;
		tribuf_close(member->channel);
		free(member);
	}
	tribuf_set_destroy(m.set);
	free(m.copy);
	if (signal_caught())
		return EXIT_SIGNAL + signal_caught();
	return m.error;
}
