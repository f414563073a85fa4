// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * Frames that can be checked whole: each byte, and the length if frames are of
 * mixed sizes, derive from the frame's number. One torn word shows.
 */
#include <string.h>
#include "tool.h"

/* The cookie says what the producer was told: a mark, mixed or not, frame size. */
#define MARK		(0x7b1ull << 52)
#define MARK_MASK	(0xfffull << 52)
#define MIXED		(1ull << 51)
#define SIZE_MASK	(MIXED - 1)

#define STEP		0x9e3779b97f4a7c15ull

/* splitmix64: neighbouring numbers give unrelated words */
static uint64_t scramble(uint64_t x)
{
	x += STEP;
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ x >> 27) * 0x94d049bb133111ebull;
	return x ^ x >> 31;
}

uint64_t pattern_cookie(uint64_t frame_size, bool mixed)
{
	return MARK | (mixed ? MIXED : 0) | (frame_size & SIZE_MASK);
}

bool pattern_is(uint64_t cookie)
{
	return (cookie & MARK_MASK) == MARK && (cookie & SIZE_MASK);
}

uint64_t pattern_bytes(uint64_t seq, uint64_t cookie)
{
	uint64_t size = cookie & SIZE_MASK;

	return cookie & MIXED ? scramble(~seq) % size + 1 : size;
}

/* Words stand at multiples of 8 from the slot's start, so they are aligned. */
void pattern_fill(void *data, uint64_t bytes, uint64_t seq)
{
	uint64_t word = scramble(seq), *words = data;
	size_t i, whole = (size_t)(bytes / 8);

	for (i = 0; i < whole; i++, word += STEP)
		words[i] = word;
	memcpy(words + whole, &word, (size_t)(bytes % 8));
}

bool pattern_whole(const void *data, uint64_t bytes, uint64_t seq, uint64_t cookie)
{
	uint64_t word = scramble(seq), differ = 0;
	const uint64_t *words = data;
	size_t i, whole = (size_t)(bytes / 8);

	if (bytes != pattern_bytes(seq, cookie))
		return false;
	for (i = 0; i < whole; i++, word += STEP)
		differ |= words[i] ^ word;
	return !differ && !memcmp(words + whole, &word, (size_t)(bytes % 8));
}
