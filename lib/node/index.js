// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
// What the package offers. index.d.ts documents all of it.
export { open, imports, Channel, READY, PEER_GONE, PEER_BACK, GEOMETRY } from './channel.js';
export { Frame, Draft } from './frame.js';
export { Pool } from './pool.js';
export { Swap, publishWord, acquireWord } from './swap.js';
export { layout } from './native.js';
