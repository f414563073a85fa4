/* SPDX-License-Identifier: LGPL-2.1-or-later OR MIT */
/* Linux's numbers of the errors that a WebAssembly module meets. */
#ifndef TRIBUF_FREESTANDING_ERRNO_H
#define TRIBUF_FREESTANDING_ERRNO_H

#define EAGAIN		11
#define EACCES		13
#define EINVAL		22
#define EPROTO		71
#define EMSGSIZE	90
#define EPROTONOSUPPORT	93
#define ESTALE		116

#endif
