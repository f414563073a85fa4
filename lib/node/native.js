// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
// Finds the addon: beside this file in a package of its own, in the tree's build/
// otherwise. Everything else imports it from here.
import { existsSync, readdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';

const cpu = { x64: 'x86_64', arm64: 'aarch64', ia32: 'i', arm: 'arm', ppc64: 'powerpc64le', loong64: 'loongarch64' }[process.arch] ?? process.arch;

function find() {
	const own = fileURLToPath(new URL('./build/node/tribuf.node', import.meta.url));
	if (existsSync(own))
		return own;
	const build = fileURLToPath(new URL('../../build/', import.meta.url));
	const triplets = existsSync(build) ? readdirSync(build).filter(name => name.startsWith(cpu)) : [];
	const built = triplets.map(name => `${build}${name}/node/tribuf.node`).find(existsSync);
	if (!built)
		throw new Error(`tribuf's addon is not built: run 'npm install' or 'make' in ${fileURLToPath(new URL('.', import.meta.url))}`);
	return built;
}

export const native = createRequire(import.meta.url)(find());
export const { layout } = native;
