// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/* tribuf info: all that is known of one channel. */
#include <getopt.h>
#include <inttypes.h>
#include <string.h>
#include "tool.h"

static const char help[] =
	"usage: tribuf info NAME [--json]\n"
	"\n"
	"Tells all that is known of channel NAME (shm:NAME without the module): geometry, who\n"
	"is attached, counters. Those under 'claimed' are read from memory that the peers write,\n"
	"the others were counted by the kernel, which does not see what the frame path does\n"
	"without it.\n"
	"\n"
	"      --json  one object\n"
	"  -h, --help\n"
	"\n"
	"  tribuf info cam --json | jq .claimed.published\n"
	"\n"
	"Exit status: 0; 1 failure, also if there is no such channel; 2 wrong usage.\n";

/* One list of what there is, for both forms of output. */
struct field {
	const char *key;
	uint64_t value;
};

struct fields {
	struct field channel[16], kernel[7], claimed[5];
};

static uint64_t pid(int32_t number)
{
	return number > 0 ? (uint64_t)number : 0;
}

static void collect(const struct tribuf_info_args *info, struct fields *fields)
{
	*fields = (struct fields){
		.channel = {
			{ "channel", info->channel },
			{ "slots", info->slots },
			{ "slot_size", info->slot_size },
			{ "slot_stride", info->slot_stride },
			{ "granule", info->granule },
			{ "uid", info->uid },
			{ "gid", info->gid },
			{ "producer_pid", pid(info->producer_pid) },
			{ "consumer_pid", pid(info->consumer_pid) },
			{ "producers_so_far", info->producer_epoch },
			{ "consumers_so_far", info->consumer_epoch },
			{ "observers", info->observers },
			{ "keepers", info->keepers ? info->keepers - 1 : 0 },	/* not us */
		},
		.kernel = {
			{ "publishes", info->kernel_publishes },
			{ "acquires", info->kernel_acquires },
			{ "rings", info->kernel_rings },
			{ "wakes", info->kernel_wakes },
			{ "sleeps", info->kernel_sleeps },
			{ "redelivered", info->kernel_redelivered },
			{ "guard_faults", info->kernel_guard_faults },
		},
		.claimed = {
			{ "published", info->claimed_seq },
			{ "overwritten", info->claimed_overwritten },
			{ "newest_bytes", info->claimed_bytes },
			{ "newest_timestamp", info->claimed_timestamp },
			{ "format_version", info->claimed_format },
		},
	};
}

static const struct {
	const char *key;
	uint32_t bit;
} states[] = {
	{ "producer", TRIBUF_STATE_PRODUCER },
	{ "consumer", TRIBUF_STATE_CONSUMER },
	{ "had_producer", TRIBUF_STATE_HAD_PRODUCER },
	{ "had_consumer", TRIBUF_STATE_HAD_CONSUMER },
	{ "pending", TRIBUF_STATE_PENDING },
	{ "guarded", TRIBUF_STATE_GUARDED },
	{ "replaced", TRIBUF_STATE_REPLACED },
};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static void json_group(struct json *json, const char *key, const struct field *field,
		       size_t count)
{
	if (key)
		json_open(json, key, '{');
	for (; count--; field++)
		if (field->key)
			json_unsigned(json, field->key, field->value);
	if (key)
		json_close(json, '}');
}

static void print_json(const char *name, const struct tribuf_info_args *info,
		       const struct fields *fields)
{
	struct json json = { .out = stdout };
	char mode[16];

	json_open(&json, NULL, '{');
	snprintf(mode, sizeof(mode), "%04" PRIo32, info->mode);
	json_string(&json, "name", name);
	json_string(&json, "mode", mode);
	for (size_t i = 0; i < COUNT(states); i++)
		json_boolean(&json, states[i].key, info->state & states[i].bit);
	json_group(&json, NULL, fields->channel, COUNT(fields->channel));
	json_group(&json, "kernel", fields->kernel, COUNT(fields->kernel));
	json_group(&json, "claimed", fields->claimed, COUNT(fields->claimed));
	json_close(&json, '}');
	putchar('\n');
}

static void text_group(const char *title, const struct field *field, size_t count)
{
	if (title)
		printf("%s\n", title);
	for (; count--; field++) {
		if (field->key)
			printf("  %-20s %" PRIu64 "\n", field->key, field->value);
	}
}

static void print_text(const char *name, const struct tribuf_info_args *info,
		       const struct fields *fields)
{
	uint32_t word = info->claimed_word;

	printf("%s\n  %-20s", name, "state");
	for (size_t i = 0; i < COUNT(states); i++)
		if (info->state & states[i].bit)
			printf(" %s", states[i].key);
	printf("\n  %-20s %04" PRIo32 "\n", "mode", info->mode);
	text_group(NULL, fields->channel, COUNT(fields->channel));
	text_group("counted by the kernel", fields->kernel, COUNT(fields->kernel));
	text_group("claimed by the peers", fields->claimed, COUNT(fields->claimed));
	printf("  %-20s back %u, middle %u, front %u%s%s%s%s%s\n", "word",
	       tribuf_word_back(word), tribuf_word_middle(word), tribuf_word_front(word),
	       word & TRIBUF_FRESH ? ", fresh" : "", word & TRIBUF_ARMED ? ", armed" : "",
	       word & TRIBUF_WATCHED ? ", watched" : "", word & TRIBUF_PACED ? ", paced" : "",
	       tribuf_word_valid(word) ? "" : ": SPOILT");
}

static const char *without_prefix(const char *name)
{
	return strncmp(name, "shm:", 4) ? name : name + 4;
}

static int same_name(const struct tribuf_list_entry *entry, void *name)
{
	return !strncmp(without_prefix((const char *)entry->name), name, TRIBUF_NAME_SIZE);
}

/*
 * A channel that waits for its creator opens with TRIBUF_PENDING only, but that
 * would make one where there is none.
 */
static int open_to_look(struct tribuf **channel, const char *name)
{
	struct tribuf_options how = TRIBUF_OPTIONS_INIT;
	unsigned int backend = without_prefix(name) == name ? TRIBUF_BACKEND_DEVICE :
			       TRIBUF_BACKEND_SHM;
	char *own = (char *)(uintptr_t)without_prefix(name);
	int err;

	how.role = TRIBUF_KEEPER;
	how.flags = TRIBUF_OWNED;
	err = tribuf_open(channel, name, &how);
	if (err != -ENOENT || tribuf_list(backend, same_name, own) != 1)
		return err;
	how.flags |= TRIBUF_PENDING;
	return tribuf_open(channel, name, &how);
}

static int show(const char *name, bool as_json)
{
	struct tribuf_info_args info;
	struct tribuf *channel;
	struct fields fields;
	int err = open_to_look(&channel, name);

	if (err)
		return channel_failed(err, "look at", name);
	err = tribuf_info(channel, &info);
	if (err) {
		tribuf_close(channel);
		return channel_failed(err, "look at", name);
	}
	collect(&info, &fields);
	if (as_json)
		print_json(name, &info, &fields);
	else
		print_text(name, &info, &fields);
	tribuf_close(channel);
	return EXIT_OK;
}

static int run(int argc, char **argv)
{
	bool as_json;
	int status;

	status = parse_json_only(argc, argv, &as_json);
	if (status != GO_ON)
		return status;
	if (argc - optind != 1)
		return usage_error(argc == optind ? "which channel?" : "too many arguments");
	return show(argv[optind], as_json);
}

const struct command info_command = {
	"info", "tell all about one channel", help, run,
};
