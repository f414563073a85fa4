// SPDX-License-Identifier: GPL-2.0-only
/*
 * A channel between a 32-bit and a 64-bit process: this suite against its own
 * 32-bit build, which stands beside it (NAME.32) and is the peer. By the kernel's
 * calls and by the library, both ways round, on both kinds of channels.
 */
#include "guard.h"
#include "lib.h"

#include <sys/resource.h>

#define PEER_BUILD	".32"
#define ABOVE_4G	((4ull << 30) + 4096)	/* 4096, to whoever cuts it to 32 bits */

/* How a peer is run: NAME.32 peer ROLE INTERFACE KIND CHANNEL FRAMES. */
struct peer_run {
	uint32_t role, kind;
	bool library;
	const char *channel;
	uint64_t frames;
};

/* ---- both sides, by the kernel's calls ---- */

static int open_raw(struct peer *p, const struct peer_run *r)
{
	uint32_t flags = r->role == TRIBUF_CONSUMER ? TRIBUF_LATEST : 0;

	return r->kind ? guarded_open(p, r->channel, r->role, flags, 0) :
			 peer_open(p, r->channel, r->role, flags, 0);
}

static int publish_raw(struct peer *p, const struct peer_run *r, uint64_t seq)
{
	uint64_t bytes = pattern_bytes(seq, p->at.slot_size);

	if (!r->kind)
		return publish_pattern(p) == (int64_t)seq ? 0 : -EPROTO;
	pattern_fill(slot_of(p, tribuf_word_back(word_of(p))), seq, bytes);
	return kernel_publish(p->fd, bytes, NULL);
}

/* The number of the next frame, 0: there is none, or -errno. */
static int64_t take_raw(struct peer *c, const struct peer_run *r)
{
	struct tribuf_acquired frame;
	int slot;

	if (r->kind) {
		slot = kernel_acquire(c->fd, &frame);
		slot = slot ?: (int)frame.slot;
	} else {
		slot = acquire(c);
	}
	if (slot < 0)
		return slot == -EAGAIN ? 0 : slot;
	return frame_holds(c, slot) ? (int64_t)desc_of(c, (uint32_t)slot)->seq : -EBADMSG;
}

static int produce_raw(const struct peer_run *r)
{
	struct peer p;
	int err = open_raw(&p, r);

	for (uint64_t seq = 1; !err && seq <= r->frames; seq++) {
		err = publish_raw(&p, r, seq);
		if (!err && polled(p.fd, POLLOUT, 20000) != POLLOUT)
			err = -ETIMEDOUT;
	}
	peer_close(&p);
	return err;
}

static int consume_raw(const struct peer_run *r)
{
	struct peer c;
	int64_t got = 0;
	int err = open_raw(&c, r);

	while (!err && got < (int64_t)r->frames) {
		if (!(polled(c.fd, POLLIN, 20000) & POLLIN))
			err = -ETIMEDOUT;
		got = take_raw(&c, r);
		err = got < 0 ? (int)got : err;
	}
	peer_close(&c);
	return err;
}

/* ---- by the library ---- */

static int produce_lib(const struct peer_run *r)
{
	struct tribuf *p;
	int err = open_as(&p, r->channel, TRIBUF_PRODUCER, TRIBUF_DEFAULT, 0);

	for (uint64_t seq = 1; !err && seq <= r->frames; seq++) {
		err = lib_publish(p) == (int64_t)seq ? 0 : -EPROTO;
		if (!err && tribuf_wait(p, TRIBUF_READY, 20 * (int64_t)NS_PER_S) != TRIBUF_READY)
			err = -ETIMEDOUT;
	}
	tribuf_close(p);
	return err;
}

static int consume_lib(const struct peer_run *r)
{
	struct tribuf_frame frame = {};
	struct tribuf_gen_index index = {};
	void *pointer = NULL;
	struct tribuf *c;
	int err = open_as(&c, r->channel, TRIBUF_CONSUMER, TRIBUF_DEFAULT, 0);

	while (!err && frame.seq < r->frames) {
		if (tribuf_wait(c, TRIBUF_READY, 20 * (int64_t)NS_PER_S) <= 0)
			err = -ETIMEDOUT;
		else if (tribuf_acquire(c, &frame) != 1 || !lib_whole(&frame, c->slot_size))
			err = -EBADMSG;
		else
			err = tribuf_ref(c, frame.data, &index) ?:
			      tribuf_deref(c, index, frame.bytes, &pointer);
		if (!err && pointer != frame.data)
			err = -EBADMSG;
	}
	tribuf_close(c);
	return err;
}

static int run_peer(const struct peer_run *r)
{
	if (r->role == TRIBUF_PRODUCER)
		return r->library ? produce_lib(r) : produce_raw(r);
	return r->library ? consume_lib(r) : consume_raw(r);
}

/* ---- what a 32-bit process must not get wrong ---- */

/* Sizes and offsets of more than 32 bits arrive whole. */
static int check_sizes(const struct peer_run *r)
{
	int fd = join(r->channel, TRIBUF_OBSERVER, 0, 0);
	struct tribuf *t;
	char byte;

	child_must(fd >= 0);
	child_gets(-EFBIG, join(NULL, TRIBUF_KEEPER, TRIBUF_CREATE | TRIBUF_ANONYMOUS | r->kind,
				ABOVE_4G));
	child_gets(-EFBIG, open_as(&t, "selftest.large", TRIBUF_PRODUCER,
				   TRIBUF_DEFAULT | TRIBUF_CREATE | r->kind, ABOVE_4G));
	child_gets(-EINVAL, join(r->channel, TRIBUF_KEEPER, 0, ABOVE_4G));
	child_gets(-EINVAL, kernel_copy(fd, 0, 0, ABOVE_4G, &byte, 1));
	child_gets(-EINVAL, kernel_copy(fd, 0, 0, 0, &byte, ABOVE_4G));
	close(fd);
	return 0;
}

/* Slots that there is no room for: an error, and the role is free again. */
static int check_room(const struct peer_run *r)
{
	struct rlimit some = { 64 << 20, 64 << 20 };
	struct tribuf *t;
	struct peer p;

	child_must(!setrlimit(RLIMIT_AS, &some));
	for (int i = 0; i < 3; i++) {
		child_gets(-ENOMEM, open_raw(&p, r));
		child_gets(-ENOMEM, open_as(&t, r->channel, TRIBUF_PRODUCER, TRIBUF_DEFAULT, 0));
	}
	return 0;
}

/* Called before main() and the harness: the other build is run as a peer. */
static __attribute__((constructor)) void be_the_peer(int argc, char **argv)
{
	struct peer_run r;
	int err;

	if (argc != 7 || strcmp(argv[1], "peer"))
		return;
	r = (struct peer_run){
		.role = (uint32_t)atoi(argv[2]), .library = atoi(argv[3]),
		.kind = (uint32_t)atoi(argv[4]), .channel = argv[5],
		.frames = strtoull(argv[6], NULL, 0),
	};
	if (r.frames)
		err = run_peer(&r);
	else
		err = r.role == TRIBUF_KEEPER ? check_sizes(&r) : check_room(&r);
	if (err)
		fprintf(stderr, "# %d-bit peer: %s\n", (int)(8 * sizeof(long)), strerror(-err));
	_exit(!!err);
}

/* ---- the cases ---- */

FIXTURE(compat) {
	char other[256];
	int keeper;
};

FIXTURE_VARIANT(compat) {
	bool library;
	uint32_t kind;
};

FIXTURE_VARIANT_ADD(compat, calls) { .library = false };
FIXTURE_VARIANT_ADD(compat, calls_guarded) { .library = false, .kind = TRIBUF_GUARDED };
FIXTURE_VARIANT_ADD(compat, library) { .library = true };
FIXTURE_VARIANT_ADD(compat, library_guarded) { .library = true, .kind = TRIBUF_GUARDED };

FIXTURE_SETUP(compat)
{
	ssize_t length = readlink("/proc/self/exe", self->other, sizeof(self->other) - 8);

	if (access(DEVICE, F_OK))
		SKIP(_exit(255), "no " DEVICE ": load the module (tribuf load)");
	ASSERT_LT(0, length);
	strcpy(self->other + length, PEER_BUILD);
	if (access(self->other, X_OK))
		SKIP(_exit(255), "no 32-bit build: install gcc-12-multilib");
	self->keeper = join(test_name(), TRIBUF_KEEPER, TRIBUF_CREATE | variant->kind, 3 * SLOT);
	ASSERT_LE(0, self->keeper);
}

FIXTURE_TEARDOWN(compat)
{
	close(self->keeper);
}

static pid_t start_other(const char *path, const struct peer_run *r)
{
	char role[12], library[12], kind[12], frames[24];

	snprintf(role, sizeof(role), "%u", r->role);
	snprintf(library, sizeof(library), "%d", r->library);
	snprintf(kind, sizeof(kind), "%u", r->kind);
	snprintf(frames, sizeof(frames), "%llu", (unsigned long long)r->frames);
	return in_child({
		execl(path, path, "peer", role, library, kind, r->channel, frames, NULL);
		_exit(127);
	});
}

static void exchange(struct __test_metadata *_metadata, FIXTURE_DATA(compat) *self,
		     const FIXTURE_VARIANT(compat) *variant, uint32_t role)
{
	struct peer_run here = {
		.role = role, .kind = variant->kind, .library = variant->library,
		.channel = test_name(), .frames = scaled(400),
	};
	struct peer_run there = here;
	pid_t other;

	there.role = role == TRIBUF_PRODUCER ? TRIBUF_CONSUMER : TRIBUF_PRODUCER;
	other = start_other(self->other, &there);
	EXPECT_EQ(0, run_peer(&here));
	EXPECT_EQ(0, ended(other));
}

TEST_F_TIMEOUT(compat, frames_go_to_32_bits, 120)
{
	exchange(_metadata, self, variant, TRIBUF_PRODUCER);
}

TEST_F_TIMEOUT(compat, frames_come_from_32_bits, 120)
{
	exchange(_metadata, self, variant, TRIBUF_CONSUMER);
}

TEST_F(compat, sizes_beyond_32_bits_arrive_whole)
{
	struct peer_run r = {
		.role = TRIBUF_KEEPER, .kind = variant->kind, .library = variant->library,
		.channel = test_name(),
	};

	EXPECT_EQ(0, ended(start_other(self->other, &r)));
}

TEST_F(compat, slots_without_room_are_refused)
{
	struct peer_run r = {
		.role = TRIBUF_PRODUCER, .kind = variant->kind, .library = variant->library,
		.channel = "selftest.roomy",
	};
	int keeper = join(r.channel, TRIBUF_KEEPER, TRIBUF_CREATE | r.kind, 32 << 20);

	ASSERT_LE(0, keeper);
	EXPECT_EQ(0, ended(start_other(self->other, &r)));
	EXPECT_FALSE(peek(keeper).state & TRIBUF_STATE_PRODUCER);
	close(keeper);
}

TEST_HARNESS_MAIN
