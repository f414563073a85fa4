// SPDX-License-Identifier: GPL-2.0-only
/*
 * How soon who waits is awake, beside what else Linux has for two processes.
 * Rounds of all kinds are interleaved and compared in pairs, so that what else the
 * machine does falls on all alike; the figure is the median of the rounds' ratios.
 *
 *	waiting.NAME MEASURED UNIT BOUND ok|short
 *
 * Lines that begin with "#" are the table beside it. Status 1 if a bound is not met.
 */
#if defined(__x86_64__) || defined(__i386__)
#include <cpuid.h>
#endif
#include <linux/futex.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>

#include "bench.h"

#define ROUNDS		101
#define TURNS		20	/* there and back, per round */
#define FRAMES		100	/* per round, at a rate */

enum kind { TRIBUF_POLL, TRIBUF_SPIN, EVENTFD, FUTEX, PIPE, SOCKET, KINDS };

static const char *const names[KINDS] = {
	"tribuf + poll", "tribuf_wait", "eventfd + poll", "futex", "pipe", "unix socket",
};

/* One direction between the two processes. */
struct line {
	char name[TRIBUF_NAME_SIZE];
	struct tribuf *t;		/* of this process: producer or consumer */
	int event, pipe[2], socket[2];
	struct shared {
		uint32_t word __attribute__((aligned(64)));
		uint64_t stamp __attribute__((aligned(64)));
		uint32_t frames;	/* stamped in this round */
		uint32_t rounds_wanted, rounds_done;
	} *shared;
};

static void line_make(struct line *l, const char *name)
{
	snprintf(l->name, sizeof(l->name), "bench.%d.%s", getpid(), name);
	l->event = eventfd(0, EFD_CLOEXEC);
	l->shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	must(l->event >= 0 && l->shared != MAP_FAILED && !pipe(l->pipe) &&
	     !socketpair(AF_UNIX, SOCK_STREAM, 0, l->socket));
}

/* Handles are a process's own: after the fork. */
static void line_open(struct line *l, uint32_t role)
{
	must(!open_as(&l->t, l->name, role, TRIBUF_CREATE, SLOT));
}

static void futex_wake(uint32_t *word)
{
	__atomic_add_fetch(word, 1, __ATOMIC_RELEASE);
	syscall(SYS_futex, word, FUTEX_WAKE, 1, NULL, NULL, 0);
}

/* Not a byte is sent besides: only "there is something". */
static void line_ring(struct line *l, enum kind kind)
{
	static const uint64_t one = 1;
	struct tribuf_frame frame;

	switch (kind) {
	case TRIBUF_POLL:
	case TRIBUF_SPIN:
		must(!tribuf_begin(l->t, &frame));
		frame.bytes = 8;
		must(tribuf_publish(l->t, &frame) >= 0);
		break;
	case EVENTFD:
		must(write(l->event, &one, 8) == 8);
		break;
	case FUTEX:
		futex_wake(&l->shared->word);
		break;
	case PIPE:
		must(write(l->pipe[1], &one, 1) == 1);
		break;
	default:
		must(send(l->socket[1], &one, 1, 0) == 1);
	}
}

static void line_wait(struct line *l, enum kind kind)
{
	struct pollfd p = { .fd = kind == EVENTFD ? l->event : tribuf_fd(l->t), .events = POLLIN };
	static uint32_t seen[2];	/* of the futex; a process waits on one line */
	struct tribuf_frame frame;
	uint64_t value;

	switch (kind) {
	case TRIBUF_POLL:
		while (!tribuf_acquire(l->t, &frame))
			must(poll(&p, 1, -1) == 1);
		break;
	case TRIBUF_SPIN:
		while (!tribuf_acquire(l->t, &frame))
			must(tribuf_wait(l->t, TRIBUF_READY, TRIBUF_FOREVER) > 0);
		break;
	case EVENTFD:
		must(poll(&p, 1, -1) == 1);
		must(read(l->event, &value, 8) == 8);
		break;
	case FUTEX:
		while (__atomic_load_n(&l->shared->word, __ATOMIC_ACQUIRE) == seen[0])
			syscall(SYS_futex, &l->shared->word, FUTEX_WAIT, seen[0], NULL, NULL, 0);
		seen[0]++;
		break;
	case PIPE:
		must(read(l->pipe[0], &value, 1) == 1);
		break;
	default:
		must(recv(l->socket[0], &value, 1, 0) == 1);
	}
}

/* ---- numbers ---- */

static int by_size(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* The value below which a @part of them is; sorts them. */
static double quantile(double *values, size_t count, double part)
{
	qsort(values, count, sizeof(*values), by_size);
	return values[(size_t)((double)(count - 1) * part)];
}

struct sample {
	double medians[ROUNDS];		/* ns */
	double all[ROUNDS * FRAMES];	/* more than TURNS */
	size_t count;
};

static struct sample samples[KINDS];

/* The first round, -1, warms up. Sorts @values. */
static void sample_add(struct sample *s, int round, double *values, size_t count)
{
	if (round < 0) {
		s->count = 0;
		return;
	}
	memcpy(s->all + s->count, values, count * sizeof(*values));
	s->count += count;
	s->medians[round] = quantile(values, count, 0.5);
}

static double median_ratio(enum kind a, enum kind b)
{
	double ratios[ROUNDS];

	for (int i = 0; i < ROUNDS; i++)
		ratios[i] = samples[a].medians[i] / samples[b].medians[i];
	return quantile(ratios, ROUNDS, 0.5);
}

static int missed;

static void figure(const char *name, double measured, double bound)
{
	bool ok = measured <= bound;

	printf("waiting.%s %.3f x %.2f %s\n", name, measured, bound, ok ? "ok" : "short");
	missed |= !ok;
}

static void table(const char *title, const enum kind *kinds, size_t count)
{
	printf("# %s: median, 99 %%, in us\n", title);
	for (size_t i = 0; i < count; i++) {
		struct sample *s = &samples[kinds[i]];
		double median = quantile(s->all, s->count, 0.5);

		printf("#   %-16s %8.1f %8.1f\n", names[kinds[i]], median / 1000,
		       quantile(s->all, s->count, 0.99) / 1000);
	}
}

/* ---- there and back ---- */

static const enum kind turning[] = { EVENTFD, TRIBUF_POLL, FUTEX, PIPE, SOCKET };

static void answer(struct line *there, struct line *back, int cpu)
{
	pin_to_cpu(cpu);
	line_open(there, TRIBUF_CONSUMER);
	line_open(back, TRIBUF_PRODUCER);
	for (int round = -1; round < ROUNDS; round++)
		for (size_t k = 0; k < ARRAY_SIZE(turning); k++)
			for (int i = 0; i < TURNS; i++) {
				line_wait(there, turning[k]);
				line_ring(back, turning[k]);
			}
}

static void ask(struct line *there, struct line *back, enum kind kind, int round)
{
	double values[TURNS];
	uint64_t start;

	for (int i = 0; i < TURNS; i++) {
		start = now();
		line_ring(there, kind);
		line_wait(back, kind);
		values[i] = (double)(now() - start) / 2;
	}
	sample_add(&samples[kind], round, values, TURNS);
}

/* Is this machine emulated by software (QEMU's TCG)? It then has a bound of its own. */
static bool emulated(void)
{
#if defined(__x86_64__) || defined(__i386__)
	uint32_t leaf, id[3];

	__cpuid(0x40000000, leaf, id[0], id[1], id[2]);
	return !memcmp(id, "TCGTCGTCGTCG", sizeof(id));
#else
	return false;
#endif
}

/* Pinned, or what is measured is where the scheduler puts the two. */
static void bench_turns(int cpus)
{
	struct line there, back;
	char name[64];
	pid_t child;

	line_make(&there, "there");
	line_make(&back, "back");
	child = in_child(answer(&there, &back, cpus - 1));
	pin_to_cpu(0);
	line_open(&there, TRIBUF_PRODUCER);
	line_open(&back, TRIBUF_CONSUMER);
	for (int round = -1; round < ROUNDS; round++)
		for (size_t k = 0; k < ARRAY_SIZE(turning); k++)
			ask(&there, &back, turning[k], round);
	must(!ended(child));
	tribuf_close(there.t);
	tribuf_close(back.t);
	snprintf(name, sizeof(name), "one way of a ping-pong, on %d CPUs", cpus);
	table(name, turning, ARRAY_SIZE(turning));
	snprintf(name, sizeof(name), "wake_up_on_%d_cpus_to_eventfd", cpus);
	figure(name, median_ratio(TRIBUF_POLL, EVENTFD), emulated() ? 1.25 : 1.10);
}

/* ---- a fast producer ---- */

static const enum kind rated[] = { EVENTFD, TRIBUF_POLL, TRIBUF_SPIN };

/* One frame each @period, stamped. */
static void produce_round(struct line *l, enum kind kind, uint64_t period)
{
	uint64_t next = now() + NS_PER_MS;

	for (uint32_t i = 1; i <= FRAMES; i++, next += period) {
		while (now() < next)
			;
		__atomic_store_n(&l->shared->stamp, now(), __ATOMIC_RELAXED);
		__atomic_store_n(&l->shared->frames, i, __ATOMIC_RELEASE);
		line_ring(l, kind);
	}
}

static void produce(struct line *l, uint64_t period)
{
	struct shared *s = l->shared;

	pin_to_cpu(1);
	line_open(l, TRIBUF_PRODUCER);
	for (uint32_t done = 0; done < (ROUNDS + 1) * ARRAY_SIZE(rated); done++) {
		while (__atomic_load_n(&s->rounds_wanted, __ATOMIC_ACQUIRE) == done)
			sleep_ns(100000);
		produce_round(l, rated[done % ARRAY_SIZE(rated)], period);
		__atomic_store_n(&s->rounds_done, done + 1, __ATOMIC_RELEASE);
	}
}

static void drain(struct line *l)
{
	struct pollfd p = { .fd = l->event, .events = POLLIN };
	struct tribuf_frame frame;
	uint64_t value;

	tribuf_acquire(l->t, &frame);
	if (poll(&p, 1, 0) == 1)
		must(read(l->event, &value, 8) == 8);
}

/* Who is late gets the newest frame, and misses some. */
static void consume(struct line *l, enum kind kind, int round)
{
	struct shared *s = l->shared;
	double values[FRAMES];
	uint32_t last;
	size_t count = 0;

	s->frames = 0;
	last = __atomic_add_fetch(&s->rounds_wanted, 1, __ATOMIC_RELEASE);
	do {
		line_wait(l, kind);
		values[count++] = (double)(now() - __atomic_load_n(&s->stamp, __ATOMIC_ACQUIRE));
	} while (__atomic_load_n(&s->frames, __ATOMIC_ACQUIRE) < FRAMES);
	/* The ring of the last frame may be still to come. */
	while (__atomic_load_n(&s->rounds_done, __ATOMIC_ACQUIRE) != last)
		;
	drain(l);
	sample_add(&samples[kind], round, values, count);
}

static void use_all_cpus(void)
{
	cpu_set_t set;

	memset(&set, 0xff, sizeof(set));
	must(!sched_setaffinity(0, sizeof(set), &set));
}

static void bench_rate(unsigned int kilohertz)
{
	struct line l;
	char name[64];
	pid_t child;

	line_make(&l, "rate");
	/* Not pinned: who may use one CPU only does not spin. The producer has the other. */
	use_all_cpus();
	child = in_child(produce(&l, NS_PER_MS / kilohertz));
	line_open(&l, TRIBUF_CONSUMER);
	for (int round = -1; round < ROUNDS; round++)
		for (size_t k = 0; k < ARRAY_SIZE(rated); k++)
			consume(&l, rated[k], round);
	must(!ended(child));
	tribuf_close(l.t);
	snprintf(name, sizeof(name), "from publish to awake, producer at %u kHz", kilohertz);
	table(name, rated, ARRAY_SIZE(rated));
	snprintf(name, sizeof(name), "wait_at_%u_khz_to_eventfd", kilohertz);
	figure(name, median_ratio(TRIBUF_SPIN, EVENTFD), 0.25);
}

int main(void)
{
	if (access(DEVICE, F_OK)) {
		fprintf(stderr, "no " DEVICE ": load the module (tribuf load)\n");
		return 2;
	}
	bench_turns(1);
	bench_turns(2);
	bench_rate(10);
	bench_rate(20);
	return missed;
}
