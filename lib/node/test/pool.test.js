// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
// A pool of WebAssembly workers: all are heard, who dies is replaced, and the end.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import test from 'node:test';
import { Pool, layout, open } from '../index.js';
import { channelName, module, noWasm, sleep, whole } from './common.js';

function pool(t, options) {
	const made = new Pool({ name: channelName(), size: 3, slotSize: 4096, module, ...options });
	t.after(() => made.close());
	return made;
}

test('frames of all workers come through one wait', { skip: noWasm }, async t => {
	const workers = pool(t), seqs = [0, 0, 0];
	for await (const { worker, frame } of workers) {
		assert.equal(frame.cookie, BigInt(worker));
		assert(frame.seq > seqs[worker]);
		assert(whole(frame.view(), frame.seq, frame.bytes));
		seqs[worker] = frame.seq;
		if (Math.min(...seqs) >= 20)
			break;
	}
	const controller = new AbortController();
	controller.abort();
	await assert.rejects(workers.next({ signal: controller.signal }), { name: 'AbortError' });
});

test('workers at full speed are heard in turn, and can be ended', { skip: noWasm }, async t => {
	const workers = pool(t, { size: 2, run: 'spin' }), seen = [0, 0];
	for (let i = 0; i < 100000 && Math.min(...seen) < 20; i++)
		seen[(await workers.next()).worker]++;
	assert(Math.min(...seen) >= 20, `${seen}`);
	await workers.close();
	await assert.rejects(workers.next(), { code: 'EBADF' });
	assert.throws(() => open(`${workers.channel(0).name}`, { pending: false }), { code: 'ENOENT' });
});

test('everybody who asks for the next frame is woken', { skip: noWasm, timeout: 20000 }, async t => {
	const workers = pool(t, { size: 2 }), asked = Array.from({ length: 8 }, () => workers.next());
	for (const { frame } of await Promise.all(asked))
		assert(frame.seq > 0);
	const controller = new AbortController();
	const quiet = pool(t, { size: 1, run: 'trap', restart: false });
	const waiting = [quiet.next(), quiet.next({ signal: controller.signal }), quiet.next()];
	controller.abort();
	await assert.rejects(waiting[1], { name: 'AbortError' });
	quiet.close();
	for (const one of [waiting[0], waiting[2]])
		await assert.rejects(one, { code: 'EBADF' });
});

test('an error of one channel is told once, and ends no other', { skip: noWasm, timeout: 20000 }, async t => {
	const workers = pool(t, { size: 2, run: 'trap', restart: false }), { name } = workers.channel(0);
	await once(workers, 'end');
	await once(workers, 'end');
	const [bad, good] = [0, 1].map(index => open(workers.channel(index).name, { role: 'producer' }));
	t.after(() => { bad.close(); good.close(); });
	// A length that no slot has: that frame is lost, not those after it.
	const view = bad.begin(), slot = view.slot;
	view.publish(1);
	new BigUint64Array(bad.memory, layout.frames + slot * layout.desc + layout.desc_bytes, 1)[0] = 1n << 40n;
	await assert.rejects(workers.next(), { code: 'EPROTO' });
	bad.publish('x');
	assert.equal((await workers.next()).worker, 0);
	// For good: the name is another channel's.
	const replacing = open(name, { role: 'producer', slotSize: 4096, replace: true });
	t.after(() => replacing.close());
	await assert.rejects(workers.next(), { code: 'ESTALE' });
	for (const data of ['x', 'y']) {
		good.publish(data);
		assert.equal((await workers.next()).worker, 1);
	}
});

test('a worker that dies is started again, and goes on', { skip: noWasm }, async t => {
	const workers = pool(t, { size: 2 });
	let seq = 0;
	const newest = async () => {
		for (;;) {
			const { worker, frame } = await workers.next();
			if (worker === 1)
				return frame.seq;
		}
	};
	for (let i = 1; i <= 3; i++) {
		seq = await newest();
		const restarted = once(workers, 'restart');
		await workers.worker(1).terminate();
		const [index, error] = await restarted;
		assert.deepEqual([index, error.code, workers.restarts], [1, 'EINTR', i]);
		let next;
		do
			next = await newest();
		while (next <= seq + 2);
	}
});

test('a module that traps is tried again, ever later', { skip: noWasm }, async t => {
	const workers = pool(t, { size: 1, run: 'trap' });
	const [, error] = await once(workers, 'restart');
	assert.match(error.message, /unreachable/);
	await once(workers, 'restart');
	assert.equal(workers.restarts, 2);
	const [index, reason] = await once(pool(t, { size: 1, run: 'trap', restart: false }), 'end');
	assert.equal(index, 0);
	assert.match(reason.message, /unreachable/);
});

test('closing a pool ends its loop', { skip: noWasm }, async t => {
	const workers = pool(t);
	setTimeout(() => workers.close(), 100);
	for await (const { frame } of workers)
		assert(frame.seq > 0);
	assert.equal(workers.closed, true);
	await sleep(0);
});

test('a pool refuses what makes no sense', () => {
	const name = channelName();
	for (const bad of [undefined, null, {}, { name }, { name, slotSize: 64 }, { name, slotSize: 64, module: 5 }, { name, slotSize: 64, module: Uint8Array.of(1) },
		{ name, slotSize: 64, module, size: 2000 }, { name, slotSize: 64, module, memory: 100 }, { name, slotSize: 64, module, run: 'nothing' }, { name, slotSize: 64, module, workers: 3 }])
		assert.throws(() => new Pool(bad), Error, JSON.stringify(bad));
});
