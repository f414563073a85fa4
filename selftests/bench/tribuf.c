// SPDX-License-Identifier: GPL-2.0-only
/*
 * The party of the comparison that the others are compared with: see party.h. On shm,
 * or on the device with BACKEND=device. CHANNELS=N opens so many beside, and keeps them.
 * SLOT=BYTES: slots of more bytes than the frames have.
 */
#include "party.h"

#include <malloc.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <tribuf.h>

#define MEASURED	64		/* channels whose memory is measured */

static struct tribuf *producer, *consumer;	/* the two ways of this process */
static struct tribuf *alone[2];			/* of one channel, in the first process */
static struct tribuf *absent, *stopped;		/* producers whose consumer is not there, or stands */
static pid_t stopped_pid;
static struct tribuf **many;			/* one end of each, in each process */
static unsigned int channels;
static uint64_t slot;

static const char *prefix(void)
{
	const char *backend = getenv("BACKEND");

	return backend && !strcmp(backend, "device") ? "" : "shm:";
}

static struct tribuf *attach(const char *name, const char *which, uint32_t role)
{
	struct tribuf_options how = TRIBUF_OPTIONS_INIT;
	struct tribuf *t;
	char full[TRIBUF_NAME_SIZE + 8];

	snprintf(full, sizeof(full), "%s%s.%s", prefix(), name, which);
	how.role = role;
	how.flags |= TRIBUF_CREATE;
	how.slot_size = slot;
	if (tribuf_open(&t, full, &how)) {
		fprintf(stderr, "%s\n", tribuf_explain());
		_exit(2);
	}
	return t;
}

/* A consumer that holds its slots and never runs. */
static void stop_consumer(const char *name)
{
	stopped_pid = fork();
	if (!stopped_pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		attach(name, "stopped", TRIBUF_CONSUMER);
		raise(SIGSTOP);
		_exit(0);
	}
	party_must(waitpid(stopped_pid, NULL, WUNTRACED) == stopped_pid);
	stopped = attach(name, "stopped", TRIBUF_PRODUCER);
}

static void open_many(const char *name, unsigned int count, uint32_t role)
{
	struct rlimit files = { count + 100, count + 100 };
	char which[16];

	many = calloc(count, sizeof(*many));
	party_must(many && !setrlimit(RLIMIT_NOFILE, &files));
	for (channels = 0; channels < count; channels++) {
		snprintf(which, sizeof(which), "%u", channels);
		many[channels] = attach(name, which, role);
	}
}

/*
 * Two mappings of a page in one thread, which no pair of processes has, disturb
 * caches that find a line by its virtual address: both ends go by the same.
 */
static void share_mapping(struct tribuf *ends[2])
{
	ends[1]->word = ends[0]->word;
	ends[1]->desc = ends[0]->desc;
	ends[1]->slots = ends[0]->slots;
}

static void open_ways(const char *name, bool first, uint64_t bytes)
{
	const char *count = getenv("CHANNELS"), *larger = getenv("SLOT");

	slot = larger ? (uint64_t)atoll(larger) : bytes;
	producer = attach(name, first ? "there" : "back", TRIBUF_PRODUCER);
	consumer = attach(name, first ? "back" : "there", TRIBUF_CONSUMER);
	if (count)
		open_many(name, (unsigned int)atoi(count),
			  first ? TRIBUF_PRODUCER : TRIBUF_CONSUMER);
	if (!first || bytes > 4096)	/* large ones are handed over, and nothing else */
		return;
	stop_consumer(name);
	absent = attach(name, "absent", TRIBUF_PRODUCER);
	alone[0] = attach(name, "alone", TRIBUF_PRODUCER);
	alone[1] = attach(name, "alone", TRIBUF_CONSUMER);
}

static void close_ways(void)
{
	if (stopped_pid) {
		kill(stopped_pid, SIGKILL);
		waitpid(stopped_pid, NULL, 0);
	}
	tribuf_close(stopped);
	tribuf_close(absent);
	tribuf_close(alone[0]);
	tribuf_close(alone[1]);
	tribuf_close(producer);
	tribuf_close(consumer);
	for (unsigned int i = 0; i < channels; i++)
		tribuf_close(many[i]);
}

/* ---- frames ---- */

PARTY_INLINE void publish_to(struct tribuf *p, uint64_t value)
{
	struct tribuf_frame frame;

	tribuf_begin(p, &frame);
	*(uint64_t *)frame.data = value;
	tribuf_publish(p, &frame);
}

static void send_value(uint64_t value)
{
	publish_to(producer, value);
}

/* With its descriptor read. */
static bool take_value(uint64_t *value)
{
	struct tribuf_frame frame;

	if (tribuf_acquire(consumer, &frame) != 1)
		return false;
	*value = *(volatile uint64_t *)frame.data;
	__asm__ volatile("" : : "r"(frame.seq), "r"(frame.bytes), "r"(frame.timestamp));
	return true;
}

/* Pinned, who waits does not spin. */
static uint64_t wait_value(void)
{
	uint64_t value;

	while (!take_value(&value))
		tribuf_wait(consumer, TRIBUF_READY, TRIBUF_FOREVER);
	return value;
}

/* ---- one thread ---- */

static void publish_all(unsigned int count)
{
	struct tribuf *p = alone[0];
	struct tribuf_frame frame;

	for (unsigned int i = 0; i < count; i++) {
		tribuf_begin(p, &frame);
		frame.bytes = 8;
		tribuf_publish(p, &frame);
	}
}

static void publish_and_acquire(unsigned int count)
{
	struct tribuf *p = alone[0], *c = alone[1];
	struct tribuf_frame frame;

	for (unsigned int i = 0; i < count; i++) {
		tribuf_begin(p, &frame);
		frame.bytes = 8;
		tribuf_publish(p, &frame);
		tribuf_acquire(c, &frame);
	}
}

static void acquire_nothing(unsigned int count)
{
	struct tribuf *c = alone[1];
	struct tribuf_frame frame;

	for (unsigned int i = 0; i < count; i++)
		tribuf_acquire(c, &frame);
}

/* Each publish by itself, to consumers that are of no help. */
static void publish_each(struct tribuf *p, unsigned int count, uint64_t *each)
{
	uint64_t before = party_now(), after;

	for (unsigned int i = 0; i < count; i++) {
		publish_to(p, i);
		after = party_now();
		each[i] = after - before;
		before = after;
	}
}

/*
 * Bytes of a channel beyond its slots; @each: of its file, and what both handles
 * allocate, on average of some, for one fills the holes that another left.
 */
static uint64_t memory(uint64_t *each)
{
	size_t before = mallinfo2().uordblks;
	struct tribuf *ends[MEASURED][2];
	char which[16], path[64];
	struct stat file;

	for (int i = 0; i < MEASURED; i++) {
		snprintf(which, sizeof(which), "%d", i);
		ends[i][0] = attach("bench-memory", which, TRIBUF_PRODUCER);
		ends[i][1] = attach("bench-memory", which, TRIBUF_CONSUMER);
	}
	snprintf(path, sizeof(path), "/dev/shm/tribuf.bench-memory.%s", which);
	party_must(!stat(path, &file));
	each[0] = (uint64_t)file.st_blocks * 512 - TRIBUF_SLOTS * slot;
	each[1] = (mallinfo2().uordblks - before) / MEASURED;
	for (int i = 0; i < MEASURED; i++) {
		tribuf_close(ends[i][1]);
		tribuf_close(ends[i][0]);
	}
	return each[0] + each[1];
}

static uint64_t one_thread(const char *which, unsigned int count, uint64_t *each)
{
	struct tribuf of_its_own;
	uint64_t start;

	if (!alone[1])
		return 0;
	if (!strcmp(which, "memory"))
		return *prefix() ? memory(each) : 0;
	of_its_own = *alone[1];
	share_mapping(alone);
	start = party_now();
	if (!strcmp(which, "publish"))
		publish_all(count);
	else if (!strcmp(which, "both"))
		publish_and_acquire(count);
	else if (!strcmp(which, "nothing"))
		acquire_nothing(count);
	else if (!strcmp(which, "absent"))
		publish_each(absent, count, each);
	else if (!strcmp(which, "stopped"))
		publish_each(stopped, count, each);
	else
		start = 0;	/* no such case */
	start = start ? party_now() - start : 0;
	alone[1]->word = of_its_own.word;
	alone[1]->desc = of_its_own.desc;
	alone[1]->slots = of_its_own.slots;
	return start;
}

static const struct means ours = {
	"tribuf", open_ways, close_ways, send_value, take_value, wait_value, one_thread,
};

int main(int argc, char **argv)
{
	party_must(argc == 5);
	return party_run(&ours, argv);
}
