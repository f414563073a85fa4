// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * What "tribuf bench" measures: the frame path in one thread beside a load and a
 * compare-and-exchange, frames between two processes beside two cache lines and a
 * futex. What a cache line takes from core to core changes within seconds, so rounds
 * of less than a millisecond are taken in turn, and compared with their neighbours.
 */
#include <errno.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include "tool.h"
#include "bench.h"

#define SLOT		4096
#define SWAPS		20000	/* per round of one thread: what is cold at first is nothing beside it */
#define SPINS		100	/* there and back, per round of two processes that spin */
#define SLEEPS		10	/* frames to who sleeps, per round */
#define FALL_ASLEEP	30000	/* ns that this takes at most, as a rule */

/* ---- spreads ---- */

#define MILLIONTHS	1e6

void spread_add(struct spread *s, double value)
{
	uint64_t scaled = value > 0 ? (uint64_t)(value * MILLIONTHS) : 0;
	int octave;

	scaled |= 1;
	octave = 63 - __builtin_clzll(scaled);
	scaled = octave < 6 ? scaled << (6 - octave) : scaled >> (octave - 6);
	s->buckets[octave * SPREAD_STEPS + (int)(scaled & (SPREAD_STEPS - 1))]++;
	s->count++;
}

double spread_start(size_t bucket)
{
	double octave = (double)(1ull << bucket / SPREAD_STEPS);

	return octave * (1 + (double)(bucket % SPREAD_STEPS) / SPREAD_STEPS) / MILLIONTHS;
}

/* Within a bucket, as if its values were spread evenly. */
double spread_at(const struct spread *s, double part)
{
	double left = part * (double)s->count, start;

	for (size_t i = 0; i < SPREAD_BUCKETS; i++) {
		if (left <= s->buckets[i] && s->buckets[i]) {
			start = spread_start(i);
			return start + (spread_start(i + 1) - start) * left / s->buckets[i];
		}
		left -= s->buckets[i];
	}
	return 0;
}

static void compare(struct figure *f, double cost, double limit)
{
	spread_add(&f->cost, cost);
	spread_add(&f->limit, limit);
	spread_add(&f->ratio, cost / limit);
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
	int64_t start = now_ns();

	swaps();
	return (double)(now_ns() - start) / SWAPS;
}

static void thread_rounds(struct bench *b, int64_t deadline)
{
	double limit, cost[3];

	do {
		limit = cost_of(exchange);
		cost[0] = cost_of(publish_frames);
		cost[1] = cost_of(publish_and_acquire);
		cost[2] = cost_of(acquire_nothing);
		for (int i = 0; i < 3; i++)
			compare(&b->figures[BENCH_PUBLISH + i], cost[i], limit);
	} while (now_ns() < deadline && !signal_caught());
}

/*
 * Two mappings of a page in one thread, which no pair of processes has, disturb
 * caches that find a line by its virtual address: both ends go by the same.
 */
static void bench_thread(struct bench *b, int64_t deadline)
{
	struct tribuf of_its_own = *consumer;

	consumer->word = producer->word;
	consumer->desc = producer->desc;
	consumer->slots = producer->slots;
	thread_rounds(b, deadline);
	consumer->word = of_its_own.word;
	consumer->desc = of_its_own.desc;
	consumer->slots = of_its_own.slots;
}

static int open_end(struct tribuf **end, const char *name, uint32_t role)
{
	struct tribuf_options how = TRIBUF_OPTIONS_INIT;
	int err;

	how.role = role;
	how.flags |= TRIBUF_CREATE;
	how.slot_size = SLOT;
	err = tribuf_open(end, name, &how);
	return err ? channel_failed(err, "open", name) : EXIT_OK;
}

static int open_ends(const char *to, const char *from)
{
	int status = open_end(&producer, to, TRIBUF_PRODUCER);

	return status ? status : open_end(&consumer, from, TRIBUF_CONSUMER);
}

static void close_ends(void)
{
	tribuf_close(consumer);
	tribuf_close(producer);
	consumer = NULL;
	producer = NULL;
}

/* ---- two processes ---- */

enum kind { LINES, FRAMES, FUTEX, ASLEEP, STOP };

/* A direction; the first one's also has what the parent wants of the child. */
static struct shared {
	uint64_t flag __attribute__((aligned(128)));
	uint64_t data __attribute__((aligned(128)));
	uint32_t futex __attribute__((aligned(128)));
	int64_t sent __attribute__((aligned(128)));	/* to who sleeps, when */
	int64_t took;			/* ns until it was awake and had it; 0: not yet */
	uint32_t kind __attribute__((aligned(128)));
	uint32_t round;			/* by the parent; of the second: the child is there */
} *ways;

static volatile sig_atomic_t peer_ended;
static bool first;			/* the parent, who sends before it takes */

static void on_child(int number)
{
	(void)number;
	peer_ended = 1;
}

static void send_one(enum kind kind, uint64_t value)
{
	struct shared *way = &ways[!first];
	struct tribuf *p = producer;
	struct tribuf_frame frame;

	switch (kind) {
	case LINES:
		way->data = value;
		__atomic_store_n(&way->flag, value, __ATOMIC_RELEASE);
		break;
	case FUTEX:
		__atomic_store_n(&way->futex, (uint32_t)value, __ATOMIC_RELEASE);
		syscall(SYS_futex, &way->futex, FUTEX_WAKE, 1, NULL, NULL, 0);
		break;
	default:
		tribuf_begin(p, &frame);
		*(uint64_t *)frame.data = value;
		frame.bytes = 8;
		tribuf_publish(p, &frame);
	}
}

static void take_line(struct shared *way, uint64_t value)
{
	while (__atomic_load_n(&way->flag, __ATOMIC_ACQUIRE) != value && !peer_ended)
		;
	(void)*(volatile uint64_t *)&way->data;
}

static void sleep_on_futex(struct shared *way, uint64_t value)
{
	uint32_t word;

	while ((word = __atomic_load_n(&way->futex, __ATOMIC_ACQUIRE)) != (uint32_t)value)
		syscall(SYS_futex, &way->futex, FUTEX_WAIT, word, NULL, NULL, 0);
}

/* With its descriptor and its bytes read. */
static void take_frame(bool asleep)
{
	struct tribuf *c = consumer;
	struct tribuf_frame frame;

	while (tribuf_acquire(c, &frame) != 1) {
		if (peer_ended)
			return;
		if (asleep)
			tribuf_wait(c, TRIBUF_READY, TRIBUF_FOREVER);
	}
	(void)*(volatile uint64_t *)frame.data;
	__asm__ volatile("" : : "r"(frame.seq), "r"(frame.bytes), "r"(frame.timestamp));
}

static void take_one(enum kind kind, uint64_t value)
{
	if (kind == LINES)
		take_line(&ways[first], value);
	else if (kind == FUTEX)
		sleep_on_futex(&ways[first], value);
	else
		take_frame(kind == ASLEEP);
}

/* The child's side of a round. */
static void answer_round(enum kind kind, uint64_t value)
{
	if (kind == LINES || kind == FRAMES) {
		for (int i = 0; i < SPINS; i++) {
			take_one(kind, ++value);
			send_one(kind, value);
		}
		return;
	}
	for (int i = 0; i < SLEEPS; i++) {
		take_one(kind, ++value);
		__atomic_store_n(&ways->took, now_ns() - ways->sent, __ATOMIC_RELEASE);
	}
}

static void answer(void)
{
	uint64_t value = 0;
	uint32_t round = 0;
	enum kind kind;

	__atomic_store_n(&ways[1].round, 1, __ATOMIC_RELEASE);
	for (;;) {
		while (__atomic_load_n(&ways->round, __ATOMIC_ACQUIRE) == round)
			sched_yield();
		round++;
		kind = ways->kind;
		if (kind == STOP)
			return;
		answer_round(kind, value);
		value += kind == LINES || kind == FRAMES ? SPINS : SLEEPS;
	}
}

static void ask(enum kind kind)
{
	ways->kind = kind;
	__atomic_store_n(&ways->round, ways->round + 1, __ATOMIC_RELEASE);
}

static uint64_t asked;		/* the last value that was sent */

/* ns of one way, the mean of a round that is there and back. */
static double spin_round(enum kind kind)
{
	int64_t start;

	ask(kind);
	start = now_ns();
	for (int i = 0; i < SPINS; i++) {
		send_one(kind, ++asked);
		take_one(kind, asked);
	}
	return (double)(now_ns() - start) / (2 * SPINS);
}

/* The same with every turn looked at by itself; @clock: ns that a look takes. */
static void spin_each(struct spread *each, int64_t clock)
{
	int64_t before = 0, after;

	ask(FRAMES);
	for (int i = 0; i < SPINS; i++) {
		send_one(FRAMES, ++asked);
		take_one(FRAMES, asked);
		after = now_ns();
		/* The first also waits until the peer has seen that there is a round. */
		if (before)
			spread_add(each, (double)(after - before - clock) / 2);
		before = after;
	}
}

/* Until who takes it is asleep; on one processor, it can only then. */
static void let_sleep(void)
{
	int64_t until = now_ns() + FALL_ASLEEP;

	do
		sched_yield();
	while (now_ns() < until);
}

/* ns from before it is sent until who slept for it has it, the mean; @each may be NULL. */
static double sleep_round(enum kind kind, struct spread *each)
{
	int64_t took, sum = 0;

	ask(kind);
	for (int i = 0; i < SLEEPS; i++) {
		let_sleep();
		__atomic_store_n(&ways->took, 0, __ATOMIC_RELAXED);
		ways->sent = now_ns();
		send_one(kind, ++asked);
		while (!(took = __atomic_load_n(&ways->took, __ATOMIC_ACQUIRE)) && !peer_ended)
			sched_yield();
		if (each)
			spread_add(each, (double)took);
		sum += took;
	}
	return (double)sum / SLEEPS;
}

/* ns that one look at the clock takes. */
static int64_t clock_cost(void)
{
	int64_t least = INT64_MAX, start, took;

	for (int i = 0; i < 1000; i++) {
		start = now_ns();
		took = now_ns() - start;
		least = took < least ? took : least;
	}
	return least;
}

static void process_rounds(struct bench *b, int64_t deadline)
{
	int64_t clock = clock_cost();
	double limit;

	do {
		if (b->spins) {
			limit = spin_round(LINES);
			compare(&b->figures[BENCH_SPIN], spin_round(FRAMES), limit);
			spin_each(&b->spin, clock);
		}
		limit = sleep_round(FUTEX, NULL);
		compare(&b->figures[BENCH_SLEEP], sleep_round(ASLEEP, &b->sleep), limit);
	} while (now_ns() < deadline && !signal_caught() && !peer_ended);
}

static void pin_to(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET((size_t)cpu, &set);
	sched_setaffinity(0, sizeof(set), &set);
}

static int child(const struct bench *b, const char *there, const char *back)
{
	int status;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	signal(SIGINT, SIG_IGN);	/* the parent ends both */
	signal(SIGTERM, SIG_IGN);
	first = false;
	pin_to(b->cpus[1]);
	status = open_ends(back, there);
	if (!status)
		answer();
	close_ends();
	return status;
}

static int parent(struct bench *b, const char *there, const char *back, int64_t deadline)
{
	int status = open_ends(there, back);

	while (!status && !peer_ended && !__atomic_load_n(&ways[1].round, __ATOMIC_ACQUIRE))
		sched_yield();
	if (!status && !peer_ended)
		process_rounds(b, deadline);
	ask(STOP);
	return status;
}

static int child_status(pid_t pid)
{
	int status;

	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return EXIT_FAILED;
	if (WIFEXITED(status))
		return WEXITSTATUS(status);
	complain("the second process was ended by signal %d", WTERMSIG(status));
	return EXIT_FAILED;
}

/* Handles are a process's own: both open theirs after the fork. */
static int bench_processes(struct bench *b, const char *name, int64_t deadline)
{
	struct sigaction action = { .sa_handler = on_child, .sa_flags = SA_NOCLDSTOP };
	char back[TRIBUF_NAME_SIZE + 8];
	int status, childs;
	pid_t pid;

	snprintf(back, sizeof(back), "%s.back", name);
	ways = mmap(NULL, 2 * sizeof(*ways), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		    -1, 0);
	sigaction(SIGCHLD, &action, NULL);
	fflush(stdout);
	pid = ways == MAP_FAILED ? -1 : fork();
	if (pid < 0) {
		complain("cannot start a second process: %m");
		return EXIT_FAILED;
	}
	if (!pid)
		_exit(child(b, name, back));
	first = true;
	status = parent(b, name, back, deadline);
	if (status)
		kill(pid, SIGKILL);
	childs = child_status(pid);
	close_ends();
	return status ? status : childs;
}

/* ---- both ---- */

/* The first and the last that this process may use: the farthest, as a rule. */
static void choose_cpus(struct bench *b)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	sched_getaffinity(0, sizeof(set), &set);
	b->cpus[0] = -1;
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		if (!CPU_ISSET((size_t)cpu, &set))
			continue;
		if (b->cpus[0] < 0)
			b->cpus[0] = cpu;
		b->cpus[1] = cpu;
	}
	b->spins = b->cpus[0] != b->cpus[1];
}

int bench_run(struct bench *b, bool on_shm, int64_t duration)
{
	char name[TRIBUF_NAME_SIZE];
	int64_t start = now_ns();
	int status;

	snprintf(name, sizeof(name), "%sbench.%d", on_shm ? "shm:" : "", getpid());
	choose_cpus(b);
	pin_to(b->cpus[0]);
	status = open_ends(name, name);
	if (!status)
		bench_thread(b, start + duration / 4);
	close_ends();
	if (!status && !signal_caught())
		status = bench_processes(b, name, start + duration);
	return signal_caught() ? EXIT_SIGNAL + signal_caught() : status;
}
