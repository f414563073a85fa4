// SPDX-License-Identifier: GPL-2.0-only
/*
 * No wake-up is lost, and none is rung for without need: each way to wait against
 * a producer that publishes at random moments, watched and counted.
 */
#include "wait.h"

FIXTURE(lost) {
	struct tribuf *c;
	struct waiter w;
	struct watchdog dog;
	uint64_t rings;
};

ALL_WAYS(lost);

FIXTURE_SETUP(lost)
{
	REQUIRE_DEVICE();
	ASSERT_EQ(0, open_as(&self->c, test_name(), TRIBUF_CONSUMER, TRIBUF_CREATE, SLOT));
	ASSERT_EQ(0, waiter_open(&self->w, variant->way, self->c, POLLIN));
}

FIXTURE_TEARDOWN(lost)
{
	waiter_close(&self->w);
	tribuf_close(self->c);
}

/* In a child: @count frames, in bursts, and with pauses of up to 2 ms. */
static void produce(uint64_t state, unsigned long count)
{
	struct tribuf *p;

	child_gets(0, open_as(&p, test_name(), TRIBUF_PRODUCER, 0, 0));
	for (unsigned long i = 1; i <= count; i++) {
		uint64_t die = chance(&state) % 64;

		if (die < 16)
			work(&state, 50000);
		else if (die < 24)
			sleep_ns(chance(&state) % 100000);
		else if (die == 24)
			sleep_ns(chance(&state) % 2000000);
		child_gets((long)i, (long)lib_publish(p));
	}
	/* Stay, or our going would wake who slept through the last frame. */
	pause();
}

TEST_F_TIMEOUT(lost, no_wake_up, 1200)
{
	unsigned long count = scaled(20000), taken = 0, sleeps = 0;
	uint64_t state = seed(), last = 0, other = chance(&state) | 1, rings;
	struct tribuf_frame frame;
	int result = 0;
	pid_t producer;

	producer = in_child(produce(other, count));
	ASSERT_EQ(0, watchdog_start(&self->dog, self->c, TRIBUF_FRESH, producer));
	while (last < count && result >= 0) {
		result = way_reads(variant->way) ? 0 : tribuf_acquire(self->c, &frame);
		if (!result) {
			self->dog.sleeps++;
			result = waiter_sleep(&self->w, LONG, &frame);
			self->dog.sleeps++;
			sleeps++;
			/* The watchdog has killed the producer. */
			if (self->dog.lost)
				break;
		}
		if (result == 1) {
			ASSERT_TRUE(lib_whole(&frame, SLOT));
			ASSERT_LT(last, frame.seq);
			last = frame.seq;
			taken++;
			if (chance(&state) % 2)
				work(&state, 50000);
		}
	}
	EXPECT_EQ(0, watchdog_stop(&self->dog));
	ASSERT_LE(0, result);
	EXPECT_EQ(count, last);
	rings = rings_of(self->c);
	printf("# %lu frames, %lu taken, %lu sleeps, %llu rings\n", count, taken, sleeps,
	       (unsigned long long)rings);
	fflush(stdout);
	/* Per frame really taken if the registration stays, else per sleep. */
	EXPECT_GE((way_stays(variant->way) ? taken : 2 * sleeps) + 1, rings);
	slay(producer);
}

/* ---- who works costs nothing ---- */

FIXTURE(quiet) {
	struct tribuf *c, *p;
	struct waiter w;
};

PASSING_WAYS(quiet);

FIXTURE_SETUP(quiet)
{
	REQUIRE_DEVICE();
	ASSERT_EQ(0, open_as(&self->c, test_name(), TRIBUF_CONSUMER, TRIBUF_CREATE, SLOT));
	ASSERT_EQ(0, open_as(&self->p, test_name(), TRIBUF_PRODUCER, 0, 0));
	ASSERT_EQ(0, waiter_open(&self->w, variant->way, self->c, POLLIN));
}

FIXTURE_TEARDOWN(quiet)
{
	waiter_close(&self->w);
	tribuf_close(self->c);
	tribuf_close(self->p);
}

static void *publish_soon(void *p)
{
	sleep_ms(50);
	lib_publish(p);
	return NULL;
}

/* One publish may find the bit that the last sleep left behind, and nobody. */
TEST_F_TIMEOUT(quiet, no_ring_while_nobody_waits, 300)
{
	unsigned long count = scaled(50000);
	struct tribuf_frame frame;
	pthread_t thread;
	uint64_t rings;

	ASSERT_EQ(0, pthread_create(&thread, NULL, publish_soon, self->p));
	ASSERT_EQ(way_reads(variant->way), waiter_sleep(&self->w, LONG, &frame));
	pthread_join(thread, NULL);
	tribuf_acquire(self->c, &frame);
	EXPECT_EQ(1, rings_of(self->p));
	for (unsigned long i = 0; i < count; i++) {
		ASSERT_LT(0, lib_publish(self->p));
		if (i % 3)
			ASSERT_EQ(1, tribuf_acquire(self->c, &frame));
	}
	rings = rings_of(self->p);
	printf("# %llu rings while nobody waits, after the one that found out\n",
	       (unsigned long long)(rings > 2 ? rings - 2 : 0));
	fflush(stdout);
	EXPECT_GE(2, rings);
}

TEST_HARNESS_MAIN
