// SPDX-License-Identifier: GPL-2.0-only
/*
 * How soon who waits is awake, beside what else Linux has for two processes.
 * Rounds of all kinds are interleaved and compared in pairs, so that what else the
 * machine does falls on all alike; the figure is the median of the rounds' ratios.
 *
 *	waiting.NAME MEASURED UNIT BOUND ok|short
 *
 * Lines that begin with "#" are the table beside it. Status 1 if a bound is not met.
 * Without the module only what tribuf_wait() spins for is measured, on shm channels.
 */
#if defined(__x86_64__) || defined(__i386__)
#include <cpuid.h>
#endif
#include <linux/futex.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>

#include "bench.h"

#define ROUNDS		101
#define TURNS		20	/* there and back, per round */
#define FRAMES		100	/* per round, at a rate */
#define CROWD_ROUNDS	31

enum kind { TRIBUF_POLL, TRIBUF_SPIN, EVENTFD, FUTEX, PIPE, SOCKET, KINDS };

static const char *const names[KINDS] = {
	"tribuf + poll", "tribuf_wait", "eventfd + poll", "futex", "pipe", "unix socket",
};

/* "shm:" where there is no module: nothing to poll, only what the library's wait costs. */
static const char *prefix = "";

/* One direction between the two processes. */
struct line {
	char name[TRIBUF_NAME_SIZE + 4];
	struct tribuf *t;		/* of this process: producer or consumer */
	int event, pipe[2], socket[2];
	uint32_t seen;			/* of the futex, by this process */
	struct shared {
		uint32_t word __attribute__((aligned(64)));
		uint64_t stamp __attribute__((aligned(64)));
		uint32_t frames;	/* stamped in this round */
		uint32_t rounds_wanted, rounds_done;
	} *shared;
};

static void line_make(struct line *l, const char *name)
{
	*l = (struct line){ .event = eventfd(0, EFD_CLOEXEC) };
	snprintf(l->name, sizeof(l->name), "%sbench.%d.%s", prefix, getpid(), name);
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
	struct pollfd p = { .fd = kind == TRIBUF_POLL ? tribuf_fd(l->t) : l->event,
			    .events = POLLIN };
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
		while (__atomic_load_n(&l->shared->word, __ATOMIC_ACQUIRE) == l->seen)
			syscall(SYS_futex, &l->shared->word, FUTEX_WAIT, l->seen, NULL, NULL, 0);
		l->seen++;
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

static const enum kind rated[] = { EVENTFD, TRIBUF_SPIN, TRIBUF_POLL };

/* The last needs a descriptor. */
static size_t rated_count(void)
{
	return *prefix ? ARRAY_SIZE(rated) - 1 : ARRAY_SIZE(rated);
}

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
	for (uint32_t done = 0; done < (ROUNDS + 1) * rated_count(); done++) {
		while (__atomic_load_n(&s->rounds_wanted, __ATOMIC_ACQUIRE) == done)
			sleep_ns(100000);
		produce_round(l, rated[done % rated_count()], period);
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
		for (size_t k = 0; k < rated_count(); k++)
			consume(&l, rated[k], round);
	must(!ended(child));
	tribuf_close(l.t);
	snprintf(name, sizeof(name), "from publish to awake, producer at %u kHz", kilohertz);
	table(name, rated, rated_count());
	snprintf(name, sizeof(name), "wait_at_%u_khz_to_eventfd", kilohertz);
	figure(name, median_ratio(TRIBUF_SPIN, EVENTFD), 0.25);
}

/* ---- one ring for many ---- */

#define CROWD	TRIBUF_OBSERVERS_MAX

/* What a crowd sleeps on: a handle each, an eventfd each, or all on the same eventfd. */
enum bed { HANDLES, EVENTFDS, ONE_EVENTFD, BEDS };

static const char *const bed_names[BEDS] = { "observers", "eventfds", "one eventfd" };

struct sleeper {
	pthread_t thread;
	pid_t tid;
	int fd;
};

struct crowd {
	struct tribuf *producer, *observers[CROWD];
	int events[CROWD];
};

static void *sleep_once(void *arg)
{
	struct sleeper *s = arg;
	struct pollfd p = { .fd = s->fd, .events = POLLIN };

	pin_to_cpu(1);
	__atomic_store_n(&s->tid, gettid(), __ATOMIC_RELEASE);
	must(poll(&p, 1, -1) == 1);
	return NULL;
}

static int crowd_fd(const struct crowd *c, enum bed bed, int i)
{
	return bed == HANDLES ? tribuf_fd(c->observers[i]) : c->events[bed == EVENTFDS ? i : 0];
}

/* Wake @count sleepers: ns that it takes. */
static double crowd_ring(const struct crowd *c, enum bed bed, int count)
{
	static const uint64_t one = 1;
	struct tribuf_frame frame;
	uint64_t start = now();

	if (bed == HANDLES) {
		must(!tribuf_begin(c->producer, &frame));
		frame.bytes = 8;
		must(tribuf_publish(c->producer, &frame) >= 0);
	}
	for (int i = 0; i < (bed == EVENTFDS ? count : bed == ONE_EVENTFD); i++)
		must(write(c->events[i], &one, 8) == 8);
	return (double)(now() - start);
}

/* Nothing to be woken for any more: each observer takes the frame. */
static void crowd_drain(const struct crowd *c, enum bed bed, int count)
{
	struct tribuf_frame frame;
	unsigned char copy[SLOT];

	for (int i = 0; bed == HANDLES && i < CROWD; i++)
		must(tribuf_snapshot(c->observers[i], &frame, copy, sizeof(copy)) == 1);
	for (int i = 0; i < (bed == EVENTFDS ? count : bed == ONE_EVENTFD); i++)
		must(read(c->events[i], copy, 8) == 8);
}

static double crowd_once(const struct crowd *c, enum bed bed, int count)
{
	struct sleeper s[CROWD] = { 0 };
	double took;

	for (int i = 0; i < count; i++) {
		s[i].fd = crowd_fd(c, bed, i);
		must(!pthread_create(&s[i].thread, NULL, sleep_once, &s[i]));
	}
	for (int i = 0; i < count; i++)
		must(eventually(5000, thread_sleeps(__atomic_load_n(&s[i].tid, __ATOMIC_ACQUIRE))));
	took = crowd_ring(c, bed, count);
	for (int i = 0; i < count; i++)
		must(!pthread_join(s[i].thread, NULL));
	crowd_drain(c, bed, count);
	return took;
}

static void crowd_make(struct crowd *c)
{
	char name[TRIBUF_NAME_SIZE];

	snprintf(name, sizeof(name), "bench.%d.crowd", getpid());
	must(!open_as(&c->producer, name, TRIBUF_PRODUCER, TRIBUF_CREATE, SLOT));
	for (int i = 0; i < CROWD; i++) {
		must(!open_as(&c->observers[i], name, TRIBUF_OBSERVER, 0, 0));
		c->events[i] = eventfd(0, EFD_CLOEXEC);
		must(c->events[i] >= 0);
	}
}

static void crowd_leave(struct crowd *c)
{
	for (int i = 0; i < CROWD; i++) {
		tribuf_close(c->observers[i]);
		close(c->events[i]);
	}
	tribuf_close(c->producer);
}

/*
 * What 63 sleepers more cost the publisher, beside what waking them costs by an
 * eventfd each. All observers are there all the time.
 */
static void bench_crowd(void)
{
	static const struct sched_param real_time = { .sched_priority = 1 };
	static double one[BEDS][CROWD_ROUNDS], all[BEDS][CROWD_ROUNDS], ratios[CROWD_ROUNDS];
	struct crowd c;

	crowd_make(&c);
	/* Or those who were woken would run before the clock is looked at. */
	pin_to_cpu(0);
	must(!sched_setscheduler(0, SCHED_FIFO | SCHED_RESET_ON_FORK, &real_time));
	for (int i = 0; i < CROWD_ROUNDS; i++) {
		for (int bed = 0; bed < BEDS; bed++) {
			one[bed][i] = crowd_once(&c, bed, 1);
			all[bed][i] = crowd_once(&c, bed, CROWD);
		}
		ratios[i] = (all[HANDLES][i] - one[HANDLES][i]) /
			    (all[EVENTFDS][i] - one[EVENTFDS][i]);
	}
	must(!sched_setscheduler(0, SCHED_OTHER, &(struct sched_param){ 0 }));
	printf("# waking 1, waking %d: median, in us\n", CROWD);
	for (int bed = 0; bed < BEDS; bed++)
		printf("#   %-16s %8.1f %8.1f\n", bed_names[bed],
		       quantile(one[bed], CROWD_ROUNDS, 0.5) / 1000,
		       quantile(all[bed], CROWD_ROUNDS, 0.5) / 1000);
	figure("ring_for_64_to_eventfds", quantile(ratios, CROWD_ROUNDS, 0.5), 1);
	crowd_leave(&c);
}

int main(void)
{
	if (access(DEVICE, F_OK))
		prefix = "shm:";
	if (!*prefix) {
		bench_turns(1);
		bench_turns(2);
		bench_crowd();
	}
	bench_rate(10);
	bench_rate(20);
	return missed;
}
