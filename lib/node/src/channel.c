// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * Channels of an environment: opened, found by their number, closed. A number
 * has an index into the table and a generation, so that one that was closed is
 * never taken for another.
 */
#include "addon.h"

#include <stdlib.h>
#include <string.h>

#define INDEX_BITS	20
#define INDEX_MASK	((1u << INDEX_BITS) - 1)

struct channel *find_channel(const struct env *env, uint32_t id)
{
	uint32_t index = id & INDEX_MASK;
	struct channel *c = index < env->capacity ? env->channels[index] : NULL;

	return c && c->id == id ? c : NULL;
}

struct channel *channel_of(struct args *args)
{
	struct channel *c;
	uint32_t id;

	if (!get_u32(args->env->napi, args->v[0], "the channel", &id))
		return NULL;
	c = find_channel(args->env, id);
	if (!c)
		fail_with(args->env->napi, "EBADF", "the channel is closed");
	return c;
}

static bool find_place(struct env *env, uint32_t *index)
{
	uint32_t capacity = env->capacity ? env->capacity * 2 : 8;
	struct channel **grown;

	for (*index = 0; *index < env->capacity; (*index)++)
		if (!env->channels[*index])
			return true;
	grown = capacity <= INDEX_MASK ? realloc(env->channels, capacity * sizeof(*grown)) : NULL;
	if (!grown)
		return false;
	memset(grown + env->capacity, 0, (capacity - env->capacity) * sizeof(*grown));
	env->channels = grown;
	env->capacity = capacity;
	return true;
}

static bool add_channel(struct env *env, struct channel *c)
{
	uint32_t index;

	if (!find_place(env, &index))
		return false;
	/* Of the generation's values, 0 is left out: no id is 0. */
	if (!(++env->generation << INDEX_BITS))
		env->generation++;
	c->id = env->generation << INDEX_BITS | index;
	c->env = env;
	env->channels[index] = c;
	return true;
}

/* Everything in this order: nobody may wait, then no window may show, what is closed. */
void close_channel(struct channel *c)
{
	struct env *env = c->env;

	env->channels[c->id & INDEX_MASK] = NULL;
	c->id = 0;
	stop_waiting(c);
	unmount_all(c);
	tribuf_close(c->t);
	if (!env->ending)
		napi_delete_reference(env->napi, c->record_ref);
	free(c);
}

static bool get_name(napi_env napi, napi_value value, char *name, size_t room)
{
	size_t length = 0;

	if (napi_get_value_string_utf8(napi, value, name, room, &length) != napi_ok ||
	    strlen(name) != length) {
		fail_with(napi, "EINVAL", "a channel's name is a string without NUL");
		return false;
	}
	return true;
}

static bool get_options(napi_env napi, napi_value *v, struct tribuf_options *o)
{
	uint64_t slot_size;

	if (!get_u32(napi, v[1], "role", &o->role) || !get_u32(napi, v[2], "flags", &o->flags) ||
	    !get_u32(napi, v[3], "mode", &o->mode) || !get_size(napi, v[4], "slotSize", &slot_size) ||
	    !get_u32(napi, v[5], "granule", &o->granule))
		return false;
	o->slot_size = slot_size;
	return true;
}

static bool get_record(napi_env napi, napi_value value, struct channel *c)
{
	size_t bytes = 0;
	void *data = NULL;
	bool is_buffer = false;

	napi_is_arraybuffer(napi, value, &is_buffer);
	if (!is_buffer || napi_get_arraybuffer_info(napi, value, &data, &bytes) != napi_ok ||
	    bytes != sizeof(*c->record) ||
	    napi_create_reference(napi, value, 1, &c->record_ref) != napi_ok) {
		fail_with(napi, "EINVAL", "the record must be an ArrayBuffer of its size");
		return false;
	}
	c->record = data;
	return true;
}

/* open(name, role, flags, mode, slotSize, granule, record): the channel's number */
napi_value js_open(napi_env napi, napi_callback_info info)
{
	struct tribuf_options options = TRIBUF_OPTIONS_INIT;
	char name[TRIBUF_NAME_SIZE + 64];	/* too long ones are libtribuf's to refuse */
	struct channel *c;
	struct args args;
	int err;

	if (!get_args(napi, info, &args) || !get_name(napi, args.v[0], name, sizeof(name)) ||
	    !get_options(napi, args.v, &options))
		return NULL;
	c = calloc(1, sizeof(*c));
	if (!c)
		return fail_with(napi, "ENOMEM", "out of memory");
	if (!get_record(napi, args.v[6], c)) {
		free(c);
		return NULL;
	}
	c->role = options.role;
	c->frame.generation = 1;	/* of no frame: nothing was begun */
	err = tribuf_open(&c->t, name, &options);
	if (err || !add_channel(args.env, c)) {
		if (err)
			fail(napi, err);
		else
			fail_with(napi, "EMFILE", "too many channels are open");
		tribuf_close(c->t);
		napi_delete_reference(napi, c->record_ref);
		free(c);
		return NULL;
	}
	return number(napi, c->id);
}

/* close(channel): fine if it is closed already */
napi_value js_close(napi_env napi, napi_callback_info info)
{
	struct channel *c;
	struct args args;
	uint32_t id;

	if (!get_args(napi, info, &args) || !get_u32(napi, args.v[0], "the channel", &id))
		return NULL;
	c = find_channel(args.env, id);
	if (c)
		close_channel(c);
	return NULL;
}

/* ring(channel) */
napi_value js_ring(napi_env napi, napi_callback_info info)
{
	struct channel *c;
	struct args args;
	int err;

	if (!get_args(napi, info, &args) || !(c = channel_of(&args)))
		return NULL;
	err = tribuf_ring(c->t);
	return err ? fail(napi, err) : NULL;
}

static void set_geometry(napi_env napi, napi_value object, const struct tribuf_info_args *i)
{
	napi_value name = NULL;

	napi_create_string_utf8(napi, (const char *)i->name, strnlen((const char *)i->name,
								     sizeof(i->name)), &name);
	set(napi, object, "name", name);
	set(napi, object, "channel", big(napi, i->channel));
	set(napi, object, "slotSize", number(napi, (double)i->slot_size));
	set(napi, object, "slotStride", number(napi, (double)i->slot_stride));
	set(napi, object, "granule", number(napi, i->granule));
	set(napi, object, "state", number(napi, i->state));
	set(napi, object, "role", number(napi, i->role));
	set(napi, object, "uid", number(napi, i->uid));
	set(napi, object, "gid", number(napi, i->gid));
	set(napi, object, "mode", number(napi, i->mode));
}

static void set_peers(napi_env napi, napi_value object, const struct tribuf_info_args *i)
{
	set(napi, object, "producerEpoch", number(napi, i->producer_epoch));
	set(napi, object, "consumerEpoch", number(napi, i->consumer_epoch));
	set(napi, object, "producerPid", number(napi, i->producer_pid));
	set(napi, object, "consumerPid", number(napi, i->consumer_pid));
	set(napi, object, "observers", number(napi, i->observers));
	set(napi, object, "keepers", number(napi, i->keepers));
	set(napi, object, "rings", number(napi, (double)i->kernel_rings));
	set(napi, object, "wakes", number(napi, (double)i->kernel_wakes));
	set(napi, object, "sleeps", number(napi, (double)i->kernel_sleeps));
	set(napi, object, "published", number(napi, (double)i->claimed_seq));
	set(napi, object, "overwritten", number(napi, (double)i->claimed_overwritten));
}

/* info(channel): an object */
napi_value js_info(napi_env napi, napi_callback_info info)
{
	struct tribuf_info_args told;
	napi_value object = NULL;
	struct channel *c;
	struct args args;
	int err;

	if (!get_args(napi, info, &args) || !(c = channel_of(&args)))
		return NULL;
	err = tribuf_info(c->t, &told);
	if (err)
		return fail(napi, err);
	napi_create_object(napi, &object);
	set_geometry(napi, object, &told);
	set_peers(napi, object, &told);
	return object;
}

/* formatGet(channel, into): its version; its length is in the record's bytes */
napi_value js_format_get(napi_env napi, napi_callback_info info)
{
	unsigned char *data;
	uint32_t version;
	struct channel *c;
	struct args args;
	size_t bytes;
	int err;

	if (!get_args(napi, info, &args) || !(c = channel_of(&args)) ||
	    !get_bytes(napi, args.v[1], "into", &data, &bytes))
		return NULL;
	err = tribuf_format_get(c->t, data, &bytes, &version);
	if (err)
		return fail(napi, err);
	c->record->bytes = (double)bytes;
	return number(napi, version);
}

/* formatSet(channel, data) */
napi_value js_format_set(napi_env napi, napi_callback_info info)
{
	unsigned char *data;
	struct channel *c;
	struct args args;
	size_t bytes;
	int err;

	if (!get_args(napi, info, &args) || !(c = channel_of(&args)) ||
	    !get_bytes(napi, args.v[1], "the format", &data, &bytes))
		return NULL;
	err = tribuf_format_set(c->t, data, bytes);
	return err ? fail(napi, err) : NULL;
}
