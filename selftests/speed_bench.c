// SPDX-License-Identifier: GPL-2.0-only
/*
 * The frame path beside the limits of the machine, on shm, where the same code runs
 * natively: one thread against a load and a compare-and-exchange, two processes
 * against a ping-pong of two cache lines. Rounds of a millisecond or less are taken
 * in turn and compared in pairs, since what a cache line takes from core to core
 * changes within seconds; a figure is the median of the rounds' ratios.
 *
 *	speed.NAME MEASURED
 *
 * Lines that begin with "#" are the table beside it, with the quartiles. A frame's
 * bytes are the user's: in one thread none are written, between two processes 8 are
 * written and read, with the descriptor.
 */
#include "bench.h"

#define ROUNDS		801
#define SWAPS		1000		/* per round of one thread */
#define TURNS		200		/* there and back, per round of two processes */
#define LARGE		(64ull << 20)

static uint64_t sum;		/* what was read: it is wanted */

/* ---- numbers ---- */

struct series {
	const char *name;
	double cost[ROUNDS], ratio[ROUNDS];
};

static int by_size(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* The ratios to @base are taken first: they are of pairs. */
static void compare(struct series *s, const struct series *base)
{
	for (int i = 0; i < ROUNDS; i++)
		s->ratio[i] = s->cost[i] / base->cost[i];
}

static void show(struct series *s)
{
	qsort(s->cost, ROUNDS, sizeof(double), by_size);
	qsort(s->ratio, ROUNDS, sizeof(double), by_size);
	printf("#   %-24s %8.1f ns, ratio %6.3f (%.3f to %.3f)\n", s->name, s->cost[ROUNDS / 2],
	       s->ratio[ROUNDS / 2], s->ratio[ROUNDS / 4], s->ratio[3 * ROUNDS / 4]);
}

static void figure(const char *name, const struct series *s)
{
	printf("speed.%s %.3f\n", name, s->ratio[ROUNDS / 2]);
}

/* ---- one thread ---- */

static struct tribuf *producer, *consumer;
static uint32_t plain_word __attribute__((aligned(64)));

static void exchange(void)
{
	for (int i = 0; i < SWAPS; i++) {
		uint32_t word = __atomic_load_n(&plain_word, __ATOMIC_RELAXED);

		__atomic_compare_exchange_n(&plain_word, &word, word + 1, 0, __ATOMIC_ACQ_REL,
					    __ATOMIC_RELAXED);
	}
}

static void publish_frames(void)
{
	struct tribuf *p = producer;
	struct tribuf_frame frame;

	for (int i = 0; i < SWAPS; i++) {
		tribuf_begin(p, &frame);
		frame.bytes = 8;
		tribuf_publish(p, &frame);
	}
}

static void publish_and_acquire(void)
{
	struct tribuf *p = producer, *c = consumer;
	struct tribuf_frame frame;

	for (int i = 0; i < SWAPS; i++) {
		tribuf_begin(p, &frame);
		frame.bytes = 8;
		tribuf_publish(p, &frame);
		tribuf_acquire(c, &frame);
	}
}

static void acquire_nothing(void)
{
	struct tribuf *c = consumer;
	struct tribuf_frame frame;

	for (int i = 0; i < SWAPS; i++)
		tribuf_acquire(c, &frame);
}

static double cost_of(void (*swaps)(void))
{
	uint64_t start = now();

	swaps();
	return (double)(now() - start) / SWAPS;
}

static void open_pair(const char *name, uint64_t size)
{
	must(!tribuf_open_producer(&producer, name, size));
	must(!tribuf_open_consumer(&consumer, name));
}

static void close_pair(void)
{
	tribuf_close(consumer);
	tribuf_close(producer);
}

/*
 * Both ends go by the same addresses. Two mappings of a page in one thread, which no
 * pair of processes has, disturb caches that find a line by its virtual address.
 */
static void share_mapping(void)
{
	consumer->word = producer->word;
	consumer->desc = producer->desc;
	consumer->slots = producer->slots;
}

static struct series exchanges = { .name = "load and exchange" }, publishes = { .name = "publish" },
	both = { .name = "publish, acquire" }, nothing = { .name = "acquire, nothing new" };

static void bench_thread(const char *name)
{
	uint32_t *word;
	struct tribuf_desc *desc;
	unsigned char *slots;

	open_pair(name, 4096);
	word = consumer->word;
	desc = consumer->desc;
	slots = consumer->slots;
	share_mapping();
	for (int i = 0; i < ROUNDS; i++) {
		exchanges.cost[i] = cost_of(exchange);
		publishes.cost[i] = cost_of(publish_frames);
		both.cost[i] = cost_of(publish_and_acquire);
		nothing.cost[i] = cost_of(acquire_nothing);
	}
	consumer->word = word;
	consumer->desc = desc;
	consumer->slots = slots;
	close_pair();
	compare(&publishes, &exchanges);
	compare(&both, &exchanges);
	compare(&nothing, &exchanges);
	compare(&exchanges, &exchanges);
	printf("# one thread\n");
	show(&exchanges);
	show(&publishes);
	show(&both);
	show(&nothing);
	figure("publish_to_cas", &publishes);
	figure("publish_acquire_to_cas", &both);
	figure("acquire_nothing_to_cas", &nothing);
}

/* ---- two processes ---- */

enum kind { LINES, SMALL_FRAME, LARGE_FRAME, KINDS };

/* One direction. */
struct way {
	char name[2][TRIBUF_NAME_SIZE];
	struct tribuf *t[2];		/* of this process; of small and of large slots */
};

static struct shared {
	struct lines {
		uint64_t flag __attribute__((aligned(128)));
		uint64_t data __attribute__((aligned(128)));
	} lines[2];
	uint32_t round __attribute__((aligned(128)));
} *shared;

static void send_one(struct way *w, enum kind kind, struct lines *l, uint64_t value)
{
	struct tribuf_frame frame;

	if (kind == LINES) {
		l->data = value;
		__atomic_store_n(&l->flag, value, __ATOMIC_RELEASE);
		return;
	}
	must(!tribuf_begin(w->t[kind == LARGE_FRAME], &frame));
	*(uint64_t *)frame.data = value;
	if (kind == SMALL_FRAME)
		frame.bytes = 8;
	must(tribuf_publish(w->t[kind == LARGE_FRAME], &frame) >= 0);
}

static void take_one(struct way *w, enum kind kind, struct lines *l, uint64_t value)
{
	struct tribuf_frame frame = { 0 };

	if (kind == LINES) {
		while (__atomic_load_n(&l->flag, __ATOMIC_ACQUIRE) != value)
			;
		sum += *(volatile uint64_t *)&l->data;
		return;
	}
	while (!tribuf_acquire(w->t[kind == LARGE_FRAME], &frame))
		;
	sum += *(volatile uint64_t *)frame.data + frame.seq + frame.bytes + frame.timestamp;
}

static void turns(struct way *ways, enum kind kind, bool first, uint64_t start)
{
	for (uint64_t i = start; i < start + TURNS; i++) {
		if (first)
			send_one(&ways[0], kind, &shared->lines[0], i);
		take_one(&ways[first], kind, &shared->lines[first], i);
		if (!first)
			send_one(&ways[1], kind, &shared->lines[1], i);
	}
}

static void open_ways(struct way *ways, bool first)
{
	for (int way = 0; way < 2; way++)
		for (int large = 0; large < 2; large++)
			must(!open_as(&ways[way].t[large], ways[way].name[large],
				      way == first ? TRIBUF_CONSUMER : TRIBUF_PRODUCER,
				      TRIBUF_CREATE, large ? LARGE : 4096));
}

static void answer(struct way *ways)
{
	pin_to_cpu(1);
	open_ways(ways, false);
	__atomic_store_n(&shared->round, 1, __ATOMIC_RELEASE);
	for (uint64_t i = 0; i < (uint64_t)ROUNDS * KINDS; i++)
		turns(ways, i % KINDS, false, 1 + i * TURNS);
}

static void bench_processes(void)
{
	static struct series series[KINDS] = {
		{ .name = "two lines" }, { .name = "frame of 8 bytes" },
		{ .name = "frame of 64 MiB" },
	};
	struct way ways[2];
	pid_t child;

	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		      -1, 0);
	must(shared != MAP_FAILED);
	for (int i = 0; i < 4; i++)
		snprintf(ways[i / 2].name[i % 2], TRIBUF_NAME_SIZE, "shm:bench.%d.%d", getpid(), i);
	child = in_child(answer(ways));
	open_ways(ways, true);
	while (!__atomic_load_n(&shared->round, __ATOMIC_ACQUIRE))
		;
	for (uint64_t i = 0; i < (uint64_t)ROUNDS * KINDS; i++) {
		uint64_t start = now();

		turns(ways, i % KINDS, true, 1 + i * TURNS);
		series[i % KINDS].cost[i / KINDS] = (double)(now() - start) / (2 * TURNS);
	}
	must(!ended(child));
	for (int i = 0; i < 4; i++)
		tribuf_close(ways[i / 2].t[i % 2]);
	compare(&series[LARGE_FRAME], &series[SMALL_FRAME]);
	compare(&series[SMALL_FRAME], &series[LINES]);
	compare(&series[LINES], &series[LINES]);
	printf("# one way between two processes; 64 MiB is compared with 8 bytes\n");
	for (int i = 0; i < KINDS; i++)
		show(&series[i]);
	figure("latency_to_pingpong", &series[SMALL_FRAME]);
	figure("64MiB_to_8B", &series[LARGE_FRAME]);
}

int main(void)
{
	char name[TRIBUF_NAME_SIZE];

	pin_to_cpu(0);
	snprintf(name, sizeof(name), "shm:bench.%d", getpid());
	bench_thread(name);
	if (sysconf(_SC_NPROCESSORS_ONLN) < 2)
		printf("# there is one CPU: nothing between two processes\n");
	else
		bench_processes();
	return 0;
}
