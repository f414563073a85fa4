/* SPDX-License-Identifier: LGPL-2.1-or-later OR MIT */
/*
 * What the files of the tribuf command share: exit codes, messages, reading of
 * arguments, signals, input and output of frames. Each subcommand has a file.
 */
#ifndef TRIBUF_TOOL_H
#define TRIBUF_TOOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <tribuf.h>

/* Exit codes are part of the interface: tribuf(1) lists them. */
enum {
	EXIT_OK = 0,
	EXIT_FAILED = 1,	/* doctor: something was found */
	EXIT_USAGE = 2,
	EXIT_TIMEOUT = 3,
	EXIT_ENDED = 4,		/* channel replaced, role lost, or spoilt by the peer */
	EXIT_UNREAD = 5,	/* nobody reads what we write */
	EXIT_BUSY = 6,		/* another process has the role */
	EXIT_SIGNAL = 128,	/* plus the signal's number */
};

struct command {
	const char *name;
	const char *summary;
	const char *help;
	int (*run)(int argc, char **argv);
};

extern const struct command pub_command, sub_command, create_command, ls_command,
	info_command, load_command, unload_command, doctor_command, bench_command;

/* args.c: messages and the command line. argv[0] of a subcommand is its name. */
void command_is(const struct command *command);
__attribute__((format(printf, 1, 2))) void complain(const char *format, ...);
__attribute__((format(printf, 1, 2))) int usage_error(const char *format, ...);
int help_or_usage(int option);		/* for getopt_long's '?', ':' and our 'h' */
#define GO_ON	(-1)			/* no exit status */
/* Of a command with no option but --json: GO_ON, or the status to exit with. */
int parse_json_only(int argc, char **argv, bool *as_json);
int channel_failed(int err, const char *doing, const char *name);
int output_failed(const char *file, int error);		/* NULL: standard output */
int parse_size(const char *text, const char *what, uint64_t *size);
int parse_count(const char *text, const char *what, uint64_t *count);
int parse_mode(const char *text, uint32_t *mode);
int parse_seconds(const char *text, const char *what, int64_t *ns);
int parse_hertz(const char *text, int64_t *period);
const char *human_size(uint64_t bytes, char text[static 16]);

/* signals.c: SIGINT, SIGTERM and SIGHUP end a command cleanly */
void signals_catch(void);
int signal_caught(void);		/* its number, or 0 */

/* io.c: whole reads and writes; short only at the end of the input, or at the deadline */
int64_t now_ns(void);
int sleep_until(int64_t deadline);
ssize_t read_whole(int fd, void *data, size_t bytes, int64_t deadline);
int write_whole(int fd, const void *data, size_t bytes);
int flush_output(void);			/* 0, or the errno for which standard output lacks something */

/* calls.c: system calls that libtribuf made, counted at its calls into libc */
struct calls {
	uint64_t rings;		/* to wake a peer */
	uint64_t waits;		/* to sleep, or to look whether one must */
	uint64_t other;
};

struct calls calls_made(void);
struct calls calls_since(struct calls start);
uint64_t calls_total(struct calls calls);
double per_frame(struct calls calls, uint64_t frames);
int poll_uncounted(int fd, short events, int64_t deadline);	/* INT64_MAX: none */

/* pattern.c: frames whose every byte, and whose length, derive from their seq */
uint64_t pattern_cookie(uint64_t frame_size, bool mixed);
bool pattern_is(uint64_t cookie);
uint64_t pattern_bytes(uint64_t seq, uint64_t cookie);
void pattern_fill(void *data, uint64_t bytes, uint64_t seq);
bool pattern_whole(const void *data, uint64_t bytes, uint64_t seq, uint64_t cookie);

/* json.c: just enough to write it; keys are NULL within arrays */
struct json {
	FILE *out;
	bool comma;
};

void json_open(struct json *json, const char *key, char bracket);
void json_close(struct json *json, char bracket);
void json_string(struct json *json, const char *key, const char *value);
void json_unsigned(struct json *json, const char *key, uint64_t value);
void json_real(struct json *json, const char *key, double value);
void json_boolean(struct json *json, const char *key, bool value);

/* How many bytes the character at @string has; 0: it is a control character, or no UTF-8. */
int printable(const char *string);

/* As ls -b, into @text: at most four bytes for each of @name, and the end. */
void escape(const char *name, char *text);

/* report.c: the progress line and the closing table */
enum unit { UNIT_FRAMES, UNIT_BYTES, UNIT_SECONDS, UNIT_NANOSECONDS, UNIT_RATIO, UNIT_COUNT };

struct row {
	const char *key;	/* in JSON */
	const char *label;	/* in the table */
	enum unit unit;
	double value;
};

struct report {
	bool wanted;
	bool json;
	const char *file;	/* NULL: standard error */
};

int report_print(const struct report *report, const struct row *rows, size_t count);

struct progress {
	bool on;
	int64_t next;
};

void progress_start(struct progress *progress, bool quiet);
bool progress_due(struct progress *progress, int64_t now);
__attribute__((format(printf, 2, 3)))
void progress_show(struct progress *progress, const char *format, ...);
void progress_end(struct progress *progress);

/* sub.c: why no frame can be taken; many.c: tribuf sub of more channels than one */
int taking_failed(int err, const char *name);

struct many_options {
	bool all;			/* else those that are named */
	bool observe;
	bool follow;
	uint64_t count;			/* 0: no limit */
	int64_t timeout;
};

int sub_many(const struct many_options *options, char **names, size_t count);

/* machine.c: what the system says about the module and its device */
#define DEVICE_PATH	"/dev/tribuf"
#define MODULE_NAME	"tribuf"

bool read_line(const char *path, char *line, size_t size);
bool module_is_loaded(void);
bool module_srcversion(char *text, size_t size);
bool built_module_path(char *path, size_t size);
int device_users(bool (*each)(int pid, const char *name, void *context), void *context);
bool may_load_modules(void);
bool module_loading_disabled(void);
bool signatures_enforced(char *why, size_t size);

/* module.c: what only libkmod knows; without it nomodule.c stands in */
enum where { MODULE_BUILT, MODULE_INSTALLED };

bool module_find(enum where where, char *path, size_t size);
bool module_file_value(const char *path, const char *key, char *value, size_t size);

#endif
