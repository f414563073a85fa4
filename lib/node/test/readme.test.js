// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
// The README's examples of this package, run by the lines that it prints.
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { get } from 'node:http';
import { tmpdir } from 'node:os';
import { fileURLToPath } from 'node:url';
import test from 'node:test';
import { device, noWasm, removeLeftover, sleep } from './common.js';

const top = fileURLToPath(new URL('../../../', import.meta.url));
const readme = readFileSync(`${top}README.md`, 'utf8');
const lines = readme.slice(readme.indexOf('## Node.js and WebAssembly'), readme.indexOf('## Compared with'))
	.replaceAll('\\\n', ' ').split('\n').filter(line => line.startsWith('    ')).map(line => line.trim().replace(/ +/g, ' '));
// As printed, on shm; here the names are made this run's own.
const line = (start, suffix) => lines.find(one => one.startsWith(start)).replaceAll(/shm:(\w+)/g, `shm:$1-${process.pid}`).replace(/$/, suffix ?? '');
const noCc = spawnSync('cc', ['--version']).status === 0 ? false : 'no C compiler';

// The README's C programs, built by its own lines, in a folder that looks like the tree.
function built(t) {
	const work = mkdtempSync(`${tmpdir()}/tribuf-readme-`);
	t.after(() => rmSync(work, { recursive: true, force: true }));
	for (const name of ['include', 'build', 'lib'])
		symlinkSync(`${top}${name}`, `${work}/${name}`);
	for (const [, text, name] of readme.matchAll(/```c\n(\/\* (\w+)\.c:[^]*?)```/g))
		writeFileSync(`${work}/${name}.c`, text);
	for (const [, command] of readme.matchAll(/^ {4}(cc .*)$/gm))
		assert.equal(spawnSync(command, { cwd: work, shell: true, stdio: 'inherit' }).status, 0, command);
	return work;
}

// By lines: two consumers print into one file. Not into a pipe, which they would share
// with Node: that makes pipes non-blocking for all who have them, and what a C program
// prints while one is full is lost.
function shell(command, cwd) {
	const { stderr } = spawnSync('stdbuf', ['-oL', 'bash', '-c', `exec > output; ${command}; wait`], { cwd, encoding: 'utf8', timeout: 60000 });
	return { stdout: readFileSync(`${cwd}/output`, 'utf8'), stderr };
}

test('a C producer and a Node consumer', { skip: device && 'once is enough: on shm' || noCc }, t => {
	const { stdout, stderr } = shell(line('node lib/node/examples/consumer.js'), built(t));
	const frames = stdout.trim().split('\n');
	assert.equal(frames.at(-1), 'frame 3000', stderr);
	assert(frames.every(frame => /^frame \d+$/.test(frame)) && frames.length > 100, `${frames.length} frames`);
});

test('a pool of WebAssembly workers and C consumers', { skip: device && 'once is enough: on shm' || noCc || noWasm }, t => {
	const work = built(t);
	assert.equal(spawnSync(line('clang'), { cwd: work, shell: true, stdio: 'inherit' }).status, 0);
	const { stdout, stderr } = shell(line('node lib/node/examples/pool.js'), work);
	const frames = stdout.trim().split('\n');
	for (const worker of [0, 1]) {
		const seen = frames.filter(frame => frame.startsWith(`worker ${worker}, frame `));
		const numbers = seen.map(frame => Number(frame.split(' ').at(-1)));
		// Each and every one: its producer waits until the one before was taken.
		assert.deepEqual(numbers, Array.from({ length: 2000 }, (_, i) => i + 1), stderr);
	}
	assert(frames.every(frame => /^worker [01], frame \d+$/.test(frame)), stdout);
});

test('a picture and its view', { skip: device && 'once is enough: on shm' }, async t => {
	removeLeftover(t, `picture-${process.pid}`);
	const [picture, view] = line('node lib/node/examples/picture.js').split(' & ').map(command => {
		const child = spawn(command.split(' ')[0], command.split(' ').slice(1), { cwd: top, stdio: ['ignore', 'pipe', 'inherit'] });
		t.after(() => child.kill());
		return child;
	});
	const [words] = await once(view.stdout, 'data');
	const [, url] = `${words}`.match(/^shm:picture-\d+: (http:.*)\n$/);
	let response;
	for (const deadline = performance.now() + 20000; response?.statusCode !== 200; await sleep(50)) {
		assert(performance.now() < deadline && picture.exitCode === null);
		[response] = await once(get(`${url}frame?after=0`), 'response');
		response.resume();
	}
	assert.equal(JSON.parse(response.headers['x-frame']).width, 320);
});

test('the examples are what the README runs', () => {
	assert.deepEqual(lines.map(one => one.split(' ')[0]), ['make', 'node', 'clang', 'node', 'node']);
});
