/* SPDX-License-Identifier: LGPL-2.1-or-later OR MIT */
/* What linux/tribuf.h needs of linux/types.h, for WebAssembly, which has no Linux. */
#ifndef TRIBUF_FREESTANDING_TYPES_H
#define TRIBUF_FREESTANDING_TYPES_H

#include <stdint.h>

typedef uint8_t __u8;
typedef uint16_t __u16;
typedef uint32_t __u32;
typedef int32_t __s32;
typedef uint64_t __u64;
typedef __u64 __attribute__((aligned(8))) __aligned_u64;

#endif
