// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * Just enough to write JSON, and names for a terminal. Files in shared memory and
 * processes may be called anything, what a terminal obeys too.
 */
#include <inttypes.h>
#include "tool.h"

/*
 * How many bytes the UTF-8 sequence at @at has; 0: it is none, as those are not that
 * are longer than needed, surrogates, or beyond the last character (RFC 3629).
 */
static int sequence(const unsigned char *at)
{
	int more = at[0] >= 0xf0 && at[0] < 0xf5 ? 3 : at[0] >= 0xe0 && at[0] < 0xf0 ? 2 :
		   at[0] >= 0xc2 && at[0] < 0xe0 ? 1 : 0;
	int least = at[0] == 0xe0 ? 0xa0 : at[0] == 0xf0 ? 0x90 : 0x80;
	int most = at[0] == 0xed ? 0x9f : at[0] == 0xf4 ? 0x8f : 0xbf;

	if (!more || at[1] < least || at[1] > most)
		return 0;
	for (int i = 2; i <= more; i++)
		if ((at[i] & 0xc0) != 0x80)
			return 0;
	return more + 1;
}

/* U+0080 to U+009F, which terminals obey as they do what comes after an escape. */
static bool is_control(const unsigned char *at)
{
	return at[0] == 0xc2 && at[1] >= 0x80 && at[1] < 0xa0;
}

int printable(const char *string)
{
	const unsigned char *at = (const unsigned char *)string;

	if (at[0] >= 0x20 && at[0] < 0x7f)
		return 1;
	return is_control(at) ? 0 : sequence(at);
}

void escape(const char *name, char *text)
{
	int length;

	for (; *name; name += length ? length : 1) {
		length = printable(name);
		if (*name == ' ' || *name == '\\')
			text += sprintf(text, "\\%c", *name);
		else if (length)
			text += sprintf(text, "%.*s", length, name);
		else
			text += sprintf(text, "\\%03o", (unsigned char)*name);
	}
	*text = '\0';
}

static void text(FILE *out, const char *string)
{
	int length;

	fputc('"', out);
	for (; *string; string++) {
		unsigned char c = (unsigned char)*string;

		if (c == '"' || c == '\\')
			fprintf(out, "\\%c", c);
		else if ((length = printable(string)))
			fwrite(string, 1, (size_t)length, out), string += length - 1;
		else if (is_control((const unsigned char *)string))
			fprintf(out, "\\u%04x", (unsigned char)*++string);
		else		/* no UTF-8: as Latin-1, so that the JSON is valid all the same */
			fprintf(out, "\\u%04x", c);
	}
	fputc('"', out);
}

static void start(struct json *json, const char *key)
{
	if (json->comma)
		fputc(',', json->out);
	json->comma = true;
	if (key) {
		text(json->out, key);
		fputc(':', json->out);
	}
}

void json_open(struct json *json, const char *key, char bracket)
{
	start(json, key);
	fputc(bracket, json->out);
	json->comma = false;
}

void json_close(struct json *json, char bracket)
{
	fputc(bracket, json->out);
	json->comma = true;
}

void json_string(struct json *json, const char *key, const char *value)
{
	start(json, key);
	text(json->out, value);
}

void json_unsigned(struct json *json, const char *key, uint64_t value)
{
	start(json, key);
	fprintf(json->out, "%" PRIu64, value);
}

void json_real(struct json *json, const char *key, double value)
{
	start(json, key);
	fprintf(json->out, "%.9g", value);
}

void json_boolean(struct json *json, const char *key, bool value)
{
	start(json, key);
	fputs(value ? "true" : "false", json->out);
}
