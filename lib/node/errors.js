// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
// Errors as the addon makes them, and the checks of arguments that throw them.
import { types } from 'node:util';

export function failure(code, message, Kind = Error) {
	return Object.assign(new Kind(`${code}: ${message}`), { code });
}

export function invalid(what, wanted) {
	return failure('EINVAL', `${what} must be ${wanted}`, TypeError);
}

export function checkInteger(value, what, max = Number.MAX_SAFE_INTEGER) {
	if (!Number.isInteger(value) || value < 0 || value > max)
		throw invalid(what, max === Number.MAX_SAFE_INTEGER ? 'a whole number that is not negative'
			: `a whole number of at most ${max}`);
	return value;
}

// A 64-bit field: a number or BigInt.
export function toU64(value, what) {
	if (typeof value === 'number')
		value = BigInt(checkInteger(value, what));
	if (typeof value !== 'bigint' || value < 0n || value >= 1n << 64n)
		throw invalid(what, 'a number or BigInt of 64 bits that is not negative');
	return value;
}

// The bytes of a string, ArrayBuffer, SharedArrayBuffer, typed array or DataView.
export function toBytes(value, what) {
	if (typeof value === 'string')
		return Buffer.from(value);
	if (types.isAnyArrayBuffer(value))
		return new Uint8Array(value);
	if (ArrayBuffer.isView(value))
		return new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
	throw invalid(what, 'a string, a typed array, a DataView or an ArrayBuffer');
}

export function checkOptions(options, what, known) {
	if (options === null || typeof options !== 'object')
		throw invalid(what, 'an object');
	for (const key of Object.keys(options))
		if (!known.includes(key))
			throw failure('EINVAL', `${what} has no '${key}': there are ${known.join(', ')}`, TypeError);
	return options;
}
