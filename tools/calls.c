// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * Counts the system calls that libtribuf makes. The linker redirects the calls
 * into libc by which the library enters the kernel to the functions below (see
 * WRAPPED in the Makefile, and the test that holds that list against the library's
 * symbols), so that "no system call per frame" is a number and not a promise.
 */
#include <limits.h>
#include <linux/futex.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include "tool.h"

/* Where long has 32 bits, the library asks for times of 64, which have names of their own. */
#if __SIZEOF_LONG__ == 4
#define __real_ioctl		__real___ioctl_time64
#define __wrap_ioctl		__wrap___ioctl_time64
#define __real_fcntl64		__real___fcntl_time64
#define __wrap_fcntl64		__wrap___fcntl_time64
#define __real_ppoll		__real___ppoll64
#define __wrap_ppoll		__wrap___ppoll64
#define __real_epoll_pwait2	__real___epoll_pwait2_time64
#define __wrap_epoll_pwait2	__wrap___epoll_pwait2_time64
#endif

#ifndef SYS_futex_time64
#define SYS_futex_time64	SYS_futex
#endif

int __real_ioctl(int fd, unsigned long request, ...);
int __real_fcntl(int fd, int command, ...);
int __real_fcntl64(int fd, int command, ...);
int __real_poll(struct pollfd *fds, nfds_t count, int timeout);
int __real_ppoll(struct pollfd *fds, nfds_t count, const struct timespec *timeout,
		 const sigset_t *mask);
int __real_epoll_pwait2(int fd, struct epoll_event *events, int count,
			const struct timespec *timeout, const sigset_t *mask);
int __real_epoll_ctl(int fd, int operation, int member, struct epoll_event *event);
int __real_sched_getaffinity(pid_t pid, size_t size, cpu_set_t *set);
long __real_syscall(long number, ...);

int __wrap_ioctl(int fd, unsigned long request, ...);
int __wrap_fcntl(int fd, int command, ...);
int __wrap_fcntl64(int fd, int command, ...);
int __wrap_poll(struct pollfd *fds, nfds_t count, int timeout);
int __wrap_ppoll(struct pollfd *fds, nfds_t count, const struct timespec *timeout,
		 const sigset_t *mask);
int __wrap_epoll_pwait2(int fd, struct epoll_event *events, int count,
			const struct timespec *timeout, const sigset_t *mask);
int __wrap_epoll_ctl(int fd, int operation, int member, struct epoll_event *event);
int __wrap_sched_getaffinity(pid_t pid, size_t size, cpu_set_t *set);
long __wrap_syscall(long number, ...);

static struct calls made;

int __wrap_ioctl(int fd, unsigned long request, ...)
{
	va_list args;
	void *argument;

	va_start(args, request);
	argument = va_arg(args, void *);
	va_end(args);
	if (request == TRIBUF_IOC_RING)
		made.rings++;
	else
		made.other++;
	return __real_ioctl(fd, request, argument);
}

/* Two names of one function: libc's headers say which of them the library calls. */
#define WRAP_FCNTL(name)						\
int __wrap_##name(int fd, int command, ...)				\
{									\
	va_list args;							\
	void *argument;							\
									\
	va_start(args, command);					\
	argument = va_arg(args, void *);				\
	va_end(args);							\
	made.other++;							\
	return __real_##name(fd, command, argument);			\
}

WRAP_FCNTL(fcntl)
WRAP_FCNTL(fcntl64)

int __wrap_poll(struct pollfd *fds, nfds_t count, int timeout)
{
	made.waits++;
	return __real_poll(fds, count, timeout);
}

int __wrap_ppoll(struct pollfd *fds, nfds_t count, const struct timespec *timeout,
		 const sigset_t *mask)
{
	made.waits++;
	return __real_ppoll(fds, count, timeout, mask);
}

int __wrap_epoll_pwait2(int fd, struct epoll_event *events, int count,
			const struct timespec *timeout, const sigset_t *mask)
{
	made.waits++;
	return __real_epoll_pwait2(fd, events, count, timeout, mask);
}

int __wrap_epoll_ctl(int fd, int operation, int member, struct epoll_event *event)
{
	made.other++;
	return __real_epoll_ctl(fd, operation, member, event);
}

int __wrap_sched_getaffinity(pid_t pid, size_t size, cpu_set_t *set)
{
	made.other++;
	return __real_sched_getaffinity(pid, size, set);
}

static void count_futex(long operation)
{
	switch (operation & FUTEX_CMD_MASK) {
	case FUTEX_WAKE:
	case FUTEX_WAKE_BITSET:
		made.rings++;
		break;
	default:
		made.waits++;
	}
}

long __wrap_syscall(long number, ...)
{
	va_list args;
	long a[6];

	va_start(args, number);
	for (int i = 0; i < 6; i++)
		a[i] = va_arg(args, long);
	va_end(args);
	if (number == SYS_futex || number == SYS_futex_time64)
		count_futex(a[1]);
	else
		made.other++;
	return __real_syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

static int milliseconds_until(int64_t deadline)
{
	int64_t left = (deadline - now_ns()) / 1000000 + 1;

	if (deadline == INT64_MAX)
		return -1;
	return left < 0 ? 0 : left < INT_MAX ? (int)left : INT_MAX;
}

int poll_uncounted(int fd, short events, int64_t deadline)
{
	struct pollfd wait = { .fd = fd, .events = events };

	return __real_poll(&wait, 1, milliseconds_until(deadline));
}

struct calls calls_made(void)
{
	return made;
}

struct calls calls_since(struct calls start)
{
	return (struct calls){ made.rings - start.rings, made.waits - start.waits,
			       made.other - start.other };
}

uint64_t calls_total(struct calls calls)
{
	return calls.rings + calls.waits + calls.other;
}

double per_frame(struct calls calls, uint64_t frames)
{
	return frames ? (double)calls_total(calls) / (double)frames : 0;
}
