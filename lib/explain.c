// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * The sentence behind each error: what was wrong, and what to do about it.
 */
#include "internal.h"

#include <stdarg.h>
#include <stdio.h>

static _Thread_local char sentence[512] = "no function of libtribuf has failed in this thread";

/* For "return fail(EBUSY, ...)". */
int fail(int error, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(sentence, sizeof(sentence), format, arguments);
	va_end(arguments);
	return -error;
}

const char *tribuf_explain(void)
{
	return sentence;
}

const char *role_name(uint32_t role)
{
	switch (role) {
	case TRIBUF_PRODUCER:
		return "producer";
	case TRIBUF_CONSUMER:
		return "consumer";
	case TRIBUF_OBSERVER:
		return "observer";
	case TRIBUF_KEEPER:
		return "keeper";
	default:
		return "stranger";
	}
}

/* Sentences that both backends have to say. */

int other_slot_size(const char *name, uint64_t has, uint64_t wanted)
{
	return fail(EINVAL, "channel '%s' exists with slots of %llu bytes, not %llu: open it with slot_size 0 to join, or with TRIBUF_REPLACE to start anew",
		    name, (unsigned long long)has, (unsigned long long)wanted);
}

/* @pid: 0: not known. */
int role_taken(const char *name, uint32_t role, int32_t pid)
{
	if (pid)
		return fail(EBUSY, "channel '%s' has a %s, process %d: stop that one first",
			    name, role_name(role), pid);
	return fail(EBUSY, "channel '%s' has a %s already, or as many as it can: stop one first",
		    name, role_name(role));
}

int no_channel(const char *name)
{
	return fail(ENOENT, "no channel '%s': start its creator, or open it with TRIBUF_CREATE, or with TRIBUF_PENDING to wait for it",
		    name);
}
