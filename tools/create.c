// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/* tribuf create: makes a channel and holds it open until a signal comes. */
#include <getopt.h>
#include <signal.h>
#include <string.h>
#include "tool.h"

static const char help[] =
	"usage: tribuf create NAME --slot-size SIZE [OPTION]...\n"
	"\n"
	"Makes channel NAME (shm:NAME without the module) and holds it as its keeper: producers\n"
	"and consumers may come and go, the channel and its newest frame stay. Ends, and lets go\n"
	"of the channel, on SIGINT, SIGTERM or SIGHUP. Prints one line once the channel is there.\n"
	"\n"
	"      --slot-size SIZE  bytes of a slot, the largest frame there can be\n"
	"      --granule SIZE    step of a reference's index, a power of two (default 8)\n"
	"      --mode MODE       permissions, octal (default 600); the umask applies\n"
	"      --excl            fail if there is a channel of that name\n"
	"      --guarded         the kernel keeps each side out of the slots of the other\n"
	"  -q, --quiet           print nothing\n"
	"  -h, --help\n"
	"\n"
	"  tribuf create cam --slot-size 8M --mode 660 &\n"
	"\n"
	"Exit status: 0 a signal ended it; 1 failure; 2 wrong usage.\n";

enum { OPT_SLOT_SIZE = 256, OPT_GRANULE, OPT_MODE, OPT_EXCL, OPT_GUARDED };

static const struct option options[] = {
	{ "slot-size", required_argument, NULL, OPT_SLOT_SIZE },
	{ "granule", required_argument, NULL, OPT_GRANULE },
	{ "mode", required_argument, NULL, OPT_MODE },
	{ "excl", no_argument, NULL, OPT_EXCL },
	{ "guarded", no_argument, NULL, OPT_GUARDED },
	{ "quiet", no_argument, NULL, 'q' },
	{ "help", no_argument, NULL, 'h' },
	{ NULL, 0, NULL, 0 },
};

static int parse_granule(struct tribuf_options *how)
{
	uint64_t granule;
	int status = parse_size(optarg, "--granule", &granule);

	if (!status && (granule > TRIBUF_GRANULE_MAX || granule & (granule - 1)))
		return usage_error("--granule: a power of two up to %d", TRIBUF_GRANULE_MAX);
	how->granule = (uint32_t)granule;
	return status;
}

static int parse_option(struct tribuf_options *how, int option)
{
	switch (option) {
	case OPT_SLOT_SIZE:
		return parse_size(optarg, "--slot-size", &how->slot_size);
	case OPT_GRANULE:
		return parse_granule(how);
	case OPT_MODE:
		return parse_mode(optarg, &how->mode);
	default:
		how->flags |= option == OPT_EXCL ? TRIBUF_EXCL : TRIBUF_GUARDED;
		return EXIT_OK;
	}
}

static int hold(const char *name, const struct tribuf_options *how, bool quiet)
{
	struct tribuf *channel;
	char size[16];
	int err;

	/* Caught before the channel is there: whoever sees it may signal us. */
	signals_catch();
	err = tribuf_open(&channel, name, how);
	if (err)
		return channel_failed(err, "create", name);
	if (!quiet) {
		printf("holding %s, slots of %s\n", name, human_size(how->slot_size, size));
		flush_output();
	}
	while (!signal_caught())
		sleep_until(INT64_MAX);
	tribuf_close(channel);
	return EXIT_OK;
}

static int run(int argc, char **argv)
{
	struct tribuf_options how = TRIBUF_OPTIONS_INIT;
	int option, status = EXIT_OK;
	bool quiet = false;

	how.role = TRIBUF_KEEPER;
	how.flags = TRIBUF_CREATE | TRIBUF_OWNED;
	while (!status && (option = getopt_long(argc, argv, "qh", options, NULL)) != -1) {
		if (option == 'h' || option == '?')
			return help_or_usage(option);
		if (option == 'q')
			quiet = true;
		else
			status = parse_option(&how, option);
	}
	if (status)
		return status;
	if (argc - optind != 1)
		return usage_error(argc == optind ? "which channel?" : "too many arguments");
	if (!how.slot_size)
		return usage_error("--slot-size is needed: the largest frame there can be");
	return hold(argv[optind], &how, quiet);
}

const struct command create_command = {
	"create", "make a channel and hold it until a signal comes", help, run,
};
