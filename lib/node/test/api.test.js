// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
// Every function of the package: what it promises, and each way in which it refuses.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import test from 'node:test';
import { fileURLToPath } from 'node:url';
import { Channel, Frame, GEOMETRY, PEER_BACK, PEER_GONE, READY, open } from '../index.js';
import { channelName, device, folder, pair, peer, run, sleep } from './common.js';

const once = device && 'once is enough: on shm';
const error = (code, text) => caught => caught.code === code && caught.message.startsWith(`${code}: `) && (!text || text.test(caught.message));

test('a frame arrives as it was published', t => {
	const { producer, consumer } = pair(t);
	assert.equal(consumer.acquire(), null);
	const before = process.hrtime.bigint();
	assert.equal(producer.publish('hello', { cookie: 7n, flags: 0x10000, user: Uint8Array.of(1, 2, 3) }), false);
	const frame = consumer.acquire();
	assert(frame instanceof Frame);
	assert.deepEqual([frame.seq, frame.bytes, frame.cookie, frame.flags], [1, 5, 7n, 0x10000]);
	assert(frame.timestamp >= before && frame.timestamp <= process.hrtime.bigint());
	assert.equal(Buffer.from(frame.view()).toString(), 'hello');
	assert.deepEqual([...frame.user.subarray(0, 4)], [1, 2, 3, 0]);
	assert.equal(consumer.acquire(), null);
});

test('the newest frame wins, and publish says what it replaced', t => {
	const { producer, consumer } = pair(t);
	assert.equal(producer.publish('old', { timestamp: 0 }), false);
	assert.equal(producer.publish('new', { timestamp: 12345678901234567890n }), true);
	const frame = consumer.acquire();
	assert.equal(frame.timestamp, 12345678901234567890n);
	assert.equal(frame.seq, 2);
	assert.equal(Buffer.from(frame.copy()).toString(), 'new');
	assert.equal(consumer.info().overwritten, 1);
});

test('every kind of bytes can be published', t => {
	const { producer, consumer } = pair(t);
	const bytes = Uint8Array.of(0, 1, 2, 3, 4, 5, 6, 7);
	const shared = new Uint8Array(new SharedArrayBuffer(8));
	shared.set(bytes);
	for (const data of [bytes, bytes.buffer, Buffer.from(bytes), new DataView(bytes.buffer), shared, shared.buffer, new Float64Array(bytes.buffer)]) {
		producer.publish(data);
		assert.deepEqual(consumer.acquire().copy(), bytes);
	}
	producer.publish(bytes.subarray(2, 4));
	assert.deepEqual([...consumer.acquire().view()], [2, 3]);
	producer.publish('');
	assert.equal(consumer.acquire().bytes, 0);
});

test('a draft is written in place', t => {
	const { producer, consumer } = pair(t);
	const draft = producer.begin();
	assert.equal(draft.bytes, 4096);
	const view = draft.view();
	view.fill(9);
	draft.publish(100, { cookie: 1 });
	assert.equal(view.length, 0, 'what was published can be written no more');
	assert.throws(() => draft.view(), error('ESTALE'));
	assert.throws(() => draft.publish(1), error('ESTALE'));
	assert.deepEqual(consumer.acquire().copy(), new Uint8Array(100).fill(9));
	const first = producer.begin(), second = producer.begin();
	assert.throws(() => first.view(), error('ESTALE'));
	second.publish(0);
});

test('a view ends with the next acquire', t => {
	const { producer, consumer } = pair(t);
	producer.publish('first');
	const frame = consumer.acquire(), view = frame.view();
	assert.equal(consumer.acquire(), null);
	assert.equal(frame.stale, false);
	assert.equal(frame.view().buffer, view.buffer);
	producer.publish('second');
	consumer.acquire();
	assert.equal(frame.stale, true);
	assert.throws(() => frame.view(), error('ESTALE', /copy what is to be kept/));
	assert.throws(() => frame.copy(), error('ESTALE'));
	assert.throws(() => frame.user, error('ESTALE'));
	assert.equal(view.length, 0);
	assert.throws(() => view.fill(1), TypeError);
	assert.equal(frame.seq, 1, 'what the frame was stays');
});

test('copy fills what it is given', t => {
	const { producer, consumer } = pair(t);
	producer.publish('12345678');
	const frame = consumer.acquire(), into = new Uint8Array(10);
	assert.equal(frame.copy(into).length, 8);
	assert.equal(Buffer.from(into).toString(), '12345678\0\0');
	assert.throws(() => frame.copy(new Uint8Array(7)), error('EMSGSIZE', /8 bytes/));
	for (const bad of [5, 'long enough', null])
		assert.throws(() => frame.copy(bad), error('EINVAL'));
});

test('references are two numbers that tell when they are stale', t => {
	const { producer, consumer } = pair(t);
	const draft = producer.begin();
	draft.view().set(Buffer.from('0123456789abcdef'));
	const made = draft.ref(8);
	draft.publish(16);
	const frame = consumer.acquire();
	const reference = frame.ref(8);
	assert.deepEqual(Object.keys(reference), ['index', 'generation']);
	assert.deepEqual(made, reference, 'the producer names the frame as readers will know it');
	assert.equal(Buffer.from(consumer.deref(reference, 8)).toString(), '89abcdef');
	assert.equal(Buffer.from(consumer.copy(reference, new Uint8Array(4))).toString(), '89ab');
	assert.equal(Buffer.from(producer.copy(structuredClone(reference), new Uint8Array(4))).toString(), '89ab');
	producer.publish('x');
	consumer.acquire();
	assert.throws(() => consumer.deref(reference, 8), error('ESTALE'));
	for (let i = 0; i < 2; i++)
		producer.publish('x');
	assert.throws(() => consumer.copy(reference, new Uint8Array(4)), error('ESTALE'));
	assert.throws(() => frame.ref(3), error('EINVAL', /multiple of 8/));
	assert.throws(() => frame.ref(4096), error('EINVAL'));
	assert.throws(() => consumer.deref({ index: 0xffffffff, generation: 2 }, 1), error('EINVAL'));
	assert.throws(() => consumer.copy({ index: 511, generation: 2 }, new Uint8Array(9)), error('EINVAL'));
	for (const bad of [undefined, null, 5, {}, { index: -1, generation: 0 }, { index: 1.5, generation: 0 }, { index: 0, generation: 2 ** 32 }])
		assert.throws(() => consumer.deref(bad, 1), error('EINVAL'));
});

test('copies fill all bytes of whatever they are given', t => {
	const { producer, consumer } = pair(t);
	const bytes = Uint8Array.from({ length: 16 }, (_, i) => i + 1);
	producer.publish(bytes);
	const reference = consumer.acquire().ref();
	for (const Kind of [Int8Array, Uint8ClampedArray, Uint16Array, Float32Array, Float64Array, BigInt64Array, DataView, globalThis.Float16Array]) {
		const into = Kind && new Kind(new ArrayBuffer(16));
		if (into)
			assert.deepEqual(new Uint8Array(consumer.copy(reference, into).buffer), bytes, Kind.name);
	}
});

test('an observer looks on and has frames of its own', t => {
	const { name, producer, consumer } = pair(t);
	const observer = open(name, { role: 'observer' });
	t.after(() => observer.close());
	assert.equal(observer.acquire(), null);
	producer.publish('for all');
	const seen = observer.acquire();
	assert.equal(Buffer.from(seen.view()).toString(), 'for all');
	assert.equal(observer.acquire(), null);
	assert.equal(Buffer.from(consumer.acquire().view()).toString(), 'for all');
	producer.publish('x'.repeat(4096));
	assert.equal(observer.acquire().bytes, 4096);
	assert.equal(seen.stale, false);
	assert.equal(Buffer.from(seen.copy()).toString(), 'for all');
	assert.throws(() => observer.publish('no'), error('EACCES'));
});

test('the format travels beside the frames', t => {
	const { producer, consumer } = pair(t);
	assert.deepEqual(consumer.format, { version: 0, data: new Uint8Array(0) });
	producer.setFormat('video/x-raw,width=2');
	const { version, data } = consumer.format;
	assert.equal(Buffer.from(data).toString(), 'video/x-raw,width=2');
	producer.publish('x');
	assert.equal(consumer.acquire().format, version);
	assert.throws(() => producer.setFormat(new Uint8Array(1025)), error('EMSGSIZE'));
	assert.throws(() => consumer.setFormat('x'), error('EACCES'));
});

test('info tells who is there', t => {
	const { producer, consumer } = pair(t);
	producer.publish('x');
	const info = consumer.info();
	assert.equal(info.role, 'consumer');
	assert.equal(info.slotSize, 4096);
	assert.equal(info.published, 1);
	assert.equal(info.producerPid, process.pid);
	assert.deepEqual([info.producer, info.consumer, info.pending, info.replaced], [true, true, false, false]);
});

test('a role is taken by one', t => {
	const { name, producer } = pair(t);
	assert.throws(() => open(name, { role: 'producer' }), caught => error('EBUSY', new RegExp(`process ${process.pid}`))(caught) && caught.errno === -16);
	assert.throws(() => open(name), error('EBUSY'));
	assert.throws(() => open(name, { role: 'observer', slotSize: 8192 }), error('EINVAL', /4096/));
	assert.throws(() => open(name, { role: 'observer', slotSize: 4096, exclusive: true }), error('EEXIST'));
	assert.throws(() => open(channelName(), { role: 'producer' }), error('ENOENT'));
	producer.close();
	open(name, { role: 'producer' }).close();
});

test('what makes no sense is refused before anything happens', () => {
	const name = channelName();
	for (const bad of [undefined, null, 5, '', 'a/b', 'x'.repeat(200), 'nul\0', '.', {}])
		assert.throws(() => open(bad), caught => ['EINVAL', 'ENAMETOOLONG'].includes(caught.code), String(bad));
	for (const bad of [null, 5, { role: 'boss' }, { role: 'toString' }, { slotSize: -1 }, { slotSize: 1.5 }, { slotSize: NaN }, { slotSize: '4096' },
		{ slotSize: 4096n }, { mode: 0o7777 }, { granule: 3 }, { slotsize: 4096 }, { slotSize: 4096, create: true, replace: true }])
		assert.throws(() => open(name, bad), error('EINVAL'), JSON.stringify(bad, (key, value) => String(value)));
	assert.throws(() => new Channel(), error('EINVAL'));
});

test('publish refuses what it cannot carry', t => {
	const { producer, consumer } = pair(t);
	assert.throws(() => producer.publish(new Uint8Array(4097)), error('EMSGSIZE', /4096/));
	for (const bad of [undefined, null, 5, {}, [1, 2]])
		assert.throws(() => producer.publish(bad), error('EINVAL'));
	for (const bad of [{ flags: 1 }, { flags: -1 }, { cookie: -1n }, { cookie: 1n << 64n }, { cookie: 'x' }, { timestamp: 0.5 }, { user: new Uint8Array(65) }, { size: 1 }, 5])
		assert.throws(() => producer.publish('x', bad), caught => ['EINVAL', 'EMSGSIZE'].includes(caught.code), JSON.stringify(bad, (key, value) => String(value)));
	assert.throws(() => producer.begin().publish(4097), error('EMSGSIZE'));
	assert.throws(() => consumer.publish('x'), error('EACCES', /consumer/));
	assert.throws(() => consumer.begin(), error('EACCES'));
	assert.throws(() => producer.acquire(), error('EACCES'));
	assert.equal(producer.publish('x'), false);
	assert.equal(consumer.acquire().seq, 1, 'nothing of all that was published');
});

test('closed means closed', async t => {
	const { producer, consumer } = pair(t);
	producer.publish('x');
	const frame = consumer.acquire(), view = frame.view();
	const waits = [consumer.wait(), consumer.wait(PEER_GONE, { timeout: 10000 })];
	consumer.close();
	consumer.close();
	for (const wait of waits)
		await assert.rejects(wait, error('EBADF'));
	assert.equal(consumer.closed, true);
	assert.equal(view.length, 0);
	for (const call of ['acquire', 'begin', 'ring', 'info', 'window', 'waitSync'])
		assert.throws(() => consumer[call](), error('EBADF'), call);
	for (const getter of ['memory', 'word', 'format', 'slotSize'])
		assert.throws(() => consumer[getter], error('EBADF'), getter);
	assert.throws(() => frame.view(), error('ESTALE'));
	assert.throws(() => frame.ref(), error('EBADF'));
	await assert.rejects(consumer.wait(), error('EBADF'));
	if (Symbol.dispose) {
		producer[Symbol.dispose]();
		assert.equal(producer.closed, true);
	}
});

test('wait resolves with what happened', async t => {
	const { name, producer, consumer } = pair(t);
	assert.equal(await producer.wait(), READY, 'the mailbox is empty');
	const wait = consumer.wait();
	producer.publish('x');
	assert.equal(await wait, READY);
	assert.equal(await consumer.wait(READY | PEER_GONE), READY, 'a level');
	assert.equal(await producer.wait(READY, { timeout: 20 }), 0, 'the mailbox is full');
	const [gone, both, back] = [consumer.wait(PEER_GONE), producer.wait(), consumer.wait(PEER_BACK)];
	consumer.acquire();
	assert.equal(await both, READY);
	producer.close();
	assert.equal(await gone, PEER_GONE);
	const successor = open(name, { role: 'producer' });
	t.after(() => successor.close());
	assert.equal(await back, PEER_BACK);
	for (const bad of [0, -1, 16, 1.5, '1', null])
		await assert.rejects(consumer.wait(bad), error('EINVAL'));
	await assert.rejects(consumer.wait(READY, { timeout: -1 }), error('EINVAL'));
});

test('waits are given up by timeout and signal, alone', async t => {
	const { producer, consumer } = pair(t);
	const controller = new AbortController();
	const aborted = consumer.wait(READY, { signal: controller.signal });
	const kept = consumer.wait(READY);
	assert.equal(await consumer.wait(READY, { timeout: 5 }), 0);
	controller.abort();
	await assert.rejects(aborted, { name: 'AbortError' });
	await assert.rejects(consumer.wait(READY, { signal: controller.signal }), { name: 'AbortError' });
	producer.publish('x');
	assert.equal(await kept, READY);
});

test('a timeout may be longer than a timer', async t => {
	const { producer, consumer } = pair(t);
	const timer = globalThis.setTimeout, asked = [];
	t.after(() => { globalThis.setTimeout = timer; });
	globalThis.setTimeout = (call, ms) => {
		asked.push(ms);
		return timer(call, ms > 1000 ? 1 : ms);
	};
	assert.equal(await consumer.wait(READY, { timeout: 2 ** 32 + 7 }), 0);
	assert.deepEqual(asked, [2 ** 31 - 1, 2 ** 31 - 1, 9]);
	globalThis.setTimeout = timer;
	const wait = consumer.wait(READY, { timeout: 2 ** 31 });
	producer.publish('x');
	assert.equal(await wait, READY);
});

// Limits are not for root: then by a user who is nobody.
const limited = process.getuid() ? {} : { uid: 65534, gid: 65534 };
const noLimits = once || spawnSync('sh', ['-c', 'command -v prlimit && test -r "$0"', fileURLToPath(new URL('../index.js', import.meta.url))], limited).status !== 0 &&
	'no prlimit, or nobody may read this folder';

test('a wait that cannot be says why, not what failed before', { skip: noLimits }, () => {
	const { stdout, stderr } = run(`import { spawnSync } from 'node:child_process';
		import { open } from TRIBUF;
		const c = open('${channelName()}', { role: 'consumer', slotSize: 64 });
		try { c.setFormat('x'); } catch {}
		spawnSync('prlimit', ['--pid', process.pid, '--nproc=1:1']);
		await c.wait().catch(error => console.log(error.code, error.errno, error.message));
		c.close();`, { timeout: 20000, ...limited });
	assert.match(stdout, /^EAGAIN -11 EAGAIN: .*thread/, stderr);
});

test('waitSync blocks until something happens', async t => {
	const { name, consumer } = pair(t, 4096);
	assert.equal(consumer.waitSync(READY, 0), 0);
	const began = performance.now();
	assert.equal(consumer.waitSync(READY, 250), 0);
	assert(performance.now() - began >= 249);
	const early = open(`${name}-early`);
	t.after(() => early.close());
	const made = peer('produce', `${name}-early`, 3, 64);
	await sleep(100);
	assert.equal(early.waitSync(READY, 10000), READY);
	assert.equal(early.acquire().bytes, 64);
	early.waitSync(PEER_GONE, 10000);
	while (early.acquire());
	await (await made).done;
});

test('for await takes frames until the producer leaves', async t => {
	const { producer, consumer } = pair(t);
	const seen = [];
	setTimeout(async () => {
		for (let i = 1; i <= 5; i++) {
			await producer.wait();
			producer.publish(`${i}`);
		}
		producer.close();
	}, 5);
	for await (const frame of consumer)
		seen.push(Number(Buffer.from(frame.view()).toString()));
	assert.deepEqual(seen, [1, 2, 3, 4, 5]);
});

test('for await follows the next producer, ends by signal, break and close', async t => {
	const { name, producer, consumer } = pair(t);
	producer.publish('1');
	producer.close();
	const controller = new AbortController();
	let successor;
	await assert.rejects(async () => {
		for await (const frame of consumer.frames({ follow: true, signal: controller.signal })) {
			if (frame.seq === 1) {
				setTimeout(() => {
					successor = open(name, { role: 'producer' });
					successor.publish('2');
				}, 10);
			} else {
				assert.equal(frame.seq, 2);
				setTimeout(() => controller.abort(), 10);
			}
		}
	}, { name: 'AbortError' });
	t.after(() => successor.close());
	successor.publish('3');
	for await (const frame of consumer) {
		assert.equal(frame.seq, 3);
		break;
	}
	successor.publish('4');
	setTimeout(() => consumer.close(), 30);
	for await (const frame of consumer)
		assert.equal(frame.seq, 4);
	assert.equal(consumer.closed, true);
});

test('for await ends though another wait was told that the producer left', async t => {
	const told = [c => c.wait(PEER_GONE), c => c.waitSync(PEER_GONE), c => c.waitNanoseconds(PEER_GONE, -1n)];
	for (const tell of told) {
		const { name, producer, consumer } = pair(t);
		producer.publish('1');
		producer.close();
		assert.equal(await tell(consumer), PEER_GONE);
		const seqs = [];
		for await (const frame of consumer.frames({ signal: AbortSignal.timeout(5000) }))
			seqs.push(frame.seq);
		const successor = open(name, { role: 'producer' });
		t.after(() => successor.close());
		setTimeout(() => successor.publish('2'), 20);
		for await (const frame of consumer.frames({ signal: AbortSignal.timeout(5000) }))
			if (seqs.push(frame.seq))
				break;
		assert.deepEqual(seqs, [1, 2], 'it goes on for the next producer');
	}
});

test('frames without end leave the loop its turns', async t => {
	const { producer, consumer } = pair(t);
	let turns = 0, frames = 0;
	const timer = setInterval(() => turns++, 1);
	const began = performance.now();
	producer.publish('x');
	for await (const frame of consumer) {
		frames += frame.bytes;
		producer.publish('x');
		if (turns > 2 || performance.now() - began > 5000)
			break;
	}
	clearInterval(timer);
	assert(turns > 2, `${turns} turns while ${frames} frames came`);
});

test('a consumer may come first', async t => {
	const name = channelName();
	const consumer = open(name);
	t.after(() => consumer.close());
	assert.equal(consumer.acquire(), null);
	assert.equal(consumer.info().pending, true);
	assert.throws(() => consumer.memory, error('EAGAIN', /GEOMETRY/));
	const geometry = consumer.wait(GEOMETRY);
	const producer = open(name, { role: 'producer', slotSize: 100 });
	t.after(() => producer.close());
	assert.equal(await geometry, GEOMETRY);
	assert.equal(consumer.slotSize, 100);
	producer.publish('now');
	assert.equal(await consumer.wait(), READY);
	assert.equal(consumer.acquire().bytes, 3);
});

test('a replaced channel says so', async t => {
	const { name, consumer } = pair(t);
	const wait = consumer.wait(GEOMETRY);
	const producer = open(name, { role: 'producer', slotSize: 8192, replace: true });
	t.after(() => producer.close());
	assert.equal(await wait, GEOMETRY);
	assert.equal(consumer.info().replaced, true);
	await assert.rejects(consumer.wait(READY), error('ESTALE', /open/));
	await assert.rejects(async () => {
		for await (const frame of consumer)
			assert.fail(frame.seq);
	}, error('ESTALE'));
});

test('without the module, its name says what to do', { skip: device && 'the module is loaded here' }, () => {
	assert.throws(() => open('no-module', { role: 'producer', slotSize: 8 }), error('ENODEV', /shm:NAME/));
});

test('the addon is found by what this processor is called elsewhere', { skip: once }, t => {
	const top = mkdtempSync(`${tmpdir()}/tribuf-addon-`), addon = `${folder}../tribuf.node`;
	t.after(() => rmSync(top, { recursive: true }));
	mkdirSync(`${top}/lib/node`, { recursive: true });
	writeFileSync(`${top}/lib/node/package.json`, '{ "type": "module" }');
	copyFileSync(new URL('../native.js', import.meta.url), `${top}/lib/node/native.js`);
	const triplets = { x64: 'x86_64-linux-gnu', ia32: 'i386-linux-gnu', arm64: 'aarch64-linux-gnu', arm: 'arm-linux-gnueabihf',
		ppc64: 'powerpc64le-linux-gnu', loong64: 'loongarch64-linux-gnu', riscv64: 'riscv64-linux-gnu', s390x: 's390x-linux-gnu' };
	const { stdout, stderr } = run(`import { mkdirSync, rmSync, symlinkSync } from 'node:fs';
		for (const [arch, triplet] of Object.entries(${JSON.stringify(triplets)})) {
			mkdirSync(\`${top}/build/\${triplet}/node\`, { recursive: true });
			symlinkSync('${addon}', \`${top}/build/\${triplet}/node/tribuf.node\`);
			Object.defineProperty(process, 'arch', { value: arch });
			await import(\`${top}/lib/node/native.js?\${arch}\`).then(() => console.log(arch), error => console.error(arch, error.message));
			rmSync('${top}/build', { recursive: true });
		}`);
	assert.deepEqual([stdout.trim().split('\n'), stderr], [Object.keys(triplets), '']);
});

const noNpm = once || spawnSync('npm', ['--version']).status !== 0 && 'no npm';

test('npm install writes no lock file, and a package is without .npmrc', { skip: noNpm }, t => {
	const top = mkdtempSync(`${tmpdir()}/tribuf-npm-`), files = ['.npmrc', 'index.js', 'package.json'];
	t.after(() => rmSync(top, { recursive: true }));
	mkdirSync(`${top}/package`);
	for (const file of files)
		copyFileSync(new URL(`../${file}`, import.meta.url), `${top}/package/${file}`);
	const npm = (...args) => spawnSync('npm', [...args, '--ignore-scripts', '--offline', '--cache', `${top}/cache`], { cwd: `${top}/package`, encoding: 'utf8' });
	const { status, stderr } = npm('install');
	assert.equal(status, 0, stderr);
	assert.deepEqual(readdirSync(`${top}/package`).sort(), files);
	const [{ files: packed }] = JSON.parse(npm('pack', '--dry-run', '--json').stdout);
	assert.deepEqual(packed.map(({ path }) => path).sort(), files.slice(1));
});

test('the package exports its interface and nothing else', async () => {
	const names = Object.keys(await import('../index.js')).sort();
	assert.deepEqual(names, ['Channel', 'Draft', 'Frame', 'GEOMETRY', 'PEER_BACK', 'PEER_GONE', 'Pool', 'READY', 'Swap', 'acquireWord', 'imports', 'layout', 'open', 'publishWord']);
	const declared = readFileSync(new URL('../index.d.ts', import.meta.url), 'utf8').matchAll(/^export (?:const|function|class) (\w+)/gm);
	assert.deepEqual([...new Set([...declared].map(([, name]) => name))].sort(), names);
	assert.equal(run('import { open } from TRIBUF; open("shm:x", { role: "keeper", slotSize: 8 }); console.log("ok")').stdout, 'ok\n');
});
