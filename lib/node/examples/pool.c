// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * A worker's module: two thousand frames of text into the channel that is mounted at
 * @window, each once the one before was taken.
 */
#include <tribuf_wasm.h>

static struct tribuf channel;

static uint64_t put(char *to, const char *words, uint32_t number)
{
	uint64_t length = 0;
	uint32_t digits = 1;

	while (words[length]) {
		to[length] = words[length];
		length++;
	}
	while (number / digits >= 10)
		digits *= 10;
	for (; digits; digits /= 10)
		to[length++] = (char)('0' + number / digits % 10);
	return length;
}

__attribute__((export_name("run"))) int run(void *window, uint32_t index)
{
	struct tribuf_frame frame;
	int err = tribuf_wasm_open(&channel, window, TRIBUF_PRODUCER);
	char *text;

	for (int i = 0; i < 2000 && err >= 0; i++) {
		err = tribuf_begin(&channel, &frame);
		if (err < 0)
			break;
		text = frame.data;
		frame.bytes = put(text, "worker ", index);
		frame.bytes += put(text + frame.bytes, ", frame ", (uint32_t)frame.seq);
		err = tribuf_publish(&channel, &frame);
		if (err >= 0)
			err = tribuf_wait(&channel, TRIBUF_READY, TRIBUF_FOREVER);
	}
	return err < 0 ? err : 0;
}
