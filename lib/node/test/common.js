// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
// What the tests share: on which backend they run, how often, and the peers in C
// and WebAssembly (peer.c).
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { imports, open } from '../index.js';

export const device = process.env.BACKEND ? process.env.BACKEND === 'device' : existsSync('/dev/tribuf');
const prefix = device ? '' : 'shm:';
const scale = Number(process.env.TRIBUF_SCALE ?? 1);

export const here = fileURLToPath(new URL('.', import.meta.url));
const build = fileURLToPath(new URL('../../../build/', import.meta.url));
export const folder = readdirSync(build).map(name => `${build}${name}/node/test/`).find(existsSync);
export const module = folder && existsSync(`${folder}peer.wasm`) ? new WebAssembly.Module(readFileSync(`${folder}peer.wasm`)) : undefined;

export const noWasm = module ? false : 'no peer.wasm: building it needs clang and lld (tools/setup node)';

export const scaled = n => Math.max(1, Math.round(n * scale));
export const WINDOW = 1 << 20;		// where windows are in a module's memory

let count = 0;
export const channelName = () => `${prefix}node-${process.pid}-${count++}`;

// A producer and a consumer of one channel, closed at the end of the test.
export function pair(t, slotSize = 4096, options = {}) {
	const name = options.name ?? channelName();
	const producer = open(name, { role: 'producer', slotSize });
	const consumer = open(name);
	t.after(() => { producer.close(); consumer.close(); });
	return { name, producer, consumer };
}

export const file = name => `/dev/shm/tribuf.${name.replace('shm:', '')}`;

// Of a process that is killed: nobody closes its channel.
export function removeLeftover(t, name) {
	t.after(() => rmSync(file(name), { force: true }));
}

export function fixedMemory(bytes) {
	const pages = Math.ceil(bytes / 65536);
	return new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true });
}

// The channel inside a new instance of peer.c.
export function instantiate(channel, role, offset = WINDOW) {
	const memory = fixedMemory(offset + channel.window().bytes);
	channel.mount(memory, offset);
	const { exports } = new WebAssembly.Instance(module, { env: { memory }, tribuf: imports(channel) });
	const err = exports.open(offset, role === 'producer' ? 1 : 2);
	if (err)
		throw new Error(`module: ${err}`);
	return { memory, exports, offset };
}

// A peer in C that is attached: its output's last line, parsed, is "done".
export async function peer(...args) {
	return peerWith([], ...args);
}

// With descriptors that are its own from 3 on.
export async function peerWith(descriptors, ...args) {
	const child = spawn(`${folder}peer`, args.map(String), { stdio: ['ignore', 'pipe', 'inherit', ...descriptors] });
	const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
	const ended = once(child, 'exit');
	await lines.next();
	const rest = (async () => {
		let last;
		for await (const line of { [Symbol.asyncIterator]: () => lines })
			last = line;
		const [code, signal] = await ended;
		return { code, signal, ...(last ? JSON.parse(last) : {}) };
	})();
	return { child, done: rest };
}

// A script of its own process, by a program if given: { status, signal, stdout, stderr }.
export function run(source, { by = [], args = [], ...options } = {}) {
	const [program, ...rest] = [...by, process.execPath, '--expose-gc', ...args, '--input-type=module', '-e',
		source.replaceAll('TRIBUF', JSON.stringify(new URL('../index.js', import.meta.url).href))];
	return spawnSync(program, rest, { encoding: 'utf8', timeout: 60000, ...options });
}

const STEP = 16;		// words, as in peer.c

export function fill(data, seq, bytes) {
	const words = new Uint32Array(data.buffer, data.byteOffset, bytes / 4);
	for (let i = 0; i < words.length; i += STEP)
		words[i] = Math.imul(seq, 2654435761) + i;
}

export function whole(data, seq, bytes) {
	const words = new Uint32Array(data.buffer, data.byteOffset, bytes / 4);
	for (let i = 0; i < words.length; i += STEP)
		if (words[i] !== (Math.imul(seq, 2654435761) + i >>> 0))
			return false;
	return true;
}

export function sleep(ms) {
	return new Promise(resolve => setTimeout(resolve, ms));
}

// In a worker: the function's text, with its own imports.
export function workerSource(body) {
	return `import { parentPort, workerData } from 'node:worker_threads';
		import * as tribuf from ${JSON.stringify(new URL('../index.js', import.meta.url).href)};
		import * as common from ${JSON.stringify(import.meta.url)};
		${body}`;
}

export function workerUrl(body) {
	return new URL(`data:text/javascript,${encodeURIComponent(workerSource(body))}`);
}
