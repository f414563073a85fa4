// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
// At full speed and asleep, across processes: WebAssembly, JavaScript's Atomics and
// the addon, each against a peer in C. TRIBUF_SCALE multiplies the counts.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import test from 'node:test';
import { Worker } from 'node:worker_threads';
import { PEER_GONE, READY, Swap, open } from '../index.js';
import { channelName, fill, instantiate, noWasm, peer, scaled, sleep, whole, workerUrl } from './common.js';

const FRAMES = scaled(1000000);		// at full speed
const SLEEPS = scaled(2000);
const BYTES = 256;

// A consumer that is ready before its producer begins.
function early(t) {
	const name = channelName();
	const keeper = open(name, { role: 'keeper', slotSize: 4096 });
	const consumer = open(name);
	t.after(() => { consumer.close(); keeper.close(); });
	return { name, consumer };
}

function check(tally, last) {
	assert.deepEqual([tally.torn, tally.disordered, tally.late], [0, 0, 0], JSON.stringify(tally));
	assert(tally.taken > 0 && tally.taken <= last);
}

const tallyOf = exports => ({ taken: exports.tally(0), torn: exports.tally(1), disordered: exports.tally(2), late: exports.tally(3) });

test(`WebAssembly produces ${FRAMES} frames for C`, { skip: noWasm }, async t => {
	const name = channelName();
	const producer = open(name, { role: 'producer', slotSize: 4096 });
	t.after(() => producer.close());
	const { exports } = instantiate(producer, 'producer');
	const consumer = await peer('consume', name, FRAMES);
	assert.equal(exports.produce(FRAMES, BYTES, 0), 0);
	const result = await consumer.done;
	t.diagnostic(JSON.stringify(result));
	assert.equal(result.code, 0);
	check(result, FRAMES);
});

test(`WebAssembly consumes ${FRAMES} frames from C`, { skip: noWasm }, async t => {
	const { name, consumer } = early(t);
	const { exports } = instantiate(consumer, 'consumer');
	const producer = peer('produce', name, FRAMES, BYTES, 4096);
	assert.equal(exports.consume(FRAMES, 5000), 0);
	assert.equal((await (await producer).done).code, 0);
	t.diagnostic(JSON.stringify(tallyOf(exports)));
	check(tallyOf(exports), FRAMES);
});

test(`JavaScript's Atomics produce ${FRAMES} frames for C`, async t => {
	const name = channelName();
	const producer = open(name, { role: 'producer', slotSize: 4096 });
	t.after(() => producer.close());
	const swap = new Swap(producer.window(), { ring: () => producer.ring() });
	const consumer = await peer('consume', name, FRAMES);
	for (let seq = 1; seq <= FRAMES; seq++) {
		fill(swap.begin(), seq, BYTES);
		swap.publish(BYTES);
	}
	const result = await consumer.done;
	t.diagnostic(JSON.stringify(result));
	assert.equal(result.code, 0);
	check(result, FRAMES);
});

test(`JavaScript's Atomics consume ${FRAMES} frames from C`, async t => {
	const { name, consumer } = early(t);
	const producer = peer('produce', name, FRAMES, BYTES, 4096);
	const swap = new Swap(consumer.window(), { ring: () => consumer.ring() });
	const tally = { taken: 0, torn: 0, disordered: 0, late: 0 };
	for (let seq = 0; seq < FRAMES;) {
		const frame = swap.acquire();
		if (!frame) {
			tally.late += !consumer.waitSync(READY, 5000);
			assert(tally.late < 5);
			continue;
		}
		tally.taken++;
		tally.torn += !whole(frame.data, frame.seq, frame.bytes);
		tally.disordered += frame.seq <= seq;
		({ seq } = frame);
	}
	assert.equal((await (await producer).done).code, 0);
	t.diagnostic(JSON.stringify(tally));
	check(tally, FRAMES);
});

test('the addon takes whole frames, in order, from C', async t => {
	const { name, consumer } = early(t);
	const producer = await peer('produce', name, FRAMES, BYTES, 4096);
	let seq = 0, taken = 0;
	for await (const frame of consumer) {
		assert(frame.seq > seq);
		({ seq } = frame);
		taken++;
		const copy = frame.copy();
		assert(whole(copy, seq, BYTES));
		if (taken % 64 === 0)
			assert(whole(frame.view(), seq, BYTES));
	}
	assert.equal(seq, FRAMES);
	assert.equal((await producer.done).code, 0);
});

// A peer in C that sleeps, and a publisher that comes at any moment: a frame is
// published when the one before was taken, after a random while.
async function sleeper(t, publisher) {
	const name = channelName();
	const producer = open(name, { role: 'producer', slotSize: 4096 });
	t.after(() => producer.close());
	const publish = publisher(producer);
	const consumer = await peer('consume', name, SLEEPS);
	const { word } = producer;
	for (let seq = 1; seq <= SLEEPS; seq++) {
		publish(seq);
		const deadline = performance.now() + 20000;
		while (Atomics.load(word, 0) & 64)
			assert(performance.now() < deadline, `frame ${seq} was not taken`);
		// Long enough to be asleep, most of the time; or on the way to it.
		const until = performance.now() + Math.random() * (seq % 4 ? 0.06 : 0.3);
		while (performance.now() < until);
	}
	const result = await consumer.done;
	t.diagnostic(JSON.stringify({ ...result, ...(({ rings, wakes, sleeps }) => ({ rings, wakes, sleeps }))(producer.info()) }));
	assert.equal(result.code, 0);
	check(result, SLEEPS);
	assert.equal(result.taken, SLEEPS);
	assert(producer.info().wakes > SLEEPS / 50, 'it slept');
}

test('WebAssembly wakes a sleeper in C, always', { skip: noWasm }, t => sleeper(t, producer => {
	const { exports } = instantiate(producer, 'producer');
	return seq => exports.produce(seq, BYTES, 0);
}));

test('Atomics wake a sleeper in C, always', t => sleeper(t, producer => {
	const swap = new Swap(producer.window(), { ring: () => producer.ring() });
	return seq => {
		fill(swap.begin(), seq, BYTES);
		swap.publish(BYTES);
	};
}));

test('a sleeper in JavaScript is woken by C, always', async t => {
	const name = channelName();
	const consumer = open(name);
	t.after(() => consumer.close());
	const producer = await peer('produce', name, SLEEPS, 64, 4096, 'paced');
	let seq = 0, late = 0;
	while (seq < SLEEPS) {
		if (Math.random() < 0.3)
			for (const until = performance.now() + Math.random() * 0.1; performance.now() < until;);
		if (!await consumer.wait(READY, { timeout: 5000 }))
			assert(++late < 5);
		for (let frame; (frame = consumer.acquire());)
			assert.equal(frame.seq, ++seq);
	}
	assert.equal(late, 0);
	assert.equal((await producer.done).code, 0);
});

test('a sleeper in WebAssembly is woken by C, always', { skip: noWasm }, async t => {
	const name = channelName();
	const producer = await peer('produce', name, SLEEPS, 64, 4096, 'paced');
	const worker = new Worker(workerUrl(`
		const channel = tribuf.open(workerData.name);
		const { exports } = common.instantiate(channel, 'consumer');
		const err = exports.consume(workerData.last, 5000);
		parentPort.postMessage({ err, taken: exports.tally(0), torn: exports.tally(1), disordered: exports.tally(2), late: exports.tally(3) });
		channel.close();`), { workerData: { name, last: SLEEPS } });
	const [result] = await once(worker, 'message');
	assert.equal(result.err, 0);
	check(result, SLEEPS);
	assert.equal(result.taken, SLEEPS);
	assert.equal((await producer.done).code, 0);
});

test('the death of a C peer is noticed, and its successor goes on', async t => {
	const name = channelName();
	const consumer = open(name);
	t.after(() => consumer.close());
	let seq = 0;
	for (let i = 0; i < Math.max(3, scaled(3)); i++) {
		const producer = await peer('produce', name, 1e9, BYTES, 4096);
		const until = performance.now() + 20 + Math.random() * 20;
		while (performance.now() < until) {
			await consumer.wait(READY, { timeout: 1000 });
			const frame = consumer.acquire();
			if (frame) {
				assert(whole(frame.view(), frame.seq, BYTES));
				assert(frame.seq > seq);
				({ seq } = frame);
			}
		}
		producer.child.kill('SIGKILL');
		assert.equal(await consumer.wait(PEER_GONE, { timeout: 5000 }), PEER_GONE);
		await producer.done;
	}

});
