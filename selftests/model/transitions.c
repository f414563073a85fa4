// SPDX-License-Identifier: GPL-2.0-only
/*
 * The transitions of linux/tribuf.h against their definition, spelled out slot by
 * slot: every pattern of the state word's low bits, whatever the count, and every
 * kind of generation. The model builds on these very functions. Says what is
 * wrong and exits 1, or says what was checked.
 */
#include <stdio.h>
#include <linux/tribuf.h>

#define LOW_WORDS	TRIBUF_COUNT_ONE
#define COUNT_MAX	(0xffffffffu >> TRIBUF_COUNT_SHIFT)
#define FLAGS		(TRIBUF_FRESH | TRIBUF_ARMED | TRIBUF_WATCHED | TRIBUF_PACED)

#define SHOWN		5	/* of the mistakes; all are counted */

static unsigned int mistakes;

static void expect(int holds, const char *what, __u32 value)
{
	if (holds)
		return;
	if (mistakes++ < SHOWN)
		printf("# %s does not hold for %#x\n", what, value);
}
#define EXPECT(condition, value) expect(condition, #condition, value)

static __u32 word_of(__u32 back, __u32 middle, __u32 front, __u32 flags, __u32 count)
{
	return back << TRIBUF_BACK_SHIFT | middle << TRIBUF_MIDDLE_SHIFT |
	       front << TRIBUF_FRONT_SHIFT | flags | count << TRIBUF_COUNT_SHIFT;
}

static void check_swaps(__u32 word)
{
	__u32 back = word & 3, middle = word >> 2 & 3, front = word >> 4 & 3;
	__u32 flags = word & FLAGS, count = word >> TRIBUF_COUNT_SHIFT;
	__u32 counted = count == COUNT_MAX ? 0 : count + 1;
	__u32 stale = flags & ~TRIBUF_FRESH, fresh = flags | TRIBUF_FRESH;

	EXPECT(tribuf_word_back(word) == back, word);
	EXPECT(tribuf_word_middle(word) == middle, word);
	EXPECT(tribuf_word_front(word) == front, word);
	EXPECT(tribuf_word_count(word) == count, word);
	EXPECT(tribuf_word_publish(word) == word_of(middle, back, front, fresh, counted), word);
	EXPECT(tribuf_word_swap_front(word) == word_of(back, front, middle, flags, count), word);
	if (word & TRIBUF_FRESH) {
		EXPECT(tribuf_word_newest(word) == middle, word);
		EXPECT(tribuf_word_acquire(word) == word_of(back, front, middle, stale, count),
		       word);
		EXPECT(tribuf_word_redeliver(tribuf_word_acquire(word)) == word, word);
	} else {
		EXPECT(tribuf_word_newest(word) == front, word);
		EXPECT(tribuf_word_redeliver(word) == word_of(back, front, middle, fresh, count),
		       word);
	}
}

static void check_predicates(__u32 word)
{
	int slots[4] = { 0 };
	int fresh = !!(word & TRIBUF_FRESH), armed = !!(word & TRIBUF_ARMED);
	int watched = !!(word & TRIBUF_WATCHED), paced = !!(word & TRIBUF_PACED);

	slots[word & 3]++;
	slots[word >> 2 & 3]++;
	slots[word >> 4 & 3]++;
	EXPECT(!!tribuf_word_valid(word) == (slots[0] && slots[1] && slots[2]), word);
	EXPECT(!!tribuf_publish_rings(word) == ((armed && !fresh) || watched), word);
	EXPECT(!!tribuf_acquire_rings(word) == paced, word);
}

/* Ahead by less than half of all values: greater, until it wraps. */
static int greater(__u32 a, __u32 b)
{
	return a != b && a - b < 0x80000000u;
}

static void check_generation(__u32 generation)
{
	__u32 begun = tribuf_generation_begin(generation);
	__u32 published = tribuf_generation_publish(generation);
	__u32 taken_over = tribuf_generation_takeover(generation);

	EXPECT(begun & 1 && begun - generation <= 1, generation);
	EXPECT(!(published & 1) && published == begun + 1, generation);
	EXPECT(taken_over & 1 && greater(taken_over, generation), generation);
	EXPECT(taken_over - generation <= 2, generation);
	EXPECT(greater(tribuf_generation_publish(taken_over), published) ||
	       !(generation & 1), generation);
}

int main(void)
{
	static const __u32 counts[] = { 0, 1, 2, COUNT_MAX / 2, COUNT_MAX - 1, COUNT_MAX };
	__u32 low, i;

	EXPECT(TRIBUF_WORD_INIT == word_of(0, 1, 2, 0, 0), TRIBUF_WORD_INIT);
	for (low = 0; low < LOW_WORDS; low++) {
		for (i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
			check_swaps(low | counts[i] << TRIBUF_COUNT_SHIFT);
			check_predicates(low | counts[i] << TRIBUF_COUNT_SHIFT);
		}
	}
	for (i = 0; i <= 0x10000; i++) {
		check_generation(i);
		check_generation(0x80000000u - 0x8000 + i);
		check_generation(0u - i);
	}
	printf("# %u words with %zu counts each, %u generations\n", LOW_WORDS,
	       sizeof(counts) / sizeof(counts[0]), 3 * 0x10001);
	if (mistakes)
		printf("# %u times something did not hold\n", mistakes);
	return mistakes ? 1 : 0;
}
