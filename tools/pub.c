// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/* tribuf pub: cuts a file or standard input into frames and publishes them. */
#include <fcntl.h>
#include <getopt.h>
#include <string.h>
#include <unistd.h>
#include "tool.h"

#define DEFAULT_FRAME_SIZE	(64u << 10)
#define LOOK_PERIOD		1000000000LL	/* ns */
#define WAKE_UPS		(TRIBUF_READY | TRIBUF_GEOMETRY)

struct pub {
	const char *name;
	const char *file;		/* NULL: standard input */
	uint64_t frame_size, slot_size;	/* 0: not said */
	uint64_t count;			/* 0: no limit */
	int64_t period, duration, timeout;	/* ns; 0: none; timeout: TRIBUF_FOREVER */
	uint32_t mode;
	bool paced, loop, replace, guarded, quiet, pattern, mixed;
	struct report report;

	struct tribuf *channel;
	int fd;
	int input_error;
	int64_t looked;			/* when we last looked whether we were replaced */
	uint64_t published, bytes, overwritten;
	int64_t start, next, end;	/* end: INT64_MAX without --duration */
	struct calls calls;
	struct progress progress;
};

static const char help[] =
	"usage: tribuf pub NAME [FILE|-] [OPTION]...\n"
	"\n"
	"Publishes FILE, or standard input, on channel NAME (shm:NAME without the module), in\n"
	"frames. The channel is made if there is none. Without --paced nothing ever waits for\n"
	"the consumer: it gets the newest frame and misses those before it.\n"
	"\n"
	"      --frame-size SIZE  bytes of a frame (4097, 64K, 8M); the last one may be shorter.\n"
	"                         Default: the channel's slot size, 64K for a new channel\n"
	"      --slot-size SIZE   bytes of a slot of a new channel (default: the frame size)\n"
	"      --paced            wait until each frame was taken, the last one too\n"
	"      --timeout SECONDS  with --paced: give up if a frame is not taken for so long\n"
	"      --rate HZ          at most so many frames a second\n"
	"      --count N          stop after N frames\n"
	"      --duration SECONDS stop after so long, whatever it waits for then\n"
	"      --loop             start FILE over at its end\n"
	"      --pattern          no FILE: frames that 'tribuf sub --verify' can check whole\n"
	"      --mixed            with --pattern: frames of 1 byte to --frame-size\n"
	"      --mode MODE        permissions of a new channel, octal (default 600)\n"
	"      --replace          make a new channel under the name, whatever is there\n"
	"      --guarded          only a channel where the kernel keeps each side out of the\n"
	"                         slots of the other: a frame that was taken cannot change\n"
	"      --stats[=FILE]     numbers at the end, on standard error or into FILE\n"
	"      --json             the numbers as JSON\n"
	"  -q, --quiet            no progress line\n"
	"  -h, --help\n"
	"\n"
	"  tribuf pub backup disk.img --paced --frame-size 1M      every byte arrives, in order\n"
	"  sensor | tribuf pub temp --frame-size 64                the newest reading is there\n"
	"  tribuf pub test --pattern --mixed --duration 10 --stats full speed, to be verified\n"
	"\n"
	"Exit status: 0 done (paced: all was taken, or --duration over); 1 failure; 2 wrong\n"
	"usage; 3 --timeout ran out; 4 another producer replaced the channel, or the consumer\n"
	"spoilt it; 6 the channel has a producer already; 128+N ended by signal N.\n";

enum { OPT_FRAME_SIZE = 256, OPT_SLOT_SIZE, OPT_PACED, OPT_TIMEOUT, OPT_RATE, OPT_COUNT,
       OPT_DURATION, OPT_LOOP, OPT_PATTERN, OPT_MIXED, OPT_MODE, OPT_REPLACE, OPT_GUARDED, OPT_STATS,
       OPT_JSON };

static const struct option options[] = {
	{ "frame-size", required_argument, NULL, OPT_FRAME_SIZE },
	{ "slot-size", required_argument, NULL, OPT_SLOT_SIZE },
	{ "paced", no_argument, NULL, OPT_PACED },
	{ "timeout", required_argument, NULL, OPT_TIMEOUT },
	{ "rate", required_argument, NULL, OPT_RATE },
	{ "count", required_argument, NULL, OPT_COUNT },
	{ "duration", required_argument, NULL, OPT_DURATION },
	{ "loop", no_argument, NULL, OPT_LOOP },
	{ "pattern", no_argument, NULL, OPT_PATTERN },
	{ "mixed", no_argument, NULL, OPT_MIXED },
	{ "mode", required_argument, NULL, OPT_MODE },
	{ "replace", no_argument, NULL, OPT_REPLACE },
	{ "guarded", no_argument, NULL, OPT_GUARDED },
	{ "stats", optional_argument, NULL, OPT_STATS },
	{ "json", no_argument, NULL, OPT_JSON },
	{ "quiet", no_argument, NULL, 'q' },
	{ "help", no_argument, NULL, 'h' },
	{ NULL, 0, NULL, 0 },
};

static int parse_duration(struct pub *p)
{
	int status = parse_seconds(optarg, "--duration", &p->duration);

	if (!status && !p->duration)
		return usage_error("--duration: '%s' seconds leave no time for a frame", optarg);
	return status;
}

static int parse_value(struct pub *p, int option)
{
	switch (option) {
	case OPT_FRAME_SIZE:
		return parse_size(optarg, "--frame-size", &p->frame_size);
	case OPT_SLOT_SIZE:
		return parse_size(optarg, "--slot-size", &p->slot_size);
	case OPT_TIMEOUT:
		return parse_seconds(optarg, "--timeout", &p->timeout);
	case OPT_RATE:
		return parse_hertz(optarg, &p->period);
	case OPT_COUNT:
		return parse_count(optarg, "--count", &p->count);
	case OPT_DURATION:
		return parse_duration(p);
	default:
		return parse_mode(optarg, &p->mode);
	}
}

static int parse_option(struct pub *p, int option)
{
	switch (option) {
	case OPT_PACED:
		p->paced = true;
		break;
	case OPT_LOOP:
		p->loop = true;
		break;
	case OPT_PATTERN:
		p->pattern = true;
		break;
	case OPT_MIXED:
		p->mixed = true;
		break;
	case OPT_REPLACE:
		p->replace = true;
		break;
	case OPT_GUARDED:
		p->guarded = true;
		break;
	case OPT_STATS:
		p->report.file = optarg;
		p->report.wanted = true;
		break;
	case OPT_JSON:
		p->report.json = p->report.wanted = true;
		break;
	case 'q':
		p->quiet = true;
		break;
	default:
		return parse_value(p, option);
	}
	return EXIT_OK;
}

static int check_options(const struct pub *p)
{
	if (p->pattern && (p->file || p->loop))
		return usage_error("--pattern makes its frames itself: no FILE, no --loop");
	if (p->mixed && !p->pattern)
		return usage_error("--mixed needs --pattern");
	if (p->loop && !p->file)
		return usage_error("--loop needs a FILE to start over");
	if (p->timeout != TRIBUF_FOREVER && !p->paced)
		return usage_error("--timeout needs --paced: otherwise nothing waits");
	if (p->slot_size && p->frame_size > p->slot_size)
		return usage_error("--frame-size is more than --slot-size");
	return EXIT_OK;
}

static int parse(struct pub *p, int argc, char **argv)
{
	int option, status = EXIT_OK;

	while (!status && (option = getopt_long(argc, argv, "qh", options, NULL)) != -1) {
		if (option == 'h' || option == '?')
			return help_or_usage(option);
		status = parse_option(p, option);
	}
	if (status)
		return status;
	if (argc - optind < 1 || argc - optind > 2)
		return usage_error(argc == optind ? "which channel?" : "too many arguments");
	p->name = argv[optind];
	if (argc - optind == 2 && strcmp(argv[optind + 1], "-"))
		p->file = argv[optind + 1];
	return check_options(p);
}

static int open_input(struct pub *p)
{
	if (!p->file || p->pattern)
		return EXIT_OK;
	/* The writer of a FIFO is waited for as input is: to the end of --duration. */
	p->fd = open(p->file, O_RDONLY | O_CLOEXEC | (p->duration ? O_NONBLOCK : 0));
	if (p->fd < 0) {
		complain("cannot read %s: %m", p->file);
		return EXIT_FAILED;
	}
	if (p->loop && lseek(p->fd, 0, SEEK_SET))
		return usage_error("--loop: %s cannot be started over: %m", p->file);
	return EXIT_OK;
}

/*
 * Somebody else may have made the channel, with larger slots, or guarded. Unless
 * a slot size was asked for, take what is there; but nothing less than guarded.
 */
static int open_producer(struct pub *p)
{
	struct tribuf_options how = TRIBUF_OPTIONS_INIT;
	int err;

	how.role = TRIBUF_PRODUCER;
	how.flags |= TRIBUF_CREATE | (p->replace ? TRIBUF_REPLACE : 0) |
		     (p->guarded ? TRIBUF_GUARDED : 0);
	how.mode = p->mode;
	how.slot_size = p->slot_size ? p->slot_size :
			p->frame_size ? p->frame_size : DEFAULT_FRAME_SIZE;
	err = tribuf_open(&p->channel, p->name, &how);
	if (err == -EINVAL && !p->slot_size && !p->replace) {
		how.flags &= ~(uint32_t)TRIBUF_CREATE;
		how.slot_size = 0;
		if (!tribuf_open(&p->channel, p->name, &how))
			return 0;
		how.flags |= TRIBUF_CREATE;	/* for the first attempt's explanation */
		how.slot_size = p->frame_size ? p->frame_size : DEFAULT_FRAME_SIZE;
		err = tribuf_open(&p->channel, p->name, &how);
	}
	return err;
}

static int open_channel(struct pub *p)
{
	struct tribuf_frame frame;
	char frame_text[16], slot_text[16];
	int err = open_producer(p);

	if (err)
		return channel_failed(err, "publish on", p->name);
	err = tribuf_begin(p->channel, &frame);		/* tells the room in a slot */
	if (err)
		return channel_failed(err, "publish on", p->name);
	if (!p->frame_size)
		p->frame_size = frame.bytes;
	if (p->frame_size <= frame.bytes)
		return EXIT_OK;
	complain("frames of %s do not fit into the slots of channel %s, which have %s: use a smaller --frame-size, or --replace the channel",
		 human_size(p->frame_size, frame_text), p->name,
		 human_size(frame.bytes, slot_text));
	return EXIT_FAILED;
}

/* An empty file is at its end when started over, too: it does not loop for ever. */
static ssize_t read_input(struct pub *p, void *data)
{
	ssize_t got = read_whole(p->fd, data, (size_t)p->frame_size, p->end);

	if (got || !p->loop)
		return got;
	if (lseek(p->fd, 0, SEEK_SET) < 0)
		return -errno;
	return read_whole(p->fd, data, (size_t)p->frame_size, p->end);
}

/* The next bytes of the input into the slot. 1: a frame, 0: the end, or an error. */
static int read_frame(struct pub *p, struct tribuf_frame *frame)
{
	ssize_t got = read_input(p, frame->data);

	if (got < 0 && got != -EINTR)
		p->input_error = (int)-got;
	if (got <= 0)
		return (int)got;
	frame->bytes = (uint64_t)got;
	return 1;
}

static int make_frame(struct pub *p, struct tribuf_frame *frame)
{
	if (!p->pattern)
		return read_frame(p, frame);
	frame->cookie = pattern_cookie(p->frame_size, p->mixed);
	frame->bytes = pattern_bytes(frame->seq, frame->cookie);
	pattern_fill(frame->data, frame->bytes, frame->seq);
	return 1;
}

/* -ESTALE if another producer took over the name with a channel of its own. */
static int check_replaced(struct pub *p)
{
	struct tribuf_info_args info;
	int err = tribuf_info(p->channel, &info);

	return err ? err : info.state & TRIBUF_STATE_REPLACED ? -ESTALE : 0;
}

/* 1: the consumer has taken all there was; 0: --duration is over; -ETIMEDOUT; or an error. */
static int wait_taken(struct pub *p)
{
	int64_t timeout = p->timeout == TRIBUF_FOREVER ? INT64_MAX : now_ns() + p->timeout;
	int64_t deadline = timeout < p->end ? timeout : p->end;
	int events, err = 0;

	while (!err && !signal_caught()) {
		events = tribuf_wait_until(p->channel, WAKE_UPS, deadline);
		if (events > 0 && events & (int)TRIBUF_READY)
			return 1;
		if (!events)
			return deadline == p->end ? 0 : -ETIMEDOUT;
		if (events > 0)
			err = check_replaced(p);
		else if (events != -EINTR)
			err = events;
	}
	return err ?: -EINTR;
}

/*
 * Keeps to the rate; a publisher that fell behind does not catch up in a burst.
 * 1: it is time; 0: --duration is over before; or an error.
 */
static int keep_rate(struct pub *p)
{
	int64_t now = now_ns();

	if (p->next >= p->end)
		return sleep_until(p->end);
	if (p->next > now)
		return sleep_until(p->next) ?: (p->next += p->period, 1);
	p->next = (p->next && now - p->next < p->period ? p->next : now) + p->period;
	return 1;
}

/* 1: go on; 0: --duration is over; or an error. */
static int before_publish(struct pub *p)
{
	int result = p->paced ? wait_taken(p) : 1;

	return result > 0 && p->period ? keep_rate(p) : result;
}

static void show_progress(struct pub *p, int64_t now)
{
	double seconds = (double)(now - p->start) / 1e9;
	char bytes[16], speed[16];

	progress_show(&p->progress, "published %llu frames, %s, %s/s, %llu overwritten",
		      (unsigned long long)p->published, human_size(p->bytes, bytes),
		      human_size((uint64_t)((double)p->bytes / seconds), speed),
		      (unsigned long long)p->overwritten);
}

/*
 * Publishing makes no system call, so it cannot tell that nobody will ever look
 * at this channel again; we ask once a second.
 */
static int after_publish(struct pub *p, int64_t now)
{
	int err;

	if (progress_due(&p->progress, now))
		show_progress(p, now);
	if (now - p->looked >= LOOK_PERIOD) {
		p->looked = now;
		err = check_replaced(p);
		if (err)
			return err;
	}
	return now < p->end;
}

/* 1: go on, 0: that was all, or an error. */
static int publish_one(struct pub *p)
{
	struct tribuf_frame frame;
	int result = tribuf_begin(p->channel, &frame);

	if (result)
		return result;
	result = make_frame(p, &frame);
	if (result <= 0)
		return result;
	result = before_publish(p);
	if (result <= 0)
		return result;
	frame.timestamp = (uint64_t)now_ns();
	result = tribuf_publish(p->channel, &frame);
	if (result < 0)
		return result;
	p->published++;
	p->bytes += frame.bytes;
	p->overwritten += (unsigned int)result & TRIBUF_OVERWROTE;
	return after_publish(p, (int64_t)frame.timestamp);
}

static int publish_all(struct pub *p)
{
	int result = 1;

	p->start = p->looked = now_ns();
	p->end = p->duration ? p->start + p->duration : INT64_MAX;
	progress_start(&p->progress, p->quiet);
	while (result > 0 && !signal_caught() && !(p->count && p->published == p->count))
		result = publish_one(p);
	if (!result || (result > 0 && !signal_caught()))
		result = p->paced ? wait_taken(p) : 0;
	progress_end(&p->progress);
	return result;
}

static int print_stats(struct pub *p, int64_t end, struct calls calls)
{
	double seconds = (double)(end - p->start) / 1e9, frames = (double)p->published;
	const struct row rows[] = {
		{ "published", "frames published", UNIT_FRAMES, frames },
		{ "overwritten", "  overwritten before they were taken", UNIT_FRAMES,
		  (double)p->overwritten },
		{ "bytes", "bytes", UNIT_BYTES, (double)p->bytes },
		{ "seconds", "time", UNIT_SECONDS, seconds },
		{ "rings", "rings (consumer woken)", UNIT_COUNT, (double)calls.rings },
		{ "waits", "waits (for the consumer)", UNIT_COUNT, (double)calls.waits },
		{ "system_calls", "system calls by libtribuf", UNIT_COUNT,
		  (double)calls_total(calls) },
		{ "system_calls_per_frame", "  per frame", UNIT_RATIO,
		  per_frame(calls, p->published) },
	};

	return report_print(&p->report, rows, sizeof(rows) / sizeof(rows[0]));
}

static int explain_end(const struct pub *p, int result)
{
	if (signal_caught())
		return EXIT_SIGNAL + signal_caught();
	if (p->input_error) {
		complain("cannot read %s: %s", p->file ? p->file : "standard input",
			 strerror(p->input_error));
		return EXIT_FAILED;
	}
	switch (result) {
	case 0:
	case 1:
		return EXIT_OK;
	case -ESTALE:
		complain("another producer has replaced channel %s", p->name);
		return EXIT_ENDED;
	case -ETIMEDOUT:
		complain("timeout: frame %llu was not taken (is a 'tribuf sub %s' running?)",
			 (unsigned long long)p->published, p->name);
		return EXIT_TIMEOUT;
	default:
		return channel_failed(result, "publish on", p->name);
	}
}

static int publish(struct pub *p)
{
	struct calls calls;
	int result, status;
	int64_t end;

	p->calls = calls_made();
	result = publish_all(p);
	end = now_ns();
	calls = calls_since(p->calls);
	status = explain_end(p, result);
	result = print_stats(p, end, calls);
	return status ?: result;
}

static int run(int argc, char **argv)
{
	struct pub p = { .mode = 0600, .timeout = TRIBUF_FOREVER, .fd = STDIN_FILENO };
	int status = parse(&p, argc, argv);

	if (status || !p.name)		/* --help */
		return status;
	signals_catch();
	status = open_input(&p);
	if (!status)
		status = open_channel(&p);
	if (!status)
		status = publish(&p);
	tribuf_close(p.channel);
	if (p.fd > STDIN_FILENO)
		close(p.fd);
	return status;
}

const struct command pub_command = {
	"pub", "publish a file or standard input, frame by frame", help, run,
};
