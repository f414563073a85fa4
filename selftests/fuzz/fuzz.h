/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the parts of the fuzzer share: a program is a list of operations on a few
 * handles and mappings (program.c makes, changes, reads and writes them, ops.c
 * does what they say, fuzz.c decides which to run and which to keep).
 */
#ifndef FUZZ_H
#define FUZZ_H

#define WITHOUT_HARNESS
#include "../common.h"

#define OPS_MAX		48
#define HANDLES		6
#define MAPS		6
#define LANES		4

/*
 * Who does an operation. In a racing program the first lane prepares, then the
 * others go at once: two threads, and a process that was forked before. In an
 * ordered one everything is done in turn by one thread.
 */
enum { LANE_FIRST, LANE_THREAD, LANE_THREAD_2, LANE_PROCESS };

/**
 * struct op - one operation
 * @kind: index into ops[]
 * @lane: LANE_*
 * @handle: a handle's number, or a mapping's
 * @arg: as ops[kind].domain says, but any value is allowed
 */
struct op {
	uint8_t kind;
	uint8_t lane;
	uint8_t handle;
	uint32_t arg[3];
};

struct program {
	bool racing;
	uint32_t kill_us;	/* all its processes are killed after so long; 0: they end */
	unsigned int count;
	struct op op[OPS_MAX];
};

/* What a value of an operation is about, for making likely ones. */
enum domain {
	NOTHING, ANY, SMALL, ROLE, FLAGS, SIZE, NAME, HANDLE, REGION, PROT, PAGES, OFFSET, SLOT_NR,
	GENERATION, WORD, EVENTS, OPEN_FLAGS, COMMAND, GRANTS, ADVICE, MICROSECONDS,
};

/**
 * struct op_kind - what can be done
 * @name: in a program's text
 * @weight: how likely, against the others
 * @domain: of each argument
 * @run: does it; what it returned, or -errno
 */
struct op_kind {
	const char *name;
	unsigned int weight;
	enum domain domain[3];
	int (*run)(const struct op *op);
};

/* ops.c */
extern const struct op_kind ops[];
extern const unsigned int ops_count;

/**
 * struct lane_log - what a lane has done, in memory that the fuzzer shares
 * @done: operations so far
 * @result: what each returned
 */
struct lane_log {
	unsigned int done;
	struct {
		uint8_t kind;
		int answer;
	} result[OPS_MAX];
};

/* Before and after a lane's operations, in its own thread. */
struct watcher {
	void (*begin)(unsigned int lane);
	void (*end)(unsigned int lane);
};

void program_run(const struct program *p, struct lane_log *log, const struct watcher *watcher);

/* program.c */
void program_make(struct program *p, uint64_t *rng);
void program_mutate(struct program *p, const struct program *other, uint64_t *rng);
void program_print(FILE *to, const struct program *p);
bool program_read(FILE *from, struct program *p);

#endif /* FUZZ_H */
