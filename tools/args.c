// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/* Messages, and the command line: sizes, counts, seconds. */
#include <getopt.h>
#include <ctype.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include "tool.h"

static const struct command *current;

void command_is(const struct command *command)
{
	current = command;
}

static void message(const char *format, va_list args)
{
	int saved = errno;	/* for %m */

	flush_output();
	fprintf(stderr, "tribuf%s%s: ", current ? " " : "", current ? current->name : "");
	errno = saved;
	vfprintf(stderr, format, args);
	fputc('\n', stderr);
}

void complain(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	message(format, args);
	va_end(args);
}

int usage_error(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	message(format, args);
	va_end(args);
	fprintf(stderr, "try 'tribuf%s%s --help'\n", current ? " " : "",
		current ? current->name : "");
	return EXIT_USAGE;
}

int help_or_usage(int option)
{
	if (option == 'h') {
		fputs(current->help, stdout);
		return EXIT_OK;
	}
	fprintf(stderr, "try 'tribuf %s --help'\n", current->name);	/* getopt said the rest */
	return EXIT_USAGE;
}

int parse_json_only(int argc, char **argv, bool *as_json)
{
	static const struct option options[] = {
		{ "json", no_argument, NULL, 'j' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	int option;

	*as_json = false;
	while ((option = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		if (option != 'j')
			return help_or_usage(option);
		*as_json = true;
	}
	return GO_ON;
}

static int exit_status(int err)
{
	switch (-err) {
	case ESTALE:
	case EPROTO:
		return EXIT_ENDED;
	case EBUSY:
		return EXIT_BUSY;
	default:
		return EXIT_FAILED;
	}
}

int channel_failed(int err, const char *doing, const char *name)
{
	complain("cannot %s %s: %s", doing, name, tribuf_explain());
	return exit_status(err);
}

/* The one place that tells a reader who left, which is no failure to speak of, from others. */
int output_failed(const char *file, int error)
{
	if (error == EPIPE)
		return EXIT_UNREAD;
	complain("cannot write %s: %s", file ? file : "standard output", strerror(error));
	return EXIT_FAILED;
}

/* Digits only: strtoull() would take "-1", " 1" and "0x10" too. */
static const char *digits(const char *text, uint64_t *value)
{
	*value = 0;
	if (!isdigit((unsigned char)*text))
		return NULL;
	for (; isdigit((unsigned char)*text); text++)
		if (__builtin_mul_overflow(*value, 10, value) ||
		    __builtin_add_overflow(*value, (uint64_t)(*text - '0'), value))
			return NULL;
	return text;
}

int parse_size(const char *text, const char *what, uint64_t *size)
{
	static const char suffixes[] = "KMGT";
	const char *end = digits(text, size), *suffix;

	if (end && *end) {
		suffix = strchr(suffixes, toupper((unsigned char)*end));
		if (!suffix || __builtin_mul_overflow(*size, 1024ull << 10 * (suffix - suffixes),
						      size))
			end = NULL;
		else
			end += !strcmp(end + 1, "iB") ? 3 : 1;
	}
	if (!end || *end || !*size)
		return usage_error("%s: '%s' is not a size in bytes (4097, 64K, 8M)", what, text);
	return EXIT_OK;
}

int parse_count(const char *text, const char *what, uint64_t *count)
{
	const char *end = digits(text, count);

	if (!end || *end || !*count)
		return usage_error("%s: '%s' is not a number of at least 1", what, text);
	return EXIT_OK;
}

int parse_mode(const char *text, uint32_t *mode)
{
	char *end;
	unsigned long value;

	errno = 0;
	value = strtoul(text, &end, 8);
	if (!isdigit((unsigned char)*text) || *end || errno || value > 0777)
		return usage_error("--mode: '%s' is not an octal mode between 0 and 0777", text);
	*mode = (uint32_t)value;
	return EXIT_OK;
}

static bool positive_real(const char *text, double *value)
{
	char *end;

	if (!isdigit((unsigned char)*text) && *text != '.')
		return false;
	*value = strtod(text, &end);
	return end != text && !*end && isfinite(*value) && *value >= 0;
}

int parse_seconds(const char *text, const char *what, int64_t *ns)
{
	double seconds;

	if (!positive_real(text, &seconds) || seconds > 1e9)
		return usage_error("%s: '%s' is not a time in seconds (10, 0.5)", what, text);
	*ns = (int64_t)(seconds * 1e9);
	return EXIT_OK;
}

int parse_hertz(const char *text, int64_t *period)
{
	double hertz;

	if (!positive_real(text, &hertz) || hertz < 1e-6 || hertz > 1e9)
		return usage_error("--rate: '%s' is not a number of frames per second", text);
	*period = (int64_t)(1e9 / hertz);
	return EXIT_OK;
}

const char *human_size(uint64_t bytes, char text[static 16])
{
	static const char suffixes[] = "\0KMGT";
	unsigned int i = 0;
	double value = (double)bytes;

	/* An exact multiple is shown as such, anything small to the byte. */
	while (i < 4 && (bytes >= 1024 << 3 || !(bytes & 1023)) && value >= 1024) {
		value /= 1024;
		bytes /= 1024;
		i++;
	}
	snprintf(text, 16, value == (double)(uint64_t)value ? "%.0f%.1s" : "%.1f%.1s", value,
		 suffixes + i);
	return text;
}
