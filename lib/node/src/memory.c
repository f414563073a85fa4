// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * Windows inside WebAssembly memories, and ArrayBuffers over a slot.
 *
 * V8 makes a SharedArrayBuffer over no memory but its own. So the channel's pages
 * take the place of the memory's. V8 goes on to believe that they are its; so
 * before the channel is closed they are replaced by empty ones, at once and for
 * all threads, and never unmapped: the address space stays V8's. The window holds
 * the memory, so that V8 cannot free it earlier.
 *
 * That the memory is one of WebAssembly, shared and unable to grow (which would
 * change the pages' protection), cannot be seen from here: JavaScript sees to it.
 */
#include "addon.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>
#include <unistd.h>

#define WASM_PAGE	65536u

/* All windows of the process: memories are shared by threads. */
struct range {
	struct range *next;
	unsigned char *start, *end;
};

static pthread_mutex_t ranges_lock = PTHREAD_MUTEX_INITIALIZER;
static struct range *ranges;

/* False: another window is there, or no memory. */
static bool claim(unsigned char *start, unsigned char *end)
{
	struct range *r, *claimed = malloc(sizeof(*claimed));

	if (!claimed)
		return false;
	claimed->start = start;
	claimed->end = end;
	pthread_mutex_lock(&ranges_lock);
	for (r = ranges; r && (end <= r->start || start >= r->end); r = r->next)
		;
	if (!r) {
		claimed->next = ranges;
		ranges = claimed;
	}
	pthread_mutex_unlock(&ranges_lock);
	if (r)
		free(claimed);
	return !r;
}

static void disclaim(const unsigned char *start)
{
	struct range **link, *r = NULL;

	pthread_mutex_lock(&ranges_lock);
	for (link = &ranges; *link; link = &(*link)->next) {
		if ((*link)->start == start) {
			r = *link;
			*link = r->next;
			break;
		}
	}
	pthread_mutex_unlock(&ranges_lock);
	free(r);
}

/* ---- stores that the role has no right to ---- */

static struct sigaction handler_before;

static bool in_a_window(const unsigned char *address)
{
	const struct range *r;

	/* This thread does not have the lock: what is done under it touches no window. */
	if (pthread_mutex_trylock(&ranges_lock))
		return false;
	for (r = ranges; r && (address < r->start || address >= r->end); r = r->next)
		;
	pthread_mutex_unlock(&ranges_lock);
	return r;
}

/*
 * V8 turns a store by WebAssembly into a trap: its handler then lets the thread go
 * on elsewhere. A store by JavaScript ends the process, but not without a word.
 */
static void on_fault(int sig, siginfo_t *info, void *context)
{
	static const char words[] = "tribuf: a store into a frame that this process may only read: write to a copy(), not to a consumer's view()\n";
	ucontext_t *interrupted = context;
	mcontext_t before = interrupted->uc_mcontext;
	bool ours = in_a_window(info->si_addr);

	if (handler_before.sa_flags & SA_SIGINFO)
		handler_before.sa_sigaction(sig, info, context);
	else if (handler_before.sa_handler != SIG_DFL && handler_before.sa_handler != SIG_IGN)
		handler_before.sa_handler(sig);
	else
		signal(sig, SIG_DFL);	/* and fault again */
	if (ours && !memcmp(&before, &interrupted->uc_mcontext, sizeof(before)) &&
	    write(STDERR_FILENO, words, sizeof(words) - 1) < 0)
		return;
}

static void watch_faults(void)
{
	struct sigaction action = { .sa_sigaction = on_fault };

	sigaction(SIGSEGV, NULL, &handler_before);
	action.sa_mask = handler_before.sa_mask;
	action.sa_flags = handler_before.sa_flags | SA_SIGINFO;
	sigaction(SIGSEGV, &action, NULL);
}

/* ---- windows ---- */

/* window(channel): how much room it takes, and where what is in it */
napi_value js_window(napi_env napi, napi_callback_info info)
{
	struct tribuf_window window;
	napi_value object = NULL;
	struct channel *c;
	struct args args;
	int err;

	if (!get_args(napi, info, &args) || !(c = channel_of(&args)))
		return NULL;
	err = tribuf_window_size(c->t, &window);
	if (err)
		return fail(napi, err);
	napi_create_object(napi, &object);
	set(napi, object, "bytes", number(napi, (double)window.bytes));
	set(napi, object, "slots", number(napi, (double)window.slots));
	set(napi, object, "slotStride", number(napi, (double)c->t->slot_stride));
	set(napi, object, "slotSize", number(napi, (double)c->t->slot_size));
	return object;
}

static napi_value map_window(struct channel *c, unsigned char *address, size_t room,
			     napi_value memory)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	napi_env napi = c->env->napi;
	struct window *w = calloc(1, sizeof(*w));
	int err;

	pthread_once(&once, watch_faults);
	if (!w || napi_create_reference(napi, memory, 1, &w->memory) != napi_ok) {
		free(w);
		return fail_with(napi, "ENOMEM", "out of memory");
	}
	err = tribuf_window_map(c->t, address, room);
	if (err) {
		napi_delete_reference(napi, w->memory);
		free(w);
		return fail(napi, err);
	}
	w->address = address;
	w->next = c->windows;
	c->windows = w;
	return number(napi, 1);
}

/* mount(channel, bytes, offset): @bytes: a Uint8Array over a whole shared memory */
napi_value js_mount(napi_env napi, napi_callback_info info)
{
	struct tribuf_window window;
	unsigned char *memory;
	napi_value mounted;
	uint64_t offset;
	struct channel *c;
	struct args args;
	size_t bytes;
	int err;

	if (!get_args(napi, info, &args) || !(c = channel_of(&args)) ||
	    !get_bytes(napi, args.v[1], "the memory", &memory, &bytes) ||
	    !get_size(napi, args.v[2], "offset", &offset))
		return NULL;
	if (offset % WASM_PAGE || (uintptr_t)memory % WASM_PAGE)
		return fail_with(napi, "EINVAL", "the offset must be a multiple of 65536, the size of a WebAssembly page");
	err = tribuf_window_size(c->t, &window);
	if (err)
		return fail(napi, err);
	if (offset > bytes || window.bytes > bytes - offset)
		return fail_with(napi, "ENOSPC", "the memory is too small for the channel's window: make it larger, see channel.window().bytes");
	memory += offset;
	if (!claim(memory, memory + window.bytes))
		return fail_with(napi, "EBUSY", "another channel is mounted there");
	mounted = map_window(c, memory, bytes - (size_t)offset, args.v[1]);
	if (!mounted)
		disclaim(memory);
	return mounted;
}

void unmount_all(struct channel *c)
{
	struct window *w;

	while ((w = c->windows)) {
		c->windows = w->next;
		tribuf_window_unmap(c->t, w->address);
		disclaim(w->address);
		if (!c->env->ending)
			napi_delete_reference(c->env->napi, w->memory);
		free(w);
	}
}

/* ---- views ---- */

/* The bytes of a view are gone, whoever had them last: their memory may go, too. */
static void release_memory(napi_env napi, void *data, void *memory)
{
	(void)data;
	napi_delete_reference(napi, memory);
}

/* An ArrayBuffer over @bytes at @data; NULL, nothing thrown: the runtime has none such. */
static napi_value buffer_inside(napi_env napi, napi_value memory, void *data, size_t bytes)
{
	napi_value buffer = NULL;
	napi_ref kept;

	if (napi_create_reference(napi, memory, 1, &kept) != napi_ok)
		return NULL;
	if (napi_create_external_arraybuffer(napi, data, bytes, release_memory, kept,
					     &buffer) == napi_ok)
		return buffer;
	napi_delete_reference(napi, kept);
	return NULL;
}

/*
 * view(channel, slot, memory): an ArrayBuffer over that slot, in the window that is
 * mounted at the beginning of @memory. The caller detaches it before the frame is
 * given back. It holds @memory, and so does what its bytes are transferred to.
 */
napi_value js_view(napi_env napi, napi_callback_info info)
{
	struct tribuf_window window;
	unsigned char *memory;
	napi_value buffer;
	struct window *w;
	struct channel *c;
	struct args args;
	uint32_t slot;
	size_t room;
	int err;

	if (!get_args(napi, info, &args) || !(c = channel_of(&args)) ||
	    !get_u32(napi, args.v[1], "slot", &slot))
		return NULL;
	err = tribuf_window_size(c->t, &window);
	if (err)
		return fail(napi, err);
	if (!get_bytes(napi, args.v[2], "memory", &memory, &room))
		return NULL;
	for (w = c->windows; w && (void *)w->address != (void *)memory; w = w->next)
		;
	if (!w || slot >= TRIBUF_SLOTS)
		return fail_with(napi, "EINVAL", "no such slot, or no window");
	buffer = buffer_inside(napi, args.v[2], w->address + window.slots +
			       slot * c->t->slot_stride, (size_t)c->t->slot_size);
	if (!buffer)
		return fail_with(napi, "ENOTSUP", "this runtime has no ArrayBuffers over foreign memory: use frame.copy(), or channel.memory");
	return buffer;
}

/* detach(buffer): what was made of it is empty from now on */
napi_value js_detach(napi_env napi, napi_callback_info info)
{
	struct args args;

	if (get_args(napi, info, &args))
		napi_detach_arraybuffer(napi, args.v[0]);
	return NULL;
}
