// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * A consumer inside an event loop that has other things to do: the channel's
 * descriptor goes into epoll like any other. For the device; shm: has none.
 *
 *   events CHANNEL        prints each frame's number and length, and a tick a second
 */
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>
#include <tribuf.h>

static void take_frame(struct tribuf *channel)
{
	struct tribuf_frame frame;

	/* Once is enough: it is the newest one, and level-triggered epoll asks again. */
	if (tribuf_acquire(channel, &frame) == 1)
		printf("frame %llu: %llu bytes\n", (unsigned long long)frame.seq,
		       (unsigned long long)frame.bytes);
}

/* EPOLLRDHUP stays while the producer is away: from here on only frames wake us. */
static void producer_left(int loop, int fd)
{
	struct epoll_event frames_only = { .events = EPOLLIN, .data.fd = fd };

	puts("the producer has left");
	epoll_ctl(loop, EPOLL_CTL_MOD, fd, &frames_only);
}

static int run(struct tribuf *channel, int loop, int timer)
{
	struct epoll_event event;
	uint64_t ticks;

	for (;;) {
		if (epoll_wait(loop, &event, 1, -1) < 0)
			return 1;
		if (event.data.fd == timer) {
			if (read(timer, &ticks, sizeof(ticks)) == sizeof(ticks))
				puts("tick");
			continue;
		}
		if (event.events & EPOLLERR)
			return 1;	/* the channel was replaced, or the role has ended */
		if (event.events & EPOLLIN)
			take_frame(channel);
		else if (event.events & EPOLLRDHUP)
			producer_left(loop, event.data.fd);
	}
}

int main(int argc, char **argv)
{
	const struct itimerspec second = { { 1, 0 }, { 1, 0 } };
	int loop = epoll_create1(EPOLL_CLOEXEC), timer, status;
	struct epoll_event event = { .events = EPOLLIN };
	struct tribuf *channel;

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (tribuf_open_consumer(&channel, argc > 1 ? argv[1] : "hello")) {
		fprintf(stderr, "events: %s\n", tribuf_explain());
		return 1;
	}
	event.data.fd = timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
	timerfd_settime(timer, 0, &second, NULL);
	epoll_ctl(loop, EPOLL_CTL_ADD, timer, &event);
	event.data.fd = tribuf_fd(channel);
	event.events = EPOLLIN | EPOLLRDHUP;
	if (epoll_ctl(loop, EPOLL_CTL_ADD, event.data.fd, &event)) {
		fputs("events: this channel has no descriptor to poll (shm:)\n", stderr);
		status = 1;
	} else {
		status = run(channel, loop, timer);
	}
	tribuf_close(channel);
	return status;
}
