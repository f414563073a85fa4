// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
// Channels: opened, published to, taken from, waited on, closed.
import { types } from 'node:util';
import { checkInteger, checkOptions, failure, invalid, toBytes, toU64 } from './errors.js';
import { Draft, Frame, checkReference } from './frame.js';
import { Handle } from './handle.js';
import { native, layout } from './native.js';

export const { READY, PEER_GONE, PEER_BACK, GEOMETRY } = layout;
const EVENTS = READY | PEER_GONE | PEER_BACK | GEOMETRY;
const { PRODUCER, CONSUMER, OBSERVER } = layout;
const ROLES = { producer: PRODUCER, consumer: CONSUMER, observer: OBSERVER, keeper: layout.KEEPER };

const NOW = 0xffffffffffffffffn;	// the addon stamps the frame
const SLICE = 100e6;			// ns in the addon before V8 may end this thread
const YIELD = 5;			// ms that frames may come without a turn of the loop
const TIMER = 0x7fffffff;		// ms that setTimeout() reaches

const waiting = new Map();		// channels by number, while somebody waits
native.onEvents((id, bits, error) => waiting.get(id)?.(bits, error));

const bufferOf = Object.getOwnPropertyDescriptor(WebAssembly.Memory.prototype, 'buffer').get;
const grow = WebAssembly.Memory.prototype.grow;

// The buffer of a memory that will stay as it is. Growing would set the protection
// of its pages anew; whether it can is known only by trying.
function fixedBuffer(memory) {
	let buffer;
	try {
		buffer = bufferOf.call(memory);
	} catch {
		throw invalid('memory', 'a WebAssembly.Memory');
	}
	if (!types.isSharedArrayBuffer(buffer))
		throw failure('EINVAL', 'memory is not shared: make it with { shared: true, initial, maximum }', TypeError);
	try {
		grow.call(memory, 1);
	} catch (error) {
		if (error instanceof RangeError)
			return bufferOf.call(memory);
		throw error;
	}
	throw failure('EINVAL', 'memory can grow: make it with initial equal to maximum', TypeError);
}

function checkWaitOptions(options, known) {
	checkOptions(options, 'options', known);
	if (options.signal !== undefined && !(options.signal instanceof AbortSignal))
		throw invalid('signal', 'an AbortSignal');
	return options;
}

function flagsOf(options, role) {
	const creates = options.create ?? options.slotSize !== undefined;
	const pending = options.pending ?? (!creates && role !== PRODUCER && role !== layout.KEEPER);
	return layout.OWNED | (creates ? layout.CREATE : 0) | (pending ? layout.PENDING : 0) |
		(options.exclusive ? layout.EXCL : 0) | (options.replace ? layout.REPLACE : 0) |
		(options.latest ?? true ? layout.LATEST : 0) | (options.owner ? layout.OWNER : 0) |
		(options.guarded ? layout.GUARDED : 0);
}

const OPTIONS = ['role', 'slotSize', 'granule', 'mode', 'create', 'exclusive', 'replace', 'pending', 'latest', 'owner', 'guarded'];

export function open(name, options = {}) {
	if (typeof name !== 'string')
		throw invalid('name', "a string: 'NAME' for /dev/tribuf, 'shm:NAME' without the module");
	checkOptions(options, 'options', OPTIONS);
	const { role = 'consumer', slotSize = 0, granule = 0, mode = 0o600 } = options;
	if (!Object.hasOwn(ROLES, role))
		throw invalid('role', `one of ${Object.keys(ROLES).join(', ')}`);
	checkInteger(slotSize, 'slotSize');
	checkInteger(granule, 'granule', 0xffffffff);
	checkInteger(mode, 'mode', 0o777);
	return new Channel(new Handle(name, ROLES[role], flagsOf(options, ROLES[role]), { slotSize, granule, mode }), role);
}

export class Channel {
	#handle;
	#role;
	#waits = [];			// { events, resolve, reject }
	#left = false;			// the peer, as somebody was told; it may be back
	#mounted = new Set();		// offsets of windows in a module's memory
	#scratch = new Uint8Array(0);	// an observer's next frame

	constructor(handle, role) {
		if (!(handle instanceof Handle))
			throw failure('EINVAL', 'channels are made by open()', TypeError);
		this.#handle = handle;
		this.#role = role;
	}

	get name() { return this.#handle.name; }
	get role() { return this.#role; }
	get closed() { return this.#handle.closed; }
	get slotSize() { return this.#handle.window.slotSize; }
	get memory() { return this.#handle.memory; }

	get word() {
		return this.memory && this.#handle.word;
	}

	window() {
		const { slots, slotStride, slotSize, bytes } = this.#handle.window;
		return { role: this.#role, memory: this.memory, offset: 0, slots, slotStride, slotSize, bytes };
	}

	info() {
		this.#handle.checkOpen();
		const info = native.info(this.#handle.id);
		const { state } = info;
		return Object.assign(info, {
			role: this.#role,
			pending: !!(state & layout.STATE_PENDING),
			guarded: !!(state & layout.STATE_GUARDED),
			replaced: !!(state & layout.STATE_REPLACED),
			producer: !!(state & layout.STATE_PRODUCER),
			consumer: !!(state & layout.STATE_CONSUMER),
		});
	}

	// ---- frames ----

	begin() {
		const handle = this.#handle;
		handle.checkOpen();
		native.begin(handle.id);
		handle.giveBack();
		return new Draft(handle, (bytes, options) => this.#publish(options, () => native.publish(handle.id, bytes)));
	}

	publish(data, options) {
		const handle = this.#handle;
		data = toBytes(data, 'data');
		handle.checkOpen();
		return this.#publish(options, () => native.write(handle.id, data));
	}

	// What the frame is goes into the record; views of it end once it is published.
	#publish(options, call) {
		const { u64, u32, user } = this.#handle;
		let timestamp = NOW, cookie = 0n, flags = 0, own;
		if (options !== undefined) {
			checkOptions(options, 'options', ['timestamp', 'cookie', 'flags', 'user']);
			timestamp = toU64(options.timestamp ?? NOW, 'timestamp');
			cookie = toU64(options.cookie ?? 0n, 'cookie');
			flags = checkInteger(options.flags ?? 0, 'flags', 0xffffffff);
			own = options.user === undefined ? undefined : toBytes(options.user, 'user');
			if (own && own.length > layout.USER_BYTES)
				throw failure('EMSGSIZE', `a frame has ${layout.USER_BYTES} bytes of the user's, not ${own.length}`, RangeError);
		}
		u64[0] = timestamp;
		u64[1] = cookie;
		u32[3] = flags;
		user.fill(0);
		if (own)
			user.set(own);
		const overwrote = call() === 1;
		this.#handle.giveBack();
		return overwrote;
	}

	acquire() {
		const handle = this.#handle;
		handle.checkOpen();
		if (handle.role === OBSERVER)
			return this.#observe();
		let got = 1;
		try {
			got = native.acquire(handle.id);
		} finally {
			// After an error too: it may have swapped, and dropped the frame.
			if (got || handle.swapped)
				handle.giveBack();
		}
		return got ? new Frame(handle) : null;
	}

	#observe() {
		const handle = this.#handle;
		for (;;) {
			const got = native.snapshot(handle.id, this.#scratch);
			if (got === 0)
				return null;
			const bytes = handle.f64[1];
			if (got === 2) {
				this.#scratch = new Uint8Array(bytes);
				continue;
			}
			const frame = new Frame(handle, this.#scratch.subarray(0, bytes));
			this.#scratch = new Uint8Array(bytes);
			return frame;
		}
	}

	ring() {
		this.#handle.checkOpen();
		native.ring(this.#handle.id);
	}

	// ---- references ----

	deref(reference, bytes) {
		const { index, generation } = checkReference(reference);
		const handle = this.#handle;
		checkInteger(bytes, 'bytes');
		handle.checkOpen();
		let offset;
		try {
			offset = native.deref(handle.id, index, generation, bytes);
		} finally {
			if (handle.swapped)
				handle.giveBack();
		}
		return new Uint8Array(handle.slotBuffer(handle.u32[0]), offset, bytes);
	}

	copy(reference, into) {
		const { index, generation } = checkReference(reference);
		if (!ArrayBuffer.isView(into))
			throw invalid('into', 'a typed array or DataView, as long as what is to be copied');
		this.#handle.checkOpen();
		native.copy(this.#handle.id, index, generation, toBytes(into, 'into'));
		return into;
	}

	// ---- format ----

	get format() {
		const data = new Uint8Array(layout.FORMAT_BYTES);
		this.#handle.checkOpen();
		const version = native.formatGet(this.#handle.id, data);
		return { version, data: data.slice(0, this.#handle.f64[1]) };
	}

	setFormat(data) {
		data = toBytes(data, 'data');
		this.#handle.checkOpen();
		native.formatSet(this.#handle.id, data);
	}

	// ---- waiting ----

	wait(events = READY, options = {}) {
		return new Promise((resolve, reject) => {
			const { signal, timeout } = checkWaitOptions(options, ['signal', 'timeout']);
			this.#checkWait(events, timeout);
			signal?.throwIfAborted();
			const wait = { events, resolve, reject };
			if (signal || timeout !== undefined)
				this.#limit(wait, signal, timeout);
			this.#waits.push(wait);
			this.#arm();
		});
	}

	#checkWait(events, timeout) {
		this.#handle.checkOpen();
		if (!Number.isInteger(events) || events <= 0 || events & ~EVENTS)
			throw invalid('events', 'a sum of READY, PEER_GONE, PEER_BACK and GEOMETRY');
		if (timeout !== undefined && !(typeof timeout === 'number' && timeout >= 0))
			throw invalid('timeout', 'milliseconds, not negative');
	}

	// End the wait early, whichever comes first.
	#limit(wait, signal, timeout) {
		const { resolve, reject } = wait;
		let timer;
		const over = (end, value) => {
			clearTimeout(timer);
			signal?.removeEventListener('abort', abort);
			end(value);
		};
		const leave = () => {
			const place = this.#waits.indexOf(wait);
			if (place < 0)
				return;
			this.#waits.splice(place, 1);
			if (!this.closed)
				this.#arm();
		};
		const abort = () => {
			leave();
			over(reject, signal.reason);
		};
		const start = ms => {
			timer = setTimeout(() => {
				if (ms > TIMER)
					return start(ms - TIMER);
				leave();
				over(resolve, 0);
			}, Math.min(ms, TIMER));
		};
		if (timeout !== undefined && timeout !== Infinity)
			start(timeout);
		signal?.addEventListener('abort', abort);
		wait.resolve = bits => over(resolve, bits);
		wait.reject = error => over(reject, error);
	}

	#arm() {
		const { id } = this.#handle;
		let events = 0;
		for (const wait of this.#waits)
			events |= wait.events;
		if (!events) {
			waiting.delete(id);
			native.disarm(id);
			return;
		}
		waiting.set(id, (bits, error) => this.#happened(bits, error));
		let bits, error;
		try {
			bits = native.arm(id, events);
		} catch (caught) {
			error = caught;
		}
		if (bits || error)
			this.#happened(bits, error);
	}

	#happened(bits, error) {
		const waits = this.#waits;
		if (!error)
			this.#note(bits);
		waiting.delete(this.#handle.id);
		this.#waits = [];
		for (const wait of waits) {
			if (error)
				wait.reject(error);
			else if (wait.events & bits)
				wait.resolve(wait.events & bits);
			else
				this.#waits.push(wait);
		}
		if (this.#waits.length)
			this.#arm();
	}

	waitSync(events = READY, timeout = Infinity) {
		this.#checkWait(events, timeout);
		return this.#waitFor(events, timeout * 1e6);
	}

	// In slices: V8 can end a worker only when JavaScript runs.
	#waitFor(events, ns) {
		const deadline = performance.now() * 1e6 + ns;
		for (;;) {
			const bits = native.wait(this.#handle.id, events, Math.floor(Math.min(ns, SLICE)));
			if (bits)
				return this.#note(bits);
			ns = deadline - performance.now() * 1e6;
			if (!(ns > 0))
				return 0;
		}
	}

	// A leaving is reported once, to whoever waits then.
	#note(bits) {
		this.#left ||= !!(bits & PEER_GONE);
		return bits;
	}

	// Was one reported, and is the producer still away?
	#producerLeft() {
		return this.#left &&= !this.info().producer;
	}

	async *frames(options = {}) {
		const { signal, follow = false } = checkWaitOptions(options, ['signal', 'follow']);
		let ended = false, turn = 0;	// of the loop: when it began, by its first frame
		while (!this.closed) {
			signal?.throwIfAborted();
			const frame = this.acquire();
			if (frame) {
				yield frame;
				const now = performance.now();
				turn ||= now;
				if (now - turn > YIELD) {
					await new Promise(setImmediate);
					turn = 0;
				}
				continue;
			}
			if (ended)
				return;
			ended = !follow && this.#producerLeft();
			if (ended)
				continue;
			try {
				ended = !!(await this.wait(READY | PEER_GONE, { signal }) & PEER_GONE) && !follow;
			} catch (error) {
				if (this.closed)
					return;
				throw error;
			}
			turn = 0;
		}
	}

	[Symbol.asyncIterator]() {
		return this.frames();
	}

	// For workers that have the memory and no handle: each ring of the peer becomes
	// an Atomics.notify() on the word. The level stays until they have swapped, so we
	// sleep on the word too; 10 ms, in case they do not notify us.
	async forward(options = {}) {
		const { signal } = checkWaitOptions(options, ['signal']);
		const { word } = this;
		try {
			while (await this.wait(READY, { signal })) {
				const seen = Atomics.load(word, 0);
				Atomics.notify(word, 0);
				await Atomics.waitAsync(word, 0, seen, 10).value;
			}
		} catch (error) {
			if (!this.closed && !signal?.aborted)
				throw error;
		}
	}

	// ---- WebAssembly ----

	mount(memory, offset = 0) {
		checkInteger(offset, 'offset');
		this.#handle.checkOpen();
		native.mount(this.#handle.id, new Uint8Array(fixedBuffer(memory)), offset);
		this.#mounted.add(offset);
		const { slots, slotStride, slotSize, bytes } = this.#handle.window;
		return { role: this.#role, memory: memory.buffer, offset, slots, slotStride, slotSize, bytes };
	}

	// For imports(): is the window at this offset ours?
	mountedAt(offset) {
		return this.#mounted.has(offset);
	}

	// For imports(): as tribuf_wait().
	waitNanoseconds(events, ns) {
		this.#checkWait(events);
		return this.#waitFor(events, ns < 0n ? Infinity : Number(ns));
	}

	// ---- the end ----

	close() {
		const { id } = this.#handle;
		if (this.closed)
			return;
		waiting.delete(id);
		this.#handle.close();
		const waits = this.#waits;
		this.#waits = [];
		for (const wait of waits)
			wait.reject(failure('EBADF', `channel '${this.name}' was closed`));
	}
}

if (Symbol.dispose)
	Channel.prototype[Symbol.dispose] = Channel.prototype.close;

// What a module compiled with tribuf_wasm.h imports as "tribuf". Errors go back to
// it as negative numbers.
export function imports(...channels) {
	const call = (window, work) => {
		const channel = channels.find(one => one.mountedAt(window >>> 0)) ?? channels[0];
		try {
			return work(channel);
		} catch (error) {
			if (typeof error?.errno !== 'number')
				throw error;
			return error.errno;
		}
	};
	if (!channels.length || !channels.every(one => one instanceof Channel))
		throw invalid('imports()', 'given the channels that are mounted in the module');
	return {
		ring: window => call(window, channel => { channel.ring(); return 0; }),
		wait: (window, events, ns) => call(window, channel => channel.waitNanoseconds(events, ns)),
	};
}
