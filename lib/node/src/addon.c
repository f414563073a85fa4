// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * The addon's beginning and end: what JavaScript sees of it, once for each
 * environment (the main thread, each worker), and what becomes of an
 * environment's channels when it ends with all of them open.
 */
#include "addon.h"

#include <pthread.h>
#include <stdlib.h>

static const struct {
	const char *name;
	napi_callback call;
} functions[] = {
	{ "open", js_open }, { "close", js_close }, { "info", js_info }, { "ring", js_ring },
	{ "formatGet", js_format_get }, { "formatSet", js_format_set },
	{ "acquire", js_acquire }, { "snapshot", js_snapshot }, { "begin", js_begin },
	{ "write", js_write }, { "publish", js_publish },
	{ "ref", js_ref }, { "deref", js_deref }, { "copy", js_copy },
	{ "window", js_window }, { "mount", js_mount }, { "view", js_view },
	{ "detach", js_detach },
	{ "onEvents", js_on_events }, { "wait", js_wait }, { "arm", js_arm },
	{ "disarm", js_disarm },
};

/* Those whose hook has not run yet. */
static struct env *living;
static pthread_mutex_t living_lock = PTHREAD_MUTEX_INITIALIZER;

static void begin_living(struct env *env)
{
	pthread_mutex_lock(&living_lock);
	env->next = living;
	living = env;
	pthread_mutex_unlock(&living_lock);
}

static void end_living(const struct env *env)
{
	struct env **place = &living;

	pthread_mutex_lock(&living_lock);
	while (*place != env)
		place = &(*place)->next;
	*place = env->next;
	pthread_mutex_unlock(&living_lock);
}

/*
 * process.exit() and an exception that nobody catches run no hook of the main
 * thread's environment, and a channel of shm that nobody closes leaves its file.
 * Node has stopped its workers by now, and JavaScript runs no more.
 */
__attribute__((destructor))
static void close_at_exit(void)
{
	const struct env *env;
	uint32_t i;

	pthread_mutex_lock(&living_lock);
	for (env = living; env; env = env->next) {
		if (env->sleeper)
			sleeper_stop(env->sleeper);
		for (i = 0; i < env->capacity; i++)
			if (env->channels[i])
				tribuf_close(env->channels[i]->t);
	}
	living = NULL;
	pthread_mutex_unlock(&living_lock);
}

static void free_env(struct env *env)
{
	napi_remove_async_cleanup_hook(env->cleanup);
	free(env->channels);
	free(env);
}

void handle_closed(struct env *env)
{
	env->handles--;
	if (env->ending && !env->handles)
		free_env(env);
}

/*
 * Asynchronous, because libuv closes handles in a turn of its loop, and a worker
 * that is terminated must not end before. References go with the environment.
 */
static void end_env(napi_async_cleanup_hook_handle handle, void *data)
{
	struct env *env = data;
	uint32_t i;

	(void)handle;
	env->ending = true;
	end_living(env);
	for (i = 0; i < env->capacity; i++)
		if (env->channels[i])
			close_channel(env->channels[i]);
	sleeper_end(env);
	if (!env->handles)
		free_env(env);
}

static struct env *make_env(napi_env napi)
{
	struct env *env = calloc(1, sizeof(*env));
	napi_value name;

	if (!env)
		return NULL;
	env->napi = napi;
	if (napi_get_uv_event_loop(napi, &env->loop) != napi_ok ||
	    napi_create_string_utf8(napi, "tribuf", NAPI_AUTO_LENGTH, &name) != napi_ok ||
	    napi_async_init(napi, NULL, name, &env->context) != napi_ok ||
	    napi_add_async_cleanup_hook(napi, end_env, env, &env->cleanup) != napi_ok) {
		free(env);
		return NULL;
	}
	begin_living(env);
	return env;
}

NAPI_MODULE_INIT()
{
	struct env *data = make_env(env);
	napi_value function;
	size_t i;

	if (!data)
		return fail_with(env, "ENOMEM", "out of memory");
	for (i = 0; i < sizeof(functions) / sizeof(functions[0]); i++) {
		if (napi_create_function(env, functions[i].name, NAPI_AUTO_LENGTH,
					 functions[i].call, data, &function) == napi_ok)
			set(env, exports, functions[i].name, function);
	}
	set(env, exports, "layout", layout(env));
	return exports;
}
