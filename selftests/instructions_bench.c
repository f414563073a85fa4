// SPDX-License-Identifier: GPL-2.0-only
/*
 * The calls of the frame path, each in a function of its own and as a program would
 * have it compiled in, so that selftests/instructions can count what they execute.
 */
#include "bench.h"

#define CALLS	10000	/* of each function; as many as selftests/instructions divides by */
#define COUNTED	__attribute__((noinline)) int

COUNTED count_begin(struct tribuf *p, struct tribuf_frame *frame);
COUNTED count_publish(struct tribuf *p, struct tribuf_frame *frame);
COUNTED count_publish_over(struct tribuf *p, struct tribuf_frame *frame);
COUNTED count_acquire(struct tribuf *c, struct tribuf_frame *frame);
COUNTED count_acquire_nothing(struct tribuf *c, struct tribuf_frame *frame);

COUNTED count_begin(struct tribuf *p, struct tribuf_frame *frame)
{
	return tribuf_begin(p, frame);
}

COUNTED count_publish(struct tribuf *p, struct tribuf_frame *frame)
{
	return tribuf_publish(p, frame);
}

/* Of a frame that nobody took. */
COUNTED count_publish_over(struct tribuf *p, struct tribuf_frame *frame)
{
	return tribuf_publish(p, frame);
}

COUNTED count_acquire(struct tribuf *c, struct tribuf_frame *frame)
{
	return tribuf_acquire(c, frame);
}

COUNTED count_acquire_nothing(struct tribuf *c, struct tribuf_frame *frame)
{
	return tribuf_acquire(c, frame);
}

int main(void)
{
	const char *name = channel_name("shm:");
	struct tribuf_frame frame;
	struct tribuf *p, *c;

	must(!tribuf_open_producer(&p, name, 4096) && !tribuf_open_consumer(&c, name));
	for (int i = 0; i < CALLS; i++) {
		must(!count_begin(p, &frame));
		frame.bytes = 8;
		must(!count_publish(p, &frame));
		must(count_acquire(c, &frame) == 1);
		must(!count_acquire_nothing(c, &frame));
	}
	must(!tribuf_begin(p, &frame) && !tribuf_publish(p, &frame));
	for (int i = 0; i < CALLS; i++) {
		must(!tribuf_begin(p, &frame));
		must(count_publish_over(p, &frame) == TRIBUF_OVERWROTE);
	}
	tribuf_close(c);
	tribuf_close(p);
	return 0;
}
