// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
// What a frame looks like: given by the user, or said by the channel's format area.
import { failure } from '../errors.js';

const BYTES = { RGB: 3, RGBA: 4, GRAY8: 1 };
const NAMES = { GRAY: 'GRAY8', GREY: 'GRAY8', Y8: 'GRAY8' };

function count(value, what) {
	const number = Number(value);
	if (!Number.isInteger(number) || number < 1 || number > 32768)
		throw failure('EINVAL', `${what} is '${value}': give a number of pixels`);
	return number;
}

// "width=640", "width=(int)640" as GStreamer writes caps, "format=(string)RGB", ...
function field(text, name) {
	return text.match(new RegExp(`\\b${name}\\s*[=:]\\s*(?:\\([a-z]+\\))?\\s*"?(\\w+)`))?.[1];
}

// What was given wins, else what the format says; undefined: nobody says.
export function describe({ width, height, format }, text) {
	width ??= field(text, 'width');
	height ??= field(text, 'height');
	format ??= field(text, 'format') ?? 'RGB';
	if (width === undefined || height === undefined)
		return undefined;
	format = NAMES[format.toUpperCase()] ?? format.toUpperCase();
	if (!BYTES[format])
		throw failure('EINVAL', `frames of format '${format}' cannot be shown: only ${Object.keys(BYTES).join(', ')}`);
	return { width: count(width, 'width'), height: count(height, 'height'), format };
}

// Bytes of a row: as many as the frame has for each, or without padding.
export function stride({ width, height, format }, bytes) {
	const packed = width * BYTES[format];
	const found = bytes % height ? 0 : bytes / height;
	return found >= packed && found < packed + 64 ? found : packed;
}
