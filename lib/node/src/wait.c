// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * Waiting: a channel of /dev/tribuf by its descriptor on the environment's libuv
 * loop, one of shm through the helper thread (sleeper.c). What happened goes to
 * one JavaScript function, which knows who waits for it.
 *
 * The loop's poll is level-triggered. It is stopped when nobody waits any more,
 * or a frame that is not taken would keep it spinning; but only after JavaScript
 * has run, which in a loop over frames waits again at once: then the kernel need
 * not be told anything.
 */
#define _GNU_SOURCE		/* POLLRDHUP */
#include "addon.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>

struct poll {
	uv_poll_t handle;	/* first: libuv's callbacks get it */
	struct env *env;
	struct channel *c;
	int mask;		/* of libuv, 0: stopped */
};

/* onEvents(function): function(id, bits, error) is told what happens */
napi_value js_on_events(napi_env napi, napi_callback_info info)
{
	napi_valuetype type = napi_undefined;
	struct args args;

	if (!get_args(napi, info, &args))
		return NULL;
	napi_typeof(napi, args.v[0], &type);
	if (type != napi_function)
		return fail_with(napi, "EINVAL", "not a function");
	if (args.env->dispatch)
		napi_delete_reference(napi, args.env->dispatch);
	args.env->dispatch = NULL;
	napi_create_reference(napi, args.v[0], 1, &args.env->dispatch);
	return NULL;
}

/* For "return cannot_wait(...)": an error that libtribuf knows nothing of. */
int cannot_wait(struct env *env, int err, const char *why)
{
	env->why = why;
	return err;
}

static napi_value wait_error(struct env *env, int err)
{
	const char *why = env->why ? env->why : tribuf_explain();

	env->why = NULL;
	return error_of(env->napi, err, why);
}

/* Nothing is to be done about what goes wrong here: the environment is ending. */
static void call_dispatch(struct env *env, uint32_t id, int bits)
{
	napi_env napi = env->napi;
	napi_value dispatch = NULL, global = NULL, argv[3], error;

	if (napi_get_reference_value(napi, env->dispatch, &dispatch) != napi_ok || !dispatch ||
	    napi_get_global(napi, &global) != napi_ok)
		return;
	argv[0] = number(napi, id);
	argv[1] = number(napi, bits);
	napi_get_undefined(napi, &argv[2]);
	if (bits < 0)
		argv[2] = wait_error(env, bits);
	if (napi_make_callback(napi, env->context, global, dispatch, 3, argv, NULL) ==
	    napi_pending_exception &&
	    napi_get_and_clear_last_exception(napi, &error) == napi_ok)
		napi_fatal_exception(napi, error);
}

void report(struct channel *c, int bits)
{
	struct env *env = c->env;
	napi_handle_scope scope;
	uint32_t id = c->id;

	c->events = 0;
	if (env->ending || napi_open_handle_scope(env->napi, &scope) != napi_ok)
		return;
	call_dispatch(env, id, bits);	/* may close the channel */
	napi_close_handle_scope(env->napi, scope);
}

/* ---- /dev/tribuf ---- */

static int uv_mask(int events)
{
	return (events & POLLIN ? UV_READABLE : 0) | (events & POLLOUT ? UV_WRITABLE : 0) |
	       (events & POLLRDHUP ? UV_DISCONNECT : 0) | (events & POLLPRI ? UV_PRIORITIZED : 0);
}

static int poll_mask(int events)
{
	return (events & UV_READABLE ? POLLIN : 0) | (events & UV_WRITABLE ? POLLOUT : 0) |
	       (events & UV_DISCONNECT ? POLLRDHUP : 0) | (events & UV_PRIORITIZED ? POLLPRI : 0);
}

static void on_poll(uv_poll_t *handle, int status, int events);

/* Have the loop poll for what c->events need now. */
static int adjust_poll(struct channel *c)
{
	int events = c->events ? tribuf_poll_events(c->t, c->events) : 0;
	int mask = events > 0 ? uv_mask(events) : 0;
	struct poll *p = c->poll;

	if (events < 0)
		return events;
	if (mask != p->mask) {
		if (mask)
			uv_poll_start(&p->handle, mask, on_poll);
		else
			uv_poll_stop(&p->handle);
		p->mask = mask;
	}
	return 0;
}

static void on_poll(uv_poll_t *handle, int status, int events)
{
	struct poll *p = (struct poll *)handle;
	struct channel *c = p->c;
	int bits;

	/* libuv has stopped it then. */
	if (status)
		p->mask = 0;
	bits = tribuf_polled(c->t, c->events, status ? POLLERR : poll_mask(events));
	if (bits)
		report(c, bits);
	c = p->c;	/* NULL: JavaScript has closed it */
	if (!c)
		return;
	bits = adjust_poll(c);
	if (bits < 0)
		report(c, bits);
}

/* 0, or an error. */
static int make_poll(struct channel *c)
{
	struct poll *p = calloc(1, sizeof(*p));
	int err;

	if (!p)
		return cannot_wait(c->env, -ENOMEM, "out of memory");
	err = uv_poll_init(c->env->loop, &p->handle, tribuf_fd(c->t));
	if (err) {
		free(p);
		return cannot_wait(c->env, err, "Node's loop cannot poll the channel's descriptor");
	}
	p->env = c->env;
	p->c = c;
	c->poll = p;
	c->env->handles++;
	return 0;
}

/* Have the loop report what happens. 0, or an error. */
static int poll_for(struct channel *c)
{
	int err = c->poll ? 0 : make_poll(c);

	return err ? err : adjust_poll(c);
}

static void poll_closed(uv_handle_t *handle)
{
	struct poll *p = (struct poll *)handle;
	struct env *env = p->env;

	free(p);
	handle_closed(env);
}

/* ---- both ---- */

/* Nobody waits any more. */
static void disarm(struct channel *c)
{
	c->events = 0;
	sleeper_remove(c);
	if (c->poll)
		adjust_poll(c);
}

/* What of @events holds now; 0: nothing does, report() will be called. */
static int arm(struct channel *c, unsigned int events)
{
	int bits = tribuf_wait(c->t, events, 0);

	if (!bits) {
		c->events = events;
		bits = tribuf_fd(c->t) < 0 ? sleep_for(c) : poll_for(c);
	}
	/* Who was armed before is told of these bits, too: nobody would disarm that. */
	if (bits && c->events)
		disarm(c);
	return bits;
}

/* arm(channel, events): bits that hold now; 0: the function of onEvents() is called later */
napi_value js_arm(napi_env napi, napi_callback_info info)
{
	struct channel *c;
	struct args args;
	uint32_t events;
	int bits;

	if (!get_args(napi, info, &args) || !(c = channel_of(&args)) ||
	    !get_u32(napi, args.v[1], "events", &events))
		return NULL;
	bits = arm(c, events);
	if (bits >= 0)
		return number(napi, bits);
	napi_throw(napi, wait_error(args.env, bits));
	return NULL;
}

/* disarm(channel): nobody waits any more */
napi_value js_disarm(napi_env napi, napi_callback_info info)
{
	struct channel *c;
	struct args args;

	if (!get_args(napi, info, &args) || !(c = channel_of(&args)))
		return NULL;
	disarm(c);
	return NULL;
}

/* wait(channel, events, ns): tribuf_wait(), in this thread; a signal is no event */
napi_value js_wait(napi_env napi, napi_callback_info info)
{
	struct channel *c;
	struct args args;
	uint32_t events;
	uint64_t ns;
	int bits;

	if (!get_args(napi, info, &args) || !(c = channel_of(&args)) ||
	    !get_u32(napi, args.v[1], "events", &events) ||
	    !get_size(napi, args.v[2], "timeout", &ns))
		return NULL;
	bits = tribuf_wait(c->t, events, (int64_t)ns);
	if (bits == -EINTR)
		bits = 0;
	return bits < 0 ? fail(napi, bits) : number(napi, bits);
}

/* The descriptor goes right after this: libuv must have let go of it. */
void stop_waiting(struct channel *c)
{
	c->events = 0;
	sleeper_remove(c);
	if (!c->poll)
		return;
	c->poll->c = NULL;
	uv_close((uv_handle_t *)&c->poll->handle, poll_closed);
	c->poll = NULL;
}
