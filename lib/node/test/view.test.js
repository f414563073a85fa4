// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
// tribuf-view without a browser: what its server gives, and to whom.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { request } from 'node:http';
import test from 'node:test';
import { fileURLToPath } from 'node:url';
import { describe, stride } from '../view/picture.js';
import { serve } from '../view/server.js';
import { channelName, pair, sleep } from './common.js';

const program = fileURLToPath(new URL('../bin/tribuf-view.js', import.meta.url));

function get(url, headers = {}) {
	return new Promise((resolve, reject) => {
		const what = typeof url === 'string' ? new URL(url) : url;
		request({ host: what.hostname, ...what, port: what.port, path: what.path ?? what.pathname + what.search, headers }, async response => {
			const chunks = [];
			for await (const chunk of response)
				chunks.push(chunk);
			resolve({ status: response.statusCode, headers: response.headers, body: Buffer.concat(chunks) });
		}).on('error', reject).end();
	});
}

async function served(t, options) {
	const { name, producer, consumer } = pair(t, 1 << 16);
	const view = await serve(name, options);
	t.after(() => view.close());
	const frame = async after => {
		const { status, headers, body } = await get(`${view.url}frame?after=${after}`);
		return { status, body, said: headers['x-frame'] && JSON.parse(headers['x-frame']), say: headers['x-say'] };
	};
	return { producer, consumer, view, frame };
}

test('the newest frame is served, byte for byte, and the consumer misses nothing', async t => {
	const { producer, consumer, frame } = await served(t, { width: 2, height: 2 });
	const bytes = Uint8Array.from({ length: 12 }, (_, i) => i * 20);
	const waiting = frame(0);
	await sleep(50);
	producer.publish(bytes);
	const { status, body, said } = await waiting;
	assert.equal(status, 200);
	assert.deepEqual(new Uint8Array(body), bytes);
	assert.deepEqual([said.width, said.height, said.format, said.stride, said.seq], [2, 2, 'RGB', 6, 1]);
	assert(said.latency >= 0 && said.latency < 5000);
	assert.deepEqual(consumer.acquire().copy(), bytes);
});

test('a slow browser gets the newest, never one from a queue', async t => {
	const { producer, frame } = await served(t, { width: 1, height: 1, format: 'gray' });
	for (let i = 1; i <= 50; i++) {
		producer.publish(Uint8Array.of(i));
		await sleep(2);
	}
	await frame(49);	// the server has seen the last one
	const { body, said } = await frame(1);
	assert.deepEqual([said.seq, body[0]], [50, 50]);
	assert(said.rate > 5, `${said.rate}`);
});

test('width and height come from the format, if they are not given', async t => {
	const { producer, frame } = await served(t, {});
	producer.publish('x');
	const { status, say } = await frame(0);
	assert.deepEqual([status, say], [204, 'give --width and --height: the channel does not say them']);
	producer.setFormat('video/x-raw, format=(string)GRAY8, width=(int)3, height=(int)2, framerate=(fraction)30/1');
	producer.publish(new Uint8Array(8));
	const { said } = await frame(1);
	assert.deepEqual([said.width, said.height, said.format, said.stride], [3, 2, 'GRAY8', 4]);
});

test('pictures are described in the usual ways', () => {
	assert.deepEqual(describe({}, 'width=640 height=480'), { width: 640, height: 480, format: 'RGB' });
	assert.deepEqual(describe({ width: '7' }, '{"width":1,"height":5,"format":"rgba"}'.replaceAll('"', '')), { width: 7, height: 5, format: 'RGBA' });
	assert.equal(describe({ width: 5 }, ''), undefined);
	for (const bad of [{ width: 0, height: 1 }, { width: 'x', height: 1 }, { width: 1e9, height: 1 }, { width: 1, height: 1, format: 'I420' }])
		assert.throws(() => describe(bad, ''), { code: 'EINVAL' });
	assert.equal(stride({ width: 3, height: 2, format: 'RGB' }, 24), 12);
	assert.equal(stride({ width: 3, height: 2, format: 'RGB' }, 18), 9);
	assert.equal(stride({ width: 3, height: 2, format: 'RGB' }, 5), 9);
});

test('only who has the address gets in, and only on this machine', async t => {
	const { view } = await served(t, { width: 1, height: 1 });
	const url = new URL(view.url);
	assert.equal(url.hostname, '127.0.0.1');
	const page = await get(view.url);
	assert.equal(page.status, 200);
	assert.match(page.headers['content-security-policy'], /default-src 'none'/);
	assert.equal((await get(url.origin)).status, 403);
	assert.equal((await get(`${url.origin}/${'0'.repeat(32)}/frame`)).status, 403);
	assert.equal((await get(view.url, { Host: `evil.example:${url.port}` })).status, 403);
	assert.equal((await get(`${view.url}other`)).status, 404);
	for (const path of ['//', '/?', '/\u00ff'.repeat(16), '/%00'])
		assert.equal((await get({ host: url.hostname, port: url.port, path: encodeURI(path) })).status, 403);
});

test('the command prints its address, serves, and ends', async t => {
	const { name, producer } = pair(t, 4096);
	const child = spawn(process.execPath, [program, name, '--width', '2', '--height', '1', '--json'], { stdio: ['ignore', 'pipe', 'inherit'] });
	const [line] = await once(child.stdout, 'data');
	const { url } = JSON.parse(line);
	producer.publish(new Uint8Array(6).fill(9));
	assert.deepEqual([...(await get(`${url}frame?after=0`)).body], [9, 9, 9, 9, 9, 9]);
	child.kill('SIGINT');
	assert.deepEqual(await once(child, 'exit'), [0, null]);
});

test('the command says what is wrong', async () => {
	for (const [args, status, words] of [[[], 2, /usage/], [['--help'], 0, /usage/], [['--nonsense', 'x'], 1, /nonsense/],
		[[channelName(), '--width', 'x', '--height', '1'], 1, /width is 'x'/], [['bad/name'], 1, /EINVAL|ENODEV/], [[channelName(), '--port', '99999999'], 1, /port/]]) {
		const child = spawn(process.execPath, [program, ...args]);
		let out = '';
		child.stdout.on('data', data => { out += data; });
		child.stderr.on('data', data => { out += data; });
		const [code] = await once(child, 'exit');
		assert.equal(code, status, `${args}: ${out}`);
		assert.match(out, words);
	}
});
