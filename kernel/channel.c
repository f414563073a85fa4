// SPDX-License-Identifier: GPL-2.0-only
/*
 * The channel object: making it, giving it a geometry, leaving it, freeing it.
 * Knows who is attached, but not how one becomes so (attach.c).
 */
#include <linux/capability.h>
#include <linux/fs_struct.h>
#include <linux/ipc_namespace.h>
#include <linux/nsproxy.h>
#include <linux/slab.h>
#include <linux/user_namespace.h>

#include "channel.h"
#include "compat.h"

atomic_long_t tribuf_channels_live;

static void tribuf_meta_free(struct tribuf_channel *channel)
{
	unsigned int i;

	for (i = 0; i < TRIBUF_META_PAGES; i++)
		if (channel->meta[i])
			tribuf_page_free(channel->meta[i]);
}

static int tribuf_meta_alloc(struct tribuf_channel *channel)
{
	unsigned int i;

	for (i = 0; i < TRIBUF_META_PAGES; i++) {
		channel->meta[i] = tribuf_page_alloc(0);
		if (!channel->meta[i])
			return -ENOMEM;
	}
	channel->word = page_address(channel->meta[TRIBUF_PAGE_STATE]);
	channel->frames = page_address(channel->meta[TRIBUF_PAGE_FRAMES]);
	channel->geometry = page_address(channel->meta[TRIBUF_PAGE_GEOMETRY]);
	return 0;
}

static void tribuf_meta_init(struct tribuf_channel *channel)
{
	struct tribuf_geometry *geometry = channel->geometry;

	BUILD_BUG_ON(sizeof(struct tribuf_frames) > PAGE_SIZE);
	BUILD_BUG_ON(sizeof(struct tribuf_geometry) > PAGE_SIZE);
	BUILD_BUG_ON(sizeof(atomic_t) != sizeof(__u32));
	BUILD_BUG_ON(TRIBUF_GRANULE_MAX > PAGE_SIZE);

	atomic_set(channel->word, TRIBUF_WORD_INIT);
	geometry->magic = TRIBUF_MAGIC;
	geometry->layout = TRIBUF_LAYOUT_VERSION;
	geometry->byte_order = TRIBUF_BYTE_ORDER;
	geometry->channel = channel->id;
	geometry->slots = TRIBUF_SLOTS;
	geometry->page_size = PAGE_SIZE;
	geometry->state = TRIBUF_STATE_PENDING;
}

/**
 * tribuf_channel_alloc - a channel without slots, charged to the caller
 * @args: checked; name and mode are used
 *
 * Return: the channel, on which the caller has the only reference, or ERR_PTR of
 * -ENOSPC (limit per user), -ENOMEM.
 */
struct tribuf_channel *tribuf_channel_alloc(const struct tribuf_attach_args *args)
{
	static atomic64_t ids;
	struct tribuf_channel *channel;
	int err;

	channel = kzalloc(sizeof(*channel), GFP_KERNEL_ACCOUNT);
	if (!channel)
		return ERR_PTR(-ENOMEM);
	channel->charge = tribuf_charge(TRIBUF_META_PAGES * PAGE_SIZE, 1);
	if (IS_ERR(channel->charge)) {
		err = PTR_ERR(channel->charge);
		goto err_free;
	}
	err = tribuf_meta_alloc(channel);
	if (err)
		goto err_meta;

	kref_init(&channel->ref);
	channel->id = atomic64_inc_return(&ids);
	memcpy(channel->name, args->name, sizeof(channel->name));
	channel->ipc = get_ipc_ns(current->nsproxy->ipc_ns);
	channel->uid = current_fsuid();
	channel->gid = current_fsgid();
	channel->mode = args->mode & ~current_umask();
	INIT_HLIST_NODE(&channel->named);
	INIT_LIST_HEAD(&channel->listed);
	mutex_init(&channel->lock);
	init_rwsem(&channel->map_lock);
	INIT_LIST_HEAD(&channel->observers);
	INIT_LIST_HEAD(&channel->attached);
	tribuf_meta_init(channel);
	atomic_long_inc(&tribuf_channels_live);
	return channel;

err_meta:
	tribuf_meta_free(channel);
	tribuf_uncharge(channel->charge);
err_free:
	kfree(channel);
	return ERR_PTR(err);
}

static void tribuf_channel_free(struct kref *ref)
{
	struct tribuf_channel *channel = container_of(ref, struct tribuf_channel, ref);

	WARN_ON(!list_empty(&channel->attached) || !list_empty(&channel->listed));
	tribuf_slots_free(channel->slots);
	tribuf_meta_free(channel);
	tribuf_uncharge(channel->charge);
	compat_put_ipc_ns(channel->ipc);
	mutex_destroy(&channel->lock);
	kfree(channel);
	atomic_long_dec(&tribuf_channels_live);
}

void tribuf_channel_put(struct tribuf_channel *channel)
{
	kref_put(&channel->ref, tribuf_channel_free);
}

void tribuf_channel_set_state(struct tribuf_channel *channel, u32 set, u32 clear)
{
	lockdep_assert_held(&channel->lock);
	WRITE_ONCE(channel->geometry->state, (channel->geometry->state | set) & ~clear);
}

/* The first that asks for it while there are no slots decides it for all. */
void tribuf_channel_set_guarded(struct tribuf_channel *channel)
{
	channel->guarded = true;
	tribuf_channel_set_state(channel, TRIBUF_STATE_GUARDED, 0);
}

/* An epoch or the geometry changed: everyone's EPOLLPRI, until their INFO. */
void tribuf_channel_changed(struct tribuf_channel *channel)
{
	lockdep_assert_held(&channel->lock);
	WRITE_ONCE(channel->changes, channel->changes + 1);
	tribuf_wake_all(channel, EPOLLPRI);
}

/* The channel takes @slots over. State last: who no longer sees PENDING maps. */
void tribuf_channel_set_geometry(struct tribuf_channel *channel, struct tribuf_slots *slots,
				 u64 slot_size, u32 granule)
{
	struct tribuf_geometry *geometry = channel->geometry;

	lockdep_assert_held(&channel->lock);
	geometry->slot_size = slot_size;
	if (slots->slot_pages) {
		geometry->slot_stride = tribuf_slot_stride(slot_size);
		geometry->slots_offset = tribuf_slots_offset(slot_size);
	} else {
		geometry->features |= TRIBUF_FEATURE_SMALL;
		geometry->slot_stride = sizeof(struct tribuf_desc);
		geometry->slots_offset = TRIBUF_PAGE_FRAMES * PAGE_SIZE +
					 offsetof(struct tribuf_frames, desc[0].small);
	}
	geometry->granule = granule;
	down_write(&channel->map_lock);
	channel->slots = slots;
	up_write(&channel->map_lock);
	/* Pairs with tribuf_channel_state(), and with the load in user space. */
	smp_store_release(&geometry->state, geometry->state & ~TRIBUF_STATE_PENDING);
	tribuf_channel_changed(channel);
}

/* As for a file: a capability counts where its namespace maps the owner. */
static bool tribuf_channel_capable(const struct tribuf_channel *channel, int capability)
{
	struct user_namespace *ns = current_user_ns();

	return kuid_has_mapping(ns, channel->uid) && kgid_has_mapping(ns, channel->gid) &&
	       ns_capable(ns, capability);
}

/* May the caller do @want (MAY_READ | MAY_WRITE)? */
bool tribuf_channel_may(const struct tribuf_channel *channel, umode_t want)
{
	umode_t granted = channel->mode;

	if (uid_eq(current_fsuid(), channel->uid))
		granted >>= 6;
	else if (in_group_p(channel->gid))
		granted >>= 3;
	return (granted & want) == want ||
	       tribuf_channel_capable(channel, CAP_DAC_OVERRIDE);
}

bool tribuf_channel_is_owner(const struct tribuf_channel *channel)
{
	return uid_eq(current_fsuid(), channel->uid) ||
	       tribuf_channel_capable(channel, CAP_FOWNER);
}

static void tribuf_channel_drop_role(struct tribuf_channel *channel, struct tribuf_handle *handle)
{
	lockdep_assert_held(&channel->lock);
	list_del(&handle->attached);
	switch (handle->role) {
	case TRIBUF_PRODUCER:
		RCU_INIT_POINTER(channel->producer, NULL);
		tribuf_channel_set_state(channel, 0, TRIBUF_STATE_PRODUCER);
		break;
	case TRIBUF_CONSUMER:
		RCU_INIT_POINTER(channel->consumer, NULL);
		tribuf_channel_set_state(channel, 0, TRIBUF_STATE_CONSUMER);
		break;
	case TRIBUF_OBSERVER:
		list_del_rcu(&handle->observing);
		channel->observer_count--;
		break;
	case TRIBUF_KEEPER:
		channel->keeper_count--;
		break;
	}
}

/*
 * A role ends, its mappings being revoked already: the successor may come from
 * here on. A peer that died between its swap and its ring has left nobody to
 * ring, so everyone is woken for every event. The last one takes the slots along.
 */
void tribuf_channel_leave(struct tribuf_handle *handle)
{
	struct tribuf_channel *channel = handle->channel;
	struct tribuf_slots *slots = NULL;

	mutex_lock(&tribuf_names_lock);
	mutex_lock(&channel->lock);
	tribuf_channel_drop_role(channel, handle);
	if (list_empty(&channel->attached)) {
		channel->gone = true;
		tribuf_names_remove(channel);
		down_write(&channel->map_lock);
		if (!channel->guarded)
			swap(slots, channel->slots);
		up_write(&channel->map_lock);
	} else if (tribuf_role_in(handle, TRIBUF_GRANT(TRIBUF_PRODUCER) |
				  TRIBUF_GRANT(TRIBUF_CONSUMER))) {
		tribuf_wake_all(channel, EPOLLIN | EPOLLRDNORM | EPOLLOUT | EPOLLWRNORM |
				EPOLLRDHUP);
	}
	mutex_unlock(&channel->lock);
	mutex_unlock(&tribuf_names_lock);
	tribuf_slots_free(slots);
}
