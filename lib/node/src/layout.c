// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * The numbers of linux/tribuf.h and tribuf.h for JavaScript, by the compiler that
 * reads those headers: nothing is written down twice.
 */
#include "addon.h"

#include <stddef.h>
#include <unistd.h>

static const struct {
	const char *name;
	double value;
} numbers[] = {
#define NUMBER(name)	{ #name, (double)(name) }
#define FLAG(name)	{ #name, (double)(TRIBUF_##name) }
	FLAG(PRODUCER), FLAG(CONSUMER), FLAG(OBSERVER), FLAG(KEEPER),
	FLAG(CREATE), FLAG(EXCL), FLAG(REPLACE), FLAG(PENDING), FLAG(LATEST), FLAG(OWNED),
	FLAG(OWNER), FLAG(GUARDED),
	FLAG(READY), FLAG(PEER_GONE), FLAG(PEER_BACK), FLAG(GEOMETRY),
	FLAG(SLOTS), FLAG(SLOT_MASK), FLAG(BACK_SHIFT), FLAG(MIDDLE_SHIFT), FLAG(FRONT_SHIFT),
	FLAG(FRESH), FLAG(ARMED), FLAG(WATCHED), FLAG(PACED), FLAG(COUNT_ONE),
	FLAG(FORMAT_BYTES), FLAG(USER_BYTES), FLAG(FRAME_FLAGS),
	FLAG(STATE_GUARDED), FLAG(STATE_PENDING), FLAG(STATE_REPLACED), FLAG(STATE_PRODUCER),
	FLAG(STATE_CONSUMER),
#define DESC(field)	{ "desc_" #field, offsetof(struct tribuf_desc, field) }
	{ "desc", sizeof(struct tribuf_desc) },
	DESC(generation), DESC(flags), DESC(seq), DESC(bytes), DESC(timestamp), DESC(cookie),
	DESC(format), DESC(user),
	{ "frames_overwritten", offsetof(struct tribuf_frames, overwritten) },
	{ "frames_format_version", offsetof(struct tribuf_frames, format.version) },
#define RECORD(field)	{ "record_" #field, offsetof(struct record, field) }
	{ "record", sizeof(struct record) },
	RECORD(seq), RECORD(bytes), RECORD(timestamp), RECORD(cookie), RECORD(slot),
	RECORD(generation), RECORD(format), RECORD(flags), RECORD(user),
};

napi_value layout(napi_env napi)
{
	napi_value object = NULL;
	double page = (double)sysconf(_SC_PAGESIZE);
	size_t i;

	napi_create_object(napi, &object);
	for (i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		set(napi, object, numbers[i].name, number(napi, numbers[i].value));
	set(napi, object, "state", number(napi, TRIBUF_PAGE_STATE * page));
	set(napi, object, "frames", number(napi, TRIBUF_PAGE_FRAMES * page));
	set(napi, object, "geometry", number(napi, TRIBUF_PAGE_GEOMETRY * page));
	return object;
}
