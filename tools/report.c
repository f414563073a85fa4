// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/* The progress line while a command runs, and the closing numbers. */
#include <stdarg.h>
#include <string.h>
#include <unistd.h>
#include "tool.h"

#define PROGRESS_PERIOD 250000000LL	/* ns */

void progress_start(struct progress *progress, bool quiet)
{
	progress->on = !quiet && isatty(STDERR_FILENO);
	progress->next = now_ns() + PROGRESS_PERIOD;
}

bool progress_due(struct progress *progress, int64_t now)
{
	if (!progress->on || now < progress->next)
		return false;
	progress->next = now + PROGRESS_PERIOD;
	return true;
}

void progress_show(struct progress *progress, const char *format, ...)
{
	va_list args;

	(void)progress;
	va_start(args, format);
	fputc('\r', stderr);
	vfprintf(stderr, format, args);
	fputs("\033[K", stderr);	/* erase what the line before had more */
	va_end(args);
}

void progress_end(struct progress *progress)
{
	if (progress->on)
		fputs("\r\033[K", stderr);
	progress->on = false;
}

static void value_text(const struct row *row, char *text, size_t size)
{
	char human[16];

	switch (row->unit) {
	case UNIT_BYTES:
		snprintf(text, size, "%s", human_size((uint64_t)row->value, human));
		break;
	case UNIT_SECONDS:
		snprintf(text, size, "%.3f s", row->value);
		break;
	case UNIT_NANOSECONDS:
		snprintf(text, size, "%.1f us", row->value / 1000);
		break;
	case UNIT_RATIO:
		snprintf(text, size, "%.6g", row->value);
		break;
	default:
		snprintf(text, size, "%.0f", row->value);
	}
}

static void print_table(FILE *out, const struct row *rows, size_t count)
{
	char text[32];

	for (size_t i = 0; i < count; i++) {
		value_text(rows + i, text, sizeof(text));
		fprintf(out, "  %-34s %14s\n", rows[i].label, text);
	}
}

static void print_json(FILE *out, const struct row *rows, size_t count)
{
	struct json json = { .out = out };

	json_open(&json, NULL, '{');
	for (size_t i = 0; i < count; i++) {
		if (rows[i].unit == UNIT_SECONDS || rows[i].unit == UNIT_RATIO)
			json_real(&json, rows[i].key, rows[i].value);
		else
			json_unsigned(&json, rows[i].key, (uint64_t)rows[i].value);
	}
	json_close(&json, '}');
	fputc('\n', out);
}

int report_print(const struct report *report, const struct row *rows, size_t count)
{
	FILE *out = stderr;

	if (!report->wanted)
		return EXIT_OK;
	if (report->file)
		out = fopen(report->file, "we");
	if (!out)
		return output_failed(report->file, errno);
	if (report->json)
		print_json(out, rows, count);
	else
		print_table(out, rows, count);
	if (report->file ? fclose(out) : fflush(out))
		return output_failed(report->file ? report->file : "standard error", errno);
	return EXIT_OK;
}
