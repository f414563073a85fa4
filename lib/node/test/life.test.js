// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
// How things end: workers terminated with waits pending, channels collected, processes
// that exit or are killed with everything open; and what waiting costs meanwhile.
import assert from 'node:assert/strict';
import { existsSync, readdirSync } from 'node:fs';
import { once } from 'node:events';
import { spawn, spawnSync } from 'node:child_process';
import test from 'node:test';
import { Worker } from 'node:worker_threads';
import { PEER_GONE, READY, open } from '../index.js';
import { WINDOW, channelName, device, file, fixedMemory, folder, here, pair, removeLeftover, run, scaled, sleep, workerUrl } from './common.js';

const WORKERS = scaled(12);
const CHANNELS = Math.min(1000, scaled(200));

const descriptors = () => readdirSync('/proc/self/fd').length;
const threads = () => readdirSync('/proc/self/task').length;
const rss = () => process.memoryUsage.rss() / 1048576;

async function collect() {
	for (let i = 0; i < 5; i++) {
		globalThis.gc();
		await sleep(5);
	}
}

test(`a worker is terminated at any moment, ${WORKERS} times`, async t => {
	const { name, producer } = pair(t);
	const url = workerUrl(`
		const { name, way } = workerData;
		const own = tribuf.open(name + '-' + way, { role: 'producer', slotSize: 65536 });
		const observer = tribuf.open(name, { role: 'observer' });
		const view = own.begin().view();
		parentPort.postMessage('ready');
		if (way === 0) {
			observer.waitSync(tribuf.PEER_GONE);
		} else if (way === 1) {
			for await (const frame of observer)
				own.publish(frame.view());
		} else if (way === 2) {
			observer.wait(tribuf.PEER_GONE);
			own.wait(tribuf.READY);
			for (;;)
				new tribuf.Swap(own.window()).begin()[0] = 1;
		} else {
			const memory = common.fixedMemory(1 << 20);
			own.mount(memory, 65536);
			await Promise.all([own.wait(tribuf.PEER_GONE), observer.forward()]);
		}`);
	const round = async i => {
		const worker = new Worker(url, { workerData: { name, way: i % 4 } });
		worker.on('error', error => assert.fail(error));
		if (i % 3)
			await once(worker, 'message');
		await sleep(Math.random() * 20);
		producer.publish('x');
		await worker.terminate();
		assert.equal(producer.info().observers, 0);
	};
	for (let i = 0; i < 4; i++)
		await round(i);
	await collect();
	const before = [descriptors(), threads(), rss()];
	for (let i = 0; i < WORKERS; i++)
		await round(i);
	await collect();
	assert(descriptors() <= before[0] + 2, `${descriptors()} descriptors after ${before[0]}`);
	assert(threads() <= before[1] + 2, `${threads()} threads after ${before[1]}`);
	assert(rss() < before[2] + 40 + WORKERS / 20, `${rss()} MiB after ${before[2]}`);
	for (let way = 0; way < 4; way++)
		assert.throws(() => open(`${name}-${way}`, { role: 'observer', pending: false }), { code: 'ENOENT' });
});

test('channels, memory and frames are collected in any order', async t => {
	const before = descriptors();
	for (let round = 0; round < scaled(5); round++) {
		const name = channelName();
		let kept = [];
		(() => {
			const producer = open(name, { role: 'producer', slotSize: 8192 });
			const consumer = open(name);
			producer.publish('x');
			const frame = consumer.acquire();
			const memory = fixedMemory(1 << 20);
			consumer.mount(memory, 65536);
			kept = [producer, consumer, frame, frame.view(), producer.memory, consumer.word, memory, memory.buffer];
		})();
		while (kept.length) {
			kept.splice(Math.floor(Math.random() * kept.length), 1 + Math.floor(Math.random() * 3));
			globalThis.gc();
			if (Math.random() < 0.5)
				await sleep(0);
			for (const one of kept) {
				if (one instanceof Uint8Array)
					one.length && one[0];
				if (one instanceof SharedArrayBuffer)
					new Uint8Array(one, 0, 65536).indexOf(77);
			}
		}
	}
	await collect();
	assert(descriptors() <= before + 1, `${descriptors()} descriptors, ${before} before`);
	const name = channelName();
	open(name, { role: 'producer', slotSize: 64 });
	await collect();
	assert.throws(() => open(name, { pending: false }), { code: 'ENOENT' }, 'a channel that nobody has is closed');
});

test('a view outlives its channel and every memory only as an empty one', async () => {
	for (const mounted of [false, true]) {
		const view = (() => {
			const producer = open(channelName(), { role: 'producer', slotSize: 1 << 20 });
			// Before the channel has a memory of its own, which window() would make.
			if (mounted)
				producer.mount(fixedMemory(8 << 20), WINDOW);
			const found = producer.begin().view();
			found.fill(7);
			return found;
		})();
		await collect();
		assert(view.every(byte => byte === 0 || byte === 7));
	}
	await collect();
});

// Nothing of JavaScript's is between the bytes and their memory any more.
test('so do its bytes, parted from it', { skip: !ArrayBuffer.prototype.transfer && 'no transfer() before Node 21' }, async () => {
	const buffers = Array.from({ length: 8 }, () => {
		const producer = open(channelName(), { role: 'producer', slotSize: 1 << 20 });
		const { buffer } = producer.begin().view();
		producer.close();
		return buffer;
	});
	await collect();
	assert(buffers.every(buffer => buffer.byteLength === 0), 'closed: detached');
	const parted = Array.from({ length: 8 }, () => {
		const producer = open(channelName(), { role: 'producer', slotSize: 1 << 20 });
		const view = producer.begin().view().fill(7);
		return new Uint8Array(view.buffer.transfer());
	});
	await collect();
	assert(parted.every(bytes => bytes.length === 1 << 20 && bytes.every(byte => byte === 0 || byte === 7)));
});

test('a process exits with everything open', () => {
	for (const end of ['', 'process.exit(0);', 'setImmediate(() => process.exit(0));']) {
		const name = channelName();
		const { status, signal, stderr } = run(`import * as t from TRIBUF;
			const name = ${JSON.stringify(name)};
			const p = t.open(name, { role: 'producer', slotSize: 4096 }), c = t.open(name), o = t.open(name, { role: 'observer' });
			p.publish('x');
			globalThis.kept = [p, c, o, c.acquire(), c.memory, p.begin().view()];
			c.mount(new WebAssembly.Memory({ initial: 9, maximum: 9, shared: true }), 65536);
			const wait = c.wait(t.PEER_GONE);
			${end ? `o.wait(t.PEER_GONE); (async () => { for await (const f of c); })().catch(() => {}); ${end}` : 'wait.catch(() => {}); c.close();'}`);
		assert.deepEqual([status, signal, stderr], [0, null, ''], end);
		assert(!existsSync(file(name)), `a file is left: ${end}`);
	}
});

test('an open channel alone does not keep the process, a wait does', () => {
	const name = JSON.stringify(channelName());
	const idle = run(`import { open } from TRIBUF;
		globalThis.p = open(${name}, { role: 'producer', slotSize: 64 }); p.publish('x');
		await p.wait(1, { timeout: 1 }); globalThis.c = open(${name});`, { timeout: 20000 });
	assert.deepEqual([idle.status, idle.stderr], [0, '']);
	const waits = run(`import { open } from TRIBUF;
		const c = open(${name}, { role: 'consumer', slotSize: 64 });
		c.wait().then(() => console.log('woken'), () => console.log('closed'));
		setTimeout(() => c.close(), 100).unref();
		setTimeout(() => {}, 150);`, { timeout: 20000 });
	assert.deepEqual([waits.status, waits.stdout, waits.stderr], [0, 'closed\n', '']);
	const ended = run(`import { open } from TRIBUF;
		const c = open(${name}, { role: 'consumer', slotSize: 64 });
		setTimeout(() => c.close(), 50);
		for await (const frame of c);
		console.log('ended');`, { timeout: 20000 });
	assert.deepEqual([ended.status, ended.stdout], [0, 'ended\n']);
});

// What a first wait armed, others must not leave: there is nobody to disarm it.
test('nor does a wait that is over by another\'s doing', t => {
	for (const over of ['p.publish("x"); await c.wait();',
		'const other = new AbortController(); c.wait(1, { signal: other.signal }).catch(() => {}); p.publish("x"); other.abort();']) {
		const name = channelName();
		removeLeftover(t, name);
		const { status, stdout, stderr } = run(`import { open } from TRIBUF;
			const p = globalThis.p = open('${name}', { role: 'producer', slotSize: 64 }), c = globalThis.c = open('${name}');
			const wait = c.wait();
			${over}
			console.log(await wait, c.acquire().seq);`, { timeout: 20000 });
		assert.deepEqual([status, stdout, stderr], [0, '1 1\n', ''], over);
	}
});

test('kill -9 of this side frees its roles', async t => {
	for (let i = 0; i < Math.max(3, scaled(3)); i++) {
		const name = channelName();
		const child = spawn(process.execPath, ['--input-type=module', '-e', `import { open } from ${JSON.stringify(new URL('../index.js', import.meta.url).href)};
			const p = open(${JSON.stringify(name)}, { role: 'producer', slotSize: 4096 });
			console.log('open');
			for (let i = 0;; i++) { p.begin().view().fill(i); p.publish(new Uint8Array(64).fill(i)); if (i % 100 === 0) await p.wait(1, { timeout: 1 }); }`],
		{ stdio: ['ignore', 'pipe', 'inherit'] });
		await once(child.stdout, 'data');
		const consumer = open(name);
		t.after(() => consumer.close());
		const until = performance.now() + 20 + Math.random() * 30;
		while (performance.now() < until) {
			await consumer.wait(READY, { timeout: 100 });
			const frame = consumer.acquire();
			if (frame)
				assert(frame.view().every((byte, place, all) => byte === all[0]));
		}
		child.kill('SIGKILL');
		assert.equal(await consumer.wait(PEER_GONE, { timeout: 10000 }), PEER_GONE);
		const successor = open(name, { role: 'producer' });
		consumer.acquire();
		successor.publish('goes on');
		assert.equal(Buffer.from(consumer.acquire().view()).toString(), 'goes on');
		successor.close();
		consumer.close();
	}
});

// What a second costs this process: microseconds of CPU, and times that a thread slept.
async function second() {
	const cpu = process.cpuUsage(), { voluntaryContextSwitches } = process.resourceUsage();
	await sleep(1000);
	const { user, system } = process.cpuUsage(cpu);
	return { cpu: user + system, sleeps: process.resourceUsage().voluntaryContextSwitches - voluntaryContextSwitches };
}

// V8 works in the background now and then; who waits by spinning has no quiet second.
async function quietSecond() {
	const seconds = [await second(), await second(), await second()];
	return seconds.reduce((best, one) => one.cpu < best.cpu ? one : best);
}

test('waiting burns no CPU', async t => {
	const { consumer } = pair(t);
	const controller = new AbortController();
	const without = await quietSecond();
	const loop = (async () => {
		for await (const frame of consumer.frames({ signal: controller.signal }))
			assert.fail(frame.seq);
	})();
	await sleep(100);
	const waiting = await quietSecond();
	t.diagnostic(`a second without ${JSON.stringify(without)}, waiting ${JSON.stringify(waiting)}`);
	// shm looks at the peer's lock ten times a second, and says so.
	assert(waiting.sleeps <= without.sleeps + (device ? 5 : 60));
	assert(waiting.cpu <= without.cpu + (device ? 5000 : 20000));
	controller.abort();
	await assert.rejects(loop, { name: 'AbortError' });
});

test('nor where a policy forbids to sleep on several futexes', { skip: device && 'its waits are on a descriptor' }, () => {
	const { status, stdout, stderr } = run(`import { open } from TRIBUF;
		const p = open('${channelName()}', { role: 'producer', slotSize: 64 }), c = open(p.name);
		const wait = c.wait();
		setTimeout(() => {
			const before = process.cpuUsage();
			setTimeout(() => {
				const { user, system } = process.cpuUsage(before);
				console.log(user + system);
				p.publish('x');
			}, 1000);
		}, 100);
		await wait;
		c.close();
		p.close();`, { by: [`${folder}peer`, 'forbidden'] });
	assert.deepEqual([status, stderr], [0, '']);
	assert(Number(stdout) < 100000, `${stdout} us of CPU in a second`);
});

test(`${CHANNELS} channels in one process, all waited on`, async t => {
	const channels = [];
	t.after(() => channels.forEach(channel => channel.close()));
	for (let i = 0; i < CHANNELS; i++) {
		const name = channelName();
		const producer = open(name, { role: 'producer', slotSize: 64 });
		const consumer = open(name);
		channels.push(producer, consumer);
		if (i % 10 === 0)
			assert(consumer.memory.byteLength > 0);
	}
	let came = 0;
	const all = channels.filter(channel => channel.role === 'consumer').map(async (consumer, i) => {
		for (let n = 1; n <= 2; n++) {
			await consumer.wait();
			assert.equal(Buffer.from(consumer.acquire().copy()).toString(), `${i}.${n}`);
			came++;
		}
	});
	for (let n = 1; n <= 2; n++) {
		await sleep(10);
		for (let i = 0; i < CHANNELS; i++)
			channels[2 * ((i * 7) % CHANNELS)].publish(`${(i * 7) % CHANNELS}.${n}`);
		for (const deadline = performance.now() + 20000; came < n * CHANNELS;) {
			assert(performance.now() < deadline, `${came} frames came`);
			await sleep(1);
		}
	}
	await Promise.all(all);
	assert(threads() < 40, `${threads()} threads`);
});

test('fuzz: random calls with random arguments crash nothing', t => {
	const { status, signal, stdout, stderr } = spawnSync(process.execPath, ['--expose-gc', `${here}fuzz.js`], { encoding: 'utf8', timeout: 600000, env: { ...process.env, NODE_NO_WARNINGS: '1', BACKEND: device ? 'device' : 'shm' } });
	assert.deepEqual([status, signal, stderr], [0, null, '']);
	t.diagnostic(stdout);
});
