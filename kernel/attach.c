// SPDX-License-Identifier: GPL-2.0-only
/*
 * ATTACH: from arguments to a role. Checks come first, then what can fail, then
 * what cannot, so that an error leaves everything as it was.
 */
#include <linux/fdtable.h>
#include <linux/file.h>
#include <linux/log2.h>
#include <linux/pid.h>
#include <linux/user_namespace.h>

#include "channel.h"
#include "trace.h"

/**
 * struct tribuf_join - an ATTACH under way
 * @file: of the handle
 * @handle: to be attached
 * @args: the caller's, name padded with zeros
 * @granted: mode bits do not matter: the role was granted by another handle, or
 *	the channel is new, as with a file that open() makes
 * @grants: what the new handle will grant
 * @channel: a new channel, not entered yet, or NULL
 * @slots: memory for a channel without geometry, or NULL
 * @spares: pages for those that a dead producer still pins
 * @missing: how many more of them it takes
 */
struct tribuf_join {
	struct file *file;
	struct tribuf_handle *handle;
	struct tribuf_attach_args *args;
	bool granted;
	u32 grants;
	struct tribuf_channel *channel;
	struct tribuf_slots *slots;
	struct list_head spares;
	unsigned long missing;
};

/*
 * Beside errors: what has to happen before another try. Memory is had without any
 * lock: who waits for it, in a cgroup that has too little, must not stop others.
 */
enum tribuf_retry {
	TRIBUF_RETRY_GONE = 1,	/* the channel ended, or lost its name, before we had its lock */
	TRIBUF_RETRY_CHANNEL,	/* there is none: bring one */
	TRIBUF_RETRY_SLOTS,	/* it has no geometry: bring slots */
	TRIBUF_RETRY_SPARES,	/* some of its pages are pinned: bring others */
};

static bool tribuf_name_valid(u8 *name)
{
	unsigned int length = strnlen(name, TRIBUF_NAME_SIZE);
	unsigned int i;

	for (i = 0; i < length; i++)
		if (name[i] <= ' ' || name[i] == '/' || name[i] == 0x7f)
			return false;
	memset(name + length, 0, TRIBUF_NAME_SIZE - length);
	return length && strcmp(name, ".") && strcmp(name, "..");
}

static int tribuf_check_name(struct tribuf_attach_args *args)
{
	if (args->flags & (TRIBUF_ANONYMOUS | TRIBUF_BY_FD))
		return memchr_inv(args->name, 0, TRIBUF_NAME_SIZE) ? -EINVAL : 0;
	if (!memchr(args->name, 0, TRIBUF_NAME_SIZE))
		return -ENAMETOOLONG;
	return tribuf_name_valid(args->name) ? 0 : -EINVAL;
}

/* What a channel that this makes has. */
static u32 tribuf_granule(const struct tribuf_attach_args *args)
{
	return args->granule ?: TRIBUF_GRANULE_DEFAULT;
}

/* Do the flags go together, and with the role? */
static bool tribuf_flags_valid(const struct tribuf_attach_args *args)
{
	u32 flags = args->flags;

	if (flags & ~TRIBUF_ATTACH_FLAGS)
		return false;
	if (flags & (TRIBUF_EXCL | TRIBUF_REPLACE | TRIBUF_ANONYMOUS) && !(flags & TRIBUF_CREATE))
		return false;
	if (flags & TRIBUF_REPLACE &&
	    (flags & (TRIBUF_EXCL | TRIBUF_ANONYMOUS) || args->role != TRIBUF_PRODUCER))
		return false;
	if (flags & TRIBUF_BY_FD && flags & (TRIBUF_CREATE | TRIBUF_PENDING))
		return false;
	return true;
}

static bool tribuf_geometry_valid(const struct tribuf_attach_args *args)
{
	if (args->granule && (!is_power_of_2(args->granule) || args->granule > TRIBUF_GRANULE_MAX))
		return false;
	if (args->flags & TRIBUF_CREATE)
		return args->slot_size;
	/* There may be no geometry to compare with. */
	if (args->flags & TRIBUF_PENDING)
		return !args->slot_size && !args->granule;
	return true;
}

static int tribuf_check_args(struct tribuf_attach_args *args)
{
	if (args->layout != TRIBUF_LAYOUT_VERSION)
		return -EPROTONOSUPPORT;
	if (args->role < TRIBUF_PRODUCER || args->role > TRIBUF_KEEPER)
		return -EINVAL;
	if (!tribuf_flags_valid(args) || !tribuf_geometry_valid(args))
		return -EINVAL;
	if (args->mode & ~0777 || memchr_inv(args->reserved, 0, sizeof(args->reserved)))
		return -EINVAL;
	if (args->flags & TRIBUF_BY_FD) {
		if (args->grants & ~TRIBUF_GRANT_ALL)
			return -EINVAL;
	} else if (args->grants || args->fd != -1) {
		return -EINVAL;
	}
	if (args->flags & TRIBUF_GUARDED && !tribuf_guard_supported())
		return -EOPNOTSUPP;
	return tribuf_check_name(args);
}

/* What the role needs of the channel's mode bits and of the handle's open mode. */
static umode_t tribuf_role_needs(const struct tribuf_join *join,
				 const struct tribuf_channel *channel)
{
	u32 role = join->args->role, flags = join->args->flags;
	/* Who asks for it gets a guarded channel or none. */
	bool guarded = channel->guarded || flags & TRIBUF_GUARDED;
	/* What somebody else's channel will be is not for its readers to decide. */
	bool decides = !join->granted && channel->geometry->state & TRIBUF_STATE_PENDING &&
		       (flags & TRIBUF_CREATE || guarded != channel->guarded);

	if (role == TRIBUF_PRODUCER || (role == TRIBUF_CONSUMER && !guarded) || decides)
		return MAY_READ | MAY_WRITE;
	return MAY_READ;
}

static int tribuf_check_rights(const struct tribuf_join *join, const struct tribuf_channel *channel)
{
	umode_t needs = tribuf_role_needs(join, channel);
	kuid_t root = make_kuid(current_user_ns(), 0);

	if (!(join->file->f_mode & FMODE_READ) ||
	    (needs & MAY_WRITE && !(join->file->f_mode & FMODE_WRITE)))
		return -EACCES;
	if (!join->granted && !tribuf_channel_may(channel, needs))
		return -EACCES;
	if (join->args->flags & TRIBUF_OWNER && !uid_eq(channel->uid, current_fsuid()) &&
	    !uid_eq(channel->uid, GLOBAL_ROOT_UID) && !uid_eq(channel->uid, root))
		return -EPERM;
	return 0;
}

static int tribuf_check_geometry(const struct tribuf_join *join,
				 const struct tribuf_channel *channel)
{
	const struct tribuf_attach_args *args = join->args;
	const struct tribuf_geometry *geometry = channel->geometry;
	bool pending = geometry->state & TRIBUF_STATE_PENDING;

	/* Whether it is guarded is open as long as there are no slots. */
	if (args->flags & TRIBUF_GUARDED && !channel->guarded && !pending)
		return -EINVAL;
	if (args->flags & TRIBUF_CREATE && channel->guarded && !(args->flags & TRIBUF_GUARDED))
		return -EINVAL;
	if (pending) {
		if (args->flags & TRIBUF_CREATE)
			return join->slots ? 0 : TRIBUF_RETRY_SLOTS;
		if (args->slot_size || args->granule)
			return -EINVAL;
		return args->flags & TRIBUF_PENDING || join->granted ? 0 : -ENOENT;
	}
	if (args->slot_size && args->slot_size != geometry->slot_size)
		return -EINVAL;
	if (args->granule && args->granule != geometry->granule)
		return -EINVAL;
	return 0;
}

static int tribuf_check_role(const struct tribuf_join *join, const struct tribuf_channel *channel)
{
	lockdep_assert_held(&channel->lock);
	switch (join->args->role) {
	case TRIBUF_PRODUCER:
		return rcu_access_pointer(channel->producer) ? -EBUSY : 0;
	case TRIBUF_CONSUMER:
		return rcu_access_pointer(channel->consumer) ? -EBUSY : 0;
	case TRIBUF_OBSERVER:
		return channel->observer_count == TRIBUF_OBSERVERS_MAX ? -EBUSY : 0;
	}
	return 0;
}

/* What a new peer needs of the word and the slots. The last step that can fail. */
static int tribuf_prepare_peer(struct tribuf_join *join, struct tribuf_channel *channel)
{
	struct tribuf_attach_args *args = join->args;
	u32 word = atomic_read(channel->word);
	int err;

	args->redelivered = 0;
	if (args->role != TRIBUF_PRODUCER && args->role != TRIBUF_CONSUMER)
		return 0;
	if (!tribuf_word_valid(word))
		return -EPROTO;
	if (args->role == TRIBUF_PRODUCER) {
		/* Nothing pins the slots of a guarded channel. */
		if (!channel->geometry->producer_epoch || channel->guarded)
			return 0;
		join->missing = tribuf_slots_unpin(channel, tribuf_word_back(word), &join->spares);
		return join->missing ? TRIBUF_RETRY_SPARES : 0;
	}
	if (!(args->flags & TRIBUF_LATEST))
		return 0;
	err = tribuf_swap_redeliver(channel);
	if (err < 0)
		return err;
	args->redelivered = err;
	return 0;
}

static void tribuf_enter_role(struct tribuf_channel *channel, struct tribuf_handle *handle)
{
	struct tribuf_geometry *geometry = channel->geometry;

	lockdep_assert_held(&channel->lock);
	list_add_tail(&handle->attached, &channel->attached);
	switch (handle->role) {
	case TRIBUF_PRODUCER:
		tribuf_swap_takeover(channel, tribuf_word_back(atomic_read(channel->word)));
		WRITE_ONCE(geometry->producer_epoch, geometry->producer_epoch + 1);
		tribuf_channel_set_state(channel, TRIBUF_STATE_PRODUCER |
					 TRIBUF_STATE_HAD_PRODUCER, 0);
		rcu_assign_pointer(channel->producer, handle);
		tribuf_channel_changed(channel);
		break;
	case TRIBUF_CONSUMER:
		WRITE_ONCE(geometry->consumer_epoch, geometry->consumer_epoch + 1);
		tribuf_channel_set_state(channel, TRIBUF_STATE_CONSUMER |
					 TRIBUF_STATE_HAD_CONSUMER, 0);
		rcu_assign_pointer(channel->consumer, handle);
		tribuf_channel_changed(channel);
		break;
	case TRIBUF_OBSERVER:
		channel->observer_count++;
		list_add_tail_rcu(&handle->observing, &channel->observers);
		break;
	case TRIBUF_KEEPER:
		channel->keeper_count++;
		break;
	}
}

/*
 * The slot that the word says is the role's: on a guarded channel, where nobody but
 * the kernel writes it. A channel without slots may still become one; for a direct
 * one this means nothing.
 */
static void tribuf_join_guard(struct tribuf_channel *channel, struct tribuf_handle *handle)
{
	u32 word = atomic_read(channel->word);

	if (handle->role == TRIBUF_PRODUCER)
		tribuf_guard_give(handle, tribuf_word_back(word));
	else if (handle->role == TRIBUF_CONSUMER)
		tribuf_guard_give(handle, tribuf_word_front(word));
}

static void tribuf_join_answer(struct tribuf_join *join, const struct tribuf_channel *channel)
{
	const struct tribuf_geometry *geometry = channel->geometry;
	struct tribuf_attach_args *args = join->args;

	args->slot_size = geometry->slot_size;
	args->granule = geometry->granule;
	args->grants = join->grants;
	args->slot_stride = geometry->slot_stride;
	args->slots_offset = geometry->slots_offset;
	args->channel = channel->id;
	args->uid = from_kuid_munged(current_user_ns(), channel->uid);
	args->state = geometry->state;
	args->producer_epoch = geometry->producer_epoch;
	args->consumer_epoch = geometry->consumer_epoch;
}

/*
 * Give the handle its role on @channel, of which it takes over the caller's
 * reference. 0, an error, or enum tribuf_retry, with the reference still the
 * caller's.
 */
static int tribuf_join_locked(struct tribuf_join *join, struct tribuf_channel *channel)
{
	struct tribuf_attach_args *args = join->args;
	struct tribuf_handle *handle = join->handle;
	int err;

	lockdep_assert_held(&channel->lock);
	if (channel->gone || channel->replaced)
		return TRIBUF_RETRY_GONE;
	err = tribuf_check_rights(join, channel);
	if (!err)
		err = tribuf_check_role(join, channel);
	if (!err)
		err = tribuf_check_geometry(join, channel);
	if (!err)
		err = tribuf_prepare_peer(join, channel);
	if (err)
		return err;

	if (args->flags & TRIBUF_GUARDED)
		tribuf_channel_set_guarded(channel);
	if (channel->geometry->state & TRIBUF_STATE_PENDING && join->slots) {
		tribuf_channel_set_geometry(channel, join->slots, args->slot_size,
					    tribuf_granule(args));
		join->slots = NULL;
	}
	/* Another thread may use the handle, or end it, as soon as it has its channel. */
	mutex_lock(&handle->lock);
	handle->role = args->role;
	handle->grants = join->grants;
	handle->owner = args->flags & TRIBUF_OWNED ? current->files : NULL;
	handle->tgid = get_pid(task_tgid(current));
	tribuf_join_guard(channel, handle);
	/* Pairs with the acquire in tribuf_channel_of(); before peers can find the handle. */
	smp_store_release(&handle->channel, channel);
	tribuf_enter_role(channel, handle);
	WRITE_ONCE(handle->seen, channel->changes);
	mutex_unlock(&handle->lock);
	tribuf_join_answer(join, channel);
	return 0;
}

static int tribuf_join(struct tribuf_join *join, struct tribuf_channel *channel)
{
	int err;

	mutex_lock(&channel->lock);
	err = tribuf_join_locked(join, channel);
	mutex_unlock(&channel->lock);
	return err;
}

/* REPLACE: @channel, if there is one, gives up its name. */
static int tribuf_replace(struct tribuf_channel *channel)
{
	lockdep_assert_held(&tribuf_names_lock);
	if (!channel)
		return 0;
	if (!tribuf_channel_is_owner(channel))
		return -EPERM;
	tribuf_names_unname(channel);
	/* The caller holds the lock of the new channel, which nobody else knows yet. */
	mutex_lock_nested(&channel->lock, SINGLE_DEPTH_NESTING);
	WRITE_ONCE(channel->replaced, true);
	tribuf_channel_set_state(channel, TRIBUF_STATE_REPLACED, 0);
	tribuf_channel_changed(channel);
	tribuf_wake_all(channel, EPOLLERR);
	mutex_unlock(&channel->lock);
	return 0;
}

/*
 * Enter the new channel, with our handle attached before anyone else can be: the
 * lock of the channel is taken before that of the names is given back.
 */
static int tribuf_join_new(struct tribuf_join *join, struct tribuf_channel *old)
{
	struct tribuf_channel *channel = join->channel;
	int err;

	lockdep_assert_held(&tribuf_names_lock);
	/* Nobody else knows the channel: this fails before anything is visible. */
	mutex_lock(&channel->lock);
	join->granted = true;
	err = tribuf_check_rights(join, channel);
	if (!err)
		err = tribuf_replace(old);
	if (!err) {
		join->grants = TRIBUF_GRANT_ALL;
		err = tribuf_join_locked(join, channel);
		WARN_ON_ONCE(err);
	}
	if (!err) {
		tribuf_names_insert(channel);
		join->args->created = 1;
		join->channel = NULL;
	}
	mutex_unlock(&channel->lock);
	return err;
}

/*
 * One try. Returns with everything done or nothing; enum tribuf_retry if the
 * caller has to bring something first.
 */
static int tribuf_try_name(struct tribuf_join *join)
{
	const u32 flags = join->args->flags;
	struct tribuf_channel *channel;
	int err;

	mutex_lock(&tribuf_names_lock);
	channel = flags & TRIBUF_ANONYMOUS ? NULL : tribuf_names_find(join->args->name);
	if (channel && flags & TRIBUF_EXCL) {
		err = -EEXIST;
	} else if (!channel && !(flags & (TRIBUF_CREATE | TRIBUF_PENDING))) {
		err = -ENOENT;
	} else if (!channel || flags & TRIBUF_REPLACE) {
		err = join->channel ? tribuf_join_new(join, channel) : TRIBUF_RETRY_CHANNEL;
	} else {
		kref_get(&channel->ref);
		mutex_unlock(&tribuf_names_lock);
		err = tribuf_join(join, channel);
		if (err)
			tribuf_channel_put(channel);
		return err;
	}
	mutex_unlock(&tribuf_names_lock);
	return err;
}

static int tribuf_bring_slots(struct tribuf_join *join)
{
	const struct tribuf_attach_args *args = join->args;
	struct tribuf_slots *slots;

	if (join->slots || !(args->flags & TRIBUF_CREATE))
		return 0;
	slots = tribuf_slots_alloc(args->slot_size, tribuf_granule(args),
				   args->flags & TRIBUF_GUARDED);
	if (IS_ERR(slots))
		return PTR_ERR(slots);
	join->slots = slots;
	return 0;
}

static int tribuf_bring_channel(struct tribuf_join *join)
{
	struct tribuf_channel *channel;
	int err = tribuf_bring_slots(join);

	if (err)
		return err;
	channel = tribuf_channel_alloc(join->args);
	if (IS_ERR(channel))
		return PTR_ERR(channel);
	join->channel = channel;
	return 0;
}

/* What the last try lacked. 0: try again. */
static int tribuf_bring(struct tribuf_join *join, int lacked)
{
	int err = 0;

	if (lacked == TRIBUF_RETRY_CHANNEL)
		err = tribuf_bring_channel(join);
	else if (lacked == TRIBUF_RETRY_SLOTS)
		err = tribuf_bring_slots(join);
	else if (lacked == TRIBUF_RETRY_SPARES)
		err = tribuf_pages_alloc(&join->spares, join->missing);
	return !err && task_sigpending(current) ? -ERESTARTNOHAND : err;
}

static int tribuf_attach_by_name(struct tribuf_join *join)
{
	int err, lacked;

	do {
		lacked = tribuf_try_name(join);
		err = lacked > 0 ? tribuf_bring(join, lacked) : lacked;
	} while (lacked > 0 && !err);
	return err;
}

static int tribuf_check_grants(struct tribuf_join *join, const struct tribuf_handle *granter)
{
	int err = tribuf_alive(granter);

	if (err)
		return err;
	if (!(granter->grants & TRIBUF_GRANT(join->args->role)))
		return -EACCES;
	if (join->args->grants & ~granter->grants)
		return -EPERM;
	return 0;
}

static int tribuf_attach_by_fd(struct tribuf_join *join)
{
	struct file *file = fget(join->args->fd);
	struct tribuf_handle *granter;
	int err = -EBADF, lacked;

	if (!file)
		return -EBADF;
	if (file->f_op != &tribuf_fops)
		goto out;
	granter = file->private_data;
	err = tribuf_check_grants(join, granter);
	if (err)
		goto out;
	join->granted = true;
	join->grants = join->args->grants;
	kref_get(&granter->channel->ref);
	do {
		lacked = tribuf_join(join, granter->channel);
		err = lacked > 0 ? tribuf_bring(join, lacked) : lacked;
		if (lacked == TRIBUF_RETRY_GONE)
			err = -ESTALE;
	} while (lacked > 0 && !err);
	if (err)
		tribuf_channel_put(granter->channel);
out:
	fput(file);
	return err;
}

long tribuf_attach(struct file *file, struct tribuf_attach_args *args)
{
	struct tribuf_handle *handle = file->private_data;
	struct tribuf_join join = {
		.file = file, .handle = handle, .args = args, .spares = LIST_HEAD_INIT(join.spares),
	};
	int err;

	err = tribuf_check_args(args);
	if (err)
		return err;
	if (test_and_set_bit(0, &handle->attaching))
		return -EISCONN;
	args->created = 0;
	if (args->flags & TRIBUF_BY_FD)
		err = tribuf_attach_by_fd(&join);
	else
		err = tribuf_attach_by_name(&join);
	if (join.channel)
		tribuf_channel_put(join.channel);
	tribuf_slots_free(join.slots);
	tribuf_pages_free(&join.spares);
	if (err) {
		clear_bit(0, &handle->attaching);
		return err;
	}
	tribuf_wake_attached(handle);
	trace_tribuf_attach(handle->channel->id, handle->role);
	return 0;
}
