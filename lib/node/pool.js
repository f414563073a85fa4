// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
// A pool of workers that each run a WebAssembly module, which produces into a channel
// of its own. Here is the other end: the consumers of all those channels, and one
// place to wait for any of them.
import { EventEmitter } from 'node:events';
import { readFileSync } from 'node:fs';
import { Worker } from 'node:worker_threads';
import { checkInteger, checkOptions, failure, invalid } from './errors.js';
import { READY, open } from './channel.js';

const OPTIONS = ['name', 'size', 'module', 'slotSize', 'run', 'memory', 'restart', 'consume'];
const SOON = 10, LATE = 1000;		// ms before a worker that died is started again
const SETTLED = 5000;			// ms after which its death counts as the first one

function compile(module, run) {
	const compiled = toModule(module);
	if (!WebAssembly.Module.exports(compiled).some(one => one.kind === 'function' && one.name === run))
		throw failure('EINVAL', `the module exports no function '${run}'`, TypeError);
	return compiled;
}

function toModule(module) {
	if (module instanceof WebAssembly.Module)
		return module;
	if (typeof module === 'string' || module instanceof URL)
		module = readFileSync(module);
	if (!ArrayBuffer.isView(module) && !(module instanceof ArrayBuffer))
		throw invalid('module', 'a WebAssembly.Module, its bytes, or the name of its file');
	return new WebAssembly.Module(module);
}

export class Pool extends EventEmitter {
	#members = [];		// { channel, worker, listening, error, delay, began }
	#ready = [];		// members that may have a frame or an error, in the order to look at them
	#sleepers = new Set();	// of next(): a function each, which wakes it
	#options;
	#closed = false;
	restarts = 0;

	constructor(options) {
		super();
		const { name, size = 1, module, slotSize, run = 'run', memory = 1 << 20, restart = true, consume = true } = checkOptions(options, 'options', OPTIONS);
		if (typeof name !== 'string')
			throw invalid('name', "a string: the channels are NAME-0, NAME-1 and so on");
		checkInteger(size, 'size', 1024);
		checkInteger(slotSize, 'slotSize');
		if (checkInteger(memory, 'memory', 2 ** 31) % 65536)
			throw invalid('memory', 'bytes of the module\'s own memory, a multiple of 65536');
		this.#options = { name, slotSize, module: compile(module, run), run, memory, restart, consume };
		try {
			for (let index = 0; index < size; index++)
				this.#add(index);
		} catch (error) {
			this.close();
			throw error;
		}
	}

	get size() { return this.#members.length; }
	get closed() { return this.#closed; }

	// For who wants more of a channel than its frames.
	channel(index) {
		return this.#members[index]?.channel;
	}

	worker(index) {
		return this.#members[index]?.worker;
	}

	#add(index) {
		const { name, slotSize, consume } = this.#options;
		// A keeper holds the channel while its worker is dead.
		const channel = open(`${name}-${index}`, { slotSize, role: consume ? 'consumer' : 'keeper' });
		const member = { index, channel, listening: false, delay: SOON };
		this.#members.push(member);
		this.#start(member);
		this.#listen(member);
	}

	#start(member) {
		const { name, slotSize, module, run, memory } = this.#options;
		member.began = performance.now();
		member.worker = new Worker(new URL('./pool-worker.js', import.meta.url), {
			workerData: { name: `${name}-${member.index}`, slotSize, module, run, memory, index: member.index },
		});
		let why;
		member.worker.on('error', error => { why = error; });
		member.worker.on('exit', code => this.#ended(member, why ?? (code ? failure('EINTR', `worker ${member.index} was terminated`) : undefined)));
	}

	// Its channel stays, with the newest frame in it; a successor goes on from there.
	#ended(member, error) {
		if (this.#closed)
			return;
		if (!error || !this.#options.restart) {
			this.emit('end', member.index, error);
			return;
		}
		member.delay = performance.now() - member.began > SETTLED ? SOON : Math.min(member.delay * 2, LATE);
		setTimeout(() => {
			if (this.#closed)
				return;
			this.restarts++;
			this.#start(member);
			this.emit('restart', member.index, error);
		}, member.delay);
	}

	#listen(member) {
		if (member.listening || this.#closed || !this.#options.consume)
			return;
		member.listening = true;
		const done = error => {
			member.listening = false;
			if (this.#closed)
				return;
			member.error = error;
			this.#ready.push(member);
			this.#wake();
		};
		member.channel.wait(READY).then(() => done(), done);
	}

	// A frame of whichever worker has one, each in turn: always that worker's newest.
	// Good until the same worker's next one is taken. The error of a wait is thrown once;
	// that worker's channel is not waited on again.
	async next({ signal } = {}) {
		for (;;) {
			signal?.throwIfAborted();
			if (this.#closed)
				throw failure('EBADF', 'the pool is closed');
			if (!this.#options.consume)
				throw failure('EACCES', 'the pool was made with consume: false: its frames are for others');
			for (let member; (member = this.#ready.shift());) {
				const frame = this.#take(member);
				if (frame)
					return { worker: member.index, frame };
			}
			await this.#sleep(signal);
		}
	}

	#take(member) {
		if (member.error)
			throw member.error;
		try {
			return member.channel.acquire();
		} finally {
			this.#listen(member);
		}
	}

	#sleep(signal) {
		return new Promise((resolve, reject) => {
			const over = end => {
				this.#sleepers.delete(wake);
				signal?.removeEventListener('abort', abort);
				end();
			};
			const wake = () => over(resolve);
			const abort = () => over(() => reject(signal.reason));
			signal?.addEventListener('abort', abort);
			this.#sleepers.add(wake);
		});
	}

	#wake() {
		for (const wake of this.#sleepers)
			wake();
	}

	async *frames(options) {
		for (let turn = performance.now(); ;) {
			let next;
			try {
				next = await this.next(options);
			} catch (error) {
				if (this.#closed)
					return;
				throw error;
			}
			yield next;
			if (performance.now() - turn > 5) {
				await new Promise(setImmediate);
				turn = performance.now();
			}
		}
	}

	[Symbol.asyncIterator]() {
		return this.frames();
	}

	// Resolves when all workers have ended.
	async close() {
		this.#closed = true;
		for (const { channel } of this.#members)
			channel.close();
		this.#wake();
		await Promise.all(this.#members.map(({ worker }) => worker?.terminate()));
	}
}

if (Symbol.asyncDispose)
	Pool.prototype[Symbol.asyncDispose] = Pool.prototype.close;
