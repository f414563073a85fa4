// SPDX-License-Identifier: GPL-2.0-only
/*
 * KUnit tests of what needs no hardware and no user space: the state word's
 * transitions, generations, places of slots, accounting, names, and roles and
 * frames from handle to handle. Built in with TRIBUF_KUNIT=y and run when the
 * module is loaded: in a second under ARCH=um (selftests/kunit), in the debug
 * kernel, on any kernel that has KUnit. Knows the module by channel.h alone.
 */
#include <kunit/test.h>
#include <linux/sizes.h>

#include "channel.h"

/* ---- the state word: every permutation with every flag, at both ends of the count ---- */

/* From one valid word to the next: all flags with counts of 0 and of the last one. */
static bool next_word(u32 *word)
{
	do {
		*word = *word == 0x3ff ? 0xfffffc00 : *word + 1;
	} while (*word && !tribuf_word_valid(*word));
	return *word;
}

static void word_permutations(struct kunit *test)
{
	unsigned int bits, valid = 0;

	for (bits = 0; bits <= TRIBUF_SLOTS_MASK; bits++) {
		u32 back = tribuf_word_back(bits);
		u32 middle = tribuf_word_middle(bits);
		u32 front = tribuf_word_front(bits);
		bool permutation = back < TRIBUF_SLOTS && middle < TRIBUF_SLOTS &&
				   front < TRIBUF_SLOTS && back != middle && back != front &&
				   middle != front;

		KUNIT_EXPECT_EQ(test, permutation, !!tribuf_word_valid(bits));
		valid += permutation;
	}
	KUNIT_EXPECT_EQ(test, valid, 6u);
	KUNIT_EXPECT_TRUE(test, tribuf_word_valid(TRIBUF_WORD_INIT));
}

static void word_publish(struct kunit *test)
{
	const u32 sleepers = TRIBUF_ARMED | TRIBUF_WATCHED | TRIBUF_PACED;
	u32 word = 0;

	while (next_word(&word)) {
		u32 new = tribuf_word_publish(word);

		KUNIT_ASSERT_EQ(test, tribuf_word_back(new), tribuf_word_middle(word));
		KUNIT_ASSERT_EQ(test, tribuf_word_middle(new), tribuf_word_back(word));
		KUNIT_ASSERT_EQ(test, tribuf_word_front(new), tribuf_word_front(word));
		KUNIT_ASSERT_TRUE(test, new & TRIBUF_FRESH);
		KUNIT_ASSERT_EQ(test, new & sleepers, word & sleepers);
		KUNIT_ASSERT_EQ(test, tribuf_word_count(new),
				(tribuf_word_count(word) + 1) & (BIT(22) - 1));
		KUNIT_ASSERT_EQ(test, tribuf_word_newest(new), tribuf_word_back(word));
	}
}

static void word_acquire(struct kunit *test)
{
	u32 word = 0;

	while (next_word(&word)) {
		u32 new;

		if (!(word & TRIBUF_FRESH))
			continue;
		new = tribuf_word_acquire(word);
		KUNIT_ASSERT_EQ(test, tribuf_word_front(new), tribuf_word_middle(word));
		KUNIT_ASSERT_EQ(test, tribuf_word_middle(new), tribuf_word_front(word));
		KUNIT_ASSERT_EQ(test, tribuf_word_back(new), tribuf_word_back(word));
		KUNIT_ASSERT_EQ(test, new >> 6, word >> 6 & ~1u);
		KUNIT_ASSERT_EQ(test, tribuf_word_newest(new), tribuf_word_newest(word));
		/* Given back by redeliver, it is as it was. */
		KUNIT_ASSERT_EQ(test, tribuf_word_redeliver(new), word);
	}
}

static void word_rings(struct kunit *test)
{
	u32 word = 0;

	while (next_word(&word)) {
		bool sleeper = word & TRIBUF_ARMED && !(word & TRIBUF_FRESH);

		KUNIT_ASSERT_EQ(test, !!tribuf_publish_rings(word),
				sleeper || word & TRIBUF_WATCHED);
		KUNIT_ASSERT_EQ(test, !!tribuf_acquire_rings(word), !!(word & TRIBUF_PACED));
	}
}

static void generations(struct kunit *test)
{
	static const u32 some[] = { 0, 1, 2, 3, 0x7ffffffe, 0x7fffffff, 0x80000000, 0x80000001,
				    0xfffffffd, 0xfffffffe, 0xffffffff };
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(some); i++) {
		u32 begun = tribuf_generation_begin(some[i]);
		u32 published = tribuf_generation_publish(some[i]);
		u32 taken = tribuf_generation_takeover(some[i]);

		KUNIT_EXPECT_EQ(test, begun, some[i] & 1 ? some[i] : some[i] + 1);
		KUNIT_EXPECT_EQ(test, tribuf_generation_begin(begun), begun);
		KUNIT_EXPECT_EQ(test, published, begun + 1);
		KUNIT_EXPECT_EQ(test, tribuf_generation_publish(begun), published);
		/* Odd, and never one that a predecessor may have begun. */
		KUNIT_EXPECT_TRUE(test, taken & 1);
		KUNIT_EXPECT_EQ(test, taken - some[i], some[i] & 1 ? 2u : 1u);
	}
}

/* ---- places, memory, accounts ---- */

static void strides(struct kunit *test)
{
	static const struct {
		u64 size, stride, offset;
	} want[] = {
		{ 1, PAGE_SIZE, 3 * PAGE_SIZE },
		{ PAGE_SIZE, PAGE_SIZE, 3 * PAGE_SIZE },
		{ PAGE_SIZE + 1, 2 * PAGE_SIZE, 3 * PAGE_SIZE },
		{ SZ_2M - PAGE_SIZE, SZ_2M - PAGE_SIZE, 3 * PAGE_SIZE },
		{ SZ_2M - 1, SZ_2M, 3 * PAGE_SIZE },
		{ SZ_2M, SZ_2M, SZ_2M },
		{ SZ_2M + 1, 2 * SZ_2M, SZ_2M },
		{ SZ_1G, SZ_1G, SZ_2M },
	};
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(want); i++) {
		KUNIT_EXPECT_EQ(test, tribuf_slot_stride(want[i].size), want[i].stride);
		KUNIT_EXPECT_EQ(test, tribuf_slots_offset(want[i].size), want[i].offset);
	}
}

static void slots_are_counted(struct kunit *test)
{
	long before = atomic_long_read(&tribuf_pages_live);
	struct tribuf_slots *slots;

	KUNIT_EXPECT_EQ(test, PTR_ERR(tribuf_slots_alloc(0, 8, false)), -EINVAL);
	KUNIT_EXPECT_EQ(test, PTR_ERR(tribuf_slots_alloc(U64_MAX, 8, false)), -EFBIG);
	KUNIT_EXPECT_EQ(test, PTR_ERR(tribuf_slots_alloc(tribuf_channel_bytes_max, 8, false)),
			-EFBIG);
	KUNIT_EXPECT_EQ(test, atomic_long_read(&tribuf_pages_live), before);

	slots = tribuf_slots_alloc(5 * PAGE_SIZE + 1, 8, true);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, slots);
	KUNIT_EXPECT_EQ(test, slots->slot_pages, 6ul);
	KUNIT_EXPECT_EQ(test, atomic_long_read(&tribuf_pages_live), before + 18);
	/* Too small for a 2 MiB entry. */
	KUNIT_EXPECT_FALSE(test, tribuf_slots_contiguous(slots, 0, 0));
	tribuf_slots_free(slots);
	KUNIT_EXPECT_EQ(test, atomic_long_read(&tribuf_pages_live), before);
}

/* Small slots have no pages, and no region to map; guarded ones are never small. */
static void small_slots_lie_in_descriptors(struct kunit *test)
{
	static const struct {
		u64 size;
		u32 granule;
		bool guarded;
		unsigned long pages;
	} want[] = {
		{ 1, 8, false, 0 },
		{ TRIBUF_SMALL_BYTES, 8, false, 0 },
		{ TRIBUF_SMALL_BYTES, sizeof(struct tribuf_desc), false, 0 },
		{ TRIBUF_SMALL_BYTES + 1, 8, false, 1 },
		{ 1, 2 * sizeof(struct tribuf_desc), false, 1 },
		{ 1, 8, true, 1 },
	};
	long before = atomic_long_read(&tribuf_pages_live);
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(want); i++) {
		struct tribuf_slots *slots = tribuf_slots_alloc(want[i].size, want[i].granule,
								want[i].guarded);

		KUNIT_ASSERT_NOT_ERR_OR_NULL(test, slots);
		KUNIT_EXPECT_EQ(test, slots->slot_pages, want[i].pages);
		KUNIT_EXPECT_EQ(test, atomic_long_read(&tribuf_pages_live),
				before + TRIBUF_SLOTS * (long)want[i].pages);
		tribuf_slots_free(slots);
	}
	KUNIT_EXPECT_EQ(test, atomic_long_read(&tribuf_pages_live), before);
}

static void accounts(struct kunit *test)
{
	struct tribuf_charge *first = tribuf_charge(PAGE_SIZE, 1);
	struct tribuf_charge *second;

	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, first);
	KUNIT_EXPECT_EQ(test, PTR_ERR(tribuf_charge(U64_MAX / 2, 0)), -ENOSPC);
	KUNIT_EXPECT_EQ(test, PTR_ERR(tribuf_charge(0, UINT_MAX / 2)), -ENOSPC);
	/* What was refused has left nothing: much less still fits, twice. */
	second = tribuf_charge(PAGE_SIZE, 1);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, second);
	tribuf_uncharge(first);
	first = tribuf_charge(PAGE_SIZE, 1);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, first);
	tribuf_uncharge(second);
	tribuf_uncharge(first);
}

/* ---- handles, without the files that user space would hold ---- */

#define SLOT	(2 * PAGE_SIZE)

struct counters {
	long handles, channels, pages;
};

static struct counters counters_now(void)
{
	return (struct counters){ atomic_long_read(&tribuf_handles_live),
				  atomic_long_read(&tribuf_channels_live),
				  atomic_long_read(&tribuf_pages_live) };
}

static void expect_nothing_left(struct kunit *test, struct counters before)
{
	KUNIT_EXPECT_EQ(test, atomic_long_read(&tribuf_handles_live), before.handles);
	KUNIT_EXPECT_EQ(test, atomic_long_read(&tribuf_channels_live), before.channels);
	KUNIT_EXPECT_EQ(test, atomic_long_read(&tribuf_pages_live), before.pages);
}

static struct file *handle_open(struct kunit *test)
{
	struct file *file = kunit_kzalloc(test, sizeof(*file), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, file);
	file->f_mode = FMODE_READ | FMODE_WRITE;
	KUNIT_ASSERT_EQ(test, tribuf_open(NULL, file), 0);
	return file;
}

static void handle_close(struct file *file)
{
	tribuf_release(NULL, file);
}

static struct tribuf_attach_args attach_args(u32 role, u32 flags)
{
	return (struct tribuf_attach_args){
		.size = sizeof(struct tribuf_attach_args),
		.flags = flags,
		.role = role,
		.layout = TRIBUF_LAYOUT_VERSION,
		.name = "kunit",
		.fd = -1,
		.mode = 0600,
		.slot_size = flags & TRIBUF_CREATE ? SLOT : 0,
	};
}

static long join(struct file *file, u32 role, u32 flags)
{
	struct tribuf_attach_args args = attach_args(role, flags);

	return tribuf_attach(file, &args);
}

static struct file *joined(struct kunit *test, u32 role, u32 flags)
{
	struct file *file = handle_open(test);

	KUNIT_ASSERT_EQ(test, join(file, role, flags), 0);
	return file;
}

static struct tribuf_channel *channel_of(struct file *file)
{
	return tribuf_channel_of(file->private_data);
}

static long publish(struct file *file, u64 bytes, u64 *seq)
{
	struct tribuf_publish_args args = { .size = sizeof(args), .bytes = bytes };
	long err = tribuf_publish(file->private_data, &args);

	if (seq)
		*seq = args.seq;
	return err;
}

static int take(struct file *file, struct tribuf_acquired *frame)
{
	struct tribuf_acquired own;

	return tribuf_take(file->private_data, frame ?: &own);
}

#define TEN	"1234567890"

static void names(struct kunit *test)
{
	static const struct {
		const char *name;
		long err;
	} want[] = {
		{ "a", -ENOENT }, { "kunit.none", -ENOENT }, { "\xc3\xa4", -ENOENT },
		{ "...", -ENOENT },
		{ "", -EINVAL }, { ".", -EINVAL }, { "..", -EINVAL }, { "a/b", -EINVAL },
		{ "a b", -EINVAL }, { "a\n", -EINVAL }, { "\x7f", -EINVAL }, { "\x01", -EINVAL },
		{ TEN TEN TEN TEN TEN TEN "123", -ENOENT },
		{ TEN TEN TEN TEN TEN TEN "1234", -ENAMETOOLONG },
	};
	struct counters before = counters_now();
	struct file *file = handle_open(test);
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(want); i++) {
		struct tribuf_attach_args args = attach_args(TRIBUF_KEEPER, 0);

		memset(args.name, 0, sizeof(args.name));
		memcpy(args.name, want[i].name, strlen(want[i].name));
		KUNIT_EXPECT_EQ_MSG(test, tribuf_attach(file, &args), want[i].err, "'%s'",
				    want[i].name);
	}
	handle_close(file);
	expect_nothing_left(test, before);
}

/* Of what follows a name's NUL nothing counts: the name is the same. */
static void name_ends_at_its_nul(struct kunit *test)
{
	struct file *one = joined(test, TRIBUF_KEEPER, TRIBUF_CREATE);
	struct file *two = handle_open(test);
	struct tribuf_attach_args args = attach_args(TRIBUF_KEEPER, 0);

	memset(args.name + sizeof("kunit"), 'x', 8);
	KUNIT_EXPECT_EQ(test, tribuf_attach(two, &args), 0);
	KUNIT_EXPECT_PTR_EQ(test, channel_of(one), channel_of(two));
	handle_close(two);
	handle_close(one);
}

static void flags_that_do_not_go_together(struct kunit *test)
{
	static const struct {
		u32 role, flags;
	} refused[] = {
		{ TRIBUF_KEEPER, TRIBUF_EXCL },
		{ TRIBUF_KEEPER, TRIBUF_ANONYMOUS },
		{ TRIBUF_PRODUCER, TRIBUF_REPLACE },
		{ TRIBUF_CONSUMER, TRIBUF_REPLACE | TRIBUF_CREATE },
		{ TRIBUF_PRODUCER, TRIBUF_REPLACE | TRIBUF_CREATE | TRIBUF_EXCL },
		{ TRIBUF_KEEPER, TRIBUF_BY_FD | TRIBUF_CREATE },
		{ TRIBUF_KEEPER, TRIBUF_ATTACH_FLAGS + 1 },
		{ 0, TRIBUF_CREATE },
		{ TRIBUF_KEEPER + 1, TRIBUF_CREATE },
	};
	struct counters before = counters_now();
	struct file *file = handle_open(test);
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(refused); i++)
		KUNIT_EXPECT_EQ_MSG(test, join(file, refused[i].role, refused[i].flags), -EINVAL,
				    "role %u, flags %#x", refused[i].role, refused[i].flags);
	handle_close(file);
	expect_nothing_left(test, before);
}

static void roles_are_exclusive(struct kunit *test)
{
	struct counters before = counters_now();
	struct file *producer = joined(test, TRIBUF_PRODUCER, TRIBUF_CREATE);
	struct file *consumer = joined(test, TRIBUF_CONSUMER, 0);
	struct file *other = handle_open(test);

	KUNIT_EXPECT_EQ(test, join(producer, TRIBUF_KEEPER, 0), -EISCONN);
	KUNIT_EXPECT_EQ(test, join(other, TRIBUF_PRODUCER, 0), -EBUSY);
	KUNIT_EXPECT_EQ(test, join(other, TRIBUF_CONSUMER, 0), -EBUSY);
	KUNIT_EXPECT_EQ(test, join(other, TRIBUF_KEEPER, TRIBUF_CREATE | TRIBUF_EXCL), -EEXIST);
	handle_close(producer);
	KUNIT_EXPECT_EQ(test, join(other, TRIBUF_PRODUCER, 0), 0);
	KUNIT_EXPECT_EQ(test, channel_of(other)->geometry->producer_epoch, 2u);
	handle_close(other);
	handle_close(consumer);
	expect_nothing_left(test, before);
}

static void observers_are_limited(struct kunit *test)
{
	struct counters before = counters_now();
	struct file *observer[TRIBUF_OBSERVERS_MAX];
	struct file *keeper = joined(test, TRIBUF_KEEPER, TRIBUF_CREATE);
	struct file *over = handle_open(test);
	unsigned int i;

	for (i = 0; i < TRIBUF_OBSERVERS_MAX; i++)
		observer[i] = joined(test, TRIBUF_OBSERVER, 0);
	KUNIT_EXPECT_EQ(test, join(over, TRIBUF_OBSERVER, 0), -EBUSY);
	handle_close(observer[0]);
	KUNIT_EXPECT_EQ(test, join(over, TRIBUF_OBSERVER, 0), 0);
	for (i = 1; i < TRIBUF_OBSERVERS_MAX; i++)
		handle_close(observer[i]);
	handle_close(over);
	handle_close(keeper);
	expect_nothing_left(test, before);
}

static void frames_pass(struct kunit *test)
{
	struct counters before = counters_now();
	struct file *producer = joined(test, TRIBUF_PRODUCER, TRIBUF_CREATE);
	struct file *consumer = joined(test, TRIBUF_CONSUMER, 0);
	struct file *observer = joined(test, TRIBUF_OBSERVER, 0);
	struct tribuf_acquired frame;
	u64 seq;

	KUNIT_EXPECT_EQ(test, take(consumer, &frame), -EAGAIN);
	KUNIT_EXPECT_EQ(test, publish(producer, SLOT + 1, NULL), -EMSGSIZE);
	KUNIT_EXPECT_EQ(test, publish(producer, 7, &seq), 0);
	KUNIT_EXPECT_EQ(test, publish(producer, SLOT, &seq), 0);
	KUNIT_EXPECT_EQ(test, seq, 2ull);
	KUNIT_EXPECT_EQ(test, take(observer, &frame), 0);
	KUNIT_EXPECT_EQ(test, frame.desc.seq, 2ull);
	KUNIT_EXPECT_EQ(test, take(observer, &frame), -EAGAIN);
	KUNIT_EXPECT_EQ(test, take(consumer, &frame), 0);
	KUNIT_EXPECT_EQ(test, frame.desc.seq, 2ull);
	KUNIT_EXPECT_EQ(test, frame.desc.bytes, (u64)SLOT);
	KUNIT_EXPECT_FALSE(test, frame.desc.generation & 1);
	KUNIT_EXPECT_EQ(test, take(consumer, &frame), -EAGAIN);
	KUNIT_EXPECT_EQ(test, take(producer, &frame), -EACCES);
	KUNIT_EXPECT_EQ(test, publish(consumer, 1, NULL), -EACCES);
	KUNIT_EXPECT_EQ(test, channel_of(producer)->frames->overwritten, 1ull);
	handle_close(observer);
	handle_close(consumer);
	handle_close(producer);
	expect_nothing_left(test, before);
}

/* The successor of a consumer gets its last frame again, once. */
static void latest_is_redelivered(struct kunit *test)
{
	struct file *producer = joined(test, TRIBUF_PRODUCER, TRIBUF_CREATE);
	struct file *consumer = joined(test, TRIBUF_CONSUMER, TRIBUF_LATEST);
	struct tribuf_acquired first, again;

	KUNIT_EXPECT_EQ(test, take(consumer, &first), -EAGAIN);
	KUNIT_EXPECT_EQ(test, publish(producer, 7, NULL), 0);
	KUNIT_EXPECT_EQ(test, take(consumer, &first), 0);
	handle_close(consumer);
	consumer = joined(test, TRIBUF_CONSUMER, TRIBUF_LATEST);
	KUNIT_EXPECT_EQ(test, take(consumer, &again), 0);
	KUNIT_EXPECT_EQ(test, again.desc.seq, first.desc.seq);
	KUNIT_EXPECT_EQ(test, again.desc.generation, first.desc.generation);
	KUNIT_EXPECT_EQ(test, take(consumer, &again), -EAGAIN);
	handle_close(consumer);
	consumer = joined(test, TRIBUF_CONSUMER, 0);
	KUNIT_EXPECT_EQ(test, take(consumer, &again), -EAGAIN);
	handle_close(consumer);
	handle_close(producer);
}

/* A producer that died while writing lends its generation to nobody. */
static void takeover_begins_anew(struct kunit *test)
{
	struct file *keeper = joined(test, TRIBUF_KEEPER, TRIBUF_CREATE);
	struct file *producer = joined(test, TRIBUF_PRODUCER, 0);
	struct tribuf_channel *channel = channel_of(keeper);
	u32 back = tribuf_word_back(atomic_read(channel->word));
	u32 left = tribuf_generation_begin(channel->frames->desc[back].generation);

	channel->frames->desc[back].generation = left;
	channel->frames->format.version = 5;
	channel->frames->format.bytes = 100;
	handle_close(producer);
	producer = joined(test, TRIBUF_PRODUCER, 0);
	KUNIT_EXPECT_EQ(test, channel->frames->desc[back].generation, left + 2);
	KUNIT_EXPECT_EQ(test, channel->frames->format.version, 6u);
	KUNIT_EXPECT_EQ(test, channel->frames->format.bytes, 0u);
	handle_close(producer);
	handle_close(keeper);
}

static void spoilt_words_are_refused(struct kunit *test)
{
	struct counters before = counters_now();
	struct file *producer = joined(test, TRIBUF_PRODUCER, TRIBUF_CREATE);
	struct file *consumer = joined(test, TRIBUF_CONSUMER, 0);
	struct file *observer = joined(test, TRIBUF_OBSERVER, 0);
	struct tribuf_channel *channel = channel_of(producer);
	u32 bits;

	for (bits = 0; bits <= TRIBUF_SLOTS_MASK; bits++) {
		if (tribuf_word_valid(bits))
			continue;
		atomic_set(channel->word, bits | TRIBUF_FRESH);
		KUNIT_EXPECT_EQ(test, publish(producer, 1, NULL), -EPROTO);
		KUNIT_EXPECT_EQ(test, take(consumer, NULL), -EPROTO);
		KUNIT_EXPECT_EQ(test, take(observer, NULL), -EPROTO);
		KUNIT_EXPECT_EQ(test, tribuf_swap_redeliver(channel), -EPROTO);
		KUNIT_EXPECT_EQ(test, tribuf_newest_seq(channel, bits), 0ull);
		KUNIT_EXPECT_EQ(test, atomic_read(channel->word), (int)(bits | TRIBUF_FRESH));
	}
	handle_close(observer);
	handle_close(consumer);
	handle_close(producer);
	expect_nothing_left(test, before);
}

static void geometry_comes_later(struct kunit *test)
{
	struct counters before = counters_now();
	struct file *consumer = joined(test, TRIBUF_CONSUMER, TRIBUF_PENDING);
	struct file *producer;

	KUNIT_EXPECT_TRUE(test, tribuf_channel_state(channel_of(consumer)) & TRIBUF_STATE_PENDING);
	KUNIT_EXPECT_EQ(test, take(consumer, NULL), -EAGAIN);
	producer = joined(test, TRIBUF_PRODUCER, TRIBUF_CREATE);
	KUNIT_EXPECT_PTR_EQ(test, channel_of(consumer), channel_of(producer));
	KUNIT_EXPECT_FALSE(test, tribuf_channel_state(channel_of(consumer)) & TRIBUF_STATE_PENDING);
	KUNIT_EXPECT_EQ(test, publish(producer, 1, NULL), 0);
	KUNIT_EXPECT_EQ(test, take(consumer, NULL), 0);
	handle_close(producer);
	handle_close(consumer);
	expect_nothing_left(test, before);
}

/* Who is replaced is told so; who comes finds the new one. */
static void replaced_is_stale(struct kunit *test)
{
	struct counters before = counters_now();
	struct file *old = joined(test, TRIBUF_PRODUCER, TRIBUF_CREATE);
	struct file *new = joined(test, TRIBUF_PRODUCER, TRIBUF_CREATE | TRIBUF_REPLACE);
	struct file *consumer = joined(test, TRIBUF_CONSUMER, 0);

	KUNIT_EXPECT_EQ(test, publish(old, 1, NULL), -ESTALE);
	KUNIT_EXPECT_PTR_EQ(test, channel_of(consumer), channel_of(new));
	handle_close(old);
	KUNIT_EXPECT_EQ(test, publish(new, 1, NULL), 0);
	KUNIT_EXPECT_EQ(test, take(consumer, NULL), 0);
	handle_close(new);
	handle_close(consumer);
	expect_nothing_left(test, before);
}

static struct kunit_case tribuf_cases[] = {
	KUNIT_CASE(word_permutations),
	KUNIT_CASE(word_publish),
	KUNIT_CASE(word_acquire),
	KUNIT_CASE(word_rings),
	KUNIT_CASE(generations),
	KUNIT_CASE(strides),
	KUNIT_CASE(slots_are_counted),
	KUNIT_CASE(small_slots_lie_in_descriptors),
	KUNIT_CASE(accounts),
	KUNIT_CASE(names),
	KUNIT_CASE(name_ends_at_its_nul),
	KUNIT_CASE(flags_that_do_not_go_together),
	KUNIT_CASE(roles_are_exclusive),
	KUNIT_CASE(observers_are_limited),
	KUNIT_CASE(frames_pass),
	KUNIT_CASE(latest_is_redelivered),
	KUNIT_CASE(takeover_begins_anew),
	KUNIT_CASE(spoilt_words_are_refused),
	KUNIT_CASE(geometry_comes_later),
	KUNIT_CASE(replaced_is_stale),
	{}
};

/* Some kernels run the suites of a module before the module's own beginning. */
static int tribuf_suite_init(struct kunit_suite *suite)
{
	tribuf_account_init();
	return 0;
}

static struct kunit_suite tribuf_suite = {
	.name = "tribuf",
	.suite_init = tribuf_suite_init,
	.test_cases = tribuf_cases,
};

kunit_test_suite(tribuf_suite);
