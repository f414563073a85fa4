// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * The other side of the tests, in C: a program, and compiled for WebAssembly a
 * module. Both fill and check frames by the same pattern, so that either can be a
 * peer of the other, or of JavaScript (test/pattern.js).
 */
#ifdef __wasm__
#include <tribuf_wasm.h>
#define EXPORT(name) __attribute__((export_name(name)))
#else
#include <tribuf.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>
#define EXPORT(name)
#endif

#define STEP	64u		/* bytes between two words of the pattern that are looked at */
#define SECOND	1000000000ll

static uint32_t pattern(uint64_t seq, uint32_t place)
{
	return (uint32_t)seq * 2654435761u + place;
}

/* Every cache line of the frame has its number in it. */
static void fill(struct tribuf_frame *frame, uint64_t bytes)
{
	uint32_t *words = frame->data, i;

	for (i = 0; i < bytes / 4; i += STEP / 4)
		words[i] = pattern(frame->seq, i);
	frame->bytes = bytes;
}

static int whole(const struct tribuf_frame *frame)
{
	const uint32_t *words = frame->data;
	uint32_t i;

	for (i = 0; i < frame->bytes / 4; i += STEP / 4)
		if (words[i] != pattern(frame->seq, i))
			return 0;
	return !(frame->generation & 1);
}

/* Publish until frame @last. Its last frame is taken, as all are if @paced. */
static int produce(struct tribuf *t, uint64_t last, uint64_t bytes, int paced)
{
	struct tribuf_frame frame;
	int err;

	do {
		err = tribuf_begin(t, &frame);
		if (err)
			return err;
		fill(&frame, bytes);
		err = tribuf_publish(t, &frame);
		if (err >= 0 && (paced || frame.seq >= last))
			err = tribuf_wait(t, TRIBUF_READY, 20 * SECOND) == TRIBUF_READY ? 0 : -1;
	} while (err >= 0 && frame.seq < last);
	return err < 0 ? err : 0;
}

struct tally {
	uint64_t taken, torn, disordered, late;
};

/* Take frames until @last came; @late counts waits in which none did, within @patience ns. */
static int consume(struct tribuf *t, uint64_t last, int64_t patience, struct tally *tally)
{
	struct tribuf_frame frame = { .seq = 0 };
	uint64_t seq = 0;
	int got;

	while (seq < last) {
		got = tribuf_acquire(t, &frame);
		if (got < 0)
			return got;
		if (got) {
			tally->taken++;
			tally->torn += !whole(&frame);
			tally->disordered += frame.seq <= seq;
			seq = frame.seq;
			continue;
		}
		got = tribuf_wait(t, TRIBUF_READY, patience);
		if (got < 0)
			return got;
		tally->late += !got;
		if (tally->late > 5)
			return -1;
	}
	return 0;
}

#ifdef __wasm__

static struct tribuf channel;
static struct tally tally;

EXPORT("open") int module_open(void *window, uint32_t role)
{
	return tribuf_wasm_open(&channel, window, role);
}

EXPORT("produce") int module_produce(uint32_t last, uint32_t bytes, int paced)
{
	return produce(&channel, last, bytes, paced);
}

EXPORT("consume") int module_consume(uint32_t last, uint32_t patience_ms)
{
	return consume(&channel, last, patience_ms * 1000000ll, &tally);
}

/* 0: taken, 1: torn, 2: disordered, 3: late. */
EXPORT("tally") double module_tally(uint32_t which)
{
	return (double)(which == 0 ? tally.taken : which == 1 ? tally.torn :
			which == 2 ? tally.disordered : tally.late);
}

EXPORT("acquire") double module_acquire(void)
{
	struct tribuf_frame frame;
	int got = tribuf_acquire(&channel, &frame);

	return got > 0 ? (double)frame.seq : got;
}

/* One frame whose bytes nobody looks at: what a swap costs. */
EXPORT("publish") int module_publish(uint32_t bytes)
{
	struct tribuf_frame frame;
	int err = tribuf_begin(&channel, &frame);

	if (err)
		return err;
	*(uint32_t *)frame.data = (uint32_t)frame.seq;
	frame.bytes = bytes;
	return tribuf_publish(&channel, &frame);
}

EXPORT("publishes") int module_publishes(uint32_t n, uint32_t bytes)
{
	int err = 0;

	while (n-- && err >= 0)
		err = module_publish(bytes);
	return err;
}

/* A worker of a pool: a frame whenever the one before was taken, for ever. */
EXPORT("run") int module_run(void *window, uint32_t index)
{
	struct tribuf_frame frame;
	int err = tribuf_wasm_open(&channel, window, TRIBUF_PRODUCER);

	while (err >= 0) {
		err = tribuf_begin(&channel, &frame);
		if (err < 0)
			break;
		fill(&frame, 256);
		frame.cookie = index;
		err = tribuf_publish(&channel, &frame);
		while (err >= 0 && !tribuf_wait(&channel, TRIBUF_READY, SECOND / 10))
			;
	}
	return err;
}

EXPORT("trap") int module_trap(void)
{
	__builtin_trap();
}

/* Never comes back, and never asks the host. */
EXPORT("spin") int module_spin(void *window, uint32_t index)
{
	int err = tribuf_wasm_open(&channel, window, TRIBUF_PRODUCER);

	while (err >= 0)
		err = module_publish(8 + index);
	return err;
}

EXPORT("store") void module_store(volatile uint32_t *address)
{
	*address = 1;
}

/* Until the number of the frame in hand is stale; -ESTALE then. */
EXPORT("references") int module_references(void)
{
	struct tribuf_frame frame;
	struct tribuf_gen_index reference;
	void *pointer;
	int err = tribuf_begin(&channel, &frame);

	if (!err)
		err = tribuf_ref(&channel, (char *)frame.data + 8, &reference);
	if (!err)
		err = tribuf_deref(&channel, reference, 8, &pointer);
	if (!err && pointer != (char *)frame.data + 8)
		return -1;
	if (!err)
		err = tribuf_publish(&channel, &frame) < 0;
	return err ? err : tribuf_deref(&channel, reference, 8, &pointer);
}

#else

static int fail(const char *what)
{
	fprintf(stderr, "peer: %s: %s\n", what, tribuf_explain());
	return 1;
}

static int run_producer(int argc, char **argv)
{
	struct tribuf *t;
	uint64_t slot = argc > 5 ? strtoull(argv[5], NULL, 0) : strtoull(argv[4], NULL, 0);

	if (tribuf_open_producer(&t, argv[2], slot))
		return fail("open");
	puts("open");
	fflush(stdout);
	if (produce(t, strtoull(argv[3], NULL, 0), strtoull(argv[4], NULL, 0), argc > 6))
		return fail("produce");
	tribuf_close(t);
	return 0;
}

static int run_consumer(char **argv)
{
	struct tally tally = { 0 };
	struct tribuf *t;
	int err;

	if (tribuf_open_consumer(&t, argv[2]))
		return fail("open");
	puts("open");
	fflush(stdout);
	while (tribuf_wait(t, TRIBUF_READY, 20 * SECOND) == 0)
		;
	err = consume(t, strtoull(argv[3], NULL, 0), 2 * SECOND, &tally);
	printf("{\"taken\":%llu,\"torn\":%llu,\"disordered\":%llu,\"late\":%llu,\"error\":%d}\n",
	       (unsigned long long)tally.taken, (unsigned long long)tally.torn,
	       (unsigned long long)tally.disordered, (unsigned long long)tally.late, err);
	if (err)
		return fail("consume");
	tribuf_close(t);
	return 0;
}

static uint64_t now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * SECOND + (uint64_t)ts.tv_nsec;
}

/* Frames of NAME are answered by empty ones in ANSWER, without sleeping. */
static int run_echo(char **argv)
{
	struct tribuf *from, *to;
	struct tribuf_frame frame, answer;
	uint64_t last = strtoull(argv[4], NULL, 0);

	if (tribuf_open_consumer(&from, argv[2]) || tribuf_open_producer(&to, argv[3], 64))
		return fail("open");
	puts("open");
	fflush(stdout);
	do {
		while (tribuf_acquire(from, &frame) != 1)
			;
		if (tribuf_begin(to, &answer))
			return fail("begin");
		answer.bytes = 0;
		tribuf_publish(to, &answer);
	} while (frame.seq < last);
	tribuf_wait(to, TRIBUF_READY, SECOND);
	tribuf_close(from);
	tribuf_close(to);
	return 0;
}

/* In turn, a millisecond apart: the time written to descriptor 3, a stamped frame. */
static int run_tick(char **argv)
{
	struct tribuf_frame frame;
	struct tribuf *t;
	uint64_t ticks = strtoull(argv[3], NULL, 0), stamp;

	if (tribuf_open_producer(&t, argv[2], 64))
		return fail("open");
	puts("open");
	fflush(stdout);
	usleep(100000);
	while (ticks--) {
		usleep(1000 + (useconds_t)(ticks * 7919 % 500));
		stamp = now();
		if (write(3, &stamp, sizeof(stamp)) != sizeof(stamp))
			return 1;
		usleep(1000 + (useconds_t)(ticks * 104729 % 500));
		if (tribuf_begin(t, &frame))
			return fail("begin");
		frame.bytes = 8;
		frame.timestamp = now();
		tribuf_publish(t, &frame);
	}
	usleep(10000);
	tribuf_close(t);
	return 0;
}

/* A program that may not sleep on several futexes: so are containers with an old policy. */
static int run_forbidden(char **argv)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 449 /* futex_waitv */, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog policy = { .len = 4, .filter = code };

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &policy))
		perror("seccomp");
	else
		execv(argv[2], argv + 2);
	return 1;
}

/*
 * peer produce NAME LAST BYTES [SLOT [paced]] | consume NAME LAST |
 * echo NAME ANSWER LAST | tick NAME N | forbidden PROGRAM ARGUMENT...; prints "open" once
 * it is attached, the consumer its tally at the end.
 */
int main(int argc, char **argv)
{
	if (argc >= 5 && !strcmp(argv[1], "produce"))
		return run_producer(argc, argv);
	if (argc >= 4 && !strcmp(argv[1], "consume"))
		return run_consumer(argv);
	if (argc >= 5 && !strcmp(argv[1], "echo"))
		return run_echo(argv);
	if (argc >= 4 && !strcmp(argv[1], "tick"))
		return run_tick(argv);
	if (argc >= 3 && !strcmp(argv[1], "forbidden"))
		return run_forbidden(argv);
	fprintf(stderr, "usage: peer produce NAME LAST BYTES [SLOT [paced]] | consume NAME LAST\n");
	return 2;
}

#endif
