// SPDX-License-Identifier: GPL-2.0-only
/*
 * Names of channels, per IPC namespace, and the list of all channels.
 */
#include <linux/cred.h>
#include <linux/hashtable.h>
#include <linux/ipc_namespace.h>
#include <linux/nsproxy.h>
#include <linux/slab.h>
#include <linux/stringhash.h>
#include <linux/uaccess.h>

#include "channel.h"

/* Protects the table, the list, and which channel has a name. */
DEFINE_MUTEX(tribuf_names_lock);

static DEFINE_HASHTABLE(tribuf_names, 10);
static LIST_HEAD(tribuf_channels);	/* in the order of their ids */

static u32 tribuf_name_hash(const struct ipc_namespace *ipc, const u8 *name)
{
	return full_name_hash(ipc, name, strnlen(name, TRIBUF_NAME_SIZE));
}

/* The channel of that name in the caller's namespace, or NULL. */
struct tribuf_channel *tribuf_names_find(const u8 *name)
{
	const struct ipc_namespace *ipc = current->nsproxy->ipc_ns;
	struct tribuf_channel *channel;

	lockdep_assert_held(&tribuf_names_lock);
	hash_for_each_possible(tribuf_names, channel, named, tribuf_name_hash(ipc, name))
		if (channel->ipc == ipc && !memcmp(channel->name, name, TRIBUF_NAME_SIZE))
			return channel;
	return NULL;
}

/* Enter a new channel, under its name if it has one. */
void tribuf_names_insert(struct tribuf_channel *channel)
{
	struct tribuf_channel *last;

	lockdep_assert_held(&tribuf_names_lock);
	if (channel->name[0])
		hash_add(tribuf_names, &channel->named,
			 tribuf_name_hash(channel->ipc, channel->name));
	/* Ids are given out before; two creators may come here the other way round. */
	list_for_each_entry_reverse(last, &tribuf_channels, listed)
		if (last->id < channel->id)
			break;
	list_add(&channel->listed, &last->listed);
}

/* Another channel gets the name; this one stays in the list. */
void tribuf_names_unname(struct tribuf_channel *channel)
{
	lockdep_assert_held(&tribuf_names_lock);
	hash_del(&channel->named);
}

void tribuf_names_remove(struct tribuf_channel *channel)
{
	lockdep_assert_held(&tribuf_names_lock);
	hash_del(&channel->named);
	list_del_init(&channel->listed);
}

#define TRIBUF_LIST_BATCH	256u	/* entries; 30 KiB */

/* Fill @entries with channels after @cursor. Return how many. */
static u32 tribuf_list_batch(struct tribuf_list_entry *entries, u32 room, u64 cursor)
{
	const struct ipc_namespace *ipc = current->nsproxy->ipc_ns;
	struct tribuf_channel *channel;
	u32 count = 0;

	mutex_lock(&tribuf_names_lock);
	list_for_each_entry(channel, &tribuf_channels, listed) {
		if (count == room)
			break;
		if (channel->id <= cursor || channel->ipc != ipc ||
		    !tribuf_channel_may(channel, MAY_READ))
			continue;
		tribuf_list_entry_fill(channel, &entries[count++]);
	}
	mutex_unlock(&tribuf_names_lock);
	return count;
}

long tribuf_list(struct tribuf_list_args *args)
{
	struct tribuf_list_entry __user *to = u64_to_user_ptr(args->entries);
	struct tribuf_list_entry *entries;
	u32 room = args->count;
	u32 done = 0;
	int err = 0;

	if (args->flags || !room || args->entry_size != sizeof(*entries))
		return -EINVAL;
	entries = kvcalloc(min(room, TRIBUF_LIST_BATCH), sizeof(*entries), GFP_KERNEL_ACCOUNT);
	if (!entries)
		return -ENOMEM;
	while (done < room) {
		u32 want = min(room - done, TRIBUF_LIST_BATCH);
		u32 count = tribuf_list_batch(entries, want, args->cursor);

		if (count && copy_to_user(&to[done], entries, count * sizeof(*entries))) {
			err = -EFAULT;
			break;
		}
		if (count)
			args->cursor = entries[count - 1].channel;
		done += count;
		if (count < want)
			break;
		cond_resched();
	}
	kvfree(entries);
	args->count = done;
	return err;
}
