// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
// One worker of a pool: opens its channel, mounts it in the module's memory, and
// calls the module, which need never return. What goes wrong ends the worker.
import { workerData } from 'node:worker_threads';
import { imports, open } from './channel.js';

const { name, slotSize, module, run, memory: own, index } = workerData;
const channel = open(name, { role: 'producer', slotSize });
const pages = (own + channel.window().bytes) / 65536;
const memory = new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true });
channel.mount(memory, own);
const { exports } = new WebAssembly.Instance(module, { env: { memory }, tribuf: imports(channel) });
const result = exports[run](own, index);
if (result < 0)
	throw new Error(`${run}() returned ${result}`);
channel.close();
