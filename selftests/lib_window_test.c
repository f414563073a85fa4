// SPDX-License-Identifier: GPL-2.0-only
/*
 * Windows: a channel's pages a second time, swapped there behind the library's
 * back, taken away again; and sleeping on a futex of one's own.
 */
#include "lib.h"

#include <linux/futex.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#define WINDOW	(1u << 20)	/* more than any window here needs */

/* A producer and a consumer of one channel, and room for a window of each. */
FIXTURE(lib_window) {
	struct tribuf *p, *c;
	const char *name;
	unsigned char *room;
	struct tribuf_window window;
};

BACKENDS(lib_window);

static unsigned char *empty_room(void)
{
	return mmap(NULL, WINDOW, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

FIXTURE_SETUP(lib_window)
{
	REQUIRE_BACKEND(variant);
	self->name = channel_name(variant->prefix);
	ASSERT_EQ(0, tribuf_open_producer(&self->p, self->name, SLOT));
	ASSERT_EQ(0, tribuf_open_consumer(&self->c, self->name));
	self->room = empty_room();
	ASSERT_NE(MAP_FAILED, self->room);
	ASSERT_EQ(0, tribuf_window_size(self->p, &self->window));
}

FIXTURE_TEARDOWN(lib_window)
{
	tribuf_close(self->p);
	tribuf_close(self->c);
}

static uint32_t *word_in(unsigned char *window)
{
	return (uint32_t *)window;
}

/* Publish @bytes bytes in the window alone, as another language would. */
static void publish_in(unsigned char *window, uint64_t bytes)
{
	struct tribuf_frames *frames = (void *)(window + TRIBUF_PAGE_FRAMES * page_size());
	uint32_t word = __atomic_load_n(word_in(window), __ATOMIC_ACQUIRE);
	struct tribuf_desc *desc = &frames->desc[tribuf_word_back(word)];

	desc->generation = tribuf_generation_begin(desc->generation);
	desc->bytes = bytes;
	desc->seq = frames->desc[tribuf_word_newest(word)].seq + 1;
	desc->generation = tribuf_generation_publish(desc->generation);
	while (!__atomic_compare_exchange_n(word_in(window), &word, tribuf_word_publish(word), 0,
					    __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
		;
}

TEST_F(lib_window, shows_the_same_pages)
{
	struct tribuf_frame frame, taken;
	unsigned char *slot;

	ASSERT_EQ(0, tribuf_window_map(self->p, self->room, WINDOW));
	ASSERT_EQ(0, tribuf_begin(self->p, &frame));
	slot = self->room + self->window.slots + frame.slot * self->p->slot_stride;
	memset(slot, 0x5a, SLOT);
	EXPECT_EQ(0x5a, ((unsigned char *)frame.data)[SLOT - 1]);
	ASSERT_EQ(0, tribuf_publish(self->p, &frame));
	ASSERT_EQ(1, tribuf_acquire(self->c, &taken));
	EXPECT_EQ(0, memcmp(taken.data, slot, SLOT));
}

TEST_F(lib_window, shows_small_slots_where_they_are)
{
	struct tribuf_window window;
	char name[TRIBUF_NAME_SIZE + 8];
	struct tribuf_frame frame, taken;
	struct tribuf *p, *c;

	snprintf(name, sizeof(name), "%s.small", self->name);
	ASSERT_EQ(0, tribuf_open_producer(&p, name, 8));
	ASSERT_EQ(0, tribuf_open_consumer(&c, name));
	ASSERT_EQ(0, tribuf_window_size(p, &window));
	EXPECT_GT(self->window.bytes, window.bytes);
	ASSERT_EQ(0, tribuf_window_map(p, self->room, window.bytes));
	ASSERT_EQ(0, tribuf_begin(p, &frame));
	memset(self->room + window.slots + frame.slot * p->slot_stride, 0x5a, 8);
	EXPECT_EQ(0x5a, ((unsigned char *)frame.data)[7]);
	ASSERT_EQ(0, tribuf_publish(p, &frame));
	ASSERT_EQ(1, tribuf_acquire(c, &taken));
	EXPECT_EQ(0x5a, ((unsigned char *)taken.data)[7]);
	EXPECT_EQ(0, tribuf_window_unmap(p, self->room));
	tribuf_close(c);
	tribuf_close(p);
}

TEST_F(lib_window, swaps_there_are_seen_by_peers_and_resumed_by_the_handle)
{
	struct tribuf_frame frame;

	ASSERT_EQ(0, tribuf_window_map(self->p, self->room, WINDOW));
	EXPECT_EQ(0, tribuf_resume(self->p));
	publish_in(self->room, 100);
	ASSERT_EQ(1, tribuf_acquire(self->c, &frame));
	EXPECT_EQ(1, frame.seq);
	EXPECT_EQ(100, frame.bytes);
	EXPECT_EQ(1, tribuf_resume(self->p));
	EXPECT_EQ(0, tribuf_resume(self->p));
	EXPECT_EQ(2, lib_publish(self->p));
	/* Three swaps bring the slot back: the number tells. */
	publish_in(self->room, 1);
	publish_in(self->room, 1);
	publish_in(self->room, 1);
	EXPECT_EQ(1, tribuf_resume(self->p));
	EXPECT_EQ(6, lib_publish(self->p));
}

TEST_F(lib_window, consumer_resumes_too)
{
	struct tribuf_frame frame;
	struct tribuf_gen_index reference = { 0 };
	uint32_t word;
	void *data;

	ASSERT_EQ(0, tribuf_window_map(self->c, self->room, WINDOW));
	ASSERT_EQ(1, lib_publish(self->p));
	ASSERT_EQ(1, tribuf_acquire(self->c, &frame));
	ASSERT_EQ(0, tribuf_ref(self->c, frame.data, &reference));
	EXPECT_EQ(0, tribuf_resume(self->c));
	EXPECT_EQ(0, tribuf_deref(self->c, reference, 1, &data));
	ASSERT_EQ(2, lib_publish(self->p));
	word = __atomic_load_n(word_in(self->room), __ATOMIC_RELAXED);
	__atomic_store_n(word_in(self->room), tribuf_word_acquire(word), __ATOMIC_RELAXED);
	EXPECT_EQ(1, tribuf_resume(self->c));
	EXPECT_EQ(-ESTALE, tribuf_deref(self->c, reference, 1, &data));
	EXPECT_EQ(0, tribuf_acquire(self->c, &frame));
	ASSERT_EQ(3, lib_publish(self->p));
	EXPECT_EQ(1, tribuf_acquire(self->c, &frame));
	EXPECT_EQ(3, frame.seq);
}

TEST_F(lib_window, has_the_rights_of_the_role)
{
	unsigned char *descriptors = self->room + TRIBUF_PAGE_FRAMES * page_size();

	ASSERT_EQ(0, tribuf_window_map(self->c, self->room, WINDOW));
	EXPECT_EQ(0, touch(self->room + 3, true));
	EXPECT_EQ(SIGSEGV, touch(descriptors, true));
	EXPECT_EQ(SIGSEGV, touch(self->room + self->window.slots, true));
	EXPECT_EQ(0, touch(self->room + self->window.slots + SLOT - 1, false));
	ASSERT_EQ(0, tribuf_window_map(self->p, self->room, WINDOW));
	EXPECT_EQ(0, touch(descriptors + 4095, true));
	EXPECT_EQ(0, touch(self->room + self->window.slots, true));
	EXPECT_EQ(SIGSEGV, touch(self->room + TRIBUF_PAGE_GEOMETRY * page_size(), true));
}

TEST_F(lib_window, leaves_what_is_between_its_pages)
{
	const size_t metadata = TRIBUF_META_PAGES * page_size();
	struct tribuf_window window;
	struct tribuf *odd;
	unsigned char *room = empty_room();

	created_kind = 0;	/* of shm, in each variant */
	ASSERT_EQ(0, open_as(&odd, "shm:odd-window", TRIBUF_PRODUCER, TRIBUF_CREATE, 100));
	memset(room, 0x77, WINDOW);
	ASSERT_EQ(0, tribuf_window_size(odd, &window));
	ASSERT_EQ(0, tribuf_window_map(odd, room, WINDOW));
	EXPECT_EQ(window.slots > metadata ? 0x77 : 0, room[metadata]);
	EXPECT_EQ(0x77, room[WINDOW - 1]);
	tribuf_close(odd);
}

TEST_F(lib_window, taken_away_reads_as_zeros_even_after_close)
{
	ASSERT_EQ(0, tribuf_window_map(self->p, self->room, WINDOW));
	memset(self->room + self->window.slots, 1, SLOT);
	ASSERT_EQ(0, tribuf_window_unmap(self->p, self->room));
	tribuf_close(self->p);
	self->p = NULL;
	EXPECT_EQ(0, self->room[self->window.slots]);
	EXPECT_EQ(0, *word_in(self->room));
	EXPECT_EQ(0, touch(self->room + self->window.slots, true));
}

TEST_F(lib_window, refuses_what_cannot_be)
{
	struct tribuf_window window;
	struct tribuf *other;

	EXPECT_EQ(-EINVAL, tribuf_window_map(self->p, self->room + 8, WINDOW - 8));
	EXPECT_EQ(-ENOSPC, tribuf_window_map(self->p, self->room, self->window.bytes - 1));
	EXPECT_EQ(0, *word_in(self->room));
	ASSERT_EQ(0, open_as(&other, self->name, TRIBUF_KEEPER, 0, 0));
	EXPECT_EQ(-EACCES, tribuf_window_size(other, &window));
	EXPECT_EQ(-EACCES, tribuf_resume(other));
	tribuf_close(other);
	ASSERT_EQ(0, open_as(&other, self->name, TRIBUF_OBSERVER, 0, 0));
	EXPECT_EQ(0, tribuf_window_map(other, self->room, WINDOW));
	EXPECT_EQ(-EACCES, tribuf_resume(other));
	EXPECT_EQ(0, tribuf_window_unmap(other, self->room));
	tribuf_close(other);
}

TEST_F(lib_window, spoilt_word_is_not_resumed)
{
	ASSERT_EQ(0, tribuf_window_map(self->c, self->room, WINDOW));
	__atomic_store_n(word_in(self->room), 0, __ATOMIC_RELAXED);
	EXPECT_EQ(-EPROTO, tribuf_resume(self->c));
	EXPECT_EQ(-EPROTO, tribuf_resume(self->p));
	__atomic_store_n(word_in(self->room), TRIBUF_WORD_INIT, __ATOMIC_RELAXED);
}

TEST_F(lib_window, waits_for_geometry)
{
	struct tribuf *early, *creator;
	struct tribuf_window window;
	char name[TRIBUF_NAME_SIZE];

	snprintf(name, sizeof(name), "%s-early", variant->prefix[0] ? "shm:window" : "window");
	ASSERT_EQ(0, tribuf_open_consumer(&early, name));
	EXPECT_EQ(-EAGAIN, tribuf_window_size(early, &window));
	EXPECT_EQ(-EAGAIN, tribuf_resume(early));
	ASSERT_EQ(0, tribuf_open_producer(&creator, name, SLOT));
	EXPECT_EQ(0, tribuf_window_size(early, &window));
	EXPECT_EQ(0, tribuf_window_map(early, self->room, WINDOW));
	tribuf_close(creator);
	tribuf_close(early);
}

/* ---- sleeping on a futex ---- */

static void *publish_soon(void *t)
{
	sleep_ms(50);
	lib_publish(t);
	return NULL;
}

TEST_F(lib_window, armed_sleeper_is_woken_on_its_futex)
{
	struct timespec limit = { .tv_sec = 10 };
	uint32_t *futex = NULL, value = 0;
	pthread_t thread;
	uint64_t began;

	if (on_device(variant)) {
		EXPECT_EQ(-ENOTSUP, tribuf_arm(self->c, TRIBUF_READY, &futex, &value));
		return;
	}
	EXPECT_EQ(-EINVAL, tribuf_arm(self->c, 0, &futex, &value));
	ASSERT_EQ(0, tribuf_arm(self->c, TRIBUF_READY, &futex, &value));
	ASSERT_NE(NULL, futex);
	began = now();
	ASSERT_EQ(0, pthread_create(&thread, NULL, publish_soon, self->p));
	EXPECT_EQ(0, syscall(SYS_futex, futex, FUTEX_WAIT, value, &limit, NULL, 0));
	EXPECT_LT(now() - began, 5 * NS_PER_S);
	EXPECT_EQ(TRIBUF_READY, tribuf_arm(self->c, TRIBUF_READY, &futex, &value));
	ASSERT_EQ(0, pthread_join(thread, NULL));
	/* What came after arming has changed the word: nobody sleeps on it. */
	ASSERT_EQ(0, tribuf_arm(self->p, TRIBUF_PEER_GONE, &futex, &value));
	ASSERT_EQ(2, lib_publish(self->p));
	EXPECT_EQ(-1, syscall(SYS_futex, futex, FUTEX_WAIT, value, &limit, NULL, 0));
}

TEST_HARNESS_MAIN
