/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A party of the comparison: a program that hands values over by some means, in short
 * rounds, whenever it is told to. Everything but the means itself is here, for C and
 * C++; rivals/src/main.rs has the same for Rust. It knows nothing of the conductor (run)
 * but what they say to each other:
 *
 *	PARTY MEANS CPU CPU BYTES	both sides' processors; bytes of a frame
 *	ready				once it can
 *	CASE COUNT			on standard input: a round of so many
 *	NS [NS]...			its answer: of all of them, and of each (or "no")
 *
 * The cases, with a second process on the second processor:
 *	spin	there and back, both spin; "each": every turn by itself as well
 *	asleep	there to who sleeps, each from before it is sent until it is there
 *	turns	there and back, both sleep
 *	slow	as fast as it goes, to who takes one each 100 us; how old that is by then
 *	late	the same; how long each took to send
 * and alone, in one thread: whatever else the means has a name for.
 */
#ifndef BENCH_PARTY_H
#define BENCH_PARTY_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#define party_must(condition) do {					\
	if (!(condition)) {						\
		fprintf(stderr, "%s:%d: %s does not hold: %s\n", __FILE__, __LINE__,	\
			#condition, strerror(errno));			\
		_exit(2);						\
	}								\
} while (0)

#define PARTY_INLINE	static inline __attribute__((always_inline))

#define PARTY_NAP	40000	/* ns in which the other side falls asleep */
#define PARTY_PERIOD	100000	/* ns between two looks of a slow consumer */
#define PARTY_LAST	1	/* a value that is no time: the round is over */
#define PARTY_COUNT_MAX	100000

/* Values are never 0. A side's own two ways are the means' affair. */
struct means {
	const char *name;
	void (*open)(const char *name, bool first, uint64_t bytes);	/* in each process */
	void (*close)(void);		/* may be NULL */
	void (*send)(uint64_t value);
	bool (*take)(uint64_t *value);	/* NULL: cannot spin */
	uint64_t (*wait)(void);		/* NULL: cannot sleep */
	/* Cases of one thread: ns of all; @each: of each, if it looks at each. 0: no such case. */
	uint64_t (*alone)(const char *which, unsigned int count, uint64_t *each);
};

/* What a round has found: @count of @each. */
struct party_round {
	uint64_t total;
	unsigned int count;
	uint64_t each[PARTY_COUNT_MAX];
};

static struct party_round party_round;

PARTY_INLINE uint64_t party_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static inline void party_pin(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET((size_t)cpu, &set);
	party_must(!sched_setaffinity(0, sizeof(set), &set));
}

PARTY_INLINE void party_note(uint64_t ns)
{
	if (party_round.count < PARTY_COUNT_MAX)
		party_round.each[party_round.count++] = ns;
}

/* Cases of one thread for who has both ends of a way in it; ns, 0: no such case. */
PARTY_INLINE uint64_t party_one_thread(const char *which, unsigned int count,
				       void (*send)(uint64_t value), bool (*take)(uint64_t *value))
{
	bool publish = !strcmp(which, "publish"), nothing = !strcmp(which, "nothing");
	uint64_t start = party_now(), value;

	if (!publish && !nothing && strcmp(which, "both"))
		return 0;
	for (unsigned int i = 0; i < count; i++) {
		if (!nothing)
			send(i);
		if (!publish)
			take(&value);
	}
	return party_now() - start;
}

PARTY_INLINE uint64_t party_take(const struct means *m)
{
	uint64_t value = 0;

	while (!m->take(&value))
		;
	return value;
}

static inline void party_pause(uint64_t ns)
{
	uint64_t until = party_now() + ns;

	while (party_now() < until)
		;
}

/* ---- the first side ---- */

PARTY_INLINE void party_spin(const struct means *m, unsigned int count, bool look)
{
	uint64_t start = party_now(), before = start, after;

	for (unsigned int i = 0; i < count; i++) {
		m->send(i + 2);
		party_take(m);
		if (!look)
			continue;
		after = party_now();
		party_note(after - before);
		before = after;
	}
	party_round.total = party_now() - start;
}

PARTY_INLINE void party_turns(const struct means *m, unsigned int count)
{
	uint64_t start = party_now();

	for (unsigned int i = 0; i < count; i++) {
		m->send(i + 2);
		m->wait();
	}
	party_round.total = party_now() - start;
}

/* It says when it has it, by spinning: what it is measured by is one way. */
PARTY_INLINE void party_asleep(const struct means *m, unsigned int count)
{
	for (unsigned int i = 0; i < count; i++) {
		party_pause(PARTY_NAP);
		m->send(party_now());
		if (m->take)
			party_take(m);
		else
			m->wait();
	}
}

PARTY_INLINE void party_slow(const struct means *m, unsigned int count, bool look)
{
	uint64_t start = party_now(), before = start, after;

	for (unsigned int i = 0; i < count; i++) {
		after = party_now();
		if (look && i)
			party_note(after - before);
		before = after;
		m->send(after);
	}
	party_round.total = party_now() - start;
	m->send(PARTY_LAST);
}

/* ---- the second side ---- */

PARTY_INLINE void party_answer_slow(const struct means *m, bool look)
{
	uint64_t value = 0, next = party_now();

	while (value != PARTY_LAST) {
		while (party_now() < next)
			;
		next = party_now() + PARTY_PERIOD;
		if (m->take(&value) && value != PARTY_LAST && look)
			party_note(party_now() - value);
	}
}

PARTY_INLINE void party_answer(const struct means *m, const char *which, unsigned int count)
{
	bool asleep = !strcmp(which, "asleep"), sleeps = asleep || !strcmp(which, "turns");
	uint64_t value;

	m->send(sleeps ? m->wait() : party_take(m));
	if (!strcmp(which, "slow") || !strcmp(which, "late")) {
		party_answer_slow(m, !strcmp(which, "slow"));
		return;
	}
	for (unsigned int i = 0; i < count; i++) {
		value = sleeps ? m->wait() : party_take(m);
		if (asleep)
			party_note(party_now() - value);
		m->send(value);
	}
}

/* ---- rounds ---- */

/* The first turn waits until the other side has heard of the round, and is not counted. */
PARTY_INLINE void party_ask(const struct means *m, const char *which, unsigned int count)
{
	bool turns = !strcmp(which, "turns");

	m->send(PARTY_LAST + 1);
	if (turns || !m->take)
		m->wait();
	else
		party_take(m);
	if (turns)
		party_turns(m, count);
	else if (!strcmp(which, "asleep"))
		party_asleep(m, count);
	else if (!strcmp(which, "slow") || !strcmp(which, "late"))
		party_slow(m, count, !strcmp(which, "late"));
	else
		party_spin(m, count, !strcmp(which, "each"));
}

static inline bool party_two_can(const struct means *m, const char *which)
{
	if (!strcmp(which, "asleep") || !strcmp(which, "turns"))
		return m->wait;
	return m->take && (!strcmp(which, "spin") || !strcmp(which, "each") ||
			   !strcmp(which, "slow") || !strcmp(which, "late"));
}

static inline void party_say_round(FILE *out)
{
	fprintf(out, "%llu", (unsigned long long)party_round.total);
	for (unsigned int i = 0; i < party_round.count; i++)
		fprintf(out, " %llu", (unsigned long long)party_round.each[i]);
	fputc('\n', out);
	fflush(out);
}

static inline void party_other_said(FILE *answers)
{
	unsigned long long ns;
	char end = ' ';

	party_must(fscanf(answers, "%llu", &ns) == 1);
	while (fscanf(answers, "%c", &end) == 1 && end == ' ' && fscanf(answers, "%llu", &ns) == 1)
		party_note(ns);
}

static inline void party_alone(const struct means *m, const char *which, unsigned int count)
{
	party_round.total = m->alone ? m->alone(which, count, party_round.each) : 0;
	/* Who looks at each leaves no 0 there. */
	party_round.count = party_round.each[0] ? count : 0;
	if (party_round.total)
		party_say_round(stdout);
	else
		puts("no");
	fflush(stdout);
	party_round.each[0] = 0;
}

PARTY_INLINE void party_first(const struct means *m, FILE *orders, FILE *answers)
{
	unsigned int count;
	char which[32];

	puts("ready");
	fflush(stdout);
	while (scanf("%31s %u", which, &count) == 2 && count <= PARTY_COUNT_MAX) {
		party_round.count = 0;
		party_round.total = 0;
		if (!party_two_can(m, which)) {
			party_alone(m, which, count);
			continue;
		}
		fprintf(orders, "%s %u\n", which, count);
		fflush(orders);
		party_ask(m, which, count);
		party_other_said(answers);
		party_say_round(stdout);
		party_round.each[0] = 0;
	}
}

PARTY_INLINE void party_second(const struct means *m, FILE *orders, FILE *answers)
{
	unsigned int count;
	char which[32];

	while (fscanf(orders, "%31s %u", which, &count) == 2) {
		party_round.count = 0;
		party_answer(m, which, count);
		party_say_round(answers);
	}
}

/* Inlined for each means, so that its functions are called directly. */
PARTY_INLINE int party_run(const struct means *m, char **argv)
{
	int orders[2], answers[2], status = 0;
	char name[64];
	bool first;
	pid_t pid;

	snprintf(name, sizeof(name), "bench-%d", getpid());
	party_must(!pipe(orders) && !pipe(answers));
	pid = fork();
	first = pid;
	if (!first)
		prctl(PR_SET_PDEATHSIG, SIGKILL);
	close(orders[first ? 0 : 1]);
	close(answers[first ? 1 : 0]);
	/* Threads that a library starts are not held to the processor of this one. */
	m->open(name, first, strtoull(argv[4], NULL, 10));
	party_pin(atoi(argv[first ? 2 : 3]));
	if (first) {
		FILE *told;
		char there;

		party_must(read(answers[0], &there, 1) == 1);
		told = fdopen(orders[1], "w");
		party_first(m, told, fdopen(answers[0], "r"));
		fclose(told);
	} else {
		party_must(write(answers[1], "!", 1) == 1);
		party_second(m, fdopen(orders[0], "r"), fdopen(answers[1], "w"));
	}
	if (m->close)
		m->close();
	if (first)
		waitpid(pid, &status, 0);
	return status ? 1 : 0;
}

#endif /* BENCH_PARTY_H */
