// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
// The swaps in JavaScript alone, by Atomics on a channel's memory: for threads that
// were posted channel.window() and have no handle. The transitions are those of
// linux/tribuf.h, the numbers come from it.
import os from 'node:os';
import { checkInteger, failure, toU64 } from './errors.js';
import { layout } from './native.js';

const { SLOT_MASK, MIDDLE_SHIFT, FRONT_SHIFT, FRESH, ARMED, WATCHED, PACED, COUNT_ONE } = layout;

// Code that is still interpreted takes a microsecond between its look at the word and
// its exchange, in which a fast peer swaps many times: the 64 tries of compiled code
// would not do. These end within 100 ms.
const TRIES = 1 << 16;		// TRIBUF_USER_TRIES
const DESC = layout.desc / 4;
const field = name => layout[`desc_${name}`] / 4;
const GENERATION = field('generation'), FLAGS = field('flags'), SEQ = field('seq'), BYTES = field('bytes'),
	TIMESTAMP = field('timestamp'), COOKIE = field('cookie'), FORMAT = field('format');
const HIGH = 0x100000000;

export const back = word => word & SLOT_MASK;
export const middle = word => word >>> MIDDLE_SHIFT & SLOT_MASK;
export const front = word => word >>> FRONT_SHIFT & SLOT_MASK;
export const newest = word => word & FRESH ? middle(word) : front(word);

export function publishWord(word) {
	const differ = (word ^ word >>> MIDDLE_SHIFT) & SLOT_MASK;
	return ((word ^ (differ | differ << MIDDLE_SHIFT)) | FRESH) + COUNT_ONE | 0;
}

export function acquireWord(word) {
	const differ = (word >>> MIDDLE_SHIFT ^ word >>> FRONT_SHIFT) & SLOT_MASK;
	return (word ^ (differ << MIDDLE_SHIFT | differ << FRONT_SHIFT)) & ~FRESH;
}

// By bits 5:0 of a word: is it one of the six permutations?
const VALID = Uint8Array.from({ length: 64 }, (_, slots) => new Set([back(slots), middle(slots), front(slots), 3]).size === 4 ? 1 : 0);
const valid = word => VALID[word & 63] === 1;

const nobody = () => {};

export class Swap {
	word;
	#frames;		// Int32Array: descriptors
	#times;			// BigUint64Array: the same
	#overwritten;		// Int32Array: low, high
	#format;
	#slots;			// a Uint8Array each
	#slot;			// in hand: back or front
	#guess;			// producer: the word, if the consumer did the usual
	#seq;			// of the newest frame, 64 bits
	#seqHigh;
	#produces;
	#ring;
	#forwarded;		// channel.forward() waits for us to have taken what it told of

	constructor({ role, memory, offset = 0, slots, slotStride, slotSize }, { ring = nobody, forwarded = false } = {}) {
		if (role !== 'producer' && role !== 'consumer')
			throw failure('EACCES', `a window of role '${String(role)}' is not one to swap in`);
		// A 64-bit field is two of 32 here, low and high.
		if (os.endianness() !== 'LE')
			throw failure('ENOTSUP', 'Swap is for little-endian machines: use channel.begin() and channel.acquire() on this one');
		this.#produces = role === 'producer';
		this.word = new Int32Array(memory, offset + layout.state, 1);
		this.#frames = new Int32Array(memory, offset + layout.frames, layout.SLOTS * DESC);
		this.#times = new BigUint64Array(memory, offset + layout.frames, layout.SLOTS * DESC / 2);
		this.#overwritten = new Int32Array(memory, offset + layout.frames + layout.frames_overwritten, 2);
		this.#format = new Int32Array(memory, offset + layout.frames + layout.frames_format_version, 1);
		this.#slots = [0, 1, 2].map(i => new Uint8Array(memory, offset + slots + i * slotStride, slotSize));
		this.#ring = ring;
		this.#forwarded = forwarded;
		const word = Atomics.load(this.word, 0);
		if (!valid(word))
			throw failure('EPROTO', 'the state word makes no sense: is the channel still open?');
		this.#slot = this.#produces ? back(word) : front(word);
		this.#guess = word;
		this.#seq = this.#frames[newest(word) * DESC + SEQ];
		this.#seqHigh = this.#frames[newest(word) * DESC + SEQ + 1];
	}

	// 64 bits; most are less than 32.
	#number(place) {
		const low = this.#frames[place] >>> 0, high = this.#frames[place + 1];
		return high === 0 ? low : low + (high >>> 0) * HIGH;
	}

	#checkRole(produces) {
		if (this.#produces !== produces)
			throw failure('EACCES', `the window is a ${produces ? 'consumer' : 'producer'}'s`);
	}

	#refuse(bytes) {
		checkInteger(bytes, 'bytes');
		throw failure('EMSGSIZE', `a frame of ${bytes} bytes does not fit into a slot of ${this.#slots[0].length}`, RangeError);
	}

	#check(word, slot) {
		if (!valid(word) || slot !== this.#slot)
			throw failure('EPROTO', 'somebody else has swapped, or spoilt the state word: make a new Swap');
	}

	// Where to write the next frame; references into what was there are stale.
	begin() {
		this.#checkRole(true);
		const frames = this.#frames, desc = this.#slot * DESC;
		Atomics.store(frames, desc + GENERATION, frames[desc + GENERATION] | 1);
		// Odd before the first byte of the frame. On arm64 a store by Atomics is ordered
		// after what is before it alone, a load before what is after it.
		Atomics.load(frames, desc + GENERATION);
		return this.#slots[this.#slot];
	}

	publish(bytes, timestamp = 0) {
		this.#checkRole(true);
		if (!(Number.isInteger(bytes) && bytes >= 0 && bytes <= this.#slots[this.#slot].length))
			this.#refuse(bytes);
		const time = timestamp === 0 ? 0n : toU64(timestamp, 'timestamp');
		const frames = this.#frames, desc = this.#slot * DESC;
		this.#seq = this.#seq + 1 | 0;
		if (this.#seq === 0)
			this.#seqHigh++;
		frames[desc + FLAGS] = 0;
		frames[desc + SEQ] = this.#seq;
		frames[desc + SEQ + 1] = this.#seqHigh;
		frames[desc + BYTES] = bytes;
		frames[desc + BYTES + 1] = 0;		// no memory here has 4 GiB
		this.#times[(desc + TIMESTAMP) / 2] = time;
		frames[desc + COOKIE] = frames[desc + COOKIE + 1] = 0;
		frames[desc + FORMAT] = this.#format[0];
		// All of that before it is even: who copies a frame without a swap looks at this alone.
		Atomics.store(frames, desc + GENERATION, (frames[desc + GENERATION] | 1) + 1);
		// The exchange releases it, too. The word is guessed, not loaded; a guess comes
		// from a word that was checked, by a valid step.
		let old = this.#guess;
		for (let tries = 0; tries < TRIES; tries++) {
			const left = publishWord(old), found = Atomics.compareExchange(this.word, 0, old, left);
			if (found === old)
				return this.#published(old, left);
			this.#check(found, back(found));
			old = found;
		}
		throw failure('EPROTO', 'a peer rewrites the state word without end');
	}

	#published(old, left) {
		// The consumer takes this frame if it took the last; who was rung for is up.
		this.#guess = old & FRESH ? left & ~WATCHED : acquireWord(left) & ~(ARMED | WATCHED | PACED);
		this.#slot = middle(old);
		if (old & FRESH && ++this.#overwritten[0] === 0)
			this.#overwritten[1]++;
		if (old & WATCHED || (old & (FRESH | ARMED)) === ARMED)
			this.#ring();
		return (old & FRESH) !== 0;
	}

	// The newest frame, or null: { seq, generation, bytes, timestamp, data }.
	acquire() {
		this.#checkRole(false);
		let old = Atomics.load(this.word, 0);
		for (let tries = 0; tries < TRIES; tries++) {
			this.#check(old, front(old));
			if (!(old & FRESH))
				return null;
			const found = Atomics.compareExchange(this.word, 0, old, acquireWord(old));
			if (found === old)
				return this.#acquired(old);
			old = found;
		}
		throw failure('EPROTO', 'a peer rewrites the state word without end');
	}

	#acquired(old) {
		const slot = this.#slot = middle(old), desc = slot * DESC;
		if (old & PACED)
			this.#ring();
		if (this.#forwarded)
			Atomics.notify(this.word, 0);
		const bytes = this.#number(desc + BYTES);
		if (bytes > this.#slots[slot].length)
			throw failure('EPROTO', 'the frame claims more bytes than its slot has: mistrust its producer');
		return {
			seq: this.#number(desc + SEQ),
			generation: this.#frames[desc + GENERATION] >>> 0,
			bytes,
			timestamp: this.#number(desc + TIMESTAMP),
			data: this.#slots[slot],
		};
	}
}
