/* SPDX-License-Identifier: LGPL-2.1-or-later OR MIT */
/*
 * Inside the Node-API addon: the table of a JavaScript environment's channels,
 * and what its files share. The functions that JavaScript sees take a channel by
 * its number, which is checked; so nothing that is passed to them can crash the
 * process. They know libtribuf's public interface alone.
 */
#ifndef TRIBUF_ADDON_H
#define TRIBUF_ADDON_H

#define NAPI_VERSION 8
#include <node_api.h>
#include <stdbool.h>
#include <tribuf.h>
#include <uv.h>

/*
 * A frame's fields on their way to and from JavaScript, which has typed arrays
 * over them: cheaper than a call for each.
 */
struct record {
	double seq;
	double bytes;
	uint64_t timestamp;
	uint64_t cookie;
	uint32_t slot;
	uint32_t generation;
	uint32_t format;
	uint32_t flags;
	uint32_t swapped;	/* 1: by a window, so what was in hand is not; JavaScript clears it */
	uint8_t user[TRIBUF_USER_BYTES];
};

/* The channel's pages inside a WebAssembly memory. */
struct window {
	struct window *next;
	unsigned char *address;
	napi_ref memory;	/* strong: the memory must not go before the window */
};

struct channel {
	struct env *env;
	struct tribuf *t;
	uint32_t id;			/* as JavaScript knows it; 0: closed */
	uint32_t role;
	struct tribuf_frame frame;	/* producer: the one that was begun last, */
	bool begun;			/* if any was */
	struct record *record;
	napi_ref record_ref;
	struct window *windows;

	/* wait.c */
	unsigned int events;		/* TRIBUF_READY ... that somebody waits for */
	struct poll *poll;		/* NULL: not needed yet, or of shm */

	/* sleeper.c, under its lock */
	struct channel **place;		/* among those that sleep on a futex; NULL: does not */
	uint32_t *futex;
	uint32_t value;
	bool fired;
};

/* One JavaScript environment: the main thread's or a worker's. */
struct env {
	struct env *next;		/* addon.c, under its lock */
	napi_env napi;
	uv_loop_t *loop;
	struct channel **channels;	/* by the index in an id */
	uint32_t capacity;
	uint32_t generation;
	napi_ref dispatch;		/* dispatch(id, bits, error) */
	napi_async_context context;
	struct sleeper *sleeper;	/* NULL: no shm channel was waited on yet */
	const char *why;		/* a wait failed, if not by libtribuf, which explains itself */
	napi_async_cleanup_hook_handle cleanup;
	unsigned int handles;		/* of libuv, not closed yet */
	bool ending;
};

/* values.c: each throws what is wrong and returns false, or NULL. */
struct args {
	struct env *env;
	size_t count;
	napi_value v[8];
};

bool get_args(napi_env napi, napi_callback_info info, struct args *args);
bool get_u32(napi_env napi, napi_value value, const char *what, uint32_t *result);
bool get_size(napi_env napi, napi_value value, const char *what, uint64_t *result);
bool get_bytes(napi_env napi, napi_value value, const char *what, unsigned char **data,
	       size_t *bytes);
napi_value number(napi_env napi, double value);
napi_value big(napi_env napi, uint64_t value);
napi_value error_of(napi_env napi, int err, const char *why);
napi_value fail(napi_env napi, int err);	/* throws libtribuf's, of just now; NULL */
napi_value fail_with(napi_env napi, const char *code, const char *message);
void set(napi_env napi, napi_value object, const char *name, napi_value value);

/* channel.c */
struct channel *channel_of(struct args *args);	/* by the first argument; NULL: thrown */
struct channel *find_channel(const struct env *env, uint32_t id);
void close_channel(struct channel *c);
napi_value js_open(napi_env napi, napi_callback_info info);
napi_value js_close(napi_env napi, napi_callback_info info);
napi_value js_info(napi_env napi, napi_callback_info info);
napi_value js_ring(napi_env napi, napi_callback_info info);
napi_value js_format_get(napi_env napi, napi_callback_info info);
napi_value js_format_set(napi_env napi, napi_callback_info info);

/* frames.c */
napi_value js_acquire(napi_env napi, napi_callback_info info);
napi_value js_snapshot(napi_env napi, napi_callback_info info);
napi_value js_begin(napi_env napi, napi_callback_info info);
napi_value js_write(napi_env napi, napi_callback_info info);
napi_value js_publish(napi_env napi, napi_callback_info info);
napi_value js_ref(napi_env napi, napi_callback_info info);
napi_value js_deref(napi_env napi, napi_callback_info info);
napi_value js_copy(napi_env napi, napi_callback_info info);

/* memory.c */
napi_value js_window(napi_env napi, napi_callback_info info);
napi_value js_mount(napi_env napi, napi_callback_info info);
napi_value js_view(napi_env napi, napi_callback_info info);
napi_value js_detach(napi_env napi, napi_callback_info info);
void unmount_all(struct channel *c);

/* wait.c */
int cannot_wait(struct env *env, int err, const char *why);
napi_value js_on_events(napi_env napi, napi_callback_info info);
napi_value js_wait(napi_env napi, napi_callback_info info);
napi_value js_arm(napi_env napi, napi_callback_info info);
napi_value js_disarm(napi_env napi, napi_callback_info info);
void report(struct channel *c, int bits);
void stop_waiting(struct channel *c);
void handle_closed(struct env *env);

/* sleeper.c */
int sleep_for(struct channel *c);
void sleeper_remove(struct channel *c);
void sleeper_stop(struct sleeper *s);
void sleeper_end(struct env *env);

/* layout.c */
napi_value layout(napi_env napi);

#endif /* TRIBUF_ADDON_H */
