// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/* tribuf ls: the channels on the device and in shared memory, leftovers too. */
#include <getopt.h>
#include <inttypes.h>
#include <string.h>
#include "tool.h"

static const char help[] =
	"usage: tribuf ls [--json]\n"
	"\n"
	"Lists the channels that you may see: those of the device, then those in plain shared\n"
	"memory (shm:NAME). PRODUCER and CONSUMER are process numbers, '-' if there is none and\n"
	"'?' if it is there but cannot be seen from here. FRAMES is the newest frame's number.\n"
	"STATE: 'pending' waits for its creator; 'leftover' is a file in shared memory whose\n"
	"processes are all gone: the next one to open the name takes it over.\n"
	"\n"
	"      --json  an array with one object per channel\n"
	"  -h, --help\n"
	"\n"
	"  tribuf ls --json | jq -r '.[] | select(.leftover) | .name'\n"
	"\n"
	"Exit status: 0, also if there is none; 1 failure; 2 wrong usage.\n";

struct listing {
	const char *prefix;		/* before a name, "shm:" or nothing */
	unsigned int backend;
	struct json *json;		/* NULL: a table */
	bool headed;
};

static bool is_leftover(const struct listing *listing, const struct tribuf_list_entry *channel)
{
	return listing->backend == TRIBUF_BACKEND_SHM && !channel->observers &&
	       !channel->keepers &&
	       !(channel->state & (TRIBUF_STATE_PRODUCER | TRIBUF_STATE_CONSUMER));
}

static void entry_name(const struct listing *listing, const struct tribuf_list_entry *channel,
		       char *name, size_t size)
{
	const char *own = (const char *)channel->name;
	const char *prefix = strncmp(own, "shm:", 4) ? listing->prefix : "";

	snprintf(name, size, "%s%.*s", prefix, TRIBUF_NAME_SIZE, own);
}

static const char *peer(uint32_t present, int32_t pid, char text[static 16])
{
	if (!present)
		return "-";
	if (pid <= 0)
		return "?";
	snprintf(text, 16, "%" PRId32, pid);
	return text;
}

static const char *state_text(const struct listing *listing,
			      const struct tribuf_list_entry *channel)
{
	if (is_leftover(listing, channel))
		return "leftover";
	return channel->state & TRIBUF_STATE_PENDING ? "pending" :
	       channel->state & TRIBUF_STATE_GUARDED ? "guarded" : "";
}

static void print_line(struct listing *listing, const struct tribuf_list_entry *channel)
{
	char name[TRIBUF_NAME_SIZE + 8], shown[4 * sizeof(name)];
	char producer[16], consumer[16], size[16];

	if (!listing->headed)
		printf("%-24s %8s %8s %8s %4s %4s %12s %5s %6s  %s\n", "NAME", "SLOT", "PRODUCER",
		       "CONSUMER", "OBS", "KEEP", "FRAMES", "MODE", "OWNER", "STATE");
	listing->headed = true;
	entry_name(listing, channel, name, sizeof(name));
	escape(name, shown);
	printf("%-24s %8s %8s %8s %4" PRIu32 " %4" PRIu32 " %12" PRIu64 " %5" PRIo32 " %6" PRIu32 "  %s\n",
	       shown, human_size(channel->slot_size, size),
	       peer(channel->state & TRIBUF_STATE_PRODUCER, channel->producer_pid, producer),
	       peer(channel->state & TRIBUF_STATE_CONSUMER, channel->consumer_pid, consumer),
	       channel->observers, channel->keepers, (uint64_t)channel->claimed_seq,
	       channel->mode, channel->uid, state_text(listing, channel));
}

static void print_object(struct listing *listing, const struct tribuf_list_entry *channel)
{
	char name[TRIBUF_NAME_SIZE + 8], mode[16];
	struct json *json = listing->json;

	snprintf(mode, sizeof(mode), "%04" PRIo32, channel->mode);
	entry_name(listing, channel, name, sizeof(name));
	json_open(json, NULL, '{');
	json_string(json, "name", name);
	json_string(json, "backend",
		    listing->backend == TRIBUF_BACKEND_SHM ? "shm" : "device");
	json_unsigned(json, "slot_size", channel->slot_size);
	json_unsigned(json, "frames", channel->claimed_seq);
	json_boolean(json, "producer", channel->state & TRIBUF_STATE_PRODUCER);
	json_boolean(json, "consumer", channel->state & TRIBUF_STATE_CONSUMER);
	json_unsigned(json, "producer_pid", channel->producer_pid > 0 ?
		      (uint64_t)channel->producer_pid : 0);
	json_unsigned(json, "consumer_pid", channel->consumer_pid > 0 ?
		      (uint64_t)channel->consumer_pid : 0);
	json_unsigned(json, "observers", channel->observers);
	json_unsigned(json, "keepers", channel->keepers);
	json_boolean(json, "pending", channel->state & TRIBUF_STATE_PENDING);
	json_boolean(json, "guarded", channel->state & TRIBUF_STATE_GUARDED);
	json_boolean(json, "leftover", is_leftover(listing, channel));
	json_unsigned(json, "uid", channel->uid);
	json_unsigned(json, "gid", channel->gid);
	json_string(json, "mode", mode);
	json_close(json, '}');
}

static int each(const struct tribuf_list_entry *channel, void *context)
{
	struct listing *listing = context;

	if (listing->json)
		print_object(listing, channel);
	else
		print_line(listing, channel);
	return 0;
}

static int list_both(struct json *json)
{
	struct listing listing = { .json = json, .prefix = "", .backend = TRIBUF_BACKEND_DEVICE };
	int err = tribuf_list(listing.backend, each, &listing);

	if (err == -ENODEV)
		complain("no " DEVICE_PATH " here ('tribuf doctor' tells why): shm channels only");
	else if (err)
		complain("cannot list the device's channels: %s", tribuf_explain());
	listing.prefix = "shm:";
	listing.backend = TRIBUF_BACKEND_SHM;
	if (err == -ENODEV)
		err = 0;
	if (!tribuf_list(listing.backend, each, &listing))
		return err ? EXIT_FAILED : EXIT_OK;
	complain("cannot list the channels in shared memory: %s", tribuf_explain());
	return EXIT_FAILED;
}

static int run(int argc, char **argv)
{
	struct json json = { .out = stdout };
	bool as_json;
	int status;

	status = parse_json_only(argc, argv, &as_json);
	if (status != GO_ON)
		return status;
	if (argc != optind)
		return usage_error("too many arguments");
	if (!as_json)
		return list_both(NULL);
	json_open(&json, NULL, '[');
	status = list_both(&json);
	json_close(&json, ']');
	putchar('\n');
	return status;
}

const struct command ls_command = {
	"ls", "list the channels", help, run,
};
