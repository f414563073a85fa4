// SPDX-License-Identifier: GPL-2.0-only
/*
 * Handles from open to release, and the end of their roles in between.
 */
#include <linux/fdtable.h>
#include <linux/module.h>
#include <linux/mount.h>
#include <linux/pid.h>
#include <linux/pseudo_fs.h>
#include <linux/slab.h>

#include "channel.h"
#include "trace.h"

#define TRIBUF_FS_MAGIC	TRIBUF_MAGIC

atomic_long_t tribuf_handles_live;

/*
 * A file system for inodes that nobody sees. Each handle's mappings hang on an
 * inode of its own, so that they can be revoked for that handle alone, and
 * whichever device node it was opened through.
 */
static struct vfsmount *tribuf_mount;
static int tribuf_mount_count;

static int tribuf_fs_init_context(struct fs_context *context)
{
	return init_pseudo(context, TRIBUF_FS_MAGIC) ? 0 : -ENOMEM;
}

static struct file_system_type tribuf_fs = {
	.name = "tribuf",
	.owner = THIS_MODULE,
	.init_fs_context = tribuf_fs_init_context,
	.kill_sb = kill_anon_super,
};

static struct inode *tribuf_inode_get(void)
{
	struct inode *inode;
	int err;

	err = simple_pin_fs(&tribuf_fs, &tribuf_mount, &tribuf_mount_count);
	if (err)
		return ERR_PTR(err);
	inode = alloc_anon_inode(tribuf_mount->mnt_sb);
	if (IS_ERR(inode))
		simple_release_fs(&tribuf_mount, &tribuf_mount_count);
	return inode;
}

static void tribuf_inode_put(struct inode *inode)
{
	iput(inode);
	simple_release_fs(&tribuf_mount, &tribuf_mount_count);
}

int tribuf_open(struct inode *inode, struct file *file)
{
	struct tribuf_handle *handle;

	handle = kzalloc(sizeof(*handle), GFP_KERNEL_ACCOUNT);
	if (!handle)
		return -ENOMEM;
	handle->inode = tribuf_inode_get();
	if (IS_ERR(handle->inode)) {
		int err = PTR_ERR(handle->inode);

		kfree(handle);
		return err;
	}
	init_waitqueue_head(&handle->wq);
	mutex_init(&handle->lock);
	spin_lock_init(&handle->guard_lock);
	handle->owned = TRIBUF_OWNED_NONE;
	INIT_LIST_HEAD(&handle->observing);
	INIT_LIST_HEAD(&handle->attached);
	file->private_data = handle;
	file->f_mapping = handle->inode->i_mapping;
	file->f_mode |= FMODE_NOWAIT;	/* read_iter honours IOCB_NOWAIT */
	atomic_long_inc(&tribuf_handles_live);
	return nonseekable_open(inode, file);
}

/*
 * The role of an attached handle ends: first no more swaps by the kernel, then no
 * more stores through mappings, and only then can a successor have the role.
 */
void tribuf_handle_end(struct tribuf_handle *handle)
{
	bool ended;

	mutex_lock(&handle->lock);
	ended = handle->ended;
	/* A ring that comes later clears no bit that may be the successor's by then. */
	spin_lock_irq(&handle->wq.lock);
	WRITE_ONCE(handle->ended, true);
	spin_unlock_irq(&handle->wq.lock);
	if (!ended)	/* also where it is still open whether the channel is guarded */
		tribuf_guard_take(handle);
	mutex_unlock(&handle->lock);
	if (ended)
		return;
	tribuf_revoke(handle);
	tribuf_channel_leave(handle);
	trace_tribuf_detach(handle->channel->id, handle->role);
	/* Whoever waits on this very handle learns that its role is over. */
	tribuf_wake(handle, EPOLLERR);
}

static int tribuf_is_same_file(const void *file, struct file *other, unsigned int fd)
{
	return file == other;
}

/*
 * Called at each close of a descriptor, with the file table that it was in. An
 * OWNED role ends with its last descriptor in the table that attached, which
 * includes the end of that table; a copy that a forked child has in its own
 * table does not count.
 */
int tribuf_flush(struct file *file, fl_owner_t id)
{
	struct tribuf_handle *handle = file->private_data;
	struct files_struct *table = id;

	if (!tribuf_channel_of(handle) || !handle->owner || handle->owner != id)
		return 0;
	/*
	 * With one reference left, which is ours, the table need not be searched.
	 * One that goes takes all of its descriptors along; newer kernels leave
	 * them in it until then.
	 */
	if (atomic_read(&table->count) && file_count(file) > 1 &&
	    iterate_fd(id, 0, tribuf_is_same_file, file))
		return 0;
	tribuf_handle_end(handle);
	return 0;
}

int tribuf_release(struct inode *inode, struct file *file)
{
	struct tribuf_handle *handle = file->private_data;

	if (handle->channel) {
		tribuf_handle_end(handle);
		put_pid(handle->tgid);
		tribuf_channel_put(handle->channel);
	}
	tribuf_inode_put(handle->inode);
	mutex_destroy(&handle->lock);
	atomic_long_dec(&tribuf_handles_live);
	kfree_rcu(handle, rcu);	/* a peer may be ringing it */
	return 0;
}
