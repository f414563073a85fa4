// SPDX-License-Identifier: GPL-2.0-only
/*
 * TRIBUF_IOC_ATTACH: what it answers, and every way in which it refuses, with
 * its error and nothing changed. Who may attach is in abi_rights_test.c, what
 * roles do over time in abi_roles_test.c.
 */
#include "common.h"

#define ABSENT "selftest.absent"

static void set_name(struct tribuf_attach_args *args, const char *name)
{
	memset(args->name, 0, sizeof(args->name));
	memcpy(args->name, name, strnlen(name, sizeof(args->name)));
}

/*
 * A channel, held by a keeper, and a handle that is about to attach to it as a
 * consumer: an attach that would work but for what a variant spoils.
 */
FIXTURE(refused) {
	long channels;
	int keeper;
	int fd;
	struct tribuf_attach_args args;
};

FIXTURE_VARIANT(refused) {
	int error;
	void (*spoil)(FIXTURE_DATA(refused) *self);
};

FIXTURE_SETUP(refused)
{
	self->channels = parameter("channels");
	self->keeper = join(test_name(), TRIBUF_KEEPER, TRIBUF_CREATE, SLOT);
	ASSERT_LE(0, self->keeper);
	self->fd = device(O_RDWR);
	ASSERT_LE(0, self->fd);
	self->args = attach_args(test_name(), TRIBUF_CONSUMER, 0, 0);
}

FIXTURE_TEARDOWN(refused)
{
	close(self->fd);
	close(self->keeper);
}

/* Statements on @a, the arguments, and @self, that make ATTACH fail with @err. */
#define REFUSED(label, err, ...)					\
	static void refused_##label(FIXTURE_DATA(refused) *self)	\
	{								\
		struct tribuf_attach_args *a = &self->args;		\
									\
		(void)a;						\
		__VA_ARGS__;						\
	}								\
	FIXTURE_VARIANT_ADD(refused, label) {				\
		.error = err, .spoil = refused_##label,			\
	}

REFUSED(size_zero, EINVAL, a->size = 0);
REFUSED(size_short, EINVAL, a->size -= 8);
REFUSED(unknown_flag, EINVAL, a->flags |= TRIBUF_ATTACH_FLAGS + 1);
REFUSED(unknown_high_flag, EINVAL, a->flags |= 1u << 31);
REFUSED(role_none, EINVAL, a->role = 0);
REFUSED(role_unknown, EINVAL, a->role = 5);
REFUSED(role_huge, EINVAL, a->role = 0x80000001u);
REFUSED(layout_none, EPROTONOSUPPORT, a->layout = 0);
REFUSED(layout_newer, EPROTONOSUPPORT, a->layout = TRIBUF_LAYOUT_VERSION + 1);
REFUSED(reserved_first, EINVAL, a->reserved[0] = 1);
REFUSED(reserved_last, EINVAL, a->reserved[3] = 1ull << 63);

REFUSED(name_empty, EINVAL, set_name(a, ""));
REFUSED(name_slash, EINVAL, set_name(a, "a/b"));
REFUSED(name_blank, EINVAL, set_name(a, "a b"));
REFUSED(name_tab, EINVAL, set_name(a, "a\tb"));
REFUSED(name_newline, EINVAL, set_name(a, "a\n"));
REFUSED(name_delete, EINVAL, set_name(a, "a\177"));
REFUSED(name_dot, EINVAL, set_name(a, "."));
REFUSED(name_dot_dot, EINVAL, set_name(a, ".."));
REFUSED(name_without_end, ENAMETOOLONG, memset(a->name, 'x', sizeof(a->name)));
REFUSED(name_not_there, ENOENT, set_name(a, ABSENT));
REFUSED(name_longer_by_one, ENOENT, strcat((char *)a->name, "x"));

REFUSED(fd_without_by_fd, EINVAL, a->fd = self->keeper);
REFUSED(grants_without_by_fd, EINVAL, a->grants = TRIBUF_GRANT_ALL);
REFUSED(excl_without_create, EINVAL, a->flags = TRIBUF_EXCL);
REFUSED(replace_without_create, EINVAL, a->role = TRIBUF_PRODUCER; a->flags = TRIBUF_REPLACE);
REFUSED(replace_by_consumer, EINVAL, a->slot_size = SLOT;
	a->flags = TRIBUF_CREATE | TRIBUF_REPLACE);
REFUSED(anonymous_without_create, EINVAL, set_name(a, ""); a->flags = TRIBUF_ANONYMOUS);
REFUSED(anonymous_with_name, EINVAL, a->slot_size = SLOT;
	a->flags = TRIBUF_CREATE | TRIBUF_ANONYMOUS);
REFUSED(anonymous_by_fd, EINVAL, set_name(a, ""); a->fd = self->keeper; a->slot_size = SLOT;
	a->flags = TRIBUF_CREATE | TRIBUF_ANONYMOUS | TRIBUF_BY_FD);
REFUSED(create_by_fd, EINVAL, set_name(a, ""); a->fd = self->keeper; a->slot_size = SLOT;
	a->flags = TRIBUF_CREATE | TRIBUF_BY_FD);
REFUSED(by_fd_with_name, EINVAL, a->fd = self->keeper; a->flags = TRIBUF_BY_FD);

REFUSED(create_without_size, EINVAL, set_name(a, ABSENT); a->flags = TRIBUF_CREATE);
REFUSED(create_too_large, EFBIG, set_name(a, ABSENT); a->flags = TRIBUF_CREATE;
	a->slot_size = 1ull << 46);
REFUSED(create_overflowing_thrice, EFBIG, set_name(a, ABSENT); a->flags = TRIBUF_CREATE;
	a->slot_size = ~0ull / 3 + 2);
REFUSED(create_overflowing_page, EFBIG, set_name(a, ABSENT); a->flags = TRIBUF_CREATE;
	a->slot_size = ~0ull);
REFUSED(create_granule_3, EINVAL, set_name(a, ABSENT); a->flags = TRIBUF_CREATE;
	a->slot_size = SLOT; a->granule = 3);
REFUSED(create_granule_8192, EINVAL, set_name(a, ABSENT); a->flags = TRIBUF_CREATE;
	a->slot_size = SLOT; a->granule = 2 * TRIBUF_GRANULE_MAX);
REFUSED(create_of_existing, EEXIST, a->flags = TRIBUF_CREATE | TRIBUF_EXCL; a->slot_size = SLOT);
REFUSED(create_other_size, EINVAL, a->flags = TRIBUF_CREATE; a->slot_size = SLOT * 2);
REFUSED(create_other_granule, EINVAL, a->flags = TRIBUF_CREATE; a->slot_size = SLOT;
	a->granule = 16);
REFUSED(join_other_size, EINVAL, a->slot_size = SLOT + 1);
REFUSED(join_other_granule, EINVAL, a->granule = 4);

REFUSED(second_producer, EBUSY, a->role = TRIBUF_PRODUCER;
	join(test_name(), TRIBUF_PRODUCER, 0, 0));
REFUSED(second_consumer, EBUSY, join(test_name(), TRIBUF_CONSUMER, 0, 0));
REFUSED(second_consumer_by_fd, EBUSY, join(test_name(), TRIBUF_CONSUMER, 0, 0);
	set_name(a, ""); a->flags = TRIBUF_BY_FD; a->fd = self->keeper);
REFUSED(observer_65, EBUSY, a->role = TRIBUF_OBSERVER;
	for (int i = 0; i < TRIBUF_OBSERVERS_MAX; i++)
		join(test_name(), TRIBUF_OBSERVER, 0, 0));

static void reopen(FIXTURE_DATA(refused) *self, int flags)
{
	close(self->fd);
	self->fd = device(flags);
}

REFUSED(producer_opened_for_reading, EACCES, a->role = TRIBUF_PRODUCER; reopen(self, O_RDONLY));
REFUSED(consumer_opened_for_reading, EACCES, reopen(self, O_RDONLY));
/* Found out when its slots are there already. */
REFUSED(creator_opened_for_reading, EACCES, set_name(a, ABSENT); a->role = TRIBUF_PRODUCER;
	a->flags = TRIBUF_CREATE; a->slot_size = SLOT; reopen(self, O_RDONLY));

static void by_fd(FIXTURE_DATA(refused) *self, int fd)
{
	set_name(&self->args, "");
	self->args.flags = TRIBUF_BY_FD;
	self->args.fd = fd;
}

REFUSED(fd_closed, EBADF, by_fd(self, 1000));
REFUSED(fd_negative, EBADF, by_fd(self, -1));
REFUSED(fd_of_another_file, EBADF, by_fd(self, open("/dev/null", O_RDWR | O_CLOEXEC)));
REFUSED(fd_not_attached, ENOTCONN, by_fd(self, device(O_RDWR)));
REFUSED(fd_itself, ENOTCONN, by_fd(self, self->fd));
REFUSED(fd_grants_nothing, EACCES, by_fd(self, join(test_name(), TRIBUF_KEEPER, 0, 0)));
REFUSED(fd_grants_other_role, EACCES,
	by_fd(self, join_fd(self->keeper, TRIBUF_KEEPER, TRIBUF_GRANT(TRIBUF_PRODUCER))));
REFUSED(grants_unknown, EINVAL, by_fd(self, self->keeper); a->grants = 1u << 20);
REFUSED(grants_no_role, EINVAL, by_fd(self, self->keeper); a->grants = 1);
REFUSED(grants_exceed, EPERM, a->grants = TRIBUF_GRANT_ALL;
	by_fd(self, join_fd(self->keeper, TRIBUF_KEEPER, TRIBUF_GRANT(TRIBUF_CONSUMER))));

static void spoil_word(uint32_t word)
{
	struct peer p;

	if (peer_open(&p, test_name(), TRIBUF_CONSUMER, 0, 0))
		return;
	p.state->word = word;
	peer_close(&p);
}

REFUSED(word_spoilt_consumer, EPROTO, spoil_word(0); a->flags = TRIBUF_LATEST);
REFUSED(word_spoilt_producer, EPROTO, spoil_word(0x3f); a->role = TRIBUF_PRODUCER);

TEST_F(refused, and_nothing_changed)
{
	struct tribuf_attach_args sane = attach_args(test_name(), TRIBUF_KEEPER, 0, 0);
	struct tribuf_info_args before, after;
	long channels, pages;

	variant->spoil(self);
	before = peek(self->keeper);
	channels = parameter("channels");
	pages = parameter("pages");
	EXPECT_EQ(-variant->error, attach(self->fd, &self->args));
	after = peek(self->keeper);
	EXPECT_EQ(0, memcmp(&before, &after, sizeof(before)));
	EXPECT_EQ(channels, parameter("channels"));
	EXPECT_EQ(pages, parameter("pages"));
	EXPECT_FALSE(exists(ABSENT));
	/* The handle is as it was, too. */
	EXPECT_EQ(0, attach(self->fd, &sane));
}

/* Nobody who was refused keeps the channel. */
TEST_F(refused, and_the_channel_goes_with_its_last_handle)
{
	variant->spoil(self);
	EXPECT_EQ(-variant->error, attach(self->fd, &self->args));
	close_range(STDERR_FILENO + 1, ~0u, 0);		/* those of @spoil, too */
	EXPECT_TRUE(eventually(5000, parameter("channels") <= self->channels));
}

FIXTURE(attach) {
	int fd;
	struct tribuf_attach_args args;
};

FIXTURE_SETUP(attach)
{
	self->fd = device(O_RDWR);
	ASSERT_LE(0, self->fd);
	self->args = attach_args(test_name(), TRIBUF_PRODUCER, TRIBUF_CREATE, SLOT);
}

FIXTURE_TEARDOWN(attach)
{
	close(self->fd);
}

TEST_F(attach, answers_with_the_channel)
{
	struct tribuf_attach_args *a = &self->args;
	uint32_t states;

	ASSERT_EQ(0, attach(self->fd, a));
	EXPECT_EQ(1, a->created);
	EXPECT_EQ(0, a->redelivered);
	EXPECT_EQ(SLOT, a->slot_size);
	EXPECT_EQ(TRIBUF_GRANULE_DEFAULT, a->granule);
	EXPECT_EQ(TRIBUF_GRANT_ALL, a->grants);
	EXPECT_LE(SLOT, a->slot_stride);
	EXPECT_EQ(0, a->slot_stride % page_size());
	EXPECT_LE(TRIBUF_META_PAGES * page_size(), a->slots_offset);
	EXPECT_EQ(0, a->slots_offset % page_size());
	EXPECT_NE(0, a->channel);
	EXPECT_EQ(geteuid(), a->uid);
	EXPECT_EQ(1, a->producer_epoch);
	EXPECT_EQ(0, a->consumer_epoch);
	states = TRIBUF_STATE_PRODUCER | TRIBUF_STATE_HAD_PRODUCER;
	EXPECT_EQ(states, a->state);
}

TEST_F(attach, joins_what_another_created)
{
	struct tribuf_attach_args joining = attach_args(test_name(), TRIBUF_CONSUMER, 0, 0);
	int fd;

	ASSERT_EQ(0, attach(self->fd, &self->args));
	fd = attach_new(&joining);
	ASSERT_LE(0, fd);
	EXPECT_EQ(0, joining.created);
	EXPECT_EQ(self->args.channel, joining.channel);
	EXPECT_EQ(SLOT, joining.slot_size);
	EXPECT_EQ(TRIBUF_GRANULE_DEFAULT, joining.granule);
	EXPECT_EQ(self->args.slots_offset, joining.slots_offset);
	EXPECT_EQ(self->args.slot_stride, joining.slot_stride);
	EXPECT_EQ(0, joining.grants);
	EXPECT_EQ(1, joining.producer_epoch);
	EXPECT_EQ(1, joining.consumer_epoch);
	close(fd);
}

TEST_F(attach, create_joins_an_equal_channel)
{
	struct tribuf_attach_args second = self->args;

	ASSERT_EQ(0, attach(self->fd, &self->args));
	second.role = TRIBUF_CONSUMER;
	EXPECT_LE(0, attach_new(&second));
	EXPECT_EQ(0, second.created);
	EXPECT_EQ(self->args.channel, second.channel);
}

TEST_F(attach, twice_is_refused)
{
	struct tribuf_attach_args again = self->args;
	struct tribuf_info_args before, after;

	ASSERT_EQ(0, attach(self->fd, &self->args));
	before = peek(self->fd);
	EXPECT_EQ(-EISCONN, attach(self->fd, &again));
	again.role = TRIBUF_CONSUMER;
	EXPECT_EQ(-EISCONN, attach(self->fd, &again));
	after = peek(self->fd);
	EXPECT_EQ(0, memcmp(&before, &after, sizeof(before)));
}

TEST_F(attach, tells_info_the_same)
{
	struct tribuf_info_args i;

	self->args.granule = 64;
	ASSERT_EQ(0, attach(self->fd, &self->args));
	ASSERT_EQ(0, info(self->fd, &i, 0));
	EXPECT_EQ(self->args.channel, i.channel);
	EXPECT_STREQ(test_name(), (char *)i.name);
	EXPECT_EQ(SLOT, i.slot_size);
	EXPECT_EQ(self->args.slot_stride, i.slot_stride);
	EXPECT_EQ(self->args.slots_offset, i.slots_offset);
	EXPECT_EQ(TRIBUF_SLOTS, i.slots);
	EXPECT_EQ(64, i.granule);
	EXPECT_EQ(self->args.state, i.state);
	EXPECT_EQ(TRIBUF_PRODUCER, i.role);
	EXPECT_EQ(geteuid(), i.uid);
	EXPECT_EQ(getegid(), i.gid);
	EXPECT_EQ(0600, i.mode);
	EXPECT_EQ(TRIBUF_GRANT_ALL, i.grants);
	EXPECT_EQ(getpid(), i.producer_pid);
	EXPECT_EQ(0, i.consumer_pid);
	EXPECT_EQ(0, i.observers + i.keepers);
	EXPECT_EQ(TRIBUF_WORD_INIT, i.claimed_word);
	EXPECT_EQ(0, i.claimed_seq);
}

/* A program compiled against a longer struct, run on this module. */
TEST_F(attach, takes_a_longer_struct_of_zeroes)
{
	struct {
		struct tribuf_attach_args args;
		uint64_t tail[5];
	} longer = { .args = self->args };

	longer.args.size = sizeof(longer);
	longer.tail[4] = 1;
	EXPECT_EQ(-E2BIG, attach(self->fd, &longer.args));
	EXPECT_FALSE(exists(test_name()));
	longer.tail[4] = 0;
	EXPECT_EQ(0, attach(self->fd, &longer.args));
	EXPECT_EQ(SLOT, longer.args.slot_size);
}

TEST_F(attach, refuses_a_size_beyond_reason)
{
	self->args.size = UINT32_MAX;
	EXPECT_GT(0, attach(self->fd, &self->args));
	EXPECT_FALSE(exists(test_name()));
}

TEST_F(attach, faults_on_bad_memory)
{
	struct tribuf_attach_args *page = mmap(NULL, page_size(), PROT_READ | PROT_WRITE,
					       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	long channels = parameter("channels");

	EXPECT_EQ(-EFAULT, tri_ioctl(self->fd, TRIBUF_IOC_ATTACH, NULL));
	/* Readable only: the answer cannot be given, so nothing may have happened. */
	*page = self->args;
	mprotect(page, page_size(), PROT_READ);
	EXPECT_EQ(-EFAULT, attach(self->fd, page));
	EXPECT_EQ(channels, parameter("channels"));
	EXPECT_FALSE(exists(test_name()));
	EXPECT_EQ(0, attach(self->fd, &self->args));
}

TEST_F(attach, unknown_ioctls)
{
	EXPECT_EQ(-ENOTTY, tri_ioctl(self->fd, _IO(TRIBUF_IOC_MAGIC, 8), NULL));
	EXPECT_EQ(-ENOTTY, tri_ioctl(self->fd, _IO(TRIBUF_IOC_MAGIC, 255), NULL));
	EXPECT_EQ(-ENOTTY, tri_ioctl(self->fd, _IOWR('x', 0, struct tribuf_attach_args),
				     &self->args));
	EXPECT_FALSE(exists(test_name()));
}

TEST_F(attach, guarded_works_or_says_it_cannot)
{
	int err;

	self->args.flags |= TRIBUF_GUARDED;
	err = attach(self->fd, &self->args);
	if (err) {
		EXPECT_EQ(-EOPNOTSUPP, err);
		EXPECT_FALSE(exists(test_name()));
	} else {
		EXPECT_TRUE(self->args.state & TRIBUF_STATE_GUARDED);
	}
}

/* Before ATTACH nothing works, and all of it says so. */
TEST_F(attach, nothing_works_before_it)
{
	struct tribuf_format_args format = { .size = sizeof(format) };
	struct tribuf_info_args i;
	char byte;

	EXPECT_EQ(-ENOTCONN, kernel_publish(self->fd, 0, NULL));
	EXPECT_EQ(-ENOTCONN, kernel_acquire(self->fd, NULL));
	EXPECT_EQ(-ENOTCONN, kernel_copy(self->fd, 0, 0, 0, &byte, 1));
	EXPECT_EQ(-ENOTCONN, tri_ioctl(self->fd, TRIBUF_IOC_FORMAT, &format));
	EXPECT_EQ(-ENOTCONN, info(self->fd, &i, 0));
	EXPECT_EQ(-ENOTCONN, ring(self->fd));
	for (unsigned int page = 0; page < TRIBUF_META_PAGES; page++)
		EXPECT_EQ(NULL, map(self->fd, page_offset(page), page_size(), PROT_READ));
	EXPECT_EQ(NULL, map(self->fd, 1 << 21, page_size(), PROT_READ));
}

/* Names with every byte that may be in one, as long as they may be. */
TEST_F(attach, longest_and_oddest_names)
{
	char name[TRIBUF_NAME_SIZE] = "";

	memset(name, '\xff', TRIBUF_NAME_SIZE - 1);
	name[0] = '-';
	name[1] = '.';
	set_name(&self->args, name);
	ASSERT_EQ(0, attach(self->fd, &self->args));
	EXPECT_STREQ(name, (char *)peek(self->fd).name);
	EXPECT_TRUE(exists(name));
}

TEST_F(attach, the_name_goes_with_the_last_handle)
{
	int keeper;
	uint64_t first;

	ASSERT_EQ(0, attach(self->fd, &self->args));
	first = self->args.channel;
	keeper = join(test_name(), TRIBUF_KEEPER, 0, 0);
	close(self->fd);
	EXPECT_TRUE(exists(test_name()));
	close(keeper);
	EXPECT_FALSE(exists(test_name()));
	/* And another channel, of another size, can have it. */
	self->fd = device(O_RDWR);
	self->args = attach_args(test_name(), TRIBUF_CONSUMER, TRIBUF_CREATE, 3 * SLOT);
	EXPECT_EQ(0, attach(self->fd, &self->args));
	EXPECT_EQ(1, self->args.created);
	EXPECT_NE(first, self->args.channel);
}

/* Two handles create at the same moment: one of them did, both have it. */
TEST_F(attach, creators_race)
{
	struct outcome { uint32_t created[2]; uint64_t channel[2]; } *o;
	unsigned long i, rounds = scaled(50);
	pid_t rival;

	o = shared_with_children(struct outcome);
	for (i = 0; i < rounds; i++) {
		struct tribuf_attach_args mine = self->args;
		int pipes[2], fd;
		char byte;

		ASSERT_EQ(0, pipe(pipes));
		rival = in_child({
			struct tribuf_attach_args its = self->args;

			its.role = TRIBUF_CONSUMER;
			child_must(attach_new(&its) >= 0);
			o->created[1] = its.created;
			o->channel[1] = its.channel;
			close(pipes[1]);
			(void)!read(pipes[0], &byte, 1);
		});
		close(pipes[0]);
		fd = attach_new(&mine);
		ASSERT_LE(0, fd);
		ASSERT_TRUE(eventually(5000, peek(fd).state & TRIBUF_STATE_CONSUMER));
		close(pipes[1]);
		ASSERT_EQ(0, ended(rival));
		EXPECT_EQ(1, mine.created + o->created[1]);
		EXPECT_EQ(mine.channel, o->channel[1]);
		close(fd);
	}
}

/* A user's name is taken by REPLACE when its word was spoilt. */
TEST_F(attach, replace_mends_a_spoilt_word)
{
	struct peer p;

	ASSERT_EQ(0, peer_open(&p, test_name(), TRIBUF_CONSUMER, TRIBUF_CREATE, SLOT));
	p.state->word = 0;
	EXPECT_EQ(-EPROTO, attach(self->fd, &self->args));
	self->args.flags |= TRIBUF_REPLACE;
	EXPECT_EQ(0, attach(self->fd, &self->args));
	EXPECT_NE(p.at.channel, self->args.channel);
	EXPECT_EQ(0, kernel_publish(self->fd, 1, NULL));
	peer_close(&p);
}

/* Slot sizes at the edges of small slots, of pages and of huge pages. */
FIXTURE(size) {
	struct peer p;
	long pages;
};

FIXTURE_VARIANT(size) {
	uint64_t slot_size;
	uint32_t flags;
	uint32_t granule;
	bool small;
};

FIXTURE_VARIANT_ADD(size, one_byte) { .slot_size = 1, .small = true };
FIXTURE_VARIANT_ADD(size, small) { .slot_size = 16, .small = true };
FIXTURE_VARIANT_ADD(size, small_by_large_steps) { .slot_size = 16, .granule = 128, .small = true };
FIXTURE_VARIANT_ADD(size, small_by_larger_steps) { .slot_size = 16, .granule = 256 };
FIXTURE_VARIANT_ADD(size, small_and_guarded) { .slot_size = 1, .flags = TRIBUF_GUARDED };
FIXTURE_VARIANT_ADD(size, above_small) { .slot_size = 17 };
FIXTURE_VARIANT_ADD(size, below_page) { .slot_size = 4095 };
FIXTURE_VARIANT_ADD(size, page) { .slot_size = 4096 };
FIXTURE_VARIANT_ADD(size, above_page) { .slot_size = 4097 };
FIXTURE_VARIANT_ADD(size, below_2_mib) { .slot_size = (2 << 20) - 1 };
FIXTURE_VARIANT_ADD(size, above_2_mib) { .slot_size = (2 << 20) + 1 };

FIXTURE_SETUP(size)
{
	struct tribuf_attach_args args = attach_args(test_name(), TRIBUF_PRODUCER,
						     TRIBUF_CREATE | variant->flags,
						     variant->slot_size);

	args.granule = variant->granule;
	self->pages = parameter("pages");
	ASSERT_EQ(0, peer_attach(&self->p, &args));
}

FIXTURE_TEARDOWN(size)
{
	peer_close(&self->p);
}

TEST_F(size, is_what_was_asked_for_and_zeroed)
{
	const struct tribuf_geometry *g = self->p.geometry;
	uint64_t bytes = variant->slot_size;

	EXPECT_EQ(bytes, self->p.at.slot_size);
	EXPECT_EQ(bytes, g->slot_size);
	EXPECT_EQ(self->p.at.slot_stride, g->slot_stride);
	EXPECT_EQ(self->p.at.slots_offset, g->slots_offset);
	EXPECT_LE(variant->small ? sizeof(struct tribuf_desc) : page_align(bytes), g->slot_stride);
	EXPECT_EQ(TRIBUF_MAGIC, g->magic);
	EXPECT_EQ(TRIBUF_LAYOUT_VERSION, g->layout);
	EXPECT_EQ(TRIBUF_BYTE_ORDER, g->byte_order);
	EXPECT_EQ(variant->small ? TRIBUF_FEATURE_SMALL : 0, g->features);
	EXPECT_EQ(self->p.at.channel, g->channel);
	EXPECT_EQ(TRIBUF_SLOTS, g->slots);
	EXPECT_EQ(page_size(), g->page_size);
	if (variant->flags & TRIBUF_GUARDED)	/* not all of them are there at once */
		return;
	for (uint32_t slot = 0; slot < TRIBUF_SLOTS; slot++) {
		EXPECT_EQ(0, slot_of(&self->p, slot)[0]);
		EXPECT_EQ(0, slot_of(&self->p, slot)[bytes - 1]);
		slot_of(&self->p, slot)[bytes - 1] = (unsigned char)(slot + 1);
	}
	for (uint32_t slot = 0; slot < TRIBUF_SLOTS; slot++)
		EXPECT_EQ(slot + 1, slot_of(&self->p, slot)[bytes - 1]);
	EXPECT_EQ(0, kernel_publish(self->p.fd, bytes, NULL));
	EXPECT_EQ(-EMSGSIZE, kernel_publish(self->p.fd, bytes + 1, NULL));
}

/* Small slots take no memory beside that of the metadata, and cannot be mapped apart. */
TEST_F(size, has_pages_of_its_own_unless_small)
{
	uint64_t pages = page_align(variant->slot_size) / page_size();
	off_t offset = variant->small ? page_offset(TRIBUF_META_PAGES)
				      : (off_t)self->p.at.slots_offset;
	void *slots = map(self->p.fd, offset, page_size(), PROT_READ);

	EXPECT_EQ(variant->small, !slots);
	EXPECT_EQ(self->pages + TRIBUF_META_PAGES + (variant->small ? 0 : TRIBUF_SLOTS * pages),
		  parameter("pages"));
	if (slots)
		munmap(slots, page_size());
	else
		EXPECT_EQ(EINVAL, errno);
}

/* COPY finds it where it is, and ends where it ends. */
TEST_F(size, is_copied_to_its_last_byte)
{
	uint64_t bytes = variant->slot_size;
	unsigned char copy[2] = { 0 };
	uint32_t slot, generation;
	struct peer c;

	ASSERT_EQ(0, peer_open(&c, test_name(), TRIBUF_CONSUMER, variant->flags, 0));
	slot = tribuf_word_back(word_of(&self->p));
	slot_of(&self->p, slot)[bytes - 1] = 0x5a;
	ASSERT_EQ(0, kernel_publish(self->p.fd, bytes, NULL));
	generation = desc_of(&c, slot)->generation;
	EXPECT_EQ(0, kernel_copy(c.fd, slot, generation, bytes - 1, copy, 1));
	EXPECT_EQ(0x5a, copy[0]);
	EXPECT_EQ(-EINVAL, kernel_copy(c.fd, slot, generation, bytes - 1, copy, 2));
	EXPECT_EQ(-EINVAL, kernel_copy(c.fd, slot, generation, bytes, copy, 1));
	peer_close(&c);
}

TEST_HARNESS_MAIN
