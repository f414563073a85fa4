// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * tribuf sub: takes frames and writes their bytes to a file or standard output;
 * many.c does it for more channels than one.
 */
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "tool.h"

#define WAKE_UPS (TRIBUF_READY | TRIBUF_PEER_GONE | TRIBUF_PEER_BACK | TRIBUF_GEOMETRY)
#define KEPT 4		/* --verify: references to earlier frames that must stay stale */

struct sub {
	const char *name;
	const char *file;		/* NULL: standard output */
	uint64_t count;			/* 0: no limit */
	int64_t timeout;
	bool observe, follow, verify, quiet, discard;
	bool all, set;			/* more channels than one: their names, if not all */
	char **names;
	size_t names_count;
	struct report report;

	struct tribuf *channel;
	int fd;				/* -1: the bytes go nowhere */
	void *copy;			/* observer's; a consumer reads in place */
	size_t room;
	bool gone;			/* the producer was here and has left */
	bool from_start;		/* we were here before the first frame */
	uint64_t first, last;		/* seq */
	uint64_t taken, skipped, bytes;
	uint64_t torn, disordered, stale_caught, stale_missed, outrun;
	uint64_t stamped, age_sum, age_max;	/* age of those when they were taken */
	int64_t start, newest;		/* when */
	struct tribuf_gen_index kept[KEPT];
	uint64_t kept_so_far;
	struct calls calls;
	struct progress progress;
};

static const char help[] =
	"usage: tribuf sub NAME [FILE|-] [OPTION]...\n"
	"       tribuf sub --set NAME... [OPTION]...\n"
	"       tribuf sub --all [OPTION]...\n"
	"\n"
	"Takes frames from channel NAME (shm:NAME without the module), the newest one each\n"
	"time, and writes their bytes to FILE or standard output. Waits for the channel and\n"
	"its producer to come; ends when the producer has left and its last frame was taken.\n"
	"\n"
	"      --count N          end after N frames\n"
	"      --timeout SECONDS  give up when no frame came for so long\n"
	"      --follow           when the producer leaves, wait for the next one\n"
	"      --observe          look on without being the consumer: any number may\n"
	"      --verify           check that every byte is what 'tribuf pub --pattern' made,\n"
	"                         and that references to earlier frames are refused. Writes\n"
	"                         nothing unless FILE is given\n"
	"      --stats[=FILE]     numbers at the end, on standard error or into FILE\n"
	"      --json             the numbers as JSON\n"
	"  -q, --quiet            no progress line\n"
	"      --set              take from each channel NAME, waiting for all by one call. Prints\n"
	"                         a line for each frame: channel, number, bytes. With --count,\n"
	"                         --timeout, --follow and --observe only; not for shm:NAME\n"
	"      --all              the same for every channel that there is now and that has no\n"
	"                         consumer (--observe: every one that one may see)\n"
	"  -h, --help\n"
	"\n"
	"  tribuf sub backup copy.img                 the other end of 'pub --paced'\n"
	"  tribuf sub temp --count 1                  the newest reading\n"
	"  tribuf sub test --verify --stats           the other end of 'pub --pattern'\n"
	"  tribuf sub cam --observe --timeout 5 >x    beside the consumer\n"
	"  tribuf sub --all --observe                 what goes on, on all channels\n"
	"\n"
	"Exit status: 0 end of the stream, or --count reached; 1 failure (also: --verify found a\n"
	"torn frame); 2 wrong usage; 3 --timeout ran out; 4 the channel was replaced (without\n"
	"--follow), or the producer broke the protocol; 5 nobody reads the output; 6 the\n"
	"channel has a consumer already; 128+N ended by signal N.\n";

enum { OPT_COUNT = 256, OPT_TIMEOUT, OPT_FOLLOW, OPT_OBSERVE, OPT_VERIFY, OPT_STATS, OPT_JSON,
       OPT_SET, OPT_ALL };

static const struct option options[] = {
	{ "count", required_argument, NULL, OPT_COUNT },
	{ "timeout", required_argument, NULL, OPT_TIMEOUT },
	{ "follow", no_argument, NULL, OPT_FOLLOW },
	{ "observe", no_argument, NULL, OPT_OBSERVE },
	{ "verify", no_argument, NULL, OPT_VERIFY },
	{ "stats", optional_argument, NULL, OPT_STATS },
	{ "json", no_argument, NULL, OPT_JSON },
	{ "quiet", no_argument, NULL, 'q' },
	{ "set", no_argument, NULL, OPT_SET },
	{ "all", no_argument, NULL, OPT_ALL },
	{ "help", no_argument, NULL, 'h' },
	{ NULL, 0, NULL, 0 },
};

static int parse_option(struct sub *s, int option)
{
	switch (option) {
	case OPT_COUNT:
		return parse_count(optarg, "--count", &s->count);
	case OPT_TIMEOUT:
		return parse_seconds(optarg, "--timeout", &s->timeout);
	case OPT_FOLLOW:
		s->follow = true;
		break;
	case OPT_OBSERVE:
		s->observe = true;
		break;
	case OPT_VERIFY:
		s->verify = true;
		break;
	case OPT_STATS:
		s->report.file = optarg;
		s->report.wanted = true;
		break;
	case OPT_JSON:
		s->report.json = s->report.wanted = true;
		break;
	case OPT_SET:
		s->set = true;
		break;
	case OPT_ALL:
		s->all = true;
		break;
	default:
		s->quiet = true;
	}
	return EXIT_OK;
}

static int parse_many(struct sub *s, int argc, char **argv)
{
	if (s->all && s->set)
		return usage_error("either --all or --set");
	if (s->verify || s->report.wanted)
		return usage_error("--verify, --stats and --json are for one channel");
	if (s->all && argc)
		return usage_error("--all takes no names: '%s'", *argv);
	if (s->set && !argc)
		return usage_error("--set: which channels?");
	s->names = argv;
	s->names_count = (size_t)argc;
	return EXIT_OK;
}

static int parse(struct sub *s, int argc, char **argv)
{
	int option, status = EXIT_OK;

	while (!status && (option = getopt_long(argc, argv, "qh", options, NULL)) != -1) {
		if (option == 'h' || option == '?')
			return help_or_usage(option);
		status = parse_option(s, option);
	}
	if (status)
		return status;
	if (s->all || s->set)
		return parse_many(s, argc - optind, argv + optind);
	if (argc - optind < 1 || argc - optind > 2)
		return usage_error(argc == optind ? "which channel?" : "too many arguments");
	s->name = argv[optind];
	s->discard = s->verify && argc - optind == 1;
	if (argc - optind == 2 && strcmp(argv[optind + 1], "-"))
		s->file = argv[optind + 1];
	return EXIT_OK;
}

/*
 * Before the role is taken, so that nothing is lost to an output that cannot be. Until
 * then, what is in it may be what another is writing.
 */
static int open_output(struct sub *s)
{
	if (s->discard)
		s->fd = -1;
	else if (s->file) {
		s->fd = open(s->file, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
		if (s->fd < 0)
			return output_failed(s->file, errno);
	}
	return EXIT_OK;
}

/* What is no regular file has nothing in it. */
static int empty_output(struct sub *s)
{
	struct stat file;

	if (!s->file || (!fstat(s->fd, &file) && !S_ISREG(file.st_mode)) || !ftruncate(s->fd, 0))
		return EXIT_OK;
	return output_failed(s->file, errno);
}

/* Some file systems tell only now that there was no room. */
static int close_output(struct sub *s)
{
	if (!s->file || !close(s->fd))
		return EXIT_OK;
	return output_failed(s->file, errno);
}

static int look_for_producer(struct sub *s)
{
	struct tribuf_info_args info;
	int err = tribuf_info(s->channel, &info);

	if (err)
		return err;
	s->gone = (info.state & TRIBUF_STATE_HAD_PRODUCER) &&
		  !(info.state & TRIBUF_STATE_PRODUCER);
	if (!s->taken)
		s->from_start |= !(info.state & TRIBUF_STATE_HAD_PRODUCER);
	return info.state & TRIBUF_STATE_REPLACED ? -ESTALE : 0;
}

static int open_channel(struct sub *s)
{
	struct tribuf_options how = TRIBUF_OPTIONS_INIT;
	int err;

	how.role = s->observe ? TRIBUF_OBSERVER : TRIBUF_CONSUMER;
	how.flags |= TRIBUF_PENDING;
	if (s->observe)
		how.flags &= ~(uint32_t)TRIBUF_LATEST;
	err = tribuf_open(&s->channel, s->name, &how);
	return err ? err : look_for_producer(s);
}

/* The observer's copy has to grow with the frames. */
static int snapshot(struct sub *s, struct tribuf_frame *frame)
{
	int result = tribuf_snapshot(s->channel, frame, s->copy, s->room);
	void *larger;

	if (result == -EAGAIN) {	/* outrun by the producer: there is a newer one */
		s->outrun++;
		return -EAGAIN;
	}
	if (result != -EMSGSIZE)
		return result;
	larger = realloc(s->copy, (size_t)frame->bytes);
	if (!larger)
		return -ENOMEM;
	s->copy = larger;
	s->room = (size_t)frame->bytes;
	return -EAGAIN;
}

static int take(struct sub *s, struct tribuf_frame *frame)
{
	int result;

	if (!s->observe)
		return tribuf_acquire(s->channel, frame);
	do {
		result = snapshot(s, frame);
	} while (result == -EAGAIN && !signal_caught());
	return result == -EAGAIN ? 0 : result;
}

static int sleep_for_frame(struct sub *s)
{
	if (s->timeout == TRIBUF_FOREVER)
		return tribuf_wait(s->channel, WAKE_UPS, TRIBUF_FOREVER);
	return tribuf_wait_until(s->channel, WAKE_UPS, s->newest + s->timeout);
}

/* 1: try again; 0: the producer has left; -ETIMEDOUT; or an error. */
static int wait_frame(struct sub *s)
{
	int events, err;

	if (s->gone && !s->follow)
		return 0;
	events = sleep_for_frame(s);
	if (!events)
		return -ETIMEDOUT;
	if (events == -EINTR)
		return 1;
	if (events < 0)
		return events;
	/* What the producer published last is looked for after we know that it left. */
	err = events & ~(int)TRIBUF_READY ? look_for_producer(s) : 0;
	if (err == -ESTALE && events & (int)TRIBUF_READY)
		err = 0;	/* replaced: first what is still there */
	return err ?: 1;
}

static void check_references(struct sub *s, const struct tribuf_frame *frame)
{
	struct tribuf_gen_index *kept = s->kept + s->kept_so_far % KEPT;
	uint64_t older = s->kept_so_far < KEPT ? s->kept_so_far : KEPT;
	void *data = NULL;

	for (uint64_t i = 0; i < older; i++) {
		if (tribuf_deref(s->channel, s->kept[i], 1, &data) == -ESTALE)
			s->stale_caught++;
		else
			s->stale_missed++;
	}
	if (tribuf_ref(s->channel, frame->data, kept) ||
	    tribuf_deref(s->channel, *kept, (size_t)frame->bytes, &data) || data != frame->data)
		s->stale_missed++;	/* the other way round: a good one was refused */
	s->kept_so_far++;
}

static void verify(struct sub *s, const struct tribuf_frame *frame)
{
	if (frame->seq <= s->last)
		s->disordered++;
	if (!pattern_is(frame->cookie) ||
	    !pattern_whole(frame->data, frame->bytes, frame->seq, frame->cookie))
		s->torn++;
	if (!s->observe)
		check_references(s, frame);
}

static void note_age(struct sub *s, uint64_t timestamp)
{
	uint64_t age = (uint64_t)s->newest - timestamp;

	if (!timestamp || timestamp > (uint64_t)s->newest)
		return;
	s->stamped++;
	s->age_sum += age;
	if (age > s->age_max)
		s->age_max = age;
}

static void note(struct sub *s, const struct tribuf_frame *frame)
{
	s->newest = now_ns();
	note_age(s, frame->timestamp);
	if (!s->taken) {
		s->first = frame->seq;
		s->last = s->from_start ? 0 : frame->seq - 1;
	}
	if (s->verify)
		verify(s, frame);
	if (frame->seq > s->last)
		s->skipped += frame->seq - s->last - 1;
	s->last = frame->seq;
	s->taken++;
	s->bytes += frame->bytes;
}

static void show_progress(struct sub *s)
{
	double seconds = (double)(s->newest - s->start) / 1e9;
	char bytes[16], speed[16];

	progress_show(&s->progress, "taken %" PRIu64 " frames, %s, %s/s, %" PRIu64 " skipped",
		      s->taken, human_size(s->bytes, bytes),
		      human_size((uint64_t)((double)s->bytes / seconds), speed), s->skipped);
}

static int write_frame(struct sub *s, const struct tribuf_frame *frame, int *output_error)
{
	int err = s->fd < 0 ? 0 : write_whole(s->fd, frame->data, (size_t)frame->bytes);

	*output_error = err == -EINTR ? 0 : -err;
	return err;
}

/* 1: go on; 0: end of the stream; or an error. */
static int take_one(struct sub *s, int *output_error)
{
	struct tribuf_frame frame;
	int result = take(s, &frame);

	if (!result)
		return wait_frame(s);
	if (result < 0)
		return result;
	note(s, &frame);
	result = write_frame(s, &frame, output_error);
	if (progress_due(&s->progress, s->newest))
		show_progress(s);
	return result ?: 1;
}

/* The name has a new channel, with other slots perhaps: go over to it. */
static int reopen(struct sub *s)
{
	tribuf_close(s->channel);
	s->channel = NULL;
	s->last = 0;
	s->from_start = true;
	s->kept_so_far = 0;
	return open_channel(s) ?: 1;
}

static int take_all(struct sub *s, int *output_error)
{
	int result = 1;

	s->start = s->newest = now_ns();
	progress_start(&s->progress, s->quiet);
	while (result > 0 && !signal_caught() && !(s->count && s->taken == s->count)) {
		result = take_one(s, output_error);
		if (result == -ESTALE && s->follow)
			result = reopen(s);
	}
	progress_end(&s->progress);
	return result;
}

static int print_stats(struct sub *s, int64_t end, struct calls calls)
{
	double taken = (double)s->taken;
	const struct row rows[] = {
		{ "taken", "frames taken", UNIT_FRAMES, taken },
		{ "skipped", "frames skipped", UNIT_FRAMES, (double)s->skipped },
		{ "first", "first frame's number", UNIT_COUNT, (double)s->first },
		{ "last", "last frame's number", UNIT_COUNT, (double)s->last },
		{ "bytes", "bytes", UNIT_BYTES, (double)s->bytes },
		{ "seconds", "time", UNIT_SECONDS, (double)(end - s->start) / 1e9 },
		{ "age_mean_ns", "age of a frame when taken, mean", UNIT_NANOSECONDS,
		  (double)s->age_sum / (double)(s->stamped ?: 1) },
		{ "age_max_ns", "  worst", UNIT_NANOSECONDS, (double)s->age_max },
		{ "rings", "rings (producer woken)", UNIT_COUNT, (double)calls.rings },
		{ "waits", "waits (for a frame)", UNIT_COUNT, (double)calls.waits },
		{ "system_calls", "system calls by libtribuf", UNIT_COUNT,
		  (double)calls_total(calls) },
		{ "system_calls_per_frame", "  per frame", UNIT_RATIO,
		  per_frame(calls, s->taken) },
		{ "outrun", "copies outrun by the producer", UNIT_COUNT, (double)s->outrun },
		/* only with --verify, from here on */
		{ "torn", "frames torn", UNIT_FRAMES, (double)s->torn },
		{ "disordered", "frames out of order", UNIT_FRAMES, (double)s->disordered },
		{ "stale_caught", "stale references caught", UNIT_COUNT,
		  (double)s->stale_caught },
		{ "stale_missed", "references judged wrongly", UNIT_COUNT,
		  (double)s->stale_missed },
	};
	size_t count = sizeof(rows) / sizeof(rows[0]);

	return report_print(&s->report, rows, s->verify ? count : count - 4);
}

/* What we find ourselves, libtribuf has no sentence about. */
int taking_failed(int err, const char *name)
{
	switch (err) {
	case -ESTALE:
		complain("a producer has replaced channel %s (--follow goes over to the new one)",
			 name);
		return EXIT_ENDED;
	case -ENOMEM:
		complain("no memory for the frames of channel %s: free some, or allow more address space (ulimit -v)",
			 name);
		return EXIT_FAILED;
	default:
		return channel_failed(err, "take frames from", name);
	}
}

static int explain_failure(const struct sub *s, int result)
{
	if (result != -ETIMEDOUT)
		return taking_failed(result, s->name);
	complain("timeout: no %sframe came on %s", s->taken ? "further " : "", s->name);
	return EXIT_TIMEOUT;
}

static int explain_end(const struct sub *s, int result, int output_error)
{
	if (output_error)
		return output_failed(s->file, output_error);
	if (signal_caught())
		return EXIT_SIGNAL + signal_caught();
	if (result < 0)
		return explain_failure(s, result);
	if (!s->torn && !s->disordered && !s->stale_missed)
		return EXIT_OK;
	complain("of %" PRIu64 " frames %" PRIu64 " are not what 'pub --pattern' makes, %" PRIu64 " out of order; %" PRIu64 " references judged wrongly",
		 s->taken, s->torn, s->disordered, s->stale_missed);
	return EXIT_FAILED;
}

static int subscribe(struct sub *s)
{
	int result, status, output_error = 0;
	struct calls calls;
	int64_t end;

	s->calls = calls_made();
	result = take_all(s, &output_error);
	end = now_ns();
	calls = calls_since(s->calls);
	status = explain_end(s, result, output_error);
	result = print_stats(s, end, calls);
	return status ?: result;
}

static int subscribe_many(const struct sub *s)
{
	const struct many_options how = {
		.all = s->all, .observe = s->observe, .follow = s->follow,
		.count = s->count, .timeout = s->timeout,
	};

	return sub_many(&how, s->names, s->names_count);
}

static int run(int argc, char **argv)
{
	struct sub s = { .timeout = TRIBUF_FOREVER, .fd = STDOUT_FILENO };
	int err, closed, status = parse(&s, argc, argv);

	if (!status && (s.all || s.set))
		return subscribe_many(&s);
	if (status || !s.name)		/* --help */
		return status;
	signals_catch();
	status = open_output(&s);
	if (status)
		return status;
	err = open_channel(&s);
	status = err ? taking_failed(err, s.name) : empty_output(&s);
	if (!status)
		status = subscribe(&s);
	tribuf_close(s.channel);
	free(s.copy);
	closed = close_output(&s);
	return status ?: closed;
}

const struct command sub_command = {
	"sub", "take frames and write them to a file or standard output", help, run,
};
