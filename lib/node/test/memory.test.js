// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
// The channel's memory in JavaScript and WebAssembly: the same pages, nothing copied,
// swapped by Atomics, and safe to have when the channel is gone.
import assert from 'node:assert/strict';
import { closeSync, openSync, readFileSync, readSync } from 'node:fs';
import { once } from 'node:events';
import test from 'node:test';
import { Worker } from 'node:worker_threads';
import { types } from 'node:util';
import { READY, Swap, acquireWord, imports, open, publishWord } from '../index.js';
import { layout, native } from '../native.js';
import { WINDOW, channelName, fixedMemory, instantiate, noWasm, pair, peer, removeLeftover, run, workerUrl } from './common.js';

const error = (code, text) => caught => caught.code === code && (!text || text.test(caught.message));

test('memory is a true SharedArrayBuffer over the channel', t => {
	const { producer, consumer } = pair(t);
	assert(types.isSharedArrayBuffer(producer.memory));
	assert.equal(producer.memory, producer.memory);
	assert(producer.word instanceof Int32Array);
	assert.equal(producer.word.buffer, producer.memory);
	const draft = producer.begin(), { slots, slotStride } = producer.window();
	new Uint8Array(producer.memory, slots + draft.slot * slotStride, 3).set([1, 2, 3]);
	assert.deepEqual([...draft.view().subarray(0, 3)], [1, 2, 3]);
	draft.publish(3);
	const frame = consumer.acquire();
	assert.deepEqual([...new Uint8Array(consumer.memory, slots + frame.slot * slotStride, 3)], [1, 2, 3]);
	assert.equal(Atomics.load(producer.word, 0), Atomics.load(consumer.word, 0));
});

// Physical page frames behind addresses of a process.
function pagemap(pid, address, pages) {
	const file = openSync(`/proc/${pid}/pagemap`, 'r');
	const entries = new BigUint64Array(pages);
	readSync(file, entries, 0, pages * 8, address / 4096 * 8);
	closeSync(file);
	return [...entries].map(entry => entry >> 63n ? entry & (1n << 55n) - 1n : 0n);
}

function mappings(pid, name) {
	return readFileSync(`/proc/${pid}/maps`, 'utf8').split('\n').filter(line => line.includes(name)).map(line => {
		const [range, rights, offset] = line.split(/ +/);
		const [start, end] = range.split('-').map(hex => parseInt(hex, 16));
		return { start, end, rights, offset: parseInt(offset, 16) };
	});
}

test('nothing is copied: the same physical pages in C, JavaScript and WebAssembly', { skip: noWasm || process.getuid() !== 0 && 'page frame numbers are for root' }, async t => {
	const name = channelName();
	const other = await peer('produce', name, 1, 64, 16384);
	const consumer = open(name);
	t.after(() => consumer.close());
	instantiate(consumer, 'consumer');
	consumer.waitSync(READY, 10000);
	const { slots } = consumer.window();
	Atomics.load(consumer.word, 0);
	new Uint8Array(consumer.memory, slots, 3 * 16384).forEach(() => {});
	const file = name.startsWith('shm:') ? `tribuf.${name.slice(4)}` : '/dev/tribuf';
	const pages = map => pagemap(map.pid, map.start, (map.end - map.start) / 4096);
	const byPage = new Map();
	for (const pid of [process.pid, other.child.pid]) {
		for (const map of mappings(pid, file)) {
			pages({ pid, ...map }).forEach((frame, i) => {
				const page = map.offset + i * 4096;
				if (frame)
					byPage.set(page, [...byPage.get(page) ?? [], `${frame}`]);
			});
		}
	}
	consumer.acquire();
	const state = byPage.get(0), slotPages = [...byPage].filter(([page]) => page >= layout.geometry + 4096);
	assert(state && state.length >= 4, `the word is mapped in libtribuf, memory, module and peer: ${state}`);
	// Twelve pages of slots, and with shm one more that is the backend's own.
	assert(slotPages.length >= 12, `${slotPages.length} pages of slots`);
	let shared = 0;
	for (const [page, frames] of byPage) {
		assert.equal(new Set(frames).size, 1, `page ${page} is one page: ${frames}`);
		shared += frames.length > 1;
	}
	assert(shared >= 12, `${shared} pages are in more than one place`);
	assert.equal((await other.done).code, 0);
});

// The few lines of README.md.
test('JavaScript swaps by itself, in few lines', t => {
	const { producer, consumer } = pair(t);
	const readme = readFileSync(new URL('../README.md', import.meta.url), 'utf8');
	const lines = readme.match(/```js\n(\/\/ by hand[^]*?)```/)[1];
	const bytes = 5;
	new Function('channel', 'layout', 'publishWord', 'bytes', 'data', lines)(producer, layout, publishWord, bytes, Buffer.from('hello'));
	const frame = consumer.acquire();
	assert.equal(Buffer.from(frame.view()).toString(), 'hello');
	assert.equal(frame.seq, 1);
	producer.publish('and on');
	assert.equal(consumer.acquire().seq, 2);
});

test('Swap and the channel take turns', async t => {
	const { producer, consumer } = pair(t);
	const writer = new Swap(producer.window(), { ring: () => producer.ring() });
	for (let i = 1; i <= 9; i++) {
		if (i % 3) {
			writer.begin()[0] = i;
			assert.equal(writer.publish(1), false);
		} else {
			const draft = producer.begin();
			draft.view()[0] = i;
			draft.publish(1);
			assert.throws(() => writer.publish(1), error('EPROTO', /new Swap/));
			Object.assign(writer, new Swap(producer.window()));
		}
		const frame = consumer.acquire();
		assert.equal(frame.seq, i);
		assert.equal(frame.view()[0], i);
		if (i % 3 === 0)
			break;
	}
	const reader = new Swap(consumer.window(), { ring: () => consumer.ring() });
	assert.equal(reader.acquire(), null);
	producer.publish(Uint8Array.of(77), { timestamp: 2 ** 40 });
	const held = consumer.wait();
	assert.equal(await held, READY);
	const frame = reader.acquire();
	assert.deepEqual([frame.seq, frame.bytes, frame.data[0], frame.timestamp], [4, 1, 77, 2 ** 40]);
	producer.publish('next');
	assert.equal(consumer.acquire().seq, 5, 'the channel goes on from there');
});

test('a Swap keeps to the role of its window', t => {
	const { name, producer, consumer } = pair(t);
	const observer = open(name, { role: 'observer' });
	t.after(() => observer.close());
	for (const call of ['begin', 'publish'])
		assert.throws(() => new Swap(consumer.window())[call](1), error('EACCES', /consumer's/));
	assert.throws(() => new Swap(producer.window()).acquire(), error('EACCES', /producer's/));
	assert.throws(() => new Swap(observer.window()), error('EACCES'));
	assert.throws(() => new Swap({}), error('EACCES'));
});

// That others see it in this order, too, is told by no test on x86.
test('a Swap writes the generation by Atomics, and looks at the odd one', t => {
	const { producer } = pair(t);
	const swap = new Swap(producer.window()), { load, store } = Atomics, calls = [];
	t.after(() => Object.assign(Atomics, { load, store }));
	Atomics.load = (...args) => (calls.push(['load', load(...args)]), load(...args));
	Atomics.store = (...args) => (calls.push(['store', args[2]]), store(...args));
	swap.begin();
	swap.publish(1);
	assert.deepEqual(calls, [['store', 1], ['load', 1], ['store', 2]]);
});

test('a Swap refuses what it cannot carry before anything happens', t => {
	const { producer, consumer } = pair(t);
	const swap = new Swap(producer.window()), before = new Uint8Array(producer.memory, 0, producer.window().slots).slice();
	for (const bad of [4097, 2 ** 32, 2 ** 40])
		assert.throws(() => swap.publish(bad), error('EMSGSIZE', /4096/), String(bad));
	for (const bad of [-1, NaN, 0.5, Infinity, '5', 5n, undefined, null, {}])
		assert.throws(() => swap.publish(bad), error('EINVAL'), String(bad));
	for (const bad of [-1, 0.5, NaN, '5', null, {}, -1n, 1n << 64n])
		assert.throws(() => swap.publish(1, bad), error('EINVAL'), String(bad));
	assert.deepEqual(new Uint8Array(producer.memory, 0, before.length), before);
	for (const time of [2 ** 40 + 3, 2n ** 63n + 5n, 7n, 0]) {
		swap.publish(4096, time);
		assert.equal(consumer.acquire().timestamp, BigInt(time));
	}
	assert.equal(producer.info().published, 4);
});

test('a Swap is for little-endian machines', () => {
	const { stdout, stderr } = run(`import os from 'node:os';
		import { Swap, open } from TRIBUF;
		const p = open('${channelName()}', { role: 'producer', slotSize: 64 });
		os.endianness = () => 'BE';
		try { new Swap(p.window()); } catch ({ message }) { console.log(message); }`);
	assert.match(stdout, /^ENOTSUP: .*little-endian/, stderr);
});

test('a frame is stale when JavaScript has swapped past it', t => {
	const { producer, consumer } = pair(t);
	producer.publish('1');
	const frame = consumer.acquire();
	frame.view();
	const reader = new Swap(consumer.window());
	assert.equal(frame.stale, false);
	producer.publish('2');
	reader.acquire();
	assert.equal(frame.stale, true);
	assert.throws(() => frame.view(), error('ESTALE'));
});

test('so is a reference into it, and its views are empty once the channel knows', t => {
	const { producer, consumer } = pair(t);
	for (const notice of [reference => assert.throws(() => consumer.deref(reference, 1), error('ESTALE')), () => assert.equal(consumer.acquire(), null)]) {
		producer.publish('1');
		const frame = consumer.acquire(), view = frame.view(), reference = frame.ref();
		assert.equal(consumer.deref(reference, 1)[0], view[0]);
		producer.publish('2');
		new Swap(consumer.window()).acquire();
		notice(reference);
		assert.equal(view.length, 0);
	}
	// A producer's, too; its draft of afterwards stays.
	const view = producer.begin().view();
	new Swap(producer.window()).publish(1);
	const draft = producer.begin();
	assert.equal(view.length, 0);
	assert.equal(producer.deref({ index: draft.ref().index, generation: draft.generation }, 1).length, 1);
	assert.equal(draft.stale, false);
});

test('the transitions are those of the header', () => {
	for (let slots = 0; slots < 64; slots++) {
		for (const bits of [0, layout.FRESH, layout.ARMED | layout.FRESH, layout.PACED, 0xfffffc00 | 0]) {
			const word = slots | bits, [b, m, f] = [0, 2, 4].map(shift => slots >> shift & 3);
			assert.equal(publishWord(word), ((word & ~15 | m | b << 2) | layout.FRESH) + layout.COUNT_ONE | 0);
			assert.equal(acquireWord(word), (word & ~60 | f << 2 | m << 4) & ~layout.FRESH);
		}
	}
});

test('memory posted to a worker is the channel there too', async t => {
	const { producer, consumer } = pair(t);
	const worker = new Worker(workerUrl(`
		const swap = new tribuf.Swap(workerData, { ring: () => parentPort.postMessage('ring') });
		const data = swap.begin();
		data.set([4, 2]);
		swap.publish(2);
		parentPort.postMessage('published');`), { workerData: producer.window() });
	const [message] = await once(worker, 'message');
	assert.equal(message, 'published');
	assert.deepEqual([...consumer.acquire().view()], [4, 2]);
	await worker.terminate();
});

test('a ring is forwarded as Atomics.notify', async t => {
	const { producer, consumer } = pair(t);
	const forwarding = consumer.forward();
	const worker = new Worker(workerUrl(`
		const swap = new tribuf.Swap(workerData, { forwarded: true });
		let seq = 0, late = 0;
		while (seq < 50) {
			const word = Atomics.load(swap.word, 0);
			const frame = swap.acquire();
			if (frame) {
				seq = frame.seq;
				parentPort.postMessage(seq);
			} else if (Atomics.wait(swap.word, 0, word, 5000) === 'timed-out') {
				late++;
			}
		}
		parentPort.postMessage({ late });`), { workerData: consumer.window() });
	let next = 1, result;
	const ended = new Promise(resolve => worker.on('message', message => {
		if (typeof message === 'object')
			resolve(result = message);
		else if (message === next - 1 && next <= 50)
			setTimeout(() => producer.publish(`${next++}`), Math.random() * 3);
	}));
	await once(worker, 'online');
	setTimeout(() => producer.publish(`${next++}`), 50);
	await ended;
	assert.equal(result.late, 0);
	consumer.close();
	await forwarding;
	await worker.terminate();
});

test('a module publishes and acquires on its own', { skip: noWasm }, t => {
	const { producer, consumer } = pair(t);
	const writer = instantiate(producer, 'producer');
	assert.equal(writer.exports.publish(8), 0);
	assert.equal(new Uint32Array(consumer.acquire().copy().buffer)[0], 1);
	assert.equal(writer.exports.publish(4097), -90, 'EMSGSIZE');
	assert.equal(writer.exports.references(), -116, 'ESTALE, once published');
	assert.equal(writer.exports.acquire(), -13, 'EACCES');
	const reader = instantiate(consumer, 'consumer');
	assert.equal(reader.exports.acquire(), 2);
	assert.equal(reader.exports.acquire(), 0);
	assert.equal(reader.exports.publish(1), -13);
	producer.publish('the channel, too');
	assert.equal(consumer.acquire().seq, 3);
	Atomics.store(consumer.word, 0, 0);
	assert.equal(reader.exports.acquire(), -71, 'EPROTO');
	Atomics.store(consumer.word, 0, 0b100100);
});

// Slots that lie in their descriptors.
test('small frames pass by the channel, Swap and a module alike', { skip: noWasm }, t => {
	const { producer, consumer } = pair(t, 16);
	const bytes = i => Uint8Array.of(i, ...Array(14).fill(0), ~i);
	const draft = producer.begin();
	draft.view().set(bytes(1));
	draft.publish(16);
	const frame = consumer.acquire();
	assert.deepEqual(new Uint8Array(frame.view()), bytes(1));
	assert.deepEqual(new Uint8Array(frame.copy()), bytes(1));
	const reader = instantiate(consumer, 'consumer'), swap = new Swap(producer.window());
	swap.begin().set(bytes(2));
	swap.publish(16);
	assert.equal(reader.exports.acquire(), 2);
	assert.equal(instantiate(producer, 'producer').exports.publish(8), 0);
	const { data, seq } = new Swap(consumer.window()).acquire();
	assert.deepEqual([seq, new Uint32Array(data.buffer, data.byteOffset, 1)[0]], [3, 3]);
	producer.publish(bytes(4));
	assert.deepEqual(new Uint8Array(consumer.acquire().view()), bytes(4));
});

test('a module that is mounted nowhere is told so', { skip: noWasm }, t => {
	const { producer } = pair(t);
	const { exports } = instantiate(producer, 'producer');
	assert.equal(exports.open(65536 * 8, 1), -93);
	assert.equal(exports.open(WINDOW, 3), -22);
	assert.throws(() => imports(), error('EINVAL'));
	assert.throws(() => imports({}), error('EINVAL'));
});

test('a store into a frame that is another\'s traps in WebAssembly', { skip: noWasm }, t => {
	const { producer, consumer } = pair(t);
	producer.publish('safe');
	const { exports } = instantiate(consumer, 'consumer');
	exports.acquire();
	const { store } = exports;
	store(WINDOW + consumer.window().slots - 65536 / 2);
	assert.throws(() => store(WINDOW + consumer.window().slots + 2 * 4096), WebAssembly.RuntimeError);
	assert.throws(() => store(WINDOW + layout.frames), WebAssembly.RuntimeError);
	producer.publish('goes on');
	assert.equal(exports.acquire(), 2);
});

test('mount takes only memory that it can keep', t => {
	const { producer, consumer } = pair(t);
	const { bytes } = producer.window();
	const memory = fixedMemory(WINDOW + bytes);
	const mount = (value, offset) => () => producer.mount(value, offset);
	for (const bad of [undefined, null, 5, {}, memory.buffer, new Uint8Array(memory.buffer), Object.create(WebAssembly.Memory.prototype)])
		assert.throws(mount(bad, 0), error('EINVAL'));
	assert.throws(mount(new WebAssembly.Memory({ initial: 32, maximum: 32 }), 0), error('EINVAL', /shared/));
	assert.throws(mount(new WebAssembly.Memory({ initial: 32, maximum: 64, shared: true }), 0), error('EINVAL', /initial equal to maximum/));
	for (const bad of [4096, 65537, -65536, 0.5, '0', NaN, 2 ** 40])
		assert.throws(mount(memory, bad), caught => ['EINVAL', 'ENOSPC'].includes(caught.code), String(bad));
	assert.throws(mount(memory, WINDOW + 65536), error('ENOSPC'));
	const window = producer.mount(memory, WINDOW);
	assert.equal(window.offset, WINDOW);
	for (const offset of [WINDOW, WINDOW - 65536])
		assert.throws(() => consumer.mount(memory, offset), error('EBUSY'));
	assert.throws(() => WebAssembly.Memory.prototype.grow.call(memory, 1), RangeError);
	memory.grow(0);
	new Swap(window).publish(1);
	assert.equal(consumer.acquire().seq, 1);
	producer.close();
	assert.throws(mount(memory, 0), error('EBADF'));
	consumer.mount(memory, WINDOW);
});

test('when the channel is closed its memory is empty, and still there', t => {
	const { producer, consumer } = pair(t);
	producer.publish('secret');
	const module = fixedMemory(WINDOW + producer.window().bytes);
	producer.mount(module, WINDOW);
	const all = new Uint8Array(producer.memory), mounted = new Uint8Array(module.buffer);
	assert(all.some(byte => byte));
	new Uint8Array(module.buffer, 0, 4).fill(9);
	producer.close();
	assert(all.every(byte => byte === 0));
	assert.equal(mounted.findLastIndex(byte => byte !== 0), 3, 'only what was the module\'s own is left');
	all.fill(1);
	mounted.fill(1);
	consumer.acquire();
	assert.equal(new Swap(consumer.window()).acquire(), null);
	assert.throws(() => new Swap({ ...consumer.window(), memory: new SharedArrayBuffer(consumer.window().bytes) }), error('EPROTO'));
});

test('a store into a consumer\'s view ends the process with words', t => {
	const name = `shm:store-${process.pid}`;
	removeLeftover(t, name);
	const { signal, stderr } = run(`import { open } from TRIBUF;
		const p = open('${name}', { role: 'producer', slotSize: 4096 });
		const c = open('${name}');
		p.publish('x');
		c.acquire().view()[0] = 1;`);
	assert.equal(signal, 'SIGSEGV');
	assert.match(stderr, /tribuf: a store into a frame that this process may only read/);
});

test('the addon\'s functions take no channel that is not', t => {
	const { producer } = pair(t);
	producer.publish('x');
	for (const name of Object.keys(native).filter(key => typeof native[key] === 'function' && !['open', 'close', 'onEvents', 'detach'].includes(key)))
		for (const bad of [0, 7, 0xffffffff, undefined, -1, 1.5, 'x', {}, producer])
			assert.throws(() => native[name](bad, 0, 0, 0), caught => ['EBADF', 'EINVAL'].includes(caught.code), `${name} ${String(bad)}`);
});
