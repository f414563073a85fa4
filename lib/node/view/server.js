// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
// The view's server: looks on at a channel, and gives a browser the newest frame each
// time that it asks for one after the last it had. So a slow browser skips frames and
// is never behind, and one frame at a time is in memory.
//
// On loopback only. Other users of this machine, and other sites' pages in the same
// browser, do not know the token in the address.
import { createServer } from 'node:http';
import { randomBytes, timingSafeEqual } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { open } from '../channel.js';
import { checkInteger } from '../errors.js';
import { describe, stride } from './picture.js';

const page = readFileSync(new URL('./page.html', import.meta.url));
const PATIENCE = 5000;		// ms that a browser waits for a frame before it asks again
const RATE_OVER = 2e9;		// ns over which the rate is counted

class Newest {
	frame;			// { seq, bytes, timestamp, data, format }
	rate = 0;
	#times = [];		// [seq, when]
	#waiting = new Set();

	constructor(channel) {
		this.channel = channel;
	}

	// Until the channel is closed.
	async follow() {
		for (;;) {
			try {
				for await (const frame of this.channel.frames({ follow: true }))
					this.#take(frame);
				return;
			} catch (error) {
				if (error.code !== 'EAGAIN')	// outrun: there is a newer one already
					throw error;
			}
		}
	}

	#take(frame) {
		const now = Number(process.hrtime.bigint());
		this.frame = { seq: frame.seq, bytes: frame.bytes, timestamp: frame.timestamp, data: frame.view() };
		this.#times.push([frame.seq, now]);
		while (this.#times.length > 2 && now - this.#times[0][1] > RATE_OVER)
			this.#times.shift();
		const [[seq, since]] = this.#times;
		this.rate = now > since ? (frame.seq - seq) * 1e9 / (now - since) : 0;
		for (const wake of this.#waiting)
			wake();
	}

	// The frame after @seq, or undefined if none comes in time.
	async after(seq) {
		if (!(this.frame?.seq > seq)) {
			await new Promise(resolve => {
				const wake = () => {
					clearTimeout(timer);
					this.#waiting.delete(wake);
					resolve();
				};
				const timer = setTimeout(wake, PATIENCE);
				this.#waiting.add(wake);
			});
		}
		return this.frame?.seq > seq ? this.frame : undefined;
	}

	release() {
		for (const wake of this.#waiting)
			wake();
	}
}

const HEADERS = {
	'Cache-Control': 'no-store',
	'X-Content-Type-Options': 'nosniff',
	'Content-Security-Policy': "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'; img-src data:",
	'Cross-Origin-Resource-Policy': 'same-origin',
};

function answer(response, status, headers, body) {
	response.writeHead(status, { ...HEADERS, ...headers });
	response.end(body);
}

export async function serve(name, options = {}) {
	const port = checkInteger(Number(options.port ?? 0), 'port', 65535);
	const channel = open(name, { role: 'observer' });
	const newest = new Newest(channel);
	const token = randomBytes(16).toString('hex');
	const picture = () => describe(options, Buffer.from(channel.format.data).toString('latin1'));
	let failed;

	async function frame(response, seq) {
		const found = await newest.after(seq);
		if (failed || channel.closed)
			return answer(response, 410, {}, failed?.message ?? 'the channel was closed');
		const said = picture();
		if (!found || !said)
			return answer(response, 204, { 'X-Say': said ? 'no frame yet' : 'give --width and --height: the channel does not say them' });
		return answer(response, 200, {
			'Content-Type': 'application/octet-stream',
			'X-Frame': JSON.stringify({
				...said, stride: stride(said, found.bytes), seq: found.seq, rate: newest.rate,
				latency: found.timestamp ? Number(process.hrtime.bigint() - found.timestamp) / 1e6 : null,
			}),
		}, found.data);
	}

	const server = createServer((request, response) => {
		const [path, query] = request.url.split('?');
		const [, given, what] = path.split('/');
		const host = `127.0.0.1:${server.address()?.port}`;
		// The host is checked, lest a name that was made to mean this machine gets in.
		if (request.headers.host !== host || request.method !== 'GET' || given?.length !== token.length ||
		    !timingSafeEqual(Buffer.from(given, 'latin1'), Buffer.from(token)))
			return answer(response, 403, {}, 'use the address that tribuf-view printed');
		if (what === '')
			return answer(response, 200, { 'Content-Type': 'text/html; charset=utf-8' }, page);
		if (what === 'frame')
			return frame(response, Number(new URLSearchParams(query).get('after'))).catch(error => answer(response, 500, {}, error.message));
		return answer(response, 404, {}, 'no such page');
	});

	picture();	// what was given may make no sense: say so now
	await new Promise((resolve, reject) => {
		server.once('error', reject);
		server.listen(port, '127.0.0.1', resolve);
	});
	newest.follow().catch(error => {
		failed = error;
		newest.release();
	});
	return {
		url: `http://127.0.0.1:${server.address().port}/${token}/`,
		close() {
			channel.close();
			newest.release();
			server.close();
			server.closeAllConnections();
		},
	};
}
