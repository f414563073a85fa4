// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
// A picture that moves, fifty times a second, for tribuf-view: node picture.js NAME
import { open } from '../index.js';

const WIDTH = 320, HEIGHT = 240;
const channel = open(process.argv[2] ?? 'picture', { role: 'producer', slotSize: WIDTH * HEIGHT * 3 });
channel.setFormat(`video/x-raw,format=RGB,width=${WIDTH},height=${HEIGHT}`);
setInterval(() => {
	const draft = channel.begin(), pixels = draft.view();
	for (let y = 0, i = 0; y < HEIGHT; y++) {
		for (let x = 0; x < WIDTH; x++) {
			pixels[i++] = x + draft.seq;
			pixels[i++] = y + draft.seq;
			pixels[i++] = x ^ y;
		}
	}
	draft.publish();
}, 20);
