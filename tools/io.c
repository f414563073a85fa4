// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/* Whole reads and writes, on pipes too; time. A caught signal ends them. */
#include <poll.h>
#include <time.h>
#include <unistd.h>
#include "tool.h"

#define NS_PER_SECOND 1000000000LL

int64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * NS_PER_SECOND + now.tv_nsec;
}

/* -EINTR: a signal was caught. */
int sleep_until(int64_t deadline)
{
	struct timespec at = { deadline / NS_PER_SECOND, (long)(deadline % NS_PER_SECOND) };

	while (!signal_caught())
		if (!clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL))
			return 0;
	return -EINTR;
}

/*
 * After a failed read() or write(): 0 if it shall be tried again. The other end
 * of our standard input or output may have made it non-blocking.
 */
static int try_again(int fd, short events, int64_t deadline)
{
	if (signal_caught())
		return -EINTR;
	if (errno == EINTR)
		return 0;
	if (errno != EAGAIN)
		return -errno;
	poll_uncounted(fd, events, deadline);
	return signal_caught() ? -EINTR : 0;
}

/* A poll that a signal ends is followed by a read that the signal ends too: see signals.c. */
static bool too_late(int fd, int64_t deadline)
{
	return deadline != INT64_MAX &&
	       (now_ns() >= deadline || !poll_uncounted(fd, POLLIN, deadline));
}

ssize_t read_whole(int fd, void *data, size_t bytes, int64_t deadline)
{
	size_t done = 0;
	ssize_t got;
	int err;

	while (done < bytes && !too_late(fd, deadline)) {
		got = read(fd, (char *)data + done, bytes - done);
		if (!got)
			break;
		if (got > 0) {
			done += (size_t)got;
			continue;
		}
		err = try_again(fd, POLLIN, deadline);
		if (err)
			return err;
	}
	return (ssize_t)done;
}

int write_whole(int fd, const void *data, size_t bytes)
{
	size_t done = 0;
	ssize_t put;
	int err;

	while (done < bytes) {
		put = write(fd, (const char *)data + done, bytes - done);
		if (put >= 0) {
			done += (size_t)put;
			continue;
		}
		err = try_again(fd, POLLOUT, INT64_MAX);
		if (err)
			return err;
	}
	return 0;
}

/* stdio remembers that something was not written, but not why. */
int flush_output(void)
{
	static int error;

	if ((fflush(stdout) || ferror(stdout)) && !error)
		error = errno;
	return error;
}
