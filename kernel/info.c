// SPDX-License-Identifier: GPL-2.0-only
/*
 * What a channel looks like from outside: INFO, the entries of LIST, fdinfo.
 */
#include <linux/pid.h>
#include <linux/pid_namespace.h>
#include <linux/seq_file.h>
#include <linux/user_namespace.h>

#include "channel.h"

static s32 tribuf_pid_of(struct tribuf_channel *channel, struct tribuf_handle __rcu *peer)
{
	struct tribuf_handle *handle;

	handle = rcu_dereference_protected(peer, lockdep_is_held(&channel->lock));
	return handle ? pid_nr_ns(handle->tgid, task_active_pid_ns(current)) : 0;
}

static void tribuf_info_identity(struct tribuf_channel *channel, struct tribuf_info_args *args)
{
	const struct tribuf_geometry *geometry = channel->geometry;

	args->channel = channel->id;
	memcpy(args->name, channel->name, sizeof(args->name));
	args->slot_size = geometry->slot_size;
	args->slot_stride = geometry->slot_stride;
	args->slots_offset = geometry->slots_offset;
	args->slots = geometry->slots;
	args->granule = geometry->granule;
	args->state = geometry->state;
	args->uid = from_kuid_munged(current_user_ns(), channel->uid);
	args->gid = from_kgid_munged(current_user_ns(), channel->gid);
	args->mode = channel->mode;
}

static void tribuf_info_peers(struct tribuf_channel *channel, struct tribuf_info_args *args)
{
	args->producer_epoch = channel->geometry->producer_epoch;
	args->consumer_epoch = channel->geometry->consumer_epoch;
	args->producer_pid = tribuf_pid_of(channel, channel->producer);
	args->consumer_pid = tribuf_pid_of(channel, channel->consumer);
	args->observers = channel->observer_count;
	args->keepers = channel->keeper_count;
}

static void tribuf_info_counters(struct tribuf_channel *channel, struct tribuf_info_args *args)
{
	args->kernel_publishes = atomic64_read(&channel->publishes);
	args->kernel_acquires = atomic64_read(&channel->acquires);
	args->kernel_rings = atomic64_read(&channel->rings);
	args->kernel_wakes = atomic64_read(&channel->wakes);
	args->kernel_sleeps = atomic64_read(&channel->sleeps);
	args->kernel_redelivered = atomic64_read(&channel->redelivered);
	args->kernel_guard_faults = atomic64_read(&channel->guard_faults);
}

/* What the shared pages say. Nothing here is used for anything but telling. */
static void tribuf_info_claims(struct tribuf_channel *channel, struct tribuf_info_args *args)
{
	const struct tribuf_frames *frames = channel->frames;
	u32 word = atomic_read(channel->word);

	args->claimed_word = word;
	args->claimed_format = READ_ONCE(frames->format.version);
	args->claimed_overwritten = READ_ONCE(frames->overwritten);
	args->claimed_seq = tribuf_newest_seq(channel, word);
	if (args->claimed_seq) {
		const struct tribuf_desc *desc = &frames->desc[tribuf_word_newest(word)];

		args->claimed_bytes = READ_ONCE(desc->bytes);
		args->claimed_timestamp = READ_ONCE(desc->timestamp);
	}
}

long tribuf_info(struct tribuf_handle *handle, struct tribuf_info_args *args)
{
	struct tribuf_channel *channel = handle->channel;
	u32 flags = args->flags;

	if (flags & ~TRIBUF_INFO_PEEK || memchr_inv(args->reserved, 0, sizeof(args->reserved)))
		return -EINVAL;
	if (READ_ONCE(handle->ended))
		return -ESTALE;
	memset(args, 0, sizeof(*args));
	args->size = sizeof(*args);
	args->flags = flags;
	args->role = handle->role;
	args->grants = handle->grants;
	mutex_lock(&channel->lock);
	tribuf_info_identity(channel, args);
	tribuf_info_peers(channel, args);
	if (!(flags & TRIBUF_INFO_PEEK))
		WRITE_ONCE(handle->seen, channel->changes);
	mutex_unlock(&channel->lock);
	tribuf_info_counters(channel, args);
	tribuf_info_claims(channel, args);
	return 0;
}

void tribuf_list_entry_fill(struct tribuf_channel *channel, struct tribuf_list_entry *entry)
{
	mutex_lock(&channel->lock);
	entry->channel = channel->id;
	memcpy(entry->name, channel->name, sizeof(entry->name));
	entry->slot_size = channel->geometry->slot_size;
	entry->claimed_seq = tribuf_newest_seq(channel, atomic_read(channel->word));
	entry->state = channel->geometry->state;
	entry->uid = from_kuid_munged(current_user_ns(), channel->uid);
	entry->gid = from_kgid_munged(current_user_ns(), channel->gid);
	entry->mode = channel->mode;
	entry->producer_pid = tribuf_pid_of(channel, channel->producer);
	entry->consumer_pid = tribuf_pid_of(channel, channel->consumer);
	entry->observers = channel->observer_count;
	entry->keepers = channel->keeper_count;
	mutex_unlock(&channel->lock);
}

static const char *const tribuf_role_name[] = {
	[TRIBUF_PRODUCER] = "producer",
	[TRIBUF_CONSUMER] = "consumer",
	[TRIBUF_OBSERVER] = "observer",
	[TRIBUF_KEEPER] = "keeper",
};

void tribuf_show_fdinfo(struct seq_file *seq, struct file *file)
{
	struct tribuf_handle *handle = file->private_data;
	struct tribuf_channel *channel = tribuf_channel_of(handle);
	u32 word;

	if (!channel)
		return;
	word = atomic_read(channel->word);
	seq_printf(seq, "tribuf-channel:\t%llu\n", channel->id);
	seq_puts(seq, "tribuf-name:\t");
	seq_escape_mem(seq, channel->name, strnlen(channel->name, TRIBUF_NAME_SIZE), ESCAPE_NP,
		       NULL);
	seq_printf(seq, "\ntribuf-role:\t%s%s\n", tribuf_role_name[handle->role],
		   READ_ONCE(handle->ended) ? " (ended)" : "");
	seq_printf(seq, "tribuf-slot-size:\t%llu\n", READ_ONCE(channel->geometry->slot_size));
	seq_printf(seq, "tribuf-state:\t%#x\n", tribuf_channel_state(channel));
	seq_printf(seq, "tribuf-word:\t%#010x\n", word);
	seq_printf(seq, "tribuf-seq:\t%llu\n", tribuf_newest_seq(channel, word));
}
