// SPDX-License-Identifier: GPL-2.0-only
/*
 * Programs of the fuzzer: made at random, changed, written and read as text. Knows
 * what values are likely, nothing of what the operations do with them.
 */
#include "fuzz.h"

#define COUNT(array)	(sizeof(array) / sizeof((array)[0]))

static uint32_t below(uint64_t *rng, size_t n)
{
	return (uint32_t)(chance(rng) >> 32) % (uint32_t)n;
}

static bool one_in(uint64_t *rng, unsigned int n)
{
	return !below(rng, n);
}

#define one_of(rng, array)	((array)[below(rng, COUNT(array))])

/* ---- likely values ---- */

static const uint32_t any_values[] = {
	0, 1, 2, 3, 7, 8, 64, 255, 256, 1024, 4095, 4096, 4097, 8192, 65535, 65536, 0x7fffffff,
	0x80000000, 0xfffffffe, 0xffffffff,
};

static const uint32_t sizes[] = { 0, 1, 64, 4096, 8192, 8192, 12289, 65536, 2 << 20, (2 << 20) + 1 };

static const uint32_t flags[] = {
	0,
	TRIBUF_CREATE,
	TRIBUF_CREATE | TRIBUF_OWNED | TRIBUF_LATEST,
	TRIBUF_CREATE | TRIBUF_GUARDED,
	TRIBUF_CREATE | TRIBUF_GUARDED | TRIBUF_LATEST | TRIBUF_OWNED,
	TRIBUF_CREATE | TRIBUF_REPLACE,
	TRIBUF_CREATE | TRIBUF_REPLACE | TRIBUF_GUARDED,
	TRIBUF_CREATE | TRIBUF_ANONYMOUS,
	TRIBUF_CREATE | TRIBUF_EXCL,
	TRIBUF_PENDING,
	TRIBUF_PENDING | TRIBUF_GUARDED,
	TRIBUF_LATEST,
	TRIBUF_OWNER,
};

static const uint32_t prots[] = { PROT_NONE, PROT_READ, PROT_READ, PROT_READ | PROT_WRITE,
				  PROT_READ | PROT_WRITE, PROT_WRITE, PROT_READ | PROT_EXEC };

static const uint32_t events[] = { EPOLLIN, EPOLLOUT, EPOLLPRI, EPOLLIN | EPOLLET, EPOLLRDHUP,
				   EPOLLIN | EPOLLOUT | EPOLLPRI | EPOLLRDHUP,
				   EPOLLIN | EPOLLONESHOT, EPOLLOUT | EPOLLET, 0 };

static const uint32_t open_flags[] = { O_RDWR, O_RDWR, O_RDWR | O_NONBLOCK, O_RDONLY, O_WRONLY };

static const uint32_t advice[] = { MADV_DONTNEED, MADV_POPULATE_READ, MADV_POPULATE_WRITE,
				   MADV_DONTFORK, MADV_DOFORK, MADV_HUGEPAGE, MADV_NOHUGEPAGE,
				   MADV_COLD, MADV_PAGEOUT, MADV_REMOVE };

/* A word as it may be, one bit wrong, or rubbish. */
static uint32_t some_word(uint64_t *rng)
{
	static const uint32_t permutation[] = { 0x24, 0x18, 0x21, 0x09, 0x12, 0x06 };
	uint32_t word = one_of(rng, permutation) | (below(rng, 1 << 10) & ~TRIBUF_SLOTS_MASK);

	if (one_in(rng, 3))
		word ^= 1u << below(rng, 32);
	return one_in(rng, 8) ? (uint32_t)chance(rng) : word;
}

static uint32_t some_value(enum domain domain, uint64_t *rng)
{
	if (domain != NOTHING && one_in(rng, 24))
		return one_of(rng, any_values);
	switch (domain) {
	case NOTHING:		return 0;
	case ANY:		return one_in(rng, 2) ? one_of(rng, any_values) : (uint32_t)chance(rng);
	case SMALL:		return below(rng, 8);
	case ROLE:		return one_in(rng, 16) ? below(rng, 8) : 1 + below(rng, 4);
	case FLAGS:		return one_in(rng, 4) ? below(rng, 1 << 11) : one_of(rng, flags);
	case SIZE:		return one_in(rng, 2) ? 8192 : one_of(rng, sizes);
	case NAME:		return one_in(rng, 4) ? below(rng, 5) : 0;
	case HANDLE:		return below(rng, HANDLES);
	case REGION:		return below(rng, 7);
	case PROT:		return one_of(rng, prots);
	case PAGES:		return one_in(rng, 8) ? below(rng, 2000) : 1 + below(rng, 6);
	case OFFSET:		return one_in(rng, 4) ? below(rng, 8 << 20) : below(rng, 1 << 14);
	case SLOT_NR:		return one_in(rng, 4) ? one_of(rng, any_values) : below(rng, 3);
	case GENERATION:	return one_in(rng, 2) ? 2 * below(rng, 5) : below(rng, 9);
	case WORD:		return some_word(rng);
	case EVENTS:		return one_of(rng, events);
	case OPEN_FLAGS:	return one_of(rng, open_flags);
	case COMMAND:		return below(rng, 10);
	case GRANTS:		return below(rng, 32);
	case ADVICE:		return one_of(rng, advice);
	case MICROSECONDS:	return below(rng, 3000);
	}
	return 0;
}

static uint8_t some_kind(uint64_t *rng)
{
	unsigned int sum = 0, i;

	for (i = 0; i < ops_count; i++)
		sum += ops[i].weight;
	sum = below(rng, sum);
	for (i = 0; sum >= ops[i].weight; i++)
		sum -= ops[i].weight;
	return (uint8_t)i;
}

static struct op some_op(uint64_t *rng)
{
	struct op op = { .kind = some_kind(rng), .lane = (uint8_t)below(rng, LANES),
			 .handle = (uint8_t)below(rng, HANDLES) };

	for (int i = 0; i < 3; i++)
		op.arg[i] = some_value(ops[op.kind].domain[i], rng);
	return op;
}

/* ---- making and changing ---- */

static uint8_t kind_of(const char *name)
{
	unsigned int i;

	for (i = 0; i < ops_count && strcmp(ops[i].name, name); i++)
		;
	return (uint8_t)i;
}

static void add(struct program *p, const char *name, uint8_t handle, uint32_t a, uint32_t b,
		uint32_t c)
{
	p->op[p->count++] = (struct op){ kind_of(name), LANE_FIRST, handle, { a, b, c } };
}

/* Two peers, mapped: without them most of what follows is refused. */
static void add_peers(struct program *p, uint64_t *rng)
{
	uint32_t guarded = one_in(rng, 2) ? TRIBUF_GUARDED : 0;
	uint32_t size = some_value(SIZE, rng);

	add(p, "open", 0, O_RDWR, 0, 0);
	add(p, "attach", 0, TRIBUF_PRODUCER, TRIBUF_CREATE | guarded, size);
	add(p, "open", 1, O_RDWR | O_NONBLOCK, 0, 0);
	add(p, "attach", 1, TRIBUF_CONSUMER, TRIBUF_LATEST, 0);
	add(p, "map", 0, 3, PROT_READ | PROT_WRITE, 6);
	add(p, "map", 1, guarded ? 3 : 0, PROT_READ | (guarded ? 0 : PROT_WRITE), 1);
}

static void insert(struct program *p, unsigned int at, struct op op)
{
	if (p->count == OPS_MAX)
		return;
	memmove(&p->op[at + 1], &p->op[at], (p->count - at) * sizeof(op));
	p->op[at] = op;
	p->count++;
}

static void drop(struct program *p, unsigned int at)
{
	memmove(&p->op[at], &p->op[at + 1], (p->count - at - 1) * sizeof(p->op[0]));
	p->count--;
}

void program_make(struct program *p, uint64_t *rng)
{
	unsigned int more = 4 + below(rng, 20);

	*p = (struct program){ .racing = one_in(rng, 3) };
	if (p->racing && one_in(rng, 4))
		p->kill_us = 1 + below(rng, 20000);
	if (!one_in(rng, 4))
		add_peers(p, rng);
	while (more--)
		insert(p, p->count, some_op(rng));
}

static void change_op(struct op *op, uint64_t *rng)
{
	unsigned int i = below(rng, 3);

	switch (below(rng, 4)) {
	case 0:
		*op = some_op(rng);
		break;
	case 1:
		op->handle = (uint8_t)below(rng, HANDLES);
		break;
	case 2:
		op->lane = (uint8_t)below(rng, LANES);
		break;
	default:
		op->arg[i] = some_value(ops[op->kind].domain[i], rng);
		break;
	}
}

/* The end of @other behind the beginning of @p. */
static void append_end_of(struct program *p, const struct program *other, uint64_t *rng)
{
	unsigned int from = below(rng, other->count), keep = below(rng, p->count) + 1;

	for (p->count = keep; from < other->count && p->count < OPS_MAX; from++)
		p->op[p->count++] = other->op[from];
}

void program_mutate(struct program *p, const struct program *other, uint64_t *rng)
{
	unsigned int times = 1 + below(rng, 6);

	while (times--) {
		switch (below(rng, 8)) {
		case 0: case 1: case 2:
			insert(p, below(rng, p->count + 1), some_op(rng));
			break;
		case 3:
			if (p->count > 1)
				drop(p, below(rng, p->count));
			break;
		case 4: case 5:
			change_op(&p->op[below(rng, p->count)], rng);
			break;
		case 6:
			insert(p, below(rng, p->count + 1), p->op[below(rng, p->count)]);
			break;
		default:
			if (one_in(rng, 2))
				append_end_of(p, other, rng);
			else
				p->racing = !p->racing;
			break;
		}
	}
	p->kill_us = p->racing && one_in(rng, 6) ? 1 + below(rng, 20000) : 0;
}

/* ---- text: a head, a line per operation, "end" ---- */

void program_print(FILE *to, const struct program *p)
{
	fprintf(to, "%s %u\n", p->racing ? "racing" : "ordered", p->kill_us);
	for (unsigned int i = 0; i < p->count; i++) {
		const struct op *op = &p->op[i];

		fprintf(to, "%u %s %u %#x %#x %#x\n", op->lane, ops[op->kind].name, op->handle,
			op->arg[0], op->arg[1], op->arg[2]);
	}
	fprintf(to, "end\n");
}

static bool read_op(const char *line, struct op *op)
{
	unsigned int lane, handle;
	char name[32];

	if (sscanf(line, "%u %31s %u %x %x %x", &lane, name, &handle, &op->arg[0], &op->arg[1],
		   &op->arg[2]) != 6)
		return false;
	op->lane = (uint8_t)(lane % LANES);
	op->handle = (uint8_t)handle;
	op->kind = kind_of(name);
	return op->kind < ops_count;
}

/* The next program; what stands between programs (comments) is passed over. */
bool program_read(FILE *from, struct program *p)
{
	char line[128], how[16];

	do {
		if (!fgets(line, sizeof(line), from))
			return false;
	} while (sscanf(line, "%15s %u", how, &p->kill_us) != 2 ||
		 (strcmp(how, "racing") && strcmp(how, "ordered")));
	p->racing = !strcmp(how, "racing");
	p->count = 0;
	while (fgets(line, sizeof(line), from) && strcmp(line, "end\n")) {
		if (p->count == OPS_MAX || !read_op(line, &p->op[p->count])) {
			fprintf(stderr, "fuzz: this is no operation: %s", line);
			return false;
		}
		p->count++;
	}
	return p->count > 0;
}
