// SPDX-License-Identifier: GPL-2.0-only
/*
 * Who may attach to what: mode bits, owners, the handle's open mode, grants,
 * descriptors handed over, IPC and user namespaces, other device nodes, limits.
 */
#include <sched.h>
#include <sys/fsuid.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/time.h>

#include "common.h"

#define ALICE	1000u
#define BOB	2000u

/*
 * Be another user for file access, as a file server would; the capabilities
 * that override modes go with it, and come back with root's.
 */
static void act_as(uid_t uid, gid_t gid)
{
	setfsuid(0);
	setfsgid(gid);
	setfsuid(uid);
}

static int join_as(uid_t uid, gid_t gid, struct tribuf_attach_args *args)
{
	int fd = device(O_RDWR), err;

	act_as(uid, gid);
	err = attach(fd, args);
	act_as(0, 0);
	if (!err)
		return fd;
	close(fd);
	return err;
}

/* A channel of Alice's, held by a keeper, with mode @mode. */
static int alices(uint32_t mode)
{
	struct tribuf_attach_args args = attach_args(test_name(), TRIBUF_KEEPER, TRIBUF_CREATE,
						     SLOT);

	args.mode = mode;
	return join_as(ALICE, ALICE, &args);
}

static int try_as(uid_t uid, gid_t gid, uint32_t role, uint32_t flags)
{
	struct tribuf_attach_args args = attach_args(test_name(), role, flags,
						     flags & TRIBUF_CREATE ? SLOT : 0);
	int fd = join_as(uid, gid, &args);

	if (fd < 0)
		return fd;
	close(fd);
	return 0;
}

FIXTURE(mode) {
};

FIXTURE_VARIANT(mode) {
	uid_t uid;
	gid_t gid;
	int shift;
};

FIXTURE_VARIANT_ADD(mode, owner) { .uid = ALICE, .gid = ALICE, .shift = 6 };
FIXTURE_VARIANT_ADD(mode, owner_of_another_group) { .uid = ALICE, .gid = BOB, .shift = 6 };
FIXTURE_VARIANT_ADD(mode, group) { .uid = BOB, .gid = ALICE, .shift = 3 };
FIXTURE_VARIANT_ADD(mode, others) { .uid = BOB, .gid = BOB, .shift = 0 };

FIXTURE_SETUP(mode)
{
	if (geteuid())
		SKIP(_exit(255), "needs root, to act as others");
	umask(0);
	ASSERT_EQ(0, setgroups(0, NULL));
}

FIXTURE_TEARDOWN(mode)
{
}

/* All eight values of one class's bits; the other classes say the opposite. */
TEST_F(mode, decides_for_each_role)
{
	for (uint32_t bits = 0; bits < 8; bits++) {
		uint32_t mode = 0777 & ~(7u << variant->shift);
		int reads = bits & 4 ? 0 : -EACCES;
		int writes = (bits & 6) == 6 ? 0 : -EACCES;
		int keeper;

		if (bits == 7)
			mode = 0;
		keeper = alices(mode | bits << variant->shift);
		ASSERT_LE(0, keeper);
		EXPECT_EQ(writes, try_as(variant->uid, variant->gid, TRIBUF_PRODUCER, 0));
		EXPECT_EQ(writes, try_as(variant->uid, variant->gid, TRIBUF_CONSUMER, 0));
		EXPECT_EQ(reads, try_as(variant->uid, variant->gid, TRIBUF_OBSERVER, 0));
		EXPECT_EQ(reads, try_as(variant->uid, variant->gid, TRIBUF_KEEPER, 0));
		EXPECT_EQ(writes, try_as(variant->uid, variant->gid, TRIBUF_PRODUCER,
					 TRIBUF_CREATE));
		close(keeper);
	}
}

FIXTURE(rights) {
	int fd;
};

FIXTURE_SETUP(rights)
{
	if (geteuid())
		SKIP(_exit(255), "needs root, to act as others");
	ASSERT_EQ(0, setgroups(0, NULL));
	umask(022);
	self->fd = -1;
}

FIXTURE_TEARDOWN(rights)
{
	close(self->fd);
}

TEST_F(rights, root_may_all)
{
	self->fd = alices(0);
	EXPECT_EQ(0, try_as(0, 0, TRIBUF_PRODUCER, 0));
	EXPECT_EQ(0, try_as(0, 0, TRIBUF_CONSUMER, 0));
	EXPECT_EQ(0, try_as(0, 0, TRIBUF_OBSERVER, 0));
}

TEST_F(rights, owner_and_group_are_the_creators)
{
	self->fd = alices(0600);
	EXPECT_EQ(ALICE, peek(self->fd).uid);
	EXPECT_EQ(ALICE, peek(self->fd).gid);
}

TEST_F(rights, umask_holds_for_the_mode)
{
	umask(027);
	self->fd = alices(0777);
	EXPECT_EQ(0750, peek(self->fd).mode);
}

TEST_F(rights, supplementary_groups_count)
{
	gid_t group = ALICE;

	self->fd = alices(0060);
	umask(0);
	EXPECT_EQ(-EACCES, try_as(BOB, BOB, TRIBUF_OBSERVER, 0));
	ASSERT_EQ(0, setgroups(1, &group));
	EXPECT_EQ(0, try_as(BOB, BOB, TRIBUF_OBSERVER, 0));
}

TEST_F(rights, a_process_of_another_user)
{
	int fd = device(O_RDWR), readable = device(O_RDWR);

	umask(0);
	self->fd = alices(0644);
	EXPECT_CHILD(
		struct tribuf_attach_args args = attach_args(test_name(), TRIBUF_CONSUMER, 0, 0);
		struct tribuf_attach_args look = attach_args(test_name(), TRIBUF_OBSERVER, 0, 0);

		become(NOBODY);
		child_gets(-EACCES, attach(fd, &args));
		child_gets(0, attach(readable, &look));
	);
	EXPECT_EQ(0, peek(self->fd).consumer_epoch);
}

TEST_F(rights, the_device_is_there_for_everybody)
{
	EXPECT_CHILD(
		become(NOBODY);
		child_must(join(test_name(), TRIBUF_PRODUCER, TRIBUF_CREATE, SLOT) >= 0);
	);
}

/* Each of the roles needs an open mode; root's rights do not make up for it. */
TEST_F(rights, open_mode_counts)
{
	static const struct { uint32_t role; int flags, err; } cases[] = {
		{ TRIBUF_PRODUCER, O_RDONLY, -EACCES }, { TRIBUF_PRODUCER, O_WRONLY, -EACCES },
		{ TRIBUF_CONSUMER, O_RDONLY, -EACCES }, { TRIBUF_CONSUMER, O_WRONLY, -EACCES },
		{ TRIBUF_OBSERVER, O_RDONLY, 0 }, { TRIBUF_OBSERVER, O_WRONLY, -EACCES },
		{ TRIBUF_KEEPER, O_RDONLY, 0 }, { TRIBUF_KEEPER, O_WRONLY, -EACCES },
	};

	self->fd = alices(0666);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct tribuf_attach_args args = attach_args(test_name(), cases[i].role, 0, 0);
		int fd = device(cases[i].flags);

		EXPECT_EQ(cases[i].err, attach(fd, &args)) TH_LOG("case %zu", i);
		close(fd);
	}
}

TEST_F(rights, owner_flag_refuses_a_squatters_channel)
{
	umask(0);
	self->fd = alices(0666);
	EXPECT_EQ(-EPERM, try_as(BOB, BOB, TRIBUF_CONSUMER, TRIBUF_OWNER));
	EXPECT_EQ(-EPERM, try_as(0, 0, TRIBUF_CONSUMER, TRIBUF_OWNER));
	EXPECT_EQ(-EPERM, try_as(BOB, BOB, TRIBUF_PRODUCER, TRIBUF_OWNER | TRIBUF_CREATE));
	EXPECT_EQ(0, try_as(ALICE, ALICE, TRIBUF_CONSUMER, TRIBUF_OWNER));
	EXPECT_EQ(0, try_as(BOB, BOB, TRIBUF_CONSUMER, 0));
}

TEST_F(rights, owner_flag_trusts_root)
{
	struct tribuf_attach_args args = attach_args(test_name(), TRIBUF_KEEPER, TRIBUF_CREATE,
						     SLOT);

	umask(0);
	args.mode = 0666;
	self->fd = attach_new(&args);
	EXPECT_EQ(0, try_as(BOB, BOB, TRIBUF_CONSUMER, TRIBUF_OWNER));
}

TEST_F(rights, replace_is_for_the_owner)
{
	umask(0);
	self->fd = alices(0666);
	EXPECT_EQ(-EPERM, try_as(BOB, BOB, TRIBUF_PRODUCER, TRIBUF_CREATE | TRIBUF_REPLACE));
	EXPECT_FALSE(peek(self->fd).state & TRIBUF_STATE_REPLACED);
	EXPECT_EQ(0, try_as(ALICE, ALICE, TRIBUF_PRODUCER, TRIBUF_CREATE | TRIBUF_REPLACE));
	EXPECT_TRUE(peek(self->fd).state & TRIBUF_STATE_REPLACED);
}

static bool listed(int fd, const char *name)
{
	struct tribuf_list_entry *entries = calloc(256, sizeof(*entries));
	struct tribuf_list_args list = {
		.size = sizeof(list), .entries = (uintptr_t)entries, .count = 256,
		.entry_size = sizeof(*entries),
	};
	bool found = false;

	if (tri_ioctl(fd, TRIBUF_IOC_LIST, &list))
		list.count = 0;
	for (uint32_t i = 0; i < list.count; i++)
		found |= !strcmp((char *)entries[i].name, name);
	free(entries);
	return found;
}

/* Each refusal, as a process without any right gets it. */
TEST_F(rights, every_refusal_to_an_unprivileged_process)
{
	const char *name = test_name();
	int look, closed, gate;

	umask(0);
	self->fd = alices(0644);
	closed = join("selftest.closed", TRIBUF_KEEPER, TRIBUF_CREATE, SLOT);
	gate = join_fd(self->fd, TRIBUF_KEEPER, TRIBUF_GRANT(TRIBUF_CONSUMER));
	ASSERT_LE(0, closed);
	ASSERT_LE(0, gate);
	EXPECT_CHILD(
		become(NOBODY);
		/* by the mode */
		child_gets(-EACCES, join(name, TRIBUF_PRODUCER, 0, 0));
		child_gets(-EACCES, join(name, TRIBUF_CONSUMER, TRIBUF_PENDING, 0));
		child_gets(-EACCES, join(name, TRIBUF_PRODUCER, TRIBUF_CREATE, SLOT));
		for (uint32_t role = TRIBUF_PRODUCER; role <= TRIBUF_KEEPER; role++)
			child_gets(-EACCES, join("selftest.closed", role, 0, 0));
		/* by the owner */
		child_gets(-EPERM, join(name, TRIBUF_PRODUCER, TRIBUF_CREATE | TRIBUF_REPLACE,
					SLOT));
		child_gets(-EPERM, join(name, TRIBUF_OBSERVER, TRIBUF_OWNER, 0));
		child_gets(-EEXIST, join(name, TRIBUF_KEEPER, TRIBUF_CREATE | TRIBUF_EXCL, SLOT));
		/* by what a descriptor grants */
		child_gets(-EACCES, join_fd(gate, TRIBUF_PRODUCER, 0));
		child_gets(-EPERM, join_fd(gate, TRIBUF_CONSUMER, TRIBUF_GRANT(TRIBUF_PRODUCER)));
		look = join(name, TRIBUF_OBSERVER, 0, 0);
		child_must(look >= 0);
		child_gets(-EACCES, join_fd(look, TRIBUF_OBSERVER, 0));
		child_gets(-EBADF, join_fd(-1, TRIBUF_OBSERVER, 0));
		child_gets(-EBADF, join_fd(open("/dev/null", O_RDWR), TRIBUF_OBSERVER, 0));
		/* by the role */
		child_gets(-EACCES, kernel_publish(look, 1, NULL));
		child_gets(-EACCES, ring(look));
		child_must(!map(look, page_offset(TRIBUF_PAGE_STATE), page_size(),
				PROT_READ | PROT_WRITE) && errno == EACCES);
		child_must(!listed(look, "selftest.closed") && listed(look, name));
		/* nor may the limits be changed */
		child_must(open(PARAMETERS "user_bytes_max", O_WRONLY) < 0 && errno == EACCES);
	);
	close(closed);
	close(gate);
}

/* What somebody else's channel will be is not for those to say who may only read it. */
TEST_F(rights, readers_bring_no_geometry)
{
	struct tribuf_attach_args args = attach_args(test_name(), TRIBUF_KEEPER, TRIBUF_PENDING, 0);

	umask(0);
	args.mode = 0664;
	self->fd = join_as(ALICE, ALICE, &args);
	ASSERT_LE(0, self->fd);
	EXPECT_EQ(-EACCES, try_as(BOB, BOB, TRIBUF_KEEPER, TRIBUF_CREATE));
	EXPECT_EQ(-EACCES, try_as(BOB, BOB, TRIBUF_OBSERVER, TRIBUF_CREATE));
	EXPECT_EQ(-EACCES, try_as(BOB, BOB, TRIBUF_CONSUMER, TRIBUF_PENDING | TRIBUF_GUARDED));
	EXPECT_EQ(0, try_as(BOB, BOB, TRIBUF_OBSERVER, TRIBUF_PENDING));
	EXPECT_EQ(0, try_as(BOB, ALICE, TRIBUF_KEEPER, TRIBUF_CREATE));
	/* Now that it has one, a reader may say what it expects. */
	EXPECT_EQ(0, try_as(BOB, BOB, TRIBUF_OBSERVER, TRIBUF_CREATE));
}

/* A guarded consumer only reads; whoever would write needs the right to. */
TEST_F(rights, guarded_consumers_need_no_right_to_write)
{
	struct tribuf_attach_args args = attach_args(test_name(), TRIBUF_KEEPER,
						     TRIBUF_CREATE | TRIBUF_GUARDED, SLOT);
	const char *name = test_name();

	umask(0);
	args.mode = 0644;
	self->fd = attach_new(&args);
	ASSERT_LE(0, self->fd);
	EXPECT_CHILD(
		struct tribuf_attach_args as = attach_args(name, TRIBUF_CONSUMER, TRIBUF_GUARDED,
							   0);
		int fd;

		become(NOBODY);
		child_gets(-EACCES, join(name, TRIBUF_PRODUCER, TRIBUF_GUARDED, 0));
		fd = device(O_RDONLY);
		child_gets(0, attach(fd, &as));
		child_must(map(fd, (off_t)as.slots_offset, page_size(), PROT_READ));
		child_must(!map(fd, (off_t)as.slots_offset, page_size(), PROT_READ | PROT_WRITE) &&
			   errno == EACCES);
	);
}

/* The role stays, as an open file does; what is asked for anew is asked by the new user. */
TEST_F(rights, another_user_after_open_gains_nothing)
{
	const char *name = test_name();
	int unattached = device(O_RDWR);

	umask(0);
	self->fd = alices(0600);
	EXPECT_CHILD(
		struct tribuf_attach_args args = attach_args(name, TRIBUF_CONSUMER, 0, 0);
		int role = join(name, TRIBUF_PRODUCER, 0, 0);

		child_must(role >= 0);
		become(NOBODY);
		child_gets(0, kernel_publish(role, 1, NULL));
		child_gets(-EACCES, attach(unattached, &args));
		child_gets(-EACCES, join(name, TRIBUF_OBSERVER, 0, 0));
		child_gets(-EACCES, join_fd(role, TRIBUF_OBSERVER, 0));
		child_gets(-EPERM, join(name, TRIBUF_PRODUCER, TRIBUF_CREATE | TRIBUF_REPLACE,
					SLOT));
		child_must(!listed(role, name));
	);
	close(unattached);
}

/* To be root again is to be asked again, too: the handle of a user stays a user's. */
TEST_F(rights, a_role_does_not_grow_with_its_process)
{
	const char *name = test_name();
	int fd;

	umask(0);
	self->fd = alices(0644);
	EXPECT_CHILD(
		child_must(!setresuid(NOBODY, NOBODY, 0));
		fd = join(name, TRIBUF_OBSERVER, 0, 0);
		child_must(fd >= 0);
		child_must(!setresuid(0, 0, 0));
		child_gets(-EACCES, kernel_publish(fd, 1, NULL));
		child_gets(0, (long)peek(fd).grants);
		child_gets(-EACCES, join_fd(fd, TRIBUF_CONSUMER, 0));
		child_must(!map(fd, page_offset(TRIBUF_PAGE_STATE), page_size(),
				PROT_READ | PROT_WRITE) && errno == EACCES);
	);
}

TEST_F(rights, list_tells_who_may_read)
{
	int fd = device(O_RDONLY);
	bool seen;

	umask(0);
	self->fd = alices(0640);
	EXPECT_TRUE(listed(fd, test_name()));
	act_as(ALICE, ALICE);
	seen = listed(fd, test_name());
	act_as(BOB, ALICE);
	seen &= listed(fd, test_name());
	act_as(0, 0);
	EXPECT_TRUE(seen);
	act_as(BOB, BOB);
	seen = listed(fd, test_name());
	act_as(0, 0);
	EXPECT_FALSE(seen);
}

/* ---- grants, and descriptors that are handed over ---- */

FIXTURE(grants) {
	int creator;
};

FIXTURE_SETUP(grants)
{
	self->creator = join(NULL, TRIBUF_KEEPER, TRIBUF_CREATE | TRIBUF_ANONYMOUS, SLOT);
	ASSERT_LE(0, self->creator);
}

FIXTURE_TEARDOWN(grants)
{
	close(self->creator);
}

TEST_F(grants, creator_grants_all)
{
	EXPECT_EQ(TRIBUF_GRANT_ALL, peek(self->creator).grants);
	EXPECT_LE(0, join_fd(self->creator, TRIBUF_PRODUCER, 0));
	EXPECT_LE(0, join_fd(self->creator, TRIBUF_CONSUMER, 0));
	EXPECT_LE(0, join_fd(self->creator, TRIBUF_OBSERVER, 0));
	EXPECT_LE(0, join_fd(self->creator, TRIBUF_KEEPER, 0));
}

TEST_F(grants, exactly_what_was_given)
{
	for (uint32_t given = TRIBUF_PRODUCER; given <= TRIBUF_KEEPER; given++) {
		int through = join_fd(self->creator, TRIBUF_KEEPER, TRIBUF_GRANT(given));

		ASSERT_LE(0, through);
		EXPECT_EQ(TRIBUF_GRANT(given), peek(through).grants);
		for (uint32_t role = TRIBUF_PRODUCER; role <= TRIBUF_KEEPER; role++) {
			int fd = join_fd(through, role, 0);

			EXPECT_EQ(role == given ? 0 : -EACCES, fd < 0 ? fd : 0);
			close(fd);
		}
		close(through);
	}
}

TEST_F(grants, only_shrink_on_the_way)
{
	uint32_t two = TRIBUF_GRANT(TRIBUF_KEEPER) | TRIBUF_GRANT(TRIBUF_CONSUMER);
	int first = join_fd(self->creator, TRIBUF_KEEPER, two);
	int second = join_fd(first, TRIBUF_KEEPER, TRIBUF_GRANT(TRIBUF_CONSUMER));

	ASSERT_LE(0, second);
	EXPECT_EQ(-EPERM, join_fd(first, TRIBUF_CONSUMER, TRIBUF_GRANT_ALL));
	EXPECT_EQ(-EPERM, join_fd(second, TRIBUF_CONSUMER, two));
	EXPECT_EQ(-EACCES, join_fd(second, TRIBUF_KEEPER, 0));
	EXPECT_LE(0, join_fd(second, TRIBUF_CONSUMER, 0));
}

TEST_F(grants, anonymous_has_no_name)
{
	struct tribuf_info_args i = peek(self->creator);
	uint8_t none[TRIBUF_NAME_SIZE] = "";

	EXPECT_EQ(0, memcmp(none, i.name, sizeof(none)));
	EXPECT_EQ(-EINVAL, join("", TRIBUF_KEEPER, 0, 0));
}

static void send_fd(int sock, int fd)
{
	union { struct cmsghdr align; char room[CMSG_SPACE(sizeof(int))]; } control = {};
	struct iovec byte = { .iov_base = "x", .iov_len = 1 };
	struct msghdr message = {
		.msg_iov = &byte, .msg_iovlen = 1,
		.msg_control = &control, .msg_controllen = sizeof(control),
	};
	struct cmsghdr *c = CMSG_FIRSTHDR(&message);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &fd, sizeof(int));
	sendmsg(sock, &message, 0);
}

static int receive_fd(int sock)
{
	union { struct cmsghdr align; char room[CMSG_SPACE(sizeof(int))]; } control = {};
	char room;
	struct iovec byte = { .iov_base = &room, .iov_len = 1 };
	struct msghdr message = {
		.msg_iov = &byte, .msg_iovlen = 1,
		.msg_control = &control, .msg_controllen = sizeof(control),
	};
	int fd = -1;

	if (recvmsg(sock, &message, MSG_CMSG_CLOEXEC) == 1 && CMSG_FIRSTHDR(&message))
		memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof(int));
	return fd;
}

/* A stranger without rights or relation gets a channel through a socket. */
TEST_F(grants, anonymous_channel_over_a_socket)
{
	struct tribuf_attach_args through = attach_args(NULL, TRIBUF_PRODUCER, TRIBUF_BY_FD, 0);
	struct peer p;
	int pair[2], gate;
	pid_t stranger;

	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	stranger = in_child({
		struct tribuf_attach_args args = attach_args(NULL, TRIBUF_CONSUMER, TRIBUF_BY_FD,
							     0);
		struct peer c;
		int slot;

		close(self->creator);
		if (!geteuid())
			become(NOBODY);
		args.fd = receive_fd(pair[1]);
		child_must(args.fd >= 0);
		child_gets(-EACCES, join_fd(args.fd, TRIBUF_PRODUCER, 0));
		child_gets(0, peer_attach(&c, &args));
		child_must(polled(c.fd, POLLIN, 5000) & POLLIN);
		slot = acquire(&c);
		child_must(slot >= 0 && frame_holds(&c, slot));
	});
	gate = join_fd(self->creator, TRIBUF_KEEPER, TRIBUF_GRANT(TRIBUF_CONSUMER));
	send_fd(pair[0], gate);
	close(gate);
	through.fd = self->creator;
	ASSERT_EQ(0, peer_attach(&p, &through));
	EXPECT_EQ(1, publish_pattern(&p));
	EXPECT_EQ(0, ended(stranger));
	peer_close(&p);
}

TEST_F(grants, go_beyond_the_mode)
{
	int named, fd = device(O_RDWR);

	if (geteuid())
		SKIP(_exit(255), "needs root, to act as others");
	umask(0);
	named = alices(0600);
	EXPECT_CHILD(
		struct tribuf_attach_args args = attach_args(NULL, TRIBUF_CONSUMER, TRIBUF_BY_FD,
							     0);

		args.fd = named;
		become(NOBODY);
		child_gets(0, attach(fd, &args));
	);
}

TEST_F(grants, not_beyond_the_open_mode)
{
	struct tribuf_attach_args args = attach_args(NULL, TRIBUF_CONSUMER, TRIBUF_BY_FD, 0);
	int fd = device(O_RDONLY);

	args.fd = self->creator;
	EXPECT_EQ(-EACCES, attach(fd, &args));
	close(fd);
}

TEST_F(grants, stale_once_replaced)
{
	int old = join(test_name(), TRIBUF_KEEPER, TRIBUF_CREATE, SLOT);

	ASSERT_LE(0, join(test_name(), TRIBUF_PRODUCER, TRIBUF_CREATE | TRIBUF_REPLACE, SLOT));
	EXPECT_EQ(-ESTALE, join_fd(old, TRIBUF_CONSUMER, 0));
}

/* ---- namespaces ---- */

TEST_F(rights, names_live_in_an_ipc_namespace)
{
	int outside = join(test_name(), TRIBUF_KEEPER, TRIBUF_CREATE, SLOT);
	const char *name = test_name();

	ASSERT_LE(0, outside);
	EXPECT_CHILD(
		struct tribuf_attach_args args = attach_args(name, TRIBUF_PRODUCER,
							     TRIBUF_CREATE, 2 * SLOT);
		int look = device(O_RDONLY);

		child_must(!unshare(CLONE_NEWIPC));
		child_gets(-ENOENT, join(name, TRIBUF_CONSUMER, 0, 0));
		child_must(!listed(look, name));
		child_must(attach_new(&args) >= 0);
		child_must(args.created && args.channel != peek(outside).channel);
		child_must(listed(look, name));
		/* A descriptor that was handed over opens the way, though. */
		child_must(join_fd(outside, TRIBUF_CONSUMER, 0) >= 0);
	);
	close(outside);
}

/* A channel outlives the last process of its namespace while a handle is open. */
TEST_F(rights, ipc_namespace_is_pinned)
{
	struct tribuf_attach_args through = attach_args(NULL, TRIBUF_PRODUCER, TRIBUF_BY_FD, 0);
	struct peer p;
	int pair[2], fd;
	pid_t creator;
	const char *name = test_name();

	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	creator = in_child({
		child_must(!unshare(CLONE_NEWIPC));
		fd = join(name, TRIBUF_KEEPER, TRIBUF_CREATE, SLOT);
		child_must(fd >= 0);
		send_fd(pair[1], fd);
	});
	fd = receive_fd(pair[0]);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, ended(creator));
	through.fd = fd;
	ASSERT_EQ(0, peer_attach(&p, &through));
	EXPECT_STREQ(name, (char *)peek(p.fd).name);
	EXPECT_EQ(1, publish_pattern(&p));
	EXPECT_FALSE(exists(name));
	peer_close(&p);
	close(fd);
}

/* Root in a user namespace of Alice's has Alice's rights, no more. */
TEST_F(rights, user_namespaces_give_no_rights)
{
	const char *name = test_name();
	int mine = device(O_RDWR), roots = device(O_RDWR), own = device(O_RDWR);

	umask(0);
	self->fd = join(name, TRIBUF_KEEPER, TRIBUF_CREATE, SLOT);
	ASSERT_LE(0, self->fd);
	EXPECT_CHILD(
		struct tribuf_attach_args args = attach_args(name, TRIBUF_CONSUMER, 0, 0);
		struct tribuf_attach_args make = attach_args("selftest.userns", TRIBUF_PRODUCER,
							     TRIBUF_CREATE, SLOT);

		become(ALICE);
		child_must(!prctl(PR_SET_DUMPABLE, 1));
		child_must(!unshare(CLONE_NEWUSER));
		/* Unmapped, it is nobody to itself, but Alice to the channel. */
		child_gets(-EACCES, attach(mine, &args));
		child_must(write_file("/proc/self/setgroups", "deny"));
		child_must(write_file("/proc/self/uid_map", "0 1000 1"));
		child_must(!geteuid());
		child_gets(-EACCES, attach(roots, &args));
		child_gets(0, attach(own, &make));
		child_gets(0, (long)make.uid);
	);
}

TEST_F(rights, owner_is_told_in_the_callers_user_namespace)
{
	struct tribuf_attach_args args = attach_args(test_name(), TRIBUF_OBSERVER, 0, 0);
	int fd = device(O_RDWR);

	umask(0);
	self->fd = alices(0666);
	EXPECT_CHILD(
		become(BOB);
		child_must(!prctl(PR_SET_DUMPABLE, 1));
		child_must(!unshare(CLONE_NEWUSER));
		child_must(write_file("/proc/self/setgroups", "deny"));
		child_must(write_file("/proc/self/uid_map", "0 2000 1"));
		child_gets(0, attach(fd, &args));
		child_gets(65534, (long)args.uid);
		child_gets(65534, (long)peek(fd).uid);
	);
}

/* ---- another node ---- */

TEST_F(rights, a_second_device_node_is_the_same_device)
{
	char path[] = "/tmp/tribuf-node-XXXXXX";
	struct tribuf_attach_args args = attach_args(test_name(), TRIBUF_CONSUMER, TRIBUF_OWNED, 0);
	struct peer p, c = { .fd = -1 };
	struct stat st;
	int slot;

	ASSERT_EQ(0, stat(DEVICE, &st));
	ASSERT_NE(NULL, mkdtemp(path));
	ASSERT_EQ(0, rmdir(path));
	ASSERT_EQ(0, mknod(path, S_IFCHR | 0600, st.st_rdev));
	c.fd = open(path, O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, c.fd) { unlink(path); }
	unlink(path);
	ASSERT_EQ(0, peer_open(&p, test_name(), TRIBUF_PRODUCER, TRIBUF_CREATE, SLOT));
	ASSERT_EQ(0, attach(c.fd, &args));
	c.at = args;
	ASSERT_EQ(0, peer_map(&c));
	EXPECT_EQ(1, publish_pattern(&p));
	slot = acquire(&c);
	ASSERT_LE(0, slot);
	EXPECT_TRUE(frame_holds(&c, slot));
	/* Revocation finds the mappings whichever node they were made through. */
	close(c.fd);
	c.fd = -1;
	EXPECT_EQ(SIGBUS, touch(c.slots, false));
	EXPECT_EQ(SIGBUS, touch((unsigned char *)c.state, true));
	EXPECT_EQ(0, touch(p.slots, true));
	peer_close(&c);
	peer_close(&p);
}

/* ---- limits ---- */

FIXTURE(limits) {
	long channels, bytes, user_bytes;
	long pages;
};

static bool set_parameter(const char *name, long value)
{
	char path[128], text[32];

	snprintf(path, sizeof(path), PARAMETERS "%s", name);
	snprintf(text, sizeof(text), "%ld", value);
	return write_file(path, text);
}

FIXTURE_SETUP(limits)
{
	if (geteuid())
		SKIP(_exit(255), "needs root, to change limits");
	ASSERT_EQ(0, setgroups(0, NULL));
	umask(0);
	self->channels = parameter("user_channels_max");
	self->bytes = parameter("channel_bytes_max");
	self->user_bytes = parameter("user_bytes_max");
	self->pages = parameter("pages");
	ASSERT_LT(0, self->channels);
	ASSERT_LT(0, self->bytes);
	ASSERT_LT(0, self->user_bytes);
}

FIXTURE_TEARDOWN(limits)
{
	EXPECT_TRUE(set_parameter("user_channels_max", self->channels));
	EXPECT_TRUE(set_parameter("channel_bytes_max", self->bytes));
	EXPECT_TRUE(set_parameter("user_bytes_max", self->user_bytes));
	EXPECT_EQ(self->pages, parameter("pages"));
}

static int make_as(uid_t uid, uint64_t slot_size)
{
	struct tribuf_attach_args args = attach_args(NULL, TRIBUF_KEEPER,
						     TRIBUF_CREATE | TRIBUF_ANONYMOUS, slot_size);

	return join_as(uid, uid, &args);
}

TEST_F(limits, channels_of_one_user)
{
	int fds[3];

	ASSERT_TRUE(set_parameter("user_channels_max", 3));
	for (int i = 0; i < 3; i++) {
		fds[i] = make_as(ALICE, SLOT);
		ASSERT_LE(0, fds[i]);
	}
	EXPECT_EQ(-ENOSPC, make_as(ALICE, SLOT));
	EXPECT_EQ(-ENOSPC, make_as(ALICE, SLOT));
	close(make_as(BOB, SLOT));
	close(fds[1]);
	fds[1] = make_as(ALICE, SLOT);
	EXPECT_LE(0, fds[1]);
	for (int i = 0; i < 3; i++)
		close(fds[i]);
}

TEST_F(limits, bytes_of_one_user)
{
	int first;

	ASSERT_TRUE(set_parameter("user_bytes_max", 1 << 20));
	EXPECT_EQ(-ENOSPC, make_as(ALICE, 1 << 20));
	first = make_as(ALICE, 256 << 10);
	ASSERT_LE(0, first);
	EXPECT_EQ(-ENOSPC, make_as(ALICE, 256 << 10));
	close(make_as(BOB, 256 << 10));
	close(first);
	first = make_as(ALICE, 256 << 10);
	EXPECT_LE(0, first);
	close(first);
}

TEST_F(limits, bytes_of_one_channel)
{
	int fd;

	ASSERT_TRUE(set_parameter("channel_bytes_max", 3 * 65536));
	EXPECT_EQ(-EFBIG, make_as(0, 65537));
	fd = make_as(0, 65536);
	EXPECT_LE(0, fd);
	close(fd);
}

/* The same as the user's own process gets it. */
TEST_F(limits, hold_for_an_unprivileged_process)
{
	ASSERT_TRUE(set_parameter("channel_bytes_max", 3 << 20));
	ASSERT_TRUE(set_parameter("user_bytes_max", 4 << 20));
	ASSERT_TRUE(set_parameter("user_channels_max", 2));
	EXPECT_CHILD(
		uint32_t flags = TRIBUF_CREATE | TRIBUF_ANONYMOUS;

		become(ALICE);
		for (int guarded = 0; guarded < 2; guarded++) {
			int first, second;

			flags |= guarded ? TRIBUF_GUARDED : 0;
			child_gets(-EFBIG, join(NULL, TRIBUF_KEEPER, flags, (1 << 20) + 1));
			first = join(NULL, TRIBUF_KEEPER, flags, 1 << 20);
			child_must(first >= 0);
			child_gets(-ENOSPC, join(NULL, TRIBUF_KEEPER, flags, 1 << 20));
			second = join(NULL, TRIBUF_KEEPER, flags, 4096);
			child_must(second >= 0);
			child_gets(-ENOSPC, join(NULL, TRIBUF_KEEPER, flags, 4096));
			close(first);
			close(second);
		}
	);
}

/* Descriptors are limited as all are, observers of a channel by the channel. */
TEST_F(limits, handles)
{
	struct rlimit few = { 32, 32 };
	int fd = make_as(ALICE, SLOT), last = 0;

	ASSERT_LE(0, fd);
	EXPECT_CHILD(
		for (int i = 0; i <= TRIBUF_OBSERVERS_MAX && last >= 0; i++)
			last = join_fd(fd, TRIBUF_OBSERVER, 0);
		child_gets(-EBUSY, last);
		child_must(!setrlimit(RLIMIT_NOFILE, &few));
		become(ALICE);
		child_gets(-EMFILE, device(O_RDWR));
	);
	EXPECT_EQ(0, peek(fd).observers);
	close(fd);
}

/* What a user had is there again once its processes were killed. */
TEST_F(limits, are_given_back_by_death)
{
	int told[2];
	char byte;

	ASSERT_EQ(0, pipe(told));
	ASSERT_TRUE(set_parameter("user_channels_max", 3));
	ASSERT_TRUE(set_parameter("user_bytes_max", 4 << 20));
	for (int i = 0; i < 20; i++) {
		uint32_t flags = TRIBUF_CREATE | TRIBUF_ANONYMOUS | (i % 2 ? TRIBUF_GUARDED : 0);
		pid_t child = in_child({
			become(ALICE);
			child_must(join(NULL, TRIBUF_PRODUCER, flags, 1 << 20) >= 0);
			child_must(join(NULL, TRIBUF_CONSUMER, flags, SLOT) >= 0);
			child_must(join(NULL, TRIBUF_KEEPER, flags, SLOT) >= 0);
			child_gets(-ENOSPC, join(NULL, TRIBUF_KEEPER, flags, SLOT));
			child_must(write(told[1], "x", 1) == 1);
			pause();
		});

		ASSERT_EQ(1, read(told[0], &byte, 1));
		slay(child);
		/* The last file is put by the dying process itself: it may be a moment. */
		ASSERT_TRUE(eventually(5000, parameter("pages") == self->pages));
	}
}

static int make_on(int fd)
{
	struct tribuf_attach_args args = attach_args(NULL, TRIBUF_KEEPER,
						     TRIBUF_CREATE | TRIBUF_ANONYMOUS, SLOT);

	return attach(fd, &args);
}

/* Alice's namespace is full of users: what they make is charged to her as well. */
TEST_F(limits, hold_across_user_namespaces)
{
	int fds[4], told[2], go[2];
	char path[64], byte;
	pid_t child;

	for (int i = 0; i < 4; i++)
		fds[i] = device(O_RDWR);
	ASSERT_EQ(0, pipe(told));
	ASSERT_EQ(0, pipe(go));
	ASSERT_TRUE(set_parameter("user_channels_max", 3));
	child = in_child({
		become(ALICE);
		child_must(!prctl(PR_SET_DUMPABLE, 1));
		child_gets(0, make_on(fds[0]));
		child_must(!unshare(CLONE_NEWUSER));
		child_must(write(told[1], "x", 1) == 1);
		child_must(read(go[0], &byte, 1) == 1);
		child_must(!setresuid(1, 1, 1));
		child_gets(0, make_on(fds[1]));
		child_gets(0, make_on(fds[2]));
		child_gets(-ENOSPC, make_on(fds[3]));
	});
	ASSERT_EQ(1, read(told[0], &byte, 1));
	snprintf(path, sizeof(path), "/proc/%d/uid_map", child);
	ASSERT_TRUE(write_file(path, "0 1000 1\n1 5000 5\n"));
	ASSERT_EQ(1, write(go[1], "x", 1));
	EXPECT_EQ(0, ended(child));
	for (int i = 0; i < 4; i++)
		close(fds[i]);
}

static void ignore_signal(int sig)
{
	(void)sig;
}

/* A large channel takes its time; a signal ends it, and nothing is left. */
TEST_F(limits, a_signal_interrupts_a_long_attach)
{
	struct sigaction action = { .sa_handler = ignore_signal };
	struct itimerval soon = { .it_interval.tv_usec = 2000, .it_value.tv_usec = 2000 };
	struct itimerval never = {};
	uint64_t slot_size = (uint64_t)self->user_bytes / 4 & ~0xfffull;
	int err = 0;

	sigaction(SIGALRM, &action, NULL);
	for (int i = 0; i < 10 && err != -EINTR; i++) {
		/* Again and again: the first may come before the call. */
		setitimer(ITIMER_REAL, &soon, NULL);
		err = make_as(0, slot_size);
		setitimer(ITIMER_REAL, &never, NULL);
		if (err >= 0)
			close(err);
	}
	EXPECT_EQ(-EINTR, err);
}

/* ---- memory cgroups ---- */

#define GROUP	"/sys/fs/cgroup/tribuf-selftest"

FIXTURE(cgroup) {
	long pages;
};

FIXTURE_VARIANT(cgroup) {
	uint32_t kind;
};

FIXTURE_VARIANT_ADD(cgroup, direct) { .kind = 0 };
FIXTURE_VARIANT_ADD(cgroup, guarded) { .kind = TRIBUF_GUARDED };

FIXTURE_SETUP(cgroup)
{
	self->pages = parameter("pages");
	if ((mkdir(GROUP, 0755) && errno != EEXIST) || !write_file(GROUP "/memory.max", "16M"))
		SKIP(_exit(255), "no cgroup with a memory controller here");
}

FIXTURE_TEARDOWN(cgroup)
{
	EXPECT_TRUE(eventually(5000, parameter("pages") == self->pages));
	/* A group is busy until the last of what was charged to it is given back. */
	EXPECT_TRUE(eventually(5000, !rmdir(GROUP)));
}

/* How often the group met @event of its memory's, or -1. */
static long events_of_memory(const char *event)
{
	int fd = open(GROUP "/memory.events", O_RDONLY | O_CLOEXEC);
	char text[512] = "", *at;

	if (fd < 0 || read(fd, text, sizeof(text) - 1) < 0)
		text[0] = 0;
	close(fd);
	at = strstr(text, event);
	return at ? atol(at + strlen(event)) : -1;
}

/* Memory is charged to the cgroup of the creator, whoever uses it, until it goes. */
TEST_F(cgroup, creator_is_charged)
{
	const long slot = 64 * (long)page_size();	/* as the kernel charges at a time */
	const char *name = test_name();
	long before, during;
	int told[2], go[2];
	pid_t child;
	char byte;

	ASSERT_EQ(0, pipe(told));
	ASSERT_EQ(0, pipe(go));
	child = in_child({
		child_must(write_file(GROUP "/cgroup.procs", "0"));
		child_must(write(told[1], "x", 1) == 1);
		child_must(read(go[0], &byte, 1) == 1);
		child_must(join(name, TRIBUF_KEEPER, TRIBUF_CREATE | variant->kind, slot) >= 0);
		child_must(write(told[1], "x", 1) == 1);
		pause();
	});
	ASSERT_EQ(1, read(told[0], &byte, 1));
	before = read_number(GROUP "/memory.current");
	ASSERT_EQ(1, write(go[1], "x", 1));
	ASSERT_EQ(1, read(told[0], &byte, 1));
	during = read_number(GROUP "/memory.current");
	EXPECT_LE(3 * slot, during - before);
	EXPECT_GT(4 * slot, during - before);
	slay(child);
	EXPECT_TRUE(eventually(5000, read_number(GROUP "/memory.current") < 2 * slot));
}

/* A cgroup at its limit gets ENOMEM; nobody is killed, nothing is left. */
TEST_F(cgroup, limit_is_an_error_and_no_kill)
{
	const char *name = test_name();
	int told[2];
	pid_t bystander;
	char byte;

	ASSERT_EQ(0, pipe(told));
	bystander = in_child({
		child_must(write_file(GROUP "/cgroup.procs", "0"));
		child_must(write(told[1], "x", 1) == 1);
		pause();
	});
	ASSERT_EQ(1, read(told[0], &byte, 1));
	EXPECT_CHILD(
		uint32_t flags = TRIBUF_CREATE | variant->kind;
		int err = 0;

		child_must(write_file(GROUP "/cgroup.procs", "0"));
		for (int i = 0; i < 20; i++)
			child_gets(-ENOMEM, join(name, TRIBUF_PRODUCER, flags, 16 << 20));
		child_must(!exists(name));
		/* Little by little until nothing fits any more, and then again and again. */
		flags |= TRIBUF_ANONYMOUS;
		for (int i = 0; i < 64 && err >= 0; i++)
			err = join(NULL, TRIBUF_PRODUCER, flags, 1 << 20);
		child_gets(-ENOMEM, err);
		for (int i = 0; i < 50; i++)
			child_gets(-ENOMEM, join(NULL, TRIBUF_PRODUCER, flags, 1 << 20));
	);
	EXPECT_EQ(0, events_of_memory("oom_kill "));
	EXPECT_EQ(0, waitpid(bystander, NULL, WNOHANG));
	slay(bystander);
}

TEST_HARNESS_MAIN
