// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
// An attached channel as Channel and Frame share it: the addon's number for it, the
// record that frames travel in, the memory over it, and which frame is in hand.
// Knows nothing of waiting.
import { failure } from './errors.js';
import { native, layout } from './native.js';

const forgotten = new FinalizationRegistry(id => native.close(id));

export class Handle {
	id = 0;
	role;
	name;
	turn = 0;		// of frames in hand: a frame of an earlier one is stale
	#memory;
	#window;
	#buffer;		// over the slot in hand, for views; detached when it is given back

	constructor(name, role, flags, options) {
		const record = new ArrayBuffer(layout.record);
		this.name = name;
		this.role = role;
		this.f64 = new Float64Array(record, layout.record_seq, 2);
		this.u64 = new BigUint64Array(record, layout.record_timestamp, 2);
		this.u32 = new Uint32Array(record, layout.record_slot, 5);
		this.user = new Uint8Array(record, layout.record_user, layout.USER_BYTES);
		this.id = native.open(name, role, flags, options.mode, options.slotSize, options.granule, record);
		forgotten.register(this, this.id, this);
	}

	get closed() {
		return this.id === 0;
	}

	close() {
		if (this.closed)
			return;
		forgotten.unregister(this);
		this.giveBack();
		native.close(this.id);
		this.id = 0;
	}

	checkOpen() {
		if (this.closed)
			throw failure('EBADF', `channel '${this.name}' is closed`);
	}

	// Has the addon found that somebody with a window took another slot in hand?
	get swapped() {
		return this.u32[4] === 1;
	}

	// The slot in hand is not any more: what looks into it is emptied.
	giveBack() {
		this.turn++;
		this.u32[4] = 0;
		if (this.#buffer) {
			native.detach(this.#buffer);
			this.#buffer = undefined;
		}
	}

	get window() {
		this.checkOpen();
		return this.#window ??= native.window(this.id);
	}

	// V8 makes a true SharedArrayBuffer over its own memory only: so it is one of
	// WebAssembly whose pages the addon has replaced by the channel's.
	get memory() {
		this.checkOpen();
		if (!this.#memory) {
			const pages = this.window.bytes / 65536;
			if (pages > 65536)
				throw failure('EFBIG', `channel '${this.name}' has ${this.window.bytes} bytes: a SharedArrayBuffer here reaches over 4 GiB`);
			const memory = new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true });
			native.mount(this.id, new Uint8Array(memory.buffer), 0);
			this.#memory = memory.buffer;
			this.word = new Int32Array(this.#memory, layout.state, 1);
			this.frames = new Int32Array(this.#memory, layout.frames, layout.SLOTS * layout.desc / 4);
		}
		return this.#memory;
	}

	hasMemory() {
		return this.#memory !== undefined;
	}

	// The whole of @slot, which is in hand.
	slotBuffer(slot) {
		if (!this.#buffer) {
			// It keeps the memory that it looks into.
			this.#buffer = native.view(this.id, slot, new Uint8Array(this.memory));
		}
		return this.#buffer;
	}
}
