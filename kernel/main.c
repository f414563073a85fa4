// SPDX-License-Identifier: GPL-2.0-only
/*
 * The device: its file operations, its ioctls, the module.
 */
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/nospec.h>
#include <linux/uaccess.h>

#include "channel.h"
#include "compat.h"

#define CREATE_TRACE_POINTS
#include "trace.h"

/* Live objects, for whoever suspects a leak: all are 0 while nobody has the device open. */
static int tribuf_counter_get(char *buffer, const struct kernel_param *param)
{
	return sysfs_emit(buffer, "%ld\n", atomic_long_read((atomic_long_t *)param->arg));
}

static const struct kernel_param_ops tribuf_counter_ops = {
	.get = tribuf_counter_get,
};

module_param_cb(handles, &tribuf_counter_ops, &tribuf_handles_live, 0444);
MODULE_PARM_DESC(handles, "Open handles (read-only)");
module_param_cb(channels, &tribuf_counter_ops, &tribuf_channels_live, 0444);
MODULE_PARM_DESC(channels, "Channels (read-only)");
module_param_cb(pages, &tribuf_counter_ops, &tribuf_pages_live, 0444);
MODULE_PARM_DESC(pages, "Pages of channels (read-only)");

/* Everything that a command takes or gives. */
union tribuf_args {
	struct tribuf_attach_args attach;
	struct tribuf_publish_args publish;
	struct tribuf_acquire_args acquire;
	struct tribuf_copy_args copy;
	struct tribuf_format_args format;
	struct tribuf_info_args info;
	struct tribuf_list_args list;
};

static long tribuf_do_attach(struct file *file, union tribuf_args *args)
{
	return tribuf_attach(file, &args->attach);
}

static long tribuf_do_publish(struct file *file, union tribuf_args *args)
{
	return tribuf_publish(file->private_data, &args->publish);
}

static long tribuf_do_acquire(struct file *file, union tribuf_args *args)
{
	if (args->acquire.flags)
		return -EINVAL;
	return tribuf_take(file->private_data, &args->acquire.frame);
}

static long tribuf_do_copy(struct file *file, union tribuf_args *args)
{
	return tribuf_copy(file->private_data, &args->copy);
}

static long tribuf_do_format(struct file *file, union tribuf_args *args)
{
	return tribuf_format(file->private_data, &args->format);
}

static long tribuf_do_info(struct file *file, union tribuf_args *args)
{
	return tribuf_info(file->private_data, &args->info);
}

static long tribuf_do_list(struct file *file, union tribuf_args *args)
{
	return tribuf_list(&args->list);
}

/**
 * struct tribuf_command - one ioctl
 * @call: does it; 0 or an error
 * @size: of its struct, as this module knows it
 * @size_min: of its struct, as the first version of the ABI had it
 * @attached: only on a handle that is attached
 * @answers: the struct is written back
 */
struct tribuf_command {
	long (*call)(struct file *file, union tribuf_args *args);
	u32 size;
	u32 size_min;
	bool attached;
	bool answers;
};

#define TRIBUF_COMMAND(cmd, name, min, need, answer)			\
	[_IOC_NR(cmd)] = { .call = tribuf_do_##name,			\
			   .size = sizeof(struct tribuf_##name##_args),	\
			   .size_min = (min), .attached = (need),	\
			   .answers = (answer) }

static const struct tribuf_command tribuf_command[] = {
	TRIBUF_COMMAND(TRIBUF_IOC_ATTACH, attach, 184, false, true),
	TRIBUF_COMMAND(TRIBUF_IOC_PUBLISH, publish, 128, true, true),
	TRIBUF_COMMAND(TRIBUF_IOC_ACQUIRE, acquire, 144, true, true),
	TRIBUF_COMMAND(TRIBUF_IOC_COPY, copy, 48, true, false),
	TRIBUF_COMMAND(TRIBUF_IOC_FORMAT, format, 32, true, true),
	TRIBUF_COMMAND(TRIBUF_IOC_INFO, info, 320, true, true),
	TRIBUF_COMMAND(TRIBUF_IOC_LIST, list, 32, false, true),
};

/*
 * A caller whose struct ends earlier gets as much as it has room for; its @size
 * stays what it said.
 */
static long tribuf_copy_out(void __user *arg, union tribuf_args *args, u32 usize, u32 ksize)
{
	*(u32 *)args = usize;
	return copy_to_user(arg, args, min(usize, ksize)) ? -EFAULT : 0;
}

static long tribuf_command_run(const struct tribuf_command *command, struct file *file,
			       void __user *arg)
{
	union tribuf_args args;
	u32 size;
	long err;

	if (get_user(size, (u32 __user *)arg))
		return -EFAULT;
	if (size < command->size_min)
		return -EINVAL;
	if (size > PAGE_SIZE)
		return -E2BIG;
	memset(&args, 0, sizeof(args));
	err = copy_struct_from_user(&args, command->size, arg, size);
	if (err)
		return err;
	if (command->attached && !tribuf_channel_of(file->private_data))
		return -ENOTCONN;
	/* Find out now that the answer has nowhere to go, not with a frame in hand. */
	if (command->answers) {
		err = tribuf_copy_out(arg, &args, size, command->size);
		if (err)
			return err;
	}
	err = command->call(file, &args);
	if (err || !command->answers)
		return err;
	err = tribuf_copy_out(arg, &args, size, command->size);
	/* The memory went meanwhile. Nobody holds a role without knowing of it. */
	if (err && command->call == tribuf_do_attach)
		tribuf_handle_end(file->private_data);
	return err;
}

static long tribuf_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	unsigned int nr = _IOC_NR(cmd);

	if (_IOC_TYPE(cmd) != TRIBUF_IOC_MAGIC)
		return -ENOTTY;
	if (cmd == TRIBUF_IOC_RING) {
		if (arg)
			return -EINVAL;
		return tribuf_ring(file->private_data);
	}
	if (nr >= ARRAY_SIZE(tribuf_command))
		return -ENOTTY;
	nr = array_index_nospec(nr, ARRAY_SIZE(tribuf_command));
	if (!tribuf_command[nr].call)
		return -ENOTTY;
	return tribuf_command_run(&tribuf_command[nr], file, (void __user *)arg);
}

const struct file_operations tribuf_fops = {
	.owner = THIS_MODULE,
	.open = tribuf_open,
	.flush = tribuf_flush,
	.release = tribuf_release,
	.unlocked_ioctl = tribuf_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.mmap = tribuf_mmap,
	.poll = tribuf_poll,
	.read_iter = tribuf_read_iter,
	.show_fdinfo = tribuf_show_fdinfo,
};

static struct miscdevice tribuf_device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "tribuf",
	.fops = &tribuf_fops,
	.mode = 0666,	/* each channel has rights of its own */
};

static int __init tribuf_init(void)
{
	/* Two processes would see two contents of one slot, and of the state word. */
	if (compat_dcache_aliases()) {
		pr_err("tribuf: this machine's data cache keeps a page once per address; not supported\n");
		return -EOPNOTSUPP;
	}
	tribuf_account_init();
	return misc_register(&tribuf_device);
}

static void __exit tribuf_exit(void)
{
	misc_deregister(&tribuf_device);
	rcu_barrier();
}

module_init(tribuf_init);
module_exit(tribuf_exit);

MODULE_DESCRIPTION("Triple-buffered shared-memory channels between two processes");
MODULE_LICENSE("GPL");
MODULE_VERSION("0.1");
