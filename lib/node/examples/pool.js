// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
// Two workers that run a module, for consumers elsewhere: node pool.js NAME MODULE
// They are NAME-0 and NAME-1; this process only keeps them there.
import { Pool } from '../index.js';

const [name = 'pool', module = 'pool.wasm'] = process.argv.slice(2);
const pool = new Pool({ name, module, size: 2, slotSize: 4096, consume: false });
let left = pool.size;
pool.on('restart', (worker, error) => console.error(`worker ${worker} was started again: ${error.message}`));
pool.on('end', () => --left || pool.close());
