// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * libFuzzer on what the library and the command are given by others: arguments,
 * names, options; and, on shm channels, what a hostile peer can write: geometry,
 * state word, descriptors, format, references. The first byte says which.
 * Built and run by selftests/fuzz/parse.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <tribuf.h>
#include "../../tools/tool.h"

#define NAME	"shm:parse_fuzz"
#define FILENAME "/dev/shm/tribuf.parse_fuzz"
#define SLOT	4096
#define PAGES	4

#define MUST(condition) do {							\
	if (!(condition)) {							\
		fprintf(stderr, "%s:%d: %s does not hold\n", __FILE__, __LINE__, #condition);	\
		abort();							\
	}									\
} while (0)

/* Messages come after what was printed (tools/io.c): nothing is, here. */
int flush_output(void)
{
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t smaller(size_t a, size_t b)
{
	return a < b ? a : b;
}

/* As text, which ends at its first NUL. */
static const char *text_of(const uint8_t *data, size_t size)
{
	static char text[300];

	size = smaller(size, sizeof(text) - 1);
	memcpy(text, data, size);
	text[size] = 0;
	return text;
}

/* ---- the command ---- */

static void arguments(const char *text)
{
	char human[16];
	uint64_t number;
	uint32_t mode;
	int64_t ns;

	if (parse_size(text, "--size", &number) == EXIT_OK) {
		MUST(number > 0);
		MUST(strlen(human_size(number, human)) < sizeof(human));
	}
	if (parse_count(text, "--count", &number) == EXIT_OK)
		MUST(number > 0);
	if (parse_mode(text, &mode) == EXIT_OK)
		MUST(mode <= 0777);
	if (parse_seconds(text, "--time", &ns) == EXIT_OK)
		MUST(ns >= 0);
	if (parse_hertz(text, &ns) == EXIT_OK)
		MUST(ns > 0);
}

/* How many bytes one character has by RFC 3629, 0: it is none. */
static size_t utf8(const unsigned char *at)
{
	static const struct { unsigned char first, last, low, high; size_t bytes; } rows[] = {
		{ 0x20, 0x7e, 0, 0, 1 }, { 0xc2, 0xdf, 0x80, 0xbf, 2 }, { 0xe0, 0xe0, 0xa0, 0xbf, 3 },
		{ 0xe1, 0xec, 0x80, 0xbf, 3 }, { 0xed, 0xed, 0x80, 0x9f, 3 },
		{ 0xee, 0xef, 0x80, 0xbf, 3 }, { 0xf0, 0xf0, 0x90, 0xbf, 4 },
		{ 0xf1, 0xf3, 0x80, 0xbf, 4 }, { 0xf4, 0xf4, 0x80, 0x8f, 4 },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		size_t n = 1;

		if (at[0] < rows[i].first || at[0] > rows[i].last)
			continue;
		if (rows[i].bytes > 1 && (at[1] < rows[i].low || at[1] > rows[i].high))
			return 0;
		for (n = 2; n < rows[i].bytes; n++)
			if ((at[n] & 0xc0) != 0x80)
				return 0;
		return rows[i].bytes;
	}
	return 0;
}

/* A string between quotes, of whole characters and known escapes. */
static bool json_string_valid(const char *at)
{
	if (*at++ != '"')
		return false;
	while (*at && *at != '"') {
		size_t bytes = utf8((const unsigned char *)at);

		if (!bytes)
			return false;
		if (*at == '\\') {
			if (at[1] == 'u')
				bytes = strspn(at + 2, "0123456789abcdef") >= 4 ? 6 : 0;
			else
				bytes = at[1] == '"' || at[1] == '\\' ? 2 : 0;
			if (!bytes)
				return false;
		}
		at += bytes;
	}
	return at[0] == '"' && !at[1];
}

static void json(const char *text)
{
	char out[2000] = "";
	FILE *file = fmemopen(out, sizeof(out), "w");
	struct json json = { .out = file };

	json_string(&json, NULL, text);
	fclose(file);
	MUST(json_string_valid(out));
}

/* ---- the library ---- */

/* Nothing may be made, for it would stay. */
static void names_and_options(const uint8_t *data, size_t size, bool shm)
{
	struct tribuf_options options = TRIBUF_OPTIONS_INIT;
	char name[400];
	struct tribuf *t;

	if (size < sizeof(options))
		return;
	if (data[0] & 1) {
		memcpy(&options, data, sizeof(options));
		options.flags &= ~TRIBUF_CREATE;
		options.fd = -1;
	}
	snprintf(name, sizeof(name), "%s%s", shm ? "shm:" : "",
		 text_of(data + sizeof(options), size - sizeof(options)));
	if (!tribuf_open(&t, name, &options))
		tribuf_close(t);
}

static struct {
	struct tribuf *keeper;		/* so that the channel is nobody's leftover */
	unsigned char *pages;
	unsigned char clean[PAGES * SLOT];
} channel;

static void channel_open(void)
{
	struct tribuf_options options = TRIBUF_OPTIONS_INIT;
	int fd;

	if (channel.keeper)
		return;
	options.role = TRIBUF_KEEPER;
	options.flags |= TRIBUF_CREATE;
	options.slot_size = SLOT;
	unlink(FILENAME);
	MUST(!tribuf_open(&channel.keeper, NAME, &options));
	fd = open(FILENAME, O_RDWR | O_CLOEXEC);
	channel.pages = mmap(NULL, sizeof(channel.clean), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	MUST(channel.pages != MAP_FAILED);
	close(fd);
	memcpy(channel.clean, channel.pages, sizeof(channel.clean));
}

static struct tribuf *peer(uint32_t role)
{
	struct tribuf_options options = TRIBUF_OPTIONS_INIT;
	struct tribuf *t = NULL;

	options.role = role;
	return tribuf_open(&t, NAME, &options) ? NULL : t;
}

static void read_all(const void *data, uint64_t bytes)
{
	volatile unsigned char sum = 0;

	for (uint64_t i = 0; i < bytes; i += 64)
		sum = (unsigned char)(sum + ((const unsigned char *)data)[i]);
	if (bytes)
		sum = (unsigned char)(sum + ((const unsigned char *)data)[bytes - 1]);
}

/* What a reader may do with a channel, whatever is written there. */
static void use(struct tribuf *t, struct tribuf_gen_index reference)
{
	char buffer[SLOT], format[TRIBUF_FORMAT_BYTES];
	size_t room = sizeof(format);
	struct tribuf_frame frame;
	uint32_t version;
	void *at;

	if (!t)
		return;
	if (tribuf_acquire(t, &frame) == 1) {
		MUST(frame.bytes <= SLOT);
		read_all(frame.data, frame.bytes);
	}
	if (tribuf_snapshot(t, &frame, buffer, sizeof(buffer)) == 1)
		MUST(frame.bytes <= SLOT);
	if (!tribuf_deref(t, reference, 16, &at))
		read_all(at, 16);
	tribuf_copy(t, reference, buffer, sizeof(buffer) / 2);
	if (!tribuf_format_get(t, format, &room, &version))
		MUST(room <= sizeof(format));
	tribuf_close(t);
}

/* A page of the channel as the data says, from a place that it says too. */
static void hostile_page(const uint8_t *data, size_t size, unsigned int page)
{
	struct tribuf_gen_index reference = { 0, 0 };
	size_t place;

	channel_open();
	if (size < 10)
		return;
	memcpy(&reference, data, sizeof(reference));
	place = (size_t)(data[8] | data[9] << 8) % SLOT & ~3ul;
	memcpy(channel.pages + page * SLOT + place, data + 10, smaller(size - 10, SLOT - place));
	use(peer(TRIBUF_CONSUMER), reference);
	use(peer(TRIBUF_OBSERVER), reference);
	memcpy(channel.pages, channel.clean, 3 * SLOT);
}

/* Frames that a producer has really published, read by references that it did not make. */
static void references(const uint8_t *data, size_t size)
{
	struct tribuf_gen_index reference;
	struct tribuf_frame frame;
	struct tribuf *p;

	channel_open();
	if (size < sizeof(reference))
		return;
	memcpy(&reference, data, sizeof(reference));
	p = peer(TRIBUF_PRODUCER);
	MUST(p);
	if (!tribuf_begin(p, &frame)) {
		frame.bytes = smaller(size, SLOT);
		memcpy(frame.data, data, frame.bytes);
		tribuf_publish(p, &frame);
	}
	use(peer(TRIBUF_CONSUMER), reference);
	tribuf_close(p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (!size)
		return 0;
	switch (data[0] % 9) {
	case 0: arguments(text_of(data + 1, size - 1)); break;
	case 1: json(text_of(data + 1, size - 1)); break;
	case 2: names_and_options(data + 1, size - 1, true); break;
	case 3: names_and_options(data + 1, size - 1, false); break;
	case 4: hostile_page(data + 1, size - 1, TRIBUF_PAGE_GEOMETRY); break;
	case 5: hostile_page(data + 1, size - 1, TRIBUF_PAGE_FRAMES); break;
	case 6: hostile_page(data + 1, size - 1, TRIBUF_PAGE_STATE); break;
	case 7: hostile_page(data + 1, size - 1, 3); break;	/* shm's own: who is there */
	case 8: references(data + 1, size - 1); break;
	}
	return 0;
}
