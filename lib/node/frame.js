// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
// Frames: what is in the slot in hand, for as long as it is.
import { checkInteger, failure, invalid, toBytes } from './errors.js';
import { native, layout } from './native.js';

const GENERATION = layout.desc_generation / 4;
const DESC = layout.desc / 4;

// Is the slot still the one in hand, by the state word? JavaScript or WebAssembly
// may have swapped through the channel's memory.
function stillInHand(handle, frame, shift) {
	if (!handle.hasMemory())
		return true;
	const slot = Atomics.load(handle.word, 0) >>> shift & layout.SLOT_MASK;
	return slot === frame.slot &&
		Atomics.load(handle.frames, slot * DESC + GENERATION) >>> 0 === frame.generation;
}

export class Frame {
	#handle;
	#turn;
	#own;		// an observer's copy; undefined: the slot itself
	#user;

	// Of the frame that the handle's record describes. Not for users.
	constructor(handle, own) {
		const { f64, u64, u32 } = handle;
		this.#handle = handle;
		this.#turn = handle.turn;
		this.#own = own;
		this.seq = f64[0];
		this.bytes = f64[1];
		this.timestamp = u64[0];
		this.cookie = u64[1];
		this.slot = u32[0];
		this.generation = u32[1];
		this.format = u32[2];
		this.flags = u32[3];
		this.#user = own ? handle.user.slice() : undefined;
	}

	get stale() {
		const handle = this.#handle;
		const shift = handle.role === layout.PRODUCER ? layout.BACK_SHIFT : layout.FRONT_SHIFT;
		return this.#own === undefined &&
			(handle.closed || this.#turn !== handle.turn || !stillInHand(handle, this, shift));
	}

	#check() {
		if (this.stale)
			throw failure('ESTALE', `frame ${this.seq} of '${this.#handle.name}' was given back: copy what is to be kept longer`);
	}

	view() {
		this.#check();
		return this.#own ?? new Uint8Array(this.#handle.slotBuffer(this.slot), 0, this.bytes);
	}

	copy(into) {
		if (typeof into === 'string')
			throw invalid('into', 'a typed array, a DataView or an ArrayBuffer');
		into = into === undefined ? new Uint8Array(this.bytes) : toBytes(into, 'into');
		if (into.length < this.bytes)
			throw failure('EMSGSIZE', `the frame has ${this.bytes} bytes, there is room for ${into.length}`, RangeError);
		const target = new Uint8Array(into.buffer, into.byteOffset, this.bytes);
		this.#check();
		if (this.#own || this.#handle.role === layout.PRODUCER)
			target.set(this.view());
		else
			native.copy(this.#handle.id, native.ref(this.#handle.id, this.slot, this.generation, 0), this.generation, target);
		return target;
	}

	get user() {
		this.#check();
		return this.#user ??= this.#handle.user.slice();
	}

	ref(offset = 0) {
		checkInteger(offset, 'offset');
		this.#handle.checkOpen();
		return {
			index: native.ref(this.#handle.id, this.slot, this.generation, offset),
			// Readers know a frame by the generation that publishing gives it.
			generation: this.generation & 1 ? this.generation + 1 >>> 0 : this.generation,
		};
	}
}

// A frame that is being written.
export class Draft extends Frame {
	#publish;

	constructor(handle, publish) {
		super(handle);
		this.#publish = publish;
	}

	publish(bytes = this.bytes, options) {
		checkInteger(bytes, 'bytes');
		if (this.stale)
			throw failure('ESTALE', `frame ${this.seq} was published, or begun anew`);
		return this.#publish(bytes, options);
	}
}

export function checkReference(reference) {
	if (reference === null || typeof reference !== 'object')
		throw invalid('a reference', 'an object with index and generation');
	checkInteger(reference.index, "a reference's index", 0xffffffff);
	checkInteger(reference.generation, "a reference's generation", 0xffffffff);
	return reference;
}
