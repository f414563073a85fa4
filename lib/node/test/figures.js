// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
// The package's figures, each beside what it is compared with, measured in turns in
// one run: lines "name value" on standard output, words on standard error. Arguments:
// the names of those to measure.
import { createRequire } from 'node:module';
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { READY, Swap, acquireWord, layout, open, publishWord } from '../index.js';
import { WINDOW, channelName, folder, instantiate, peer, peerWith, workerUrl } from './common.js';

const { FRESH } = layout;
const median = list => list.sort((a, b) => a - b)[list.length >> 1];
const print = (name, value) => console.log(`${name} ${value.toFixed(3)}`);
const say = words => console.error(`# ${words}`);

// From WebAssembly to a spinning C process and back, by frames of 64 MiB and of 8 bytes.
async function sizes() {
	const name = channelName(), answers = channelName(), SIZE = 64 << 20, ROUNDS = 4000;
	const producer = open(name, { role: 'producer', slotSize: SIZE });
	const { exports } = instantiate(producer, 'producer');
	const echo = await peer('echo', name, answers, 2 * ROUNDS);
	const consumer = open(answers);
	const swap = new Swap(consumer.window());
	const times = { small: [], large: [] };
	for (let i = 0; i < 2 * ROUNDS; i++) {
		const began = performance.now();
		exports.publish(i % 2 ? 8 : SIZE);
		while (!swap.acquire());
		times[i % 2 ? 'small' : 'large'].push(performance.now() - began);
	}
	await echo.done;
	producer.close();
	consumer.close();
	const [large, small] = [median(times.large), median(times.small)];
	say(`there and back: 64 MiB ${(large * 1e3).toFixed(2)} us, 8 B ${(small * 1e3).toFixed(2)} us`);
	print('64MiB_to_8B', large / small);
}

// Frames of 1 MiB that this thread has from a worker in a second.
async function throughput() {
	const SIZE = 1 << 20, MESSAGES = 300, FRAMES = 50000, name = channelName();
	const posting = new Worker(workerUrl(`
		const buffer = new Uint8Array(workerData.size);
		parentPort.on('message', n => {
			for (let i = 0; i < n; i++) { buffer[0] = i; parentPort.postMessage(buffer); }
		});`), { workerData: { size: SIZE } });
	await once(posting, 'online');
	const posted = async n => {
		const began = performance.now();
		posting.postMessage(n);
		for (let i = 0; i < n;)
			i += (await once(posting, 'message'))[0].length === SIZE;
		return n / (performance.now() - began);
	};
	const publishing = new Worker(workerUrl(`
		const channel = tribuf.open(workerData.name, { role: 'producer', slotSize: workerData.size });
		const { exports } = common.instantiate(channel, 'producer');
		exports.publishes(4e9, workerData.size);`), { workerData: { name, size: SIZE } });
	const consumer = open(name);
	await consumer.wait(READY);
	const taken = async n => {
		const began = performance.now();
		let i = 0;
		for await (const frame of consumer)
			if (frame.bytes === SIZE && ++i === n)
				break;
		return n / (performance.now() - began);
	};
	await posted(20);
	await taken(1000);
	const rates = { posted: [], taken: [] };
	for (let i = 0; i < 3; i++) {
		rates.posted.push(await posted(MESSAGES));
		rates.taken.push(await taken(FRAMES));
	}
	await posting.terminate();
	await publishing.terminate();
	consumer.close();
	const [p, f] = [median(rates.posted), median(rates.taken)];
	say(`1 MiB: ${(p * 1e3).toFixed(0)} messages/s, ${(f * 1e3).toFixed(0)} frames/s`);
	print('to_postmessage_1MiB', f / p);
}

// As one writes it by hand: one word, exchanged; the length beside each slot.
class ByHand {
	#state = new Int32Array(new SharedArrayBuffer(4));
	#slots = [0, 1, 2].map(() => ({ data: new Uint8Array(new SharedArrayBuffer(4096)), header: new Int32Array(new SharedArrayBuffer(16)) }));
	#back = 0;
	#front = 2;
	#seq = 0;

	constructor() { Atomics.store(this.#state, 0, 1); }
	begin() { return this.#slots[this.#back].data; }
	publish(bytes) {
		const { header } = this.#slots[this.#back];
		header[0] = ++this.#seq;
		header[1] = bytes;
		this.#back = Atomics.exchange(this.#state, 0, this.#back | 4) & 3;
	}

	acquire() {
		if (!(Atomics.load(this.#state, 0) & 4))
			return null;
		this.#front = Atomics.exchange(this.#state, 0, this.#front) & 3;
		const { header, data } = this.#slots[this.#front];
		return { seq: header[0], bytes: header[1], data };
	}
}

// Nanoseconds of one, in turns of all; each turn begins anew, for they share a channel.
function compare(ways, rounds) {
	const times = Object.keys(ways).map(() => []);
	for (let i = 0; i <= rounds; i++) {
		Object.values(ways).forEach(({ n, start }, way) => {
			const work = start(), began = performance.now();
			work(n);
			if (i)
				times[way].push((performance.now() - began) * 1e6 / n);
		});
	}
	Object.keys(ways).forEach((name, way) => say(`${name}: ${median(times[way]).toFixed(1)} ns`));
	return times.map(median);
}

// A frame there and taken, in one thread: first the swap alone, then with all that a
// frame says of itself (number, length, time, generation).
async function swap() {
	const n = 1000000, name = channelName();
	const producer = open(name, { role: 'producer', slotSize: 4096 }), consumer = open(name);
	const { exports } = instantiate(producer, 'producer'), { word } = producer;
	const state = new Int32Array(new SharedArrayBuffer(4));
	const reader = () => new Swap(consumer.window());
	let sum = 0;
	const exchanged = i => {
		for (let back = 0, front = 2; i--;) {
			back = Atomics.exchange(state, 0, back | 4) & 3;
			if (Atomics.load(state, 0) & 4)
				front = Atomics.exchange(state, 0, front) & 3;
			sum += front;
		}
	};
	const swapped = i => {
		for (let guess = Atomics.load(word, 0); i--;) {
			let old = guess;
			for (let found; (found = Atomics.compareExchange(word, 0, old, publishWord(old))) !== old;)
				old = found;
			guess = acquireWord(publishWord(old));
			old = Atomics.load(word, 0);
			if (old & FRESH)
				for (let found; (found = Atomics.compareExchange(word, 0, old, acquireWord(old))) !== old;)
					old = found;
			sum += old;
		}
	};
	const [hand, ours] = compare({
		'swap alone, by hand': { n, start: () => (Atomics.store(state, 0, 1), exchanged) },
		'swap alone, the state word': { n, start: () => swapped },
	}, 9);
	compare({
		'frame, by hand': { n, start: () => { const hand = new ByHand(); return i => { while (i--) { hand.begin()[0] = i; hand.publish(8); sum += hand.acquire().bytes; } }; } },
		'frame, Swap': { n, start: () => { const w = new Swap(producer.window()), r = reader(); return i => { while (i--) { w.begin()[0] = i; w.publish(8); sum += r.acquire().bytes; } }; } },
		'frame, WebAssembly to Swap': { n, start: () => { const r = reader(); exports.open(WINDOW, 1); return i => { while (i--) { exports.publish(8); sum += r.acquire().bytes; } }; } },
		'frame, the addon': { n: n / 20, start: () => i => { while (i--) { producer.begin().publish(8); sum += consumer.acquire().bytes; } } },
	}, 5);
	producer.close();
	consumer.close();
	if (!sum)
		throw new Error('nothing was taken');
	print('swap_to_handwritten', ours / hand);
}

// From another process to the line after "await"; often enough that most are of
// compiled code on both sides.
async function waiting() {
	const TICKS = 5000, name = channelName();
	const times = { eventfd: [], channel: [] };
	const now = () => process.hrtime.bigint();
	let resolve;
	const fd = createRequire(import.meta.url)(`${folder}eventfd.node`).open(value => resolve(value));
	const consumer = open(name);
	const done = peerWith([fd], 'tick', name, TICKS);
	(async () => {
		for (;;) {
			const stamp = await new Promise(r => { resolve = r; });
			times.eventfd.push(Number(now() - stamp));
		}
	})();
	for await (const frame of consumer)
		times.channel.push(Number(now() - frame.timestamp));
	const { code } = await (await done).done;
	if (code || times.eventfd.length < TICKS * 0.9 || times.channel.length < TICKS * 0.9)
		throw new Error(`peer ${code}: ${times.eventfd.length} and ${times.channel.length} of ${TICKS} came`);
	const [bare, ours] = [median(times.eventfd), median(times.channel)];
	say(`woken after: uv_poll on an eventfd ${(bare / 1e3).toFixed(1)} us, a channel ${(ours / 1e3).toFixed(1)} us`);
	print('wait_to_uv_poll', ours / bare);
}

const all = { sizes, throughput, swap, waiting };
for (const name of process.argv.slice(2))
	await all[name]();
process.exit(0);
