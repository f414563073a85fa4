// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/**
 * tribuf for Node.js: the newest complete frame of another process, without copies.
 *
 * Errors are `Error`s with `code` ('EBUSY', 'ESTALE', ...), `errno` where libtribuf
 * found them (negative), and a message that says what to do. Sizes are bytes, times of
 * `timestamp` nanoseconds on CLOCK_MONOTONIC (`process.hrtime.bigint()`), timeouts
 * milliseconds. A channel belongs to the thread that opened it; other threads get its
 * memory, or open the name themselves.
 */

import { EventEmitter } from 'node:events';
import { Worker } from 'node:worker_threads';

/** What wait() waits for and reports; a sum of these. */
export const READY: number;
export const PEER_GONE: number;
export const PEER_BACK: number;
export const GEOMETRY: number;

export type Role = 'producer' | 'consumer' | 'observer' | 'keeper';
export type Bytes = string | ArrayBufferView | ArrayBuffer | SharedArrayBuffer;

export interface OpenOptions {
	/** Default: 'consumer'. */
	role?: Role;
	/** Bytes of a slot. Given, the channel is made if there is none. */
	slotSize?: number;
	/** Bytes per step of a reference's index, a power of two; default 8. */
	granule?: number;
	/** Permission bits of a new channel, less the umask; default 0o600. */
	mode?: number;
	/** Make the channel if there is none; default: if slotSize is given. */
	create?: boolean;
	/** With create: EEXIST if there is one. */
	exclusive?: boolean;
	/** With create, producer: take the name over from the channel that has it. */
	replace?: boolean;
	/** Wait for a creator; default for consumers and observers that create nothing. */
	pending?: boolean;
	/** Consumer: get the newest frame once more; default true. */
	latest?: boolean;
	/** Only a channel of one's own or root's. */
	owner?: boolean;
	/** The kernel enforces who touches which slot: then there is no memory, mount() or view(). */
	guarded?: boolean;
}

/**
 * Attach to a channel: 'NAME' of /dev/tribuf, 'shm:NAME' where there is no module.
 * Throws EBUSY (the role is taken), ENOENT, EEXIST, EINVAL (options; another geometry),
 * EACCES, EPERM, ENODEV (no module), EFBIG, ENOSPC, ENOMEM, EMFILE, ENOTSUP, EPROTO,
 * EPROTONOSUPPORT.
 */
export function open(name: string, options?: OpenOptions): Channel;

export interface Reference {
	/** Granules from the first byte of slot 0. */
	index: number;
	generation: number;
}

export interface PublishOptions {
	/** Default: now. 0: not stamped. */
	timestamp?: number | bigint;
	/** 64 bits of the user's own. */
	cookie?: number | bigint;
	/** Bits 31:16 are the user's. */
	flags?: number;
	/** Up to 64 bytes beside the frame. */
	user?: Bytes;
}

/** A frame in hand: a consumer's until its next acquire() that returns one, or close(). */
export class Frame {
	private constructor();
	/** 1 for a channel's first. */
	readonly seq: number;
	readonly bytes: number;
	readonly timestamp: bigint;
	readonly cookie: bigint;
	readonly slot: number;
	readonly generation: number;
	/** Version of the format area that it was made under. */
	readonly format: number;
	readonly flags: number;
	/** The user's 64 bytes beside it. ESTALE. */
	readonly user: Uint8Array;
	/** Was it given back? An observer's frames are copies and never are. */
	readonly stale: boolean;
	/**
	 * The frame itself, not a copy. VALID ONLY UNTIL THE NEXT acquire(), publish() OR
	 * close(): it is empty (length 0) from then on, and view() throws ESTALE. A store
	 * into a consumer's view ends the process (SIGSEGV): those pages are the producer's.
	 */
	view(): Uint8Array;
	/** A copy, in `into` if given, of which it returns the part that was filled. ESTALE, EMSGSIZE. */
	copy(into?: ArrayBufferView | ArrayBuffer | SharedArrayBuffer): Uint8Array;
	/** A reference to the byte at `offset`, a multiple of the granule. EINVAL. */
	ref(offset?: number): Reference;
}

/** A frame that is being written: view() is writable, `bytes` the room there is. */
export class Draft extends Frame {
	/** True: the frame before was never taken. ESTALE, EMSGSIZE, EPROTO. */
	publish(bytes?: number, options?: PublishOptions): boolean;
}

export interface Window {
	role: Role;
	memory: SharedArrayBuffer;
	/** Where the channel begins in it: its state word, descriptors and geometry. */
	offset: number;
	/** Of slot 0, from `offset`; the others follow `slotStride` apart. */
	slots: number;
	slotStride: number;
	slotSize: number;
	/** All of it, a multiple of 65536. */
	bytes: number;
}

export interface Info {
	name: string; channel: bigint; role: Role;
	slotSize: number; slotStride: number; granule: number;
	pending: boolean; guarded: boolean; replaced: boolean; producer: boolean; consumer: boolean;
	state: number; uid: number; gid: number; mode: number;
	producerEpoch: number; consumerEpoch: number; producerPid: number; consumerPid: number;
	observers: number; keepers: number; rings: number; wakes: number; sleeps: number;
	published: number; overwritten: number;
}

export interface WaitOptions { signal?: AbortSignal; timeout?: number }
export interface FramesOptions {
	signal?: AbortSignal;
	/** Go on when the producer leaves, until the next one comes. */
	follow?: boolean;
}

export class Channel implements AsyncIterable<Frame> {
	private constructor();
	readonly name: string;
	readonly role: Role;
	readonly closed: boolean;
	/** EAGAIN (no geometry yet), ENOTSUP (guarded: info() has it). */
	readonly slotSize: number;

	/** Consumer: the newest frame, or null if there is none newer than the one in hand.
	 *  Observer: the same, as a copy. EACCES, EPROTO, ESTALE (guarded), EAGAIN (observer: outrun). */
	acquire(): Frame | null;
	/** Start a frame in the back slot, to be written in place. EACCES, EPROTO, EAGAIN (no geometry yet). */
	begin(): Draft;
	/** Publish a copy of `data`. True: the frame before was never taken. EMSGSIZE, EACCES, EPROTO. */
	publish(data: Bytes, options?: PublishOptions): boolean;

	/** Resolves with the events that hold, or 0 after the timeout. Rejects with the
	 *  signal's reason, EBADF (closed meanwhile), ESTALE (replaced), EPROTO. Keeps the
	 *  process alive while it waits. */
	wait(events?: number, options?: WaitOptions): Promise<number>;
	/** The same, blocking this thread: for workers. */
	waitSync(events?: number, timeout?: number): number;
	/** Frames, the newest each time, until the producer leaves or the channel is closed.
	 *  Throws what acquire() and wait() do, an outrun observer's EAGAIN too: then begin anew. */
	frames(options?: FramesOptions): AsyncGenerator<Frame, void, void>;
	[Symbol.asyncIterator](): AsyncGenerator<Frame, void, void>;
	/** Wake peers that sleep: for who swapped by Atomics and found that a ring is due. */
	ring(): void;
	/** Turn each ring of the peer into an Atomics.notify() on `word`, for threads of this process. */
	forward(options?: { signal?: AbortSignal }): Promise<void>;

	/** The `bytes` bytes that a reference points to, in the frame in hand: valid as a view(). ESTALE, EINVAL. */
	deref(reference: Reference, bytes: number): Uint8Array;
	/** Fill `into` from where a reference points, whoever holds the slot. ESTALE, EINVAL. */
	copy<T extends ArrayBufferView>(reference: Reference, into: T): T;

	/** What the frames are, as the producer says; version 0: it does not. */
	readonly format: { version: number; data: Uint8Array };
	setFormat(data: Bytes): void;
	info(): Info;

	/** The channel as a SharedArrayBuffer, which can be posted to workers. Zeros once it is
	 *  closed. EAGAIN (no geometry yet), ENOTSUP (guarded), EFBIG (more than 4 GiB). */
	readonly memory: SharedArrayBuffer;
	/** The state word in it. The same errors. */
	readonly word: Int32Array;
	/** What is where in `memory`. The same errors. */
	window(): Window;
	/** Put the channel under a WebAssembly memory: shared, initial equal to maximum, at a
	 *  multiple of 65536. It is taken out again by close(). EINVAL, ENOSPC, EBUSY, EAGAIN
	 *  (no geometry yet), ENOTSUP (guarded). */
	mount(memory: WebAssembly.Memory, offset?: number): Window;

	/** Give up the role. Waits reject with EBADF, views and memory are empty. */
	close(): void;
	[Symbol.dispose](): void;
}

/** What a module that was compiled with tribuf_wasm.h imports as "tribuf". */
export function imports(...channels: Channel[]): {
	ring(window: number): number;
	wait(window: number, events: number, ns: bigint): number;
};

/** The swaps by Atomics alone, for threads that have a window() and no channel. One
 *  Swap a role at a time; after anybody else swapped, make a new one. */
export class Swap {
	/** In the role that the window's channel has. EACCES (another), EPROTO, ENOTSUP (a
	 *  big-endian machine). */
	constructor(window: Omit<Window, 'bytes'>, options?: {
		/** Called when a peer sleeps that has something to see: channel.ring(), in whatever thread has it. */
		ring?: () => void;
		/** The other thread uses channel.forward(). */
		forwarded?: boolean;
	});
	readonly word: Int32Array;
	/** The back slot, to write the next frame into. */
	begin(): Uint8Array;
	/** True: the frame before was never taken. Default timestamp: 0, not stamped.
	 *  EMSGSIZE, EINVAL, EPROTO. */
	publish(bytes: number, timestamp?: number | bigint): boolean;
	/** The newest frame, or null; `data` is its whole slot. EPROTO. */
	acquire(): { seq: number; generation: number; bytes: number; timestamp: number; data: Uint8Array } | null;
}

/** The transitions of the state word. */
export function publishWord(word: number): number;
export function acquireWord(word: number): number;
/** The numbers of linux/tribuf.h, and the offsets of its structures. */
export const layout: Readonly<Record<string, number>>;

export interface PoolOptions {
	/** The channels are NAME-0, NAME-1 and so on. */
	name: string;
	size?: number;
	slotSize: number;
	/** The module, its bytes, or the name of its file. */
	module: WebAssembly.Module | ArrayBufferView | ArrayBuffer | string | URL;
	/** Its export that a worker calls, with (window, index); default 'run'. */
	run?: string;
	/** Bytes of the module's own memory, before the window; default 1 MiB. */
	memory?: number;
	/** Take the frames here; default true. Else the channels are for consumers elsewhere. */
	consume?: boolean;
	/** Start a worker that died again; default true. */
	restart?: boolean;
}

/** Emits 'restart' (index, error) and 'end' (index, error if it died). */
export class Pool extends EventEmitter implements AsyncIterable<{ worker: number; frame: Frame }> {
	constructor(options: PoolOptions);
	readonly size: number;
	readonly closed: boolean;
	readonly restarts: number;
	channel(index: number): Channel | undefined;
	worker(index: number): Worker | undefined;
	/** The newest frame of a worker that has one, each in turn, through one wait. Good
	 *  until that worker's next one is taken. EBADF (closed), EACCES (consume: false), EPROTO;
	 *  ESTALE and whatever else ends a wait is thrown once: no frame of that worker follows. */
	next(options?: { signal?: AbortSignal }): Promise<{ worker: number; frame: Frame }>;
	frames(options?: { signal?: AbortSignal }): AsyncGenerator<{ worker: number; frame: Frame }, void, void>;
	[Symbol.asyncIterator](): AsyncGenerator<{ worker: number; frame: Frame }, void, void>;
	/** Resolves when all workers have ended. */
	close(): Promise<void>;
	[Symbol.asyncDispose](): Promise<void>;
}
