// SPDX-License-Identifier: GPL-2.0-only
/*
 * What it costs to hand a guarded frame over: publish and acquire, the consumer
 * reading in every page of the frame, the producer taking every fault of the slot
 * that it gets; beside one copy of the frame, which is what one does instead. Both
 * are done in turn, and the figure is the median of the rounds' ratios.
 *
 * To write in every page of a slot is the making of a frame, which a copy does not
 * spare, so it is not in the figure; the table has the ratio with it, too. That
 * matters where a machine is emulated and each page costs more at its first use.
 *
 *	guarded.NAME MEASURED BOUND ok|short
 *
 * Lines that begin with "#" are the table beside it. Status 1 if a bound is not
 * met. With large slots for a user who may not have that much, raise the module's
 * user_bytes_max; a size that cannot be had is left out, and said so.
 */
#include <sys/resource.h>
#include <sys/utsname.h>

#include "bench.h"

#define KIB		1024ull
#define MIB		(1024 * KIB)
#define PAGE		4096ull
#define FAULT		(2 * MIB)	/* no fault maps less of a slot that is as large */
#define ROUNDS		21
#define ROUND_BYTES	(8 * MIB)	/* handed over per round, at least one frame */

struct pair {
	struct tribuf *p, *c;
	uint64_t size;
	struct tribuf_frame frame;	/* the consumer's */
	unsigned char *copy;
};

/* What one size costs, per frame. */
struct cost {
	double handover, copy;		/* medians, us */
	double ratio, written;		/* median of the rounds'; with every page written */
	double faults[2];		/* of producer and consumer */
};

static bool pair_open(struct pair *pair, uint64_t size)
{
	*pair = (struct pair){ .size = size };
	if (open_as(&pair->p, test_name(), TRIBUF_PRODUCER, TRIBUF_CREATE | TRIBUF_GUARDED, size)) {
		printf("# %8llu KiB  not measured: %s\n", (unsigned long long)(size / KIB),
		       tribuf_explain());
		return false;
	}
	must(!tribuf_open_consumer(&pair->c, test_name()));
	pair->copy = mmap(NULL, size, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	must(pair->copy != MAP_FAILED);
	return true;
}

static void pair_close(struct pair *pair)
{
	munmap(pair->copy, pair->size);
	tribuf_close(pair->p);
	tribuf_close(pair->c);
}


static long faults(void)
{
	struct rusage usage;

	getrusage(RUSAGE_THREAD, &usage);
	return usage.ru_minflt;
}

/* @step: bytes from one that is written to the next. */
static void publish_one(struct pair *pair, uint64_t step)
{
	struct tribuf_frame frame;

	must(!tribuf_begin(pair->p, &frame));
	for (uint64_t i = 0; i < pair->size; i += step)
		((volatile unsigned char *)frame.data)[i] = 1;
	must(tribuf_publish(pair->p, &frame) >= 0);
}

static void acquire_one(struct pair *pair)
{
	must(tribuf_acquire(pair->c, &pair->frame) == 1);
	for (uint64_t i = 0; i < pair->size; i += PAGE)
		(void)((const volatile unsigned char *)pair->frame.data)[i];
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double median(double *values, size_t count)
{
	qsort(values, count, sizeof(*values), compare);
	return values[count / 2];
}

/* us per frame. */
static double handover_time(struct pair *pair, uint64_t frames, uint64_t step)
{
	uint64_t start = now();

	for (uint64_t i = 0; i < frames; i++) {
		publish_one(pair, step);
		acquire_one(pair);
	}
	return (double)(now() - start) / 1e3 / (double)frames;
}

static double copy_time(struct pair *pair, uint64_t frames)
{
	uint64_t start = now();

	for (uint64_t i = 0; i < frames; i++) {
		memcpy(pair->copy, pair->frame.data, pair->size);
		__asm__ volatile("" : : "r"(pair->copy) : "memory");	/* it is wanted */
	}
	return (double)(now() - start) / 1e3 / (double)frames;
}

/* Faults per frame of both sides, in rounds that are not timed. */
static void count_faults(struct pair *pair, struct cost *cost)
{
	long before, between;

	for (int i = 0; i < 6; i++) {
		before = faults();
		publish_one(pair, PAGE);
		between = faults();
		acquire_one(pair);
		cost->faults[0] += (double)(between - before) / 6;
		cost->faults[1] += (double)(faults() - between) / 6;
	}
}

static struct cost measure(struct pair *pair)
{
	uint64_t frames = pair->size < ROUND_BYTES ? ROUND_BYTES / pair->size : 1;
	size_t rounds = pair->size > 32 * MIB ? ROUNDS / 3 : ROUNDS;
	double handover[ROUNDS], copy[ROUNDS], ratio[ROUNDS], written[ROUNDS];
	struct cost cost = { 0 };

	handover_time(pair, 3, PAGE);
	count_faults(pair, &cost);
	copy_time(pair, 1);
	for (size_t i = 0; i < rounds; i++) {
		handover[i] = handover_time(pair, frames, FAULT);
		copy[i] = copy_time(pair, frames);
		ratio[i] = handover[i] / copy[i];
		written[i] = handover_time(pair, frames, PAGE) / copy[i];
	}
	cost.handover = median(handover, rounds);
	cost.copy = median(copy, rounds);
	cost.ratio = median(ratio, rounds);
	cost.written = median(written, rounds);
	return cost;
}

/* Does this kernel map guarded slots by 2 MiB entries? Before 6.12 it must not. */
static bool maps_by_2_mib(void)
{
	unsigned int major = 0, minor = 0;
	struct utsname name;

	uname(&name);
	sscanf(name.release, "%u.%u", &major, &minor);
	return major > 6 || (major == 6 && minor >= 12);
}

/* Faults of one side beyond slot / 2 MiB + 2. */
static double faults_over(const struct cost *cost, uint64_t size)
{
	double more = cost->faults[0] > cost->faults[1] ? cost->faults[0] : cost->faults[1];

	return more - (double)(size / (2 * MIB)) - 2;
}

static int missed;

static void figure(const char *name, double value, double bound)
{
	bool ok = value <= bound;

	printf("guarded.%s %.3f %.3g %s\n", name, value, bound, ok ? "ok" : "short");
	missed |= !ok;
}

int main(void)
{
	static const uint64_t sizes[] = {
		64 * KIB, 256 * KIB, MIB, 2 * MIB, 4 * MIB, 8 * MIB, 32 * MIB, 64 * MIB, 256 * MIB,
	};
	double worst_small = 0, worst_4k = 0, worst_2m = 0, over = 0, more;
	bool huge = maps_by_2_mib();
	struct cost cost;
	struct pair pair;

	if (access(DEVICE, F_OK)) {
		fprintf(stderr, "no " DEVICE ": load the module (tribuf load)\n");
		return 2;
	}
	printf("# %12s %13s %13s %7s %9s %16s\n", "slot", "handover, us", "copy, us", "ratio",
	       "(written)", "faults per side");
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		if (!pair_open(&pair, sizes[i]))
			continue;
		cost = measure(&pair);
		pair_close(&pair);
		printf("# %8llu KiB %13.1f %13.1f %7.3f %9.3f %9.1f %6.1f\n",
		       (unsigned long long)(sizes[i] / KIB), cost.handover, cost.copy, cost.ratio,
		       cost.written, cost.faults[0], cost.faults[1]);
		fflush(stdout);
		if (sizes[i] < MIB)
			worst_small = cost.ratio > worst_small ? cost.ratio : worst_small;
		else if (!huge || sizes[i] < 2 * MIB)
			worst_4k = cost.ratio > worst_4k ? cost.ratio : worst_4k;
		if (!huge || sizes[i] < 8 * MIB)
			continue;
		worst_2m = cost.ratio > worst_2m ? cost.ratio : worst_2m;
		more = faults_over(&cost, sizes[i]);
		over = more > over ? more : over;
	}
	/* Below 1 MiB the two system calls are most of it. */
	figure("handover_small_to_copy", worst_small, 0.3);
	figure("handover_4k_to_copy", worst_4k, 0.3);
	if (huge) {
		figure("handover_2m_to_copy", worst_2m, 0.08);
		figure("handover_2m_faults_over", over, 0);
	}
	return missed;
}
