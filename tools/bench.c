// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/* tribuf bench: how fast channels are on this machine, and how fast they could be. */
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "tool.h"
#include "bench.h"

static const char help[] =
	"usage: tribuf bench [OPTION]...\n"
	"\n"
	"Measures on this machine how long a frame of 8 bytes takes from one process to another,\n"
	"both spinning and with the consumer asleep, and what publish and acquire take; each\n"
	"beside the least that the machine could do it in, measured in turn with it: two cache\n"
	"lines from core to core, a futex, a load and a compare-and-exchange. Uses two processors\n"
	"for some seconds, and channels of its own. A busy machine gives longer times; the ratios\n"
	"suffer less.\n"
	"\n"
	"      --backend BACKEND  device or shm (default: the device if it is there, else shm)\n"
	"      --seconds SECONDS  how long to measure, at most 3600 (default 3)\n"
	"      --json             one JSON object\n"
	"  -h, --help\n"
	"\n"
	"  tribuf bench\n"
	"  taskset -c 2,6 tribuf bench --seconds 10    on these processors\n"
	"\n"
	"Exit status: 0 all right; 1 failure; 2 wrong usage; 128+N ended by signal N.\n";

enum { OPT_BACKEND = 256, OPT_SECONDS, OPT_JSON };

static const struct option options[] = {
	{ "backend", required_argument, NULL, OPT_BACKEND },
	{ "seconds", required_argument, NULL, OPT_SECONDS },
	{ "json", no_argument, NULL, OPT_JSON },
	{ "help", no_argument, NULL, 'h' },
	{ NULL, 0, NULL, 0 },
};

struct wanted {
	const char *backend;		/* NULL: whatever there is */
	int64_t duration;
	bool json;
};

static const struct {
	const char *key, *label, *limit;
} names[BENCH_FIGURES] = {
	[BENCH_SPIN] = { "latency_spinning", "both spin", "two cache lines" },
	[BENCH_SLEEP] = { "latency_asleep", "consumer asleep", "a futex" },
	[BENCH_PUBLISH] = { "publish", "publish", "load, exchange" },
	[BENCH_BOTH] = { "publish_acquire", "publish, acquire", "load, exchange" },
	[BENCH_NOTHING] = { "acquire_nothing", "acquire, nothing new", "load, exchange" },
};

/* ---- on the terminal ---- */

#define BAR		44	/* columns of the longest bar */
#define BARS		16	/* at most */

static const char *time_text(double ns, char text[static 16])
{
	if (ns < 1000)
		snprintf(text, 16, ns < 100 ? "%.1f ns" : "%.0f ns", ns);
	else if (ns < 1e6)
		snprintf(text, 16, "%.1f us", ns / 1e3);
	else
		snprintf(text, 16, "%.1f ms", ns / 1e6);
	return text;
}

/* The bucket with the value below which a @part of all is. */
static size_t bucket_at(const struct spread *s, double part)
{
	size_t bucket = 0;

	for (double left = part * (double)s->count; left > s->buckets[bucket]; bucket++)
		left -= s->buckets[bucket];
	return bucket;
}

static uint64_t bar_count(const struct spread *s, size_t start, size_t width)
{
	uint64_t count = 0;

	for (size_t i = start; i < start + width && i < SPREAD_BUCKETS; i++)
		count += s->buckets[i];
	return count;
}

/* All but 1 in 1000 at the left end and 1 in 100 at the right, whose tail may be long. */
static void show_histogram(const char *title, const struct spread *s)
{
	size_t low = bucket_at(s, 0.001), high = bucket_at(s, 0.99), width = 4;
	uint64_t most = 1, count, dots;
	char text[16];

	while (high / width - low / width >= BARS)
		width *= 2;
	low -= low % width;
	for (size_t i = low; i <= high; i += width)
		most = bar_count(s, i, width) > most ? bar_count(s, i, width) : most;
	printf("\n%s, %llu frames\n", title, (unsigned long long)s->count);
	for (size_t i = low; i <= high; i += width) {
		count = bar_count(s, i, width);
		dots = (count * BAR + most / 2) / most;
		printf("  from %8s %5.1f %%%s", time_text(spread_start(i), text),
		       100 * (double)count / (double)s->count, dots ? " " : "");
		for (; dots; dots--)
			putchar('#');
		putchar('\n');
	}
}

static void show_ratio(const struct bench *b, int which)
{
	const struct figure *f = &b->figures[which];
	char text[16];

	printf("%6.2f x %s (%s)\n", spread_at(&f->ratio, 0.5), names[which].limit,
	       time_text(spread_at(&f->limit, 0.5), text));
}

static void show_latency(const struct bench *b, int which, const struct spread *s)
{
	static const double parts[] = { 0.5, 0.99, 0.999 };
	char text[16];

	printf("  %-20s", names[which].label);
	for (size_t i = 0; i < 3; i++)
		printf(" %9s", time_text(spread_at(s, parts[i]), text));
	show_ratio(b, which);
}

static void show_rate(const struct bench *b, int which)
{
	double ns = spread_at(&b->figures[which].cost, 0.5);
	char text[16];

	printf("  %-20s %9s %10.1f million/s ", names[which].label, time_text(ns, text), 1e3 / ns);
	show_ratio(b, which);
}

static void show(const struct bench *b, const char *backend)
{
	printf("%s, frames of 8 bytes, processors %d and %d\n\n", backend, b->cpus[0], b->cpus[1]);
	printf("  %-20s %9s %9s %9s\n", "one way", "p50", "p99", "p99.9");
	if (b->spins)
		show_latency(b, BENCH_SPIN, &b->spin);
	show_latency(b, BENCH_SLEEP, &b->sleep);
	printf("\n  one thread\n");
	for (int i = BENCH_PUBLISH; i < BENCH_FIGURES; i++)
		show_rate(b, i);
	if (b->spins)
		show_histogram("one way, both spin", &b->spin);
	show_histogram("one way, consumer asleep", &b->sleep);
}

/* ---- JSON ---- */

static void json_percentiles(struct json *json, const struct spread *s)
{
	json_real(json, "p50_ns", spread_at(s, 0.5));
	json_real(json, "p99_ns", spread_at(s, 0.99));
	json_real(json, "p999_ns", spread_at(s, 0.999));
	json_unsigned(json, "frames", s->count);
}

static void json_figure(struct json *json, const struct bench *b, int which)
{
	const struct figure *f = &b->figures[which];

	json_open(json, names[which].key, '{');
	json_real(json, "median_ns", spread_at(&f->cost, 0.5));
	json_real(json, "limit_ns", spread_at(&f->limit, 0.5));
	json_real(json, "ratio", spread_at(&f->ratio, 0.5));
	json_real(json, "ratio_p25", spread_at(&f->ratio, 0.25));
	json_real(json, "ratio_p75", spread_at(&f->ratio, 0.75));
	json_unsigned(json, "rounds", f->ratio.count);
	if (which == BENCH_SPIN || which == BENCH_SLEEP)
		json_percentiles(json, which == BENCH_SPIN ? &b->spin : &b->sleep);
	json_close(json, '}');
}

static void show_json(const struct bench *b, const char *backend)
{
	struct json json = { .out = stdout };

	json_open(&json, NULL, '{');
	json_string(&json, "backend", backend);
	json_open(&json, "processors", '[');
	json_unsigned(&json, NULL, (uint64_t)b->cpus[0]);
	json_unsigned(&json, NULL, (uint64_t)b->cpus[1]);
	json_close(&json, ']');
	for (int i = b->spins ? BENCH_SPIN : BENCH_SLEEP; i < BENCH_FIGURES; i++)
		json_figure(&json, b, i);
	json_close(&json, '}');
	putchar('\n');
}

/* ---- the command ---- */

static int parse_backend(struct wanted *wanted)
{
	if (strcmp(optarg, "device") && strcmp(optarg, "shm"))
		return usage_error("--backend: '%s' is neither device nor shm", optarg);
	wanted->backend = optarg;
	return EXIT_OK;
}

static int parse_duration(struct wanted *wanted)
{
	int status = parse_seconds(optarg, "--seconds", &wanted->duration);

	if (!status && wanted->duration > 3600 * 1000000000LL)
		return usage_error("--seconds: at most 3600");
	return status;
}

static int parse_option(struct wanted *wanted, int option)
{
	switch (option) {
	case OPT_BACKEND:
		return parse_backend(wanted);
	case OPT_SECONDS:
		return parse_duration(wanted);
	default:
		wanted->json = true;
		return EXIT_OK;
	}
}

static const char *backend_there_is(void)
{
	if (!access(DEVICE_PATH, F_OK))
		return "device";
	complain("no " DEVICE_PATH ", so this is of shm; for the device: tribuf load");
	return "shm";
}

static int bench(const struct wanted *wanted)
{
	const char *backend = wanted->backend ? wanted->backend : backend_there_is();
	struct bench *b = calloc(1, sizeof(*b));
	int status;

	if (!b) {
		complain("no memory");
		return EXIT_FAILED;
	}
	signals_catch();
	status = bench_run(b, !strcmp(backend, "shm"), wanted->duration);
	if (!status && !b->spins)
		complain("one processor only may be used here: two that spin are left out");
	if (!status)
		(wanted->json ? show_json : show)(b, backend);
	free(b);
	return status;
}

static int run(int argc, char **argv)
{
	struct wanted wanted = { .duration = 3000000000LL };
	int option, status = EXIT_OK;

	while (!status && (option = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		if (option == 'h' || option == '?')
			return help_or_usage(option);
		status = parse_option(&wanted, option);
	}
	if (status)
		return status;
	if (optind < argc)
		return usage_error("too many arguments");
	return bench(&wanted);
}

const struct command bench_command = {
	"bench", "measure how fast channels are on this machine", help, run,
};
