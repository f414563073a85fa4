/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The module's own objects, who owns what, and the order of the locks.
 *
 * A *handle* (struct tribuf_handle) is an open file of /dev/tribuf. ATTACH gives
 * it a role on a *channel* (struct tribuf_channel), once. The role ends when the
 * file is released, or, if it is OWNED, when the file table that attached goes;
 * the handle itself lives until the file is released. Mappings hold the file.
 *
 * Each handle holds a reference on its channel until it is released, so a
 * channel's meta pages can be read by whoever holds an attached handle, without
 * a lock. The slots of a direct channel go earlier: when the last role ends (@gone),
 * so that a forked child that happens to have inherited a descriptor keeps no memory.
 * Peers reach each other's handles through RCU, to ring, and under
 * tribuf_channel.lock otherwise.
 *
 * Locks, outermost first:
 *
 *	mmap_lock
 *	  tribuf_channel.map_lock	slots, against faults and copies
 *
 *	tribuf_names_lock		(names.c) the table of names, the list
 *	  tribuf_channel.lock		roles, geometry
 *	    tribuf_channel.map_lock
 *	    tribuf_handle.lock		swaps by the kernel, against the role's
 *					beginning and end
 *	      tribuf_handle.guard_lock
 *	      tribuf_handle.wq.lock	sleepers, against clearing their bit: its
 *					own, or that of a peer that is rung
 *
 * User memory is never touched under any of them: a fault takes mmap_lock and
 * then map_lock.
 */
#ifndef TRIBUF_CHANNEL_H
#define TRIBUF_CHANNEL_H

#include <linux/atomic.h>
#include <linux/cred.h>
#include <linux/fs.h>
#include <linux/kref.h>
#include <linux/list.h>
#include <linux/mutex.h>
#include <linux/poll.h>
#include <linux/rcupdate.h>
#include <linux/rwsem.h>
#include <linux/uidgid.h>
#include <linux/wait.h>
#include <uapi/linux/tribuf.h>

struct iov_iter;
struct kiocb;
struct page;
struct pid;
struct seq_file;
struct tribuf_charge;

/**
 * struct tribuf_slots - the memory of a channel's slots
 * @charge: what it costs whom
 * @slot_pages: pages that back one slot; 0: they are small, and lie in the descriptors
 * @pieces: bit per 2 MiB of each slot: those that lie in one piece; or NULL
 * @page: TRIBUF_SLOTS * @slot_pages of them, slot by slot, one reference each
 *
 * Pages change only under tribuf_channel.map_lock, held for writing.
 */
struct tribuf_slots {
	struct tribuf_charge *charge;
	unsigned long slot_pages;
	unsigned long *pieces;
	struct page *page[];
};

/**
 * struct tribuf_channel - three slots that a producer and a consumer share
 * @ref: one per handle that ever attached and is still open
 * @id: unique, immutable
 * @name: immutable; empty: anonymous
 * @ipc: namespace of the name, pinned, immutable
 * @uid: owner, immutable, as are @gid and @mode
 * @gid: group
 * @mode: permission bits
 * @guarded: the kernel alone swaps; immutable once the channel has its slots, written
 *	under @lock before
 * @charge: what the channel without its slots costs whom
 * @meta: the pages behind the three pointers that follow, immutable
 * @word: state word; shared with user space, belongs to no lock
 * @frames: page 1; written by the producer and its kernel paths
 * @geometry: page 2; written under @lock
 * @named: (tribuf_names_lock) link in the table of names
 * @listed: (tribuf_names_lock) link in the list of channels, oldest first
 * @lock: protects what follows
 * @producer: (written under @lock, read under RCU) likewise @consumer
 * @consumer: the other peer
 * @observers: (written under @lock, read under RCU) handles with that role
 * @attached: all handles with a role
 * @observer_count: how many of them are observers
 * @keeper_count: and keepers
 * @gone: the last role has ended; nobody may join any more
 * @replaced: (read without @lock) another channel got the name
 * @changes: (read without @lock) attaches of peers and changes of geometry
 * @map_lock: protects @slots; held for reading by faults and copies
 * @slots: NULL until the geometry is known, and again once @gone. Those of a
 *	guarded channel stay until it is freed, so that its faults need no lock
 * @publishes: counters for INFO, as @acquires to @redelivered
 * @acquires: frames that the kernel gave to the consumer
 * @rings: RING calls, explicit and implied
 * @wakes: those that woke somebody
 * @sleeps: arm bits that were set
 * @redelivered: frames that went back to the mailbox at attach
 * @guard_faults: touches of a slot by another than its owner
 */
struct tribuf_channel {
	struct kref ref;
	u64 id;
	u8 name[TRIBUF_NAME_SIZE];
	struct ipc_namespace *ipc;
	kuid_t uid;
	kgid_t gid;
	umode_t mode;
	bool guarded;
	struct tribuf_charge *charge;
	struct page *meta[TRIBUF_META_PAGES];
	atomic_t *word;
	struct tribuf_frames *frames;
	struct tribuf_geometry *geometry;

	struct hlist_node named;
	struct list_head listed;

	struct mutex lock;		/* what follows, up to @changes */
	struct tribuf_handle __rcu *producer;
	struct tribuf_handle __rcu *consumer;
	struct list_head observers;
	struct list_head attached;
	unsigned int observer_count;
	unsigned int keeper_count;
	bool gone;
	bool replaced;
	u32 changes;

	struct rw_semaphore map_lock;
	struct tribuf_slots *slots;

	atomic64_t publishes;
	atomic64_t acquires;
	atomic64_t rings;
	atomic64_t wakes;
	atomic64_t sleeps;
	atomic64_t redelivered;
	atomic64_t guard_faults;
};

/**
 * struct tribuf_handle - an open file of the device
 * @rcu: frees it after the last peer that may be ringing it
 * @wq: who sleeps on this handle
 * @inode: anonymous; its mapping is the file's f_mapping, so that this handle's
 *	mappings can be revoked whichever device node it was opened through
 * @attaching: bit 0: an ATTACH is under way or was done
 * @channel: NULL before ATTACH, then immutable. Read with tribuf_channel_of()
 * @role: immutable once @channel is set, as are @grants, @owner and @tgid
 * @grants: mask of the roles that others may attach for through this handle
 * @owner: OWNED: the file table whose end ends the role; only compared
 * @tgid: process that attached
 * @lock: held while the kernel swaps for this handle; taken to begin and end the role
 * @ended: (written under @lock and wq.lock) the role is over
 * @owned: the slot that this handle may map of a guarded channel, or TRIBUF_OWNED_NONE. Written
 *	under @lock, taken away under @guard_lock too; how faults read it: guard.c
 * @slots_at: guarded: address of slot 0 in the newest mapping of slots; 0: none. A hint
 * @by_pages: (guard_lock) no more 2 MiB entries, see tribuf_guard_page_by_page()
 * @guard_lock: a 2 MiB entry being set, against @owned being taken away
 * @taken: observer: number of the newest frame it took
 * @seen: tribuf_channel.changes at this handle's last INFO
 * @observing: (tribuf_channel.lock, RCU) link in @observers
 * @attached: (tribuf_channel.lock) link in @attached
 */
struct tribuf_handle {
	struct rcu_head rcu;
	wait_queue_head_t wq;
	struct inode *inode;
	unsigned long attaching;
	struct tribuf_channel *channel;
	u32 role;
	u32 grants;
	fl_owner_t owner;
	struct pid *tgid;
	struct mutex lock;		/* swaps by the kernel, @ended */
	bool ended;
	u32 owned;
	unsigned long slots_at;
	bool by_pages;
	spinlock_t guard_lock;		/* see guard.c */
	atomic64_t taken;
	u32 seen;
	struct list_head observing;
	struct list_head attached;
};

/*
 * The channel of a handle, or NULL before ATTACH. Pairs with the release in
 * tribuf_attach(): who sees the channel sees the role too.
 */
static inline struct tribuf_channel *tribuf_channel_of(const struct tribuf_handle *handle)
{
	return smp_load_acquire(&handle->channel);	/* see above */
}

/* May frames still pass through this handle? 0, -ENOTCONN or -ESTALE. */
static inline int tribuf_alive(const struct tribuf_handle *handle)
{
	const struct tribuf_channel *channel = tribuf_channel_of(handle);

	if (!channel)
		return -ENOTCONN;
	if (READ_ONCE(handle->ended) || READ_ONCE(channel->replaced))
		return -ESTALE;
	return 0;
}

#define TRIBUF_OWNED_NONE	(~0u)

static inline bool tribuf_role_in(const struct tribuf_handle *handle, u32 roles)
{
	return TRIBUF_GRANT(handle->role) & roles;
}

/* account.c: what users may have */
struct tribuf_charge *tribuf_charge(u64 bytes, unsigned int channels);
void tribuf_uncharge(struct tribuf_charge *charge);
void tribuf_account_init(void);

/* slots.c: memory */
extern unsigned long long tribuf_channel_bytes_max;
extern atomic_long_t tribuf_pages_live;
u64 tribuf_slot_stride(u64 slot_size);
u64 tribuf_slots_offset(u64 slot_size);
struct page *tribuf_page_alloc(gfp_t extra);
void tribuf_page_free(struct page *page);
struct tribuf_slots *tribuf_slots_alloc(u64 slot_size, u32 granule, bool guarded);
bool tribuf_slots_contiguous(const struct tribuf_slots *slots, u32 slot, unsigned long index);
void tribuf_slots_free(struct tribuf_slots *slots);
int tribuf_pages_alloc(struct list_head *pages, unsigned long count);
void tribuf_pages_free(struct list_head *pages);
unsigned long tribuf_slots_unpin(struct tribuf_channel *channel, u32 back,
				 struct list_head *spares);

/* mmap.c */
struct page *tribuf_page_get(struct tribuf_channel *channel, u64 pgoff);
int tribuf_mmap(struct file *file, struct vm_area_struct *vma);
void tribuf_revoke(struct tribuf_handle *handle);

/* guard.c: slots that answer only to their owner of the moment */
extern const struct vm_operations_struct tribuf_guard_vm_ops;
bool tribuf_guard_supported(void);
void tribuf_guard_give(struct tribuf_handle *handle, u32 slot);
void tribuf_guard_take(struct tribuf_handle *handle);
void tribuf_guard_mapped(struct tribuf_handle *handle, const struct vm_area_struct *vma);
void tribuf_guard_map_ahead(struct tribuf_handle *handle);

/* channel.c: the object, its geometry, its peers */
extern atomic_long_t tribuf_channels_live;
struct tribuf_channel *tribuf_channel_alloc(const struct tribuf_attach_args *args);
void tribuf_channel_put(struct tribuf_channel *channel);
void tribuf_channel_set_geometry(struct tribuf_channel *channel, struct tribuf_slots *slots,
				 u64 slot_size, u32 granule);
void tribuf_channel_set_guarded(struct tribuf_channel *channel);
void tribuf_channel_set_state(struct tribuf_channel *channel, u32 set, u32 clear);
void tribuf_channel_changed(struct tribuf_channel *channel);
void tribuf_channel_leave(struct tribuf_handle *handle);
bool tribuf_channel_may(const struct tribuf_channel *channel, umode_t want);
bool tribuf_channel_is_owner(const struct tribuf_channel *channel);

/* Pairs with the release in tribuf_channel_set_geometry(): not PENDING, all there. */
static inline u32 tribuf_channel_state(const struct tribuf_channel *channel)
{
	return smp_load_acquire(&channel->geometry->state);	/* see above */
}

/* names.c */
extern struct mutex tribuf_names_lock;
struct tribuf_channel *tribuf_names_find(const u8 *name);
void tribuf_names_insert(struct tribuf_channel *channel);
void tribuf_names_unname(struct tribuf_channel *channel);
void tribuf_names_remove(struct tribuf_channel *channel);
long tribuf_list(struct tribuf_list_args *args);

/* attach.c */
long tribuf_attach(struct file *file, struct tribuf_attach_args *args);

/* handle.c: open to release */
extern const struct file_operations tribuf_fops;
extern atomic_long_t tribuf_handles_live;
int tribuf_open(struct inode *inode, struct file *file);
int tribuf_flush(struct file *file, fl_owner_t id);
int tribuf_release(struct inode *inode, struct file *file);
void tribuf_handle_end(struct tribuf_handle *handle);

/* swap.c: the state word, by the kernel's hand */
u64 tribuf_newest_seq(const struct tribuf_channel *channel, u32 word);
int tribuf_swap_redeliver(struct tribuf_channel *channel);
void tribuf_swap_takeover(struct tribuf_channel *channel, u32 back);
int tribuf_take(struct tribuf_handle *handle, struct tribuf_acquired *frame);
long tribuf_publish(struct tribuf_handle *handle, struct tribuf_publish_args *args);

/* frames.c: reading and describing frames that one need not hold */
long tribuf_copy(struct tribuf_handle *handle, const struct tribuf_copy_args *args);
long tribuf_format(struct tribuf_handle *handle, struct tribuf_format_args *args);

/* wait.c: sleeping and ringing */
__poll_t tribuf_poll(struct file *file, struct poll_table_struct *table);
ssize_t tribuf_read_iter(struct kiocb *iocb, struct iov_iter *to);
long tribuf_ring(struct tribuf_handle *handle);
void tribuf_ring_peers(struct tribuf_handle *handle);
void tribuf_wake_attached(struct tribuf_handle *handle);
void tribuf_wake(struct tribuf_handle *handle, __poll_t events);
void tribuf_wake_all(struct tribuf_channel *channel, __poll_t events);

/* info.c */
long tribuf_info(struct tribuf_handle *handle, struct tribuf_info_args *args);
void tribuf_list_entry_fill(struct tribuf_channel *channel, struct tribuf_list_entry *entry);
void tribuf_show_fdinfo(struct seq_file *seq, struct file *file);

#endif /* TRIBUF_CHANNEL_H */
