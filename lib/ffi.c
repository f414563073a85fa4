// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * Symbols for the inline functions of tribuf.h, for languages that cannot read
 * it. Compiled from that header, so they cannot differ from it.
 */
#define TRIBUF_INLINE		/* nothing: ordinary functions */

/* The definition is their only declaration. */
#pragma GCC diagnostic ignored "-Wmissing-declarations"

#include "internal.h"
