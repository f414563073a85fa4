// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * What figures.js compares with: a bare uv_poll on an eventfd, in an addon of its own.
 * open(callback): the descriptor; callback(value) for each write to it.
 */
#define NAPI_VERSION 8
#include <node_api.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <uv.h>

static struct {
	uv_poll_t poll;
	napi_env env;
	napi_ref callback;
	napi_async_context context;
	int fd;
} waiter;

static void on_poll(uv_poll_t *poll, int status, int events)
{
	napi_value callback, global, value;
	napi_handle_scope scope;
	uint64_t written;

	(void)poll;
	(void)status;
	(void)events;
	if (read(waiter.fd, &written, sizeof(written)) != sizeof(written))
		return;
	napi_open_handle_scope(waiter.env, &scope);
	napi_get_reference_value(waiter.env, waiter.callback, &callback);
	napi_get_global(waiter.env, &global);
	napi_create_bigint_uint64(waiter.env, written, &value);
	napi_make_callback(waiter.env, waiter.context, global, callback, 1, &value, NULL);
	napi_close_handle_scope(waiter.env, scope);
}

static napi_value open_eventfd(napi_env env, napi_callback_info info)
{
	napi_value callback, fd, name;
	uv_loop_t *loop;
	size_t argc = 1;

	napi_get_cb_info(env, info, &argc, &callback, NULL, NULL);
	napi_create_reference(env, callback, 1, &waiter.callback);
	napi_create_string_utf8(env, "eventfd", NAPI_AUTO_LENGTH, &name);
	napi_async_init(env, NULL, name, &waiter.context);
	napi_get_uv_event_loop(env, &loop);
	waiter.env = env;
	waiter.fd = eventfd(0, EFD_NONBLOCK);
	uv_poll_init(loop, &waiter.poll, waiter.fd);
	uv_poll_start(&waiter.poll, UV_READABLE, on_poll);
	napi_create_int32(env, waiter.fd, &fd);
	return fd;
}

NAPI_MODULE_INIT()
{
	napi_value function;

	napi_create_function(env, "open", NAPI_AUTO_LENGTH, open_eventfd, NULL, &function);
	napi_set_named_property(env, exports, "open", function);
	return exports;
}
