// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * Symbols for the inline functions of tribuf.h, for languages that cannot read
 * it. Compiled from that header, so they cannot differ from it.
 */
#define TRIBUF_INLINE		/* nothing: ordinary functions */

/* The definition is their only declaration. */
#pragma GCC diagnostic ignored "-Wmissing-declarations"

#include "internal.h"

/*
 * Programs have the frame path inlined, and with it where these fields are, which no
 * layout of shared pages tells: whoever moves one gives the library another SONAME.
 */
#if UINTPTR_MAX > UINT32_MAX
#define FIELD_AT(type, field, offset) \
	static_assert(offsetof(struct type, field) == (offset), "another SONAME is due")

FIELD_AT(tribuf, word, 0);
FIELD_AT(tribuf, desc, 8);
FIELD_AT(tribuf, slots, 16);
FIELD_AT(tribuf, slot_stride, 24);
FIELD_AT(tribuf, limit, 32);
FIELD_AT(tribuf, seq, 40);
FIELD_AT(tribuf, generation, 48);
FIELD_AT(tribuf, expected, 52);
FIELD_AT(tribuf, slot, 56);
FIELD_AT(tribuf, format, 64);
FIELD_AT(tribuf, slot_size, 72);
FIELD_AT(tribuf, held, 80);
FIELD_AT(tribuf, seen, 88);
FIELD_AT(tribuf, granule_shift, 92);
FIELD_AT(tribuf_frame, data, 0);
static_assert(sizeof(struct tribuf_frame) == 64, "another SONAME is due");
#endif
