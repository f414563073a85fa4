#!/usr/bin/env node
// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
// tribuf-view: a channel's newest frames as a picture, in a page of this machine.
import { parseArgs } from 'node:util';
import { serve } from '../view/server.js';

const usage = `usage: tribuf-view [OPTION]... NAME

Shows the newest frame of channel NAME (shm:NAME without the module) in a web page
that this machine alone can open, with rate, latency and skipped frames. Only looks
on: the consumer misses nothing.

  --width N --height N   of the picture; else as the channel's format says, which
                         may be caps (width=640, height=480, format=RGB)
  --format FORMAT        RGB (default), RGBA or GRAY8
  --port N               default: any that is free
  --json                 print the address as JSON
`;

function fail(message) {
	process.stderr.write(`tribuf-view: ${message}\n`);
	process.exit(1);
}

function options() {
	try {
		return parseArgs({
			allowPositionals: true,
			options: {
				width: { type: 'string' }, height: { type: 'string' }, format: { type: 'string' },
				port: { type: 'string', default: '0' }, json: { type: 'boolean' }, help: { type: 'boolean', short: 'h' },
			},
		});
	} catch (error) {
		return fail(`${error.message}; see tribuf-view --help`);
	}
}

const { values, positionals } = options();
if (values.help || positionals.length !== 1) {
	(values.help ? process.stdout : process.stderr).write(usage);
	process.exit(values.help ? 0 : 2);
}
try {
	const view = await serve(positionals[0], values);
	console.log(values.json ? JSON.stringify({ url: view.url }) : `${positionals[0]}: ${view.url}`);
	for (const signal of ['SIGINT', 'SIGTERM'])
		process.once(signal, () => view.close());
} catch (error) {
	fail(error.message);
}
