// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
// tribuf-view's page in headless Chromium: the pixels shown are the pixels published.
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import test from 'node:test';
import { serve } from '../view/server.js';
import { pair, sleep } from './common.js';

const chromium = ['chromium', 'chromium-browser', 'google-chrome'].find(name => spawnSync(name, ['--version']).status === 0);
const skip = chromium ? false : 'no Chromium here (tools/setup node): the page was not looked at';

// Chromium's own protocol, through a pipe: JSON with a NUL behind.
async function browse(t, url) {
	const folder = mkdtempSync(`${tmpdir()}/tribuf-page-`);
	const child = spawn(chromium, ['--headless=new', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', `--user-data-dir=${folder}`, '--remote-debugging-pipe'],
		{ stdio: ['ignore', 'ignore', 'ignore', 'pipe', 'pipe'] });
	const [, , , input, output] = child.stdio, replies = new Map();
	let text = '', id = 0;
	output.on('data', data => {
		const messages = (text += data).split('\0');
		text = messages.pop();
		for (const message of messages.map(JSON.parse)) {
			replies.get(message.id)?.(message);
			replies.delete(message.id);
		}
	});
	t.after(async () => {
		child.kill('SIGKILL');
		await once(child, 'exit');
		await sleep(200);	// its children follow
		rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
	});
	const call = (method, params, sessionId) => new Promise((resolve, reject) => {
		replies.set(++id, ({ result, error }) => error ? reject(new Error(error.message)) : resolve(result));
		input.write(`${JSON.stringify({ id, method, params, sessionId })}\0`);
	});
	const { targetId } = await call('Target.createTarget', { url });
	const { sessionId } = await call('Target.attachToTarget', { targetId, flatten: true });
	return async expression => (await call('Runtime.evaluate', { expression, returnByValue: true }, sessionId)).result.value;
}

const WIDTH = 37, HEIGHT = 23;
const BYTES = { RGB: 3, RGBA: 4, GRAY8: 1 };

function picture(format, seq, stride) {
	const n = BYTES[format], data = new Uint8Array(stride * HEIGHT);
	for (let y = 0; y < HEIGHT; y++)
		for (let x = 0; x < WIDTH; x++)
			for (let c = 0; c < n; c++)
				data[y * stride + x * n + c] = c === 3 ? 255 : seq * 31 + x * 7 + y * 3 + c * 50;
	return data;
}

// As a canvas has it.
function expected(format, data, stride) {
	const pixels = [], n = BYTES[format];
	for (let y = 0; y < HEIGHT; y++)
		for (let x = 0; x < WIDTH; x++) {
			const [r, g = r, b = r] = data.subarray(y * stride + x * n, y * stride + x * n + Math.min(n, 3));
			pixels.push(r, g, b, 255);
		}
	return pixels;
}

for (const format of Object.keys(BYTES)) {
	test(`the pixels shown are the pixels published, ${format}`, { skip }, async t => {
		const { name, producer } = pair(t, 1 << 16);
		const stride = format === 'RGB' ? WIDTH * 3 + 1 : WIDTH * BYTES[format];
		producer.setFormat(`video/x-raw,format=${format},width=${WIDTH},height=${HEIGHT}`);
		const view = await serve(name);
		t.after(() => view.close());
		const evaluate = await browse(t, view.url);
		for (let seq = 1; seq <= 4; seq++) {
			const data = picture(format, seq, stride);
			producer.publish(data);
			for (const deadline = performance.now() + 20000; await evaluate('document.title') !== `${seq}`;) {
				assert(performance.now() < deadline, await evaluate('document.body.innerText'));
				await sleep(20);
			}
			const shown = await evaluate("[canvas.width, canvas.height, ...context.getImageData(0, 0, canvas.width, canvas.height).data]");
			assert.deepEqual(shown, [WIDTH, HEIGHT, ...expected(format, data, stride)]);
			assert.match(await evaluate('words.textContent'), new RegExp(`^frame ${seq}, ${WIDTH} x ${HEIGHT} ${format}, .* frames/s, .* ms old, ${seq} shown, 0 skipped$`));
		}
	});
}

test('a page that is slow shows the newest and counts what it skipped', { skip }, async t => {
	const { name, producer } = pair(t, 1 << 16);
	const view = await serve(name, { width: WIDTH, height: HEIGHT, format: 'GRAY8' });
	t.after(() => view.close());
	const evaluate = await browse(t, view.url);
	producer.publish(picture('GRAY8', 1, WIDTH));
	while (await evaluate('document.title') !== '1')
		await sleep(20);
	const busy = evaluate('for (const end = performance.now() + 1000; performance.now() < end;); seq');
	for (let seq = 2; seq <= 100; seq++) {
		producer.publish(picture('GRAY8', seq, WIDTH));
		await sleep(5);
	}
	await busy;
	for (const deadline = performance.now() + 20000; await evaluate('document.title') !== '100';) {
		assert(performance.now() < deadline);
		await sleep(20);
	}
	const shown = await evaluate('[...context.getImageData(0, 0, canvas.width, canvas.height).data]');
	assert.deepEqual(shown, expected('GRAY8', picture('GRAY8', 100, WIDTH), WIDTH));
	const [, frames, skipped] = (await evaluate('words.textContent')).match(/(\d+) shown, (\d+) skipped/);
	assert.equal(Number(frames) + Number(skipped), 100);
	assert(Number(skipped) > 20, `${skipped} skipped`);
});
