// SPDX-License-Identifier: GPL-2.0-only
/*
 * A peer that rewrites, without an end and at random, every byte of the metadata
 * that its role may write. The other side, by the kernel's calls and by the library,
 * goes on: each call comes back in time with an answer that it may give, and what it
 * hands out lies within a slot.
 *
 * Direct channels: on guarded ones no role may write the metadata.
 */
#include "lib.h"
#include "metronome.h"

FIXTURE(hostile) {
	const char *name;
	struct shared *shared;
	struct metronome metronome;
	pid_t vandal;
};

FIXTURE_VARIANT(hostile) {
	const char *prefix;
	uint32_t kind;
	uint32_t role;		/* of the vandal */
};

FIXTURE_VARIANT_ADD(hostile, producer) { .prefix = "", .role = TRIBUF_PRODUCER };
FIXTURE_VARIANT_ADD(hostile, consumer) { .prefix = "", .role = TRIBUF_CONSUMER };
FIXTURE_VARIANT_ADD(hostile, shm_producer) { .prefix = "shm:", .role = TRIBUF_PRODUCER };
FIXTURE_VARIANT_ADD(hostile, shm_consumer) { .prefix = "shm:", .role = TRIBUF_CONSUMER };

/* Between the test and the vandal. */
struct shared {
	uint64_t written;
	int cpu;		/* of the victim */
	bool ready, go, stop;
};

/* ---- the vandal ---- */

/* Mostly what the role may make of the word, or the victim would soon only refuse it. */
static uint32_t any_word(uint32_t word, uint32_t role, uint64_t random)
{
	static const uint8_t permutations[] = { 0x24, 0x18, 0x21, 0x09, 0x12, 0x06 };

	if (random >> 60 == 0)
		return (uint32_t)random;
	if (random >> 60 == 1 || !tribuf_word_valid(word))
		return ((uint32_t)random & ~TRIBUF_SLOTS_MASK) | permutations[(random >> 32) % 6];
	word = role == TRIBUF_PRODUCER ? tribuf_word_publish(word) : tribuf_word_acquire(word);
	return word ^ ((uint32_t)random & (TRIBUF_ARMED | TRIBUF_WATCHED | TRIBUF_PACED));
}

/* 1, 2, 4 or 8 random bytes, or what is nearly right, at a random place of the page. */
static void spoil_page(volatile unsigned char *page, uint64_t *random)
{
	uint64_t value = chance(random), place = chance(random);
	size_t at = place % (page_size() - 8) & ~7ul;

	switch (place >> 60) {
	case 0 ... 3:
		page[place % page_size()] = (unsigned char)value;
		break;
	case 4 ... 7:
		*(volatile uint32_t *)(page + at) = (uint32_t)value;
		break;
	case 8 ... 11:
		*(volatile uint64_t *)(page + at) = value;
		break;
	default:
		*(volatile uint64_t *)(page + at) = SLOT + value % 3 - 1;
	}
}

/* The fields that matter most lie close together: they get more than their share. */
static void spoil_desc(struct tribuf_desc *desc, uint64_t *random)
{
	uint64_t value = chance(random);

	desc += value % TRIBUF_SLOTS;
	__atomic_store_n(&desc->generation, (uint32_t)value, __ATOMIC_RELAXED);
	__atomic_store_n(&desc->bytes, value >> 62 ? SLOT + value % 3 - 1 : value,
			 __ATOMIC_RELAXED);
	__atomic_store_n(&desc->seq, chance(random) >> (value >> 32 & 63), __ATOMIC_RELAXED);
}

/* On another processor than the victim, and before other programs, if we may. */
static void run_beside(int victims)
{
	struct sched_param first = { .sched_priority = 1 };
	cpu_set_t allowed;

	sched_getaffinity(0, sizeof(allowed), &allowed);
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
		if (cpu != victims && CPU_ISSET(cpu, &allowed)) {
			pin_to_cpu(cpu);
			sched_setscheduler(0, SCHED_FIFO, &first);
			return;
		}
}

static void spoil_all(struct tribuf *t, uint32_t role, struct shared *shared, uint64_t random)
{
	struct tribuf_frames *frames = (void *)t->desc;

	shared->ready = true;
	while (!__atomic_load_n(&shared->go, __ATOMIC_ACQUIRE))
		sleep_ms(1);
	run_beside(shared->cpu);
	while (!__atomic_load_n(&shared->stop, __ATOMIC_RELAXED)) {
		for (int i = 0; i < 64; i++)
			__atomic_store_n(t->word, any_word(*t->word, role, chance(&random)),
					 __ATOMIC_RELAXED);
		spoil_page((unsigned char *)t->word, &random);
		if (role == TRIBUF_PRODUCER) {
			spoil_page((unsigned char *)frames, &random);
			spoil_desc(frames->desc, &random);
			frames->format.version = (uint32_t)random;
			frames->format.bytes = (uint32_t)(random >> 32) % 1030;
		}
		if (random % 64 == 0)
			tribuf_ring(t);
		__atomic_add_fetch(&shared->written, 1, __ATOMIC_RELAXED);
	}
}

FIXTURE_SETUP(hostile)
{
	uint64_t random = seed();
	struct tribuf *t;

	REQUIRE_BACKEND(variant);
	self->name = channel_name(variant->prefix);
	self->shared = shared_with_children(struct shared);
	self->vandal = in_child({
		child_gets(0, open_as(&t, self->name, variant->role, TRIBUF_DEFAULT | TRIBUF_CREATE,
				      SLOT));
		spoil_all(t, variant->role, self->shared, random);
		tribuf_close(t);
	});
	ASSERT_TRUE(eventually(20000, __atomic_load_n(&self->shared->ready, __ATOMIC_ACQUIRE)));
	ASSERT_EQ(0, metronome_start(&self->metronome));
}

/* The channel may be spoilt for good: whoever owns the name replaces it. */
FIXTURE_TEARDOWN(hostile)
{
	struct tribuf *p, *c;

	metronome_stop(&self->metronome);
	EXPECT_EQ(0, self->metronome.late);
	self->shared->stop = self->shared->go = true;
	EXPECT_EQ(0, ended(self->vandal));
	printf("# %llu times vandalised\n", (unsigned long long)self->shared->written);
	fflush(stdout);
	ASSERT_EQ(0, open_as(&p, self->name, TRIBUF_PRODUCER,
			     TRIBUF_DEFAULT | TRIBUF_CREATE | TRIBUF_REPLACE, SLOT));
	ASSERT_EQ(0, tribuf_open_consumer(&c, self->name));
	EXPECT_EQ(1, lib_publish(p));
	tribuf_close(p);
	tribuf_close(c);
	EXPECT_TRUE(channel_is_gone(self->name));
}

/* The victims are there: from now on the metadata are not to be trusted. */
static void set_loose(struct shared *shared)
{
	shared->cpu = sched_getcpu();
	__atomic_store_n(&shared->go, true, __ATOMIC_RELEASE);
	eventually(20000, __atomic_load_n(&shared->written, __ATOMIC_RELAXED));
}

/* ---- what the victims do ---- */

struct answers {
	unsigned long good, spoilt, other;	/* calls that worked, EPROTO, another error */
	int wrong;				/* the first that none may be */
	int line;
};

static void note(struct answers *a, int line, long answer, const int *allowed, int count)
{
	bool known = false;

	for (int i = 0; i < count; i++)
		known |= answer == -allowed[i];
	a->good += answer >= 0;
	a->spoilt += answer == -EPROTO;
	a->other += answer < 0 && answer != -EPROTO;
	if (answer >= 0 || answer == -EPROTO || known || a->wrong)
		return;
	a->wrong = (int)answer;
	a->line = line;
}

/* Until @end, and until there was an answer of either kind. */
static bool goes_on(const struct answers *a, uint64_t end)
{
	return !a->wrong && (now() < end || !a->good || !a->spoilt);
}

static void judge(struct __test_metadata *_metadata, const struct answers *a)
{
	EXPECT_EQ(0, a->wrong) TH_LOG("in line %d", a->line);
	EXPECT_LT(0, a->good);
	EXPECT_LT(0, a->spoilt);
	printf("# %lu calls good, %lu EPROTO, %lu another error\n", a->good, a->spoilt, a->other);
	fflush(stdout);
}

/* A call in time, that works, says EPROTO, or one of the errors given. */
#define MAY(call, ...) ({							\
	static const int __allowed[] = { 0, ##__VA_ARGS__ };			\
	long __may = in_time(m, call);						\
										\
	note(a, __LINE__, __may, __allowed, (int)(sizeof(__allowed) / sizeof(int)));	\
	__may;									\
})

/* The frame lies within a slot; its first and last byte can be read. */
static bool within(const struct tribuf *t, const struct tribuf_frame *frame)
{
	const unsigned char *data = frame->data;
	size_t offset = (size_t)(data - (unsigned char *)t->slots);

	if (frame->slot >= TRIBUF_SLOTS || offset != frame->slot * t->slot_stride)
		return false;
	if (frame->bytes > t->slot_size)
		return false;
	return !frame->bytes || *(volatile const unsigned char *)data +
	       *(volatile const unsigned char *)(data + frame->bytes - 1) >= 0;
}

#define MUST(condition) do {							\
	if (!(condition) && !a->wrong) {					\
		a->wrong = -EFAULT;						\
		a->line = __LINE__;						\
	}									\
} while (0)

static void by_reference(struct tribuf *t, struct answers *a, struct metronome *m,
			 const struct tribuf_frame *frame)
{
	struct tribuf_gen_index index;
	unsigned char room[64];
	void *pointer = NULL;

	if (MAY(tribuf_ref(t, frame->data, &index), EINVAL, ESTALE))
		return;
	if (!MAY(tribuf_deref(t, index, 8, &pointer), EINVAL, ESTALE))
		MUST((unsigned char *)pointer >= (unsigned char *)t->slots &&
		     (unsigned char *)pointer + 8 <= (unsigned char *)t->slots +
		     TRIBUF_SLOTS * t->slot_stride);
	MAY(tribuf_copy(t, index, room, sizeof(room)), EINVAL, ESTALE);
}

static void consume(struct tribuf *t, struct answers *a, struct metronome *m)
{
	struct tribuf_acquired taken = {};
	struct tribuf_frame frame;
	unsigned char room[2048];
	size_t bytes = sizeof(room);
	uint32_t version;

	if (MAY(tribuf_acquire(t, &frame)) == 1) {
		MUST(within(t, &frame));
		by_reference(t, a, m, &frame);
	}
	if (!MAY(tribuf_format_get(t, room, &bytes, &version), EAGAIN))
		MUST(bytes <= TRIBUF_FORMAT_BYTES);
	MAY(tribuf_wait(t, TRIBUF_READY, 1000));
	taken.slot = (uint32_t)(now() / 1000 % (TRIBUF_SLOTS + 1));
	taken.desc.bytes = now() % (2 * SLOT);
	if (!MAY(tribuf_accept(t, &taken, &frame), ESTALE))
		MUST(within(t, &frame));
}

static void produce(struct tribuf *t, struct answers *a, struct metronome *m)
{
	struct tribuf_frame frame;

	if (!MAY(tribuf_begin(t, &frame))) {
		MUST(within(t, &frame));
		memset(frame.data, 0x5a, frame.bytes);
		by_reference(t, a, m, &frame);
		frame.bytes = 64;
		MAY(tribuf_publish(t, &frame));
	}
	MAY(tribuf_format_set(t, "format", 6));
	MAY(tribuf_wait(t, TRIBUF_READY, 1000));
	MAY(tribuf_ring(t));
}

static void observe(struct tribuf *t, struct answers *a, struct metronome *m)
{
	struct tribuf_frame frame;
	unsigned char room[SLOT];

	if (MAY(tribuf_snapshot(t, &frame, room, sizeof(room)), EAGAIN, ESTALE, EMSGSIZE) == 1)
		MUST(frame.bytes <= sizeof(room));
	MAY(tribuf_wait(t, TRIBUF_READY, 1000));
}

static void watch(struct tribuf *t, struct answers *a, struct metronome *m)
{
	struct tribuf_info_args args;

	MAY(tribuf_info(t, &args));
	MAY(tribuf_wait(t, TRIBUF_PEER_GONE | TRIBUF_PEER_BACK, 0));
	MAY(tribuf_polled(t, TRIBUF_READY, POLLIN | POLLOUT), ENOTSUP);
}

/* A role that comes and goes while the word is being spoilt. */
static struct tribuf *join_again(struct tribuf *t, const char *name, uint32_t role,
				 struct answers *a, struct metronome *m)
{
	struct tribuf *again = NULL;
	struct tribuf_options o = TRIBUF_OPTIONS_INIT;

	o.role = role;
	tribuf_close(t);
	MAY(tribuf_open(&again, name, &o));
	return again;
}

TEST_F_TIMEOUT(hostile, library_goes_on, 120)
{
	uint32_t role = variant->role == TRIBUF_PRODUCER ? TRIBUF_CONSUMER : TRIBUF_PRODUCER;
	struct metronome *m = &self->metronome;
	struct answers answers = {}, *a = &answers;
	struct tribuf *t = join_again(NULL, self->name, role, a, m);
	struct tribuf *o = join_again(NULL, self->name, TRIBUF_OBSERVER, a, m);
	uint64_t end = now() + scaled(400) * NS_PER_MS;
	unsigned long rounds = 0;

	set_loose(self->shared);
	while (goes_on(a, end)) {
		if (++rounds % 256 == 0 || !t)
			t = join_again(t, self->name, role, a, m);
		if (rounds % 256 == 0 || !o)
			o = join_again(o, self->name, TRIBUF_OBSERVER, a, m);
		if (t && role == TRIBUF_CONSUMER)
			consume(t, a, m);
		else if (t)
			produce(t, a, m);
		if (t)
			watch(t, a, m);
		if (o)
			observe(o, a, m);
	}
	judge(_metadata, a);
	tribuf_close(t);
	tribuf_close(o);
}

/* ---- the kernel's calls ---- */

static void call_as_consumer(int fd, struct answers *a, struct metronome *m)
{
	struct tribuf_acquired frame;

	if (!MAY(kernel_acquire(fd, &frame), EAGAIN))
		MUST(frame.slot < TRIBUF_SLOTS && frame.desc.bytes <= SLOT);
	if (MAY(negative_errno(read(fd, &frame, sizeof(frame))), EAGAIN) > 0)
		MUST(frame.slot < TRIBUF_SLOTS && frame.desc.bytes <= SLOT);
}

static void call_as_producer(int fd, struct answers *a, struct metronome *m)
{
	struct tribuf_publish_args args;
	struct tribuf_format_args f = {
		.size = sizeof(f), .flags = TRIBUF_FORMAT_SET, .buf = (uintptr_t)"format",
		.bytes = 6,
	};

	if (!MAY(kernel_publish(fd, 64, &args)))
		MUST(args.slot < TRIBUF_SLOTS && args.back < TRIBUF_SLOTS);
	MAY(tri_ioctl(fd, TRIBUF_IOC_FORMAT, &f));
}

static void call_as_any(int fd, struct answers *a, struct metronome *m, uint64_t random)
{
	unsigned char room[TRIBUF_FORMAT_BYTES];
	struct tribuf_format_args f = {
		.size = sizeof(f), .buf = (uintptr_t)room, .bytes = sizeof(room),
	};
	struct tribuf_list_entry entries[4];
	struct tribuf_list_args l = {
		.size = sizeof(l), .entries = (uintptr_t)entries, .count = 4,
		.entry_size = sizeof(entries[0]),
	};
	struct tribuf_info_args i;

	MAY(kernel_copy(fd, random % 4, (uint32_t)random, random % SLOT, room, 64), EINVAL, ESTALE);
	if (!MAY(tri_ioctl(fd, TRIBUF_IOC_FORMAT, &f), EAGAIN))
		MUST(f.bytes <= TRIBUF_FORMAT_BYTES);
	MAY(info(fd, &i, 0));
	MAY(tri_ioctl(fd, TRIBUF_IOC_LIST, &l));
	MAY(polled(fd, POLLIN | POLLOUT | POLLPRI, random % 16 ? 0 : 1));
	MAY(ring(fd), EACCES);
}

static int attach_again(int fd, uint32_t role, struct answers *a, struct metronome *m)
{
	close(fd);
	fd = (int)MAY(join(test_name(), role, role == TRIBUF_CONSUMER ? TRIBUF_LATEST : 0, 0));
	fcntl(fd, F_SETFL, O_NONBLOCK);
	return fd;
}

TEST_F_TIMEOUT(hostile, kernel_goes_on, 120)
{
	uint32_t role = variant->role == TRIBUF_PRODUCER ? TRIBUF_CONSUMER : TRIBUF_PRODUCER;
	struct metronome *m = &self->metronome;
	struct answers answers = {}, *a = &answers;
	uint64_t random = seed(), end = now() + scaled(400) * NS_PER_MS;
	unsigned long rounds = 0;
	int fd, observer;

	if (!on_device(variant))
		SKIP(return, "no kernel behind the shm backend");
	fd = attach_again(-1, role, a, m);
	observer = attach_again(-1, TRIBUF_OBSERVER, a, m);
	set_loose(self->shared);
	while (goes_on(a, end)) {
		if (++rounds % 256 == 0 || fd < 0)
			fd = attach_again(fd, role, a, m);
		if (rounds % 256 == 0 || observer < 0)
			observer = attach_again(observer, TRIBUF_OBSERVER, a, m);
		if (fd >= 0 && role == TRIBUF_CONSUMER)
			call_as_consumer(fd, a, m);
		else if (fd >= 0)
			call_as_producer(fd, a, m);
		if (fd >= 0)
			call_as_any(fd, a, m, chance(&random));
		call_as_consumer(observer, a, m);
		call_as_any(observer, a, m, chance(&random));
	}
	judge(_metadata, a);
	close(fd);
	close(observer);
}

TEST_HARNESS_MAIN
