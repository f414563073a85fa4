/* SPDX-License-Identifier: LGPL-2.1-or-later OR MIT */
/* WebAssembly has no ioctls: linux/tribuf.h only names them. */
#ifndef TRIBUF_FREESTANDING_IOCTL_H
#define TRIBUF_FREESTANDING_IOCTL_H

#define _IO(type, number)		0
#define _IOW(type, number, argument)	0
#define _IOWR(type, number, argument)	0

#endif
