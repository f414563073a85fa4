// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
// The newest frame, whenever there is one: node consumer.js NAME
import { open } from '../index.js';

const channel = open(process.argv[2] ?? 'hello');
for await (const frame of channel)
	console.log(Buffer.from(frame.view()).toString());
