// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
// Random methods of random objects of the package with random arguments, for
// TRIBUF_SCALE seconds: only errors may come, with a message each. Run by
// life.test.js in a process of its own; TRIBUF_SEED repeats a run.
import * as tribuf from '../index.js';

const seed = Number(process.env.TRIBUF_SEED ?? process.pid);
let state = seed;
function random(n) {
	state = Math.imul(state ^ state >>> 15, 0x2c1b3c6d) + 0x9e3779b9 | 0;
	return (state >>> 8) % n;
}
const pick = list => list[random(list.length)];

const prefix = process.env.BACKEND === 'device' ? '' : 'shm:';
const things = [];
const buffers = [8, 64, 4096, 70000].map(n => new Uint8Array(n));
const memories = [1, 4, 20].map(n => new WebAssembly.Memory({ initial: n, maximum: n, shared: true }));
const values = [
	() => undefined, () => null, () => random(5), () => -random(5), () => random(2 ** 16) * 65536, () => Math.random() * 2 ** 53,
	() => NaN, () => Infinity, () => 1n << 70n, () => BigInt(random(99)), () => 'x'.repeat(random(90)), () => Symbol('x'),
	() => ({}), () => [], () => () => { throw new Error('mine'); }, () => pick(buffers), () => pick(buffers).buffer, () => pick(memories),
	() => pick(memories).buffer, () => new Float64Array(random(9)), () => ({ index: random(2000), generation: random(20) }),
	() => ({ role: pick(['producer', 'consumer', 'observer', 'keeper', 'x']), slotSize: pick([0, 8, 4096, 100000, -1]) }),
	() => ({ timeout: random(3) }), () => ({ signal: AbortSignal.abort() }), () => ({ get timeout() { throw new Error('mine'); } }),
	() => pick(things), () => `${prefix}fuzz-${process.pid}-${random(4)}`, () => new Proxy({}, {}), () => ({ valueOf() { pick(things)?.close?.(); return 1; } }),
];
const value = () => pick(values)();

function fresh() {
	const role = pick(['producer', 'producer', 'consumer', 'consumer', 'observer']);
	try {
		return tribuf.open(`${prefix}fuzz-${process.pid}-${random(4)}`, { role, ...(random(2) ? { slotSize: 4096 } : {}) });
	} catch {
		return undefined;
	}
}

// Of the object and what it inherits from.
function members(object) {
	const names = [];
	for (let o = object; o && o !== Object.prototype && o !== Function.prototype; o = Object.getPrototypeOf(o))
		names.push(...Reflect.ownKeys(o));
	return names.filter(name => name !== 'constructor');
}

function keep(thing) {
	if (thing === null || typeof thing !== 'object' || ArrayBuffer.isView(thing) && thing.length > 1e6)
		return;
	if (thing instanceof Promise)
		thing.then(keep, () => {});
	else if (thing[Symbol.asyncIterator] && !(thing instanceof tribuf.Channel))
		thing.next?.().then(keep, () => {});
	things.push(thing);
}

function check(error) {
	if (!(error instanceof Error) || !error.message)
		throw new Error(`seed ${seed}: not an error that helps: ${String(error)}`);
}

function step() {
	const object = random(12) === 0 ? tribuf : pick(things);
	if (!object || random(20) === 0)
		return keep(fresh());
	// Bytes of a consumer's frame may not be stored to: the one thing that is documented.
	if (ArrayBuffer.isView(object) || object instanceof SharedArrayBuffer || object instanceof ArrayBuffer || object instanceof Promise)
		return undefined;
	const name = pick(members(object));
	if (name === undefined || name === 'layout')
		return undefined;
	const member = object[name];
	if (typeof member !== 'function')
		return keep(member);
	const args = Array.from({ length: random(4) }, value);
	if (name === 'waitSync' || name === 'waitNanoseconds')
		args[1] = name === 'waitSync' ? random(2) : BigInt(random(1000));
	if (name === 'Pool')
		return undefined;
	if (/^[A-Z]/.test(String(name.description ?? name)) && object === tribuf)
		return keep(Reflect.construct(member, args));
	// A copy into what a consumer may only read would be such a store.
	if (name === 'copy' && args.some(one => ArrayBuffer.isView(one) && !buffers.includes(one) || one instanceof ArrayBuffer || one instanceof SharedArrayBuffer))
		return undefined;
	return keep(member.apply(random(30) ? object : pick(things), args));
}

process.on('unhandledRejection', check);
const end = performance.now() + 1000 * Number(process.env.TRIBUF_SCALE ?? 1);
let calls = 0, thrown = 0;
while (performance.now() < end) {
	for (let i = 0; i < 200; i++, calls++) {
		try {
			step();
		} catch (error) {
			check(error);
			thrown++;
		}
	}
	while (things.length > 60)
		things.splice(random(things.length), 1);
	if (random(4) === 0)
		globalThis.gc?.();
	await new Promise(setImmediate);
}
console.log(JSON.stringify({ seed, calls, thrown }));
process.exit(0);
