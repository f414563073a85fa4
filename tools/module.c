// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * tribuf load and unload, by libkmod. The kernel answers with a bare errno; what
 * can be found out about its reason is found out here.
 */
#include <fcntl.h>
#include <getopt.h>
#include <libkmod.h>
#include <limits.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>
#include "tool.h"

static const char load_help[] =
	"usage: tribuf load [FILE] [PARAMETER=VALUE]...\n"
	"\n"
	"Loads the kernel module: FILE, or the one that was built for the running kernel in the\n"
	"source tree this command was built in, or else the installed one. Needs root. If it\n"
	"cannot, it says why, and what to do.\n"
	"\n"
	"  -h, --help\n"
	"\n"
	"  tribuf load\n"
	"  modinfo -p build/$(uname -r)/tribuf.ko     the parameters there are\n"
	"\n"
	"Exit status: 0 loaded, or the same build was loaded already; 1 failure (also: it was, so\n"
	"that parameters could not be applied); 2 wrong usage.\n";

static const char unload_help[] =
	"usage: tribuf unload\n"
	"\n"
	"Unloads the kernel module. If it is in use, says by whom.\n"
	"\n"
	"  -h, --help\n"
	"\n"
	"Exit status: 0 unloaded, or it was not loaded; 1 failure; 2 wrong usage; 6 in use.\n";

static struct kmod_ctx *open_kmod(void)
{
	struct kmod_ctx *ctx = kmod_new(NULL, NULL);

	if (ctx)
		kmod_set_log_priority(ctx, 0);	/* what goes wrong is told by us */
	else
		complain("cannot start libkmod: %m");
	return ctx;
}

static bool installed_path(char *path, size_t size)
{
	struct kmod_ctx *ctx = open_kmod();
	struct kmod_module *module = NULL;
	struct kmod_list *list = NULL;
	const char *found = NULL;

	if (ctx && !kmod_module_new_from_lookup(ctx, MODULE_NAME, &list) && list) {
		module = kmod_module_get_module(list);
		found = kmod_module_get_path(module);
	}
	if (found)
		snprintf(path, size, "%s", found);
	kmod_module_unref(module);
	kmod_module_unref_list(list);
	kmod_unref(ctx);
	return found;
}

bool module_find(enum where where, char *path, size_t size)
{
	return where == MODULE_BUILT ? built_module_path(path, size) :
				       installed_path(path, size);
}

static bool info_value(struct kmod_module *module, const char *key, char *value, size_t size)
{
	struct kmod_list *list = NULL, *item;
	bool found = false;

	if (kmod_module_get_info(module, &list) < 0)
		return false;
	kmod_list_foreach(item, list) {
		if (found || strcmp(kmod_module_info_get_key(item), key))
			continue;
		snprintf(value, size, "%s", kmod_module_info_get_value(item));
		found = true;
	}
	kmod_module_info_free_list(list);
	return found;
}

bool module_file_value(const char *path, const char *key, char *value, size_t size)
{
	struct kmod_ctx *ctx = open_kmod();
	struct kmod_module *module = NULL;
	bool found;

	found = ctx && !kmod_module_new_from_path(ctx, path, &module) &&
		info_value(module, key, value, size);
	kmod_module_unref(module);
	kmod_unref(ctx);
	return found;
}

static void explain_format(const char *path)
{
	char vermagic[256] = "";
	struct utsname name;
	size_t length;

	uname(&name);
	if (!module_file_value(path, "vermagic", vermagic, sizeof(vermagic))) {
		complain("%s is no kernel module", path);
		return;
	}
	length = strcspn(vermagic, " ");
	if (length != strlen(name.release) || strncmp(vermagic, name.release, length))
		complain("%s was built for kernel %.*s, and this is %s: build it for this one ('make modules')",
			 path, (int)length, vermagic, name.release);
	else
		complain("%s was built for a kernel of the same release but other options or symbols (vermagic '%s'): rebuild it with this kernel's own headers; 'dmesg | tail' has the kernel's words",
			 path, vermagic);
}

static void explain_right(const char *path)
{
	char why[128];

	if (module_loading_disabled())
		complain("loading modules was switched off until the next boot (sysctl kernel.modules_disabled)");
	else if (!may_load_modules())
		complain("no right to load modules: run 'sudo \"$(command -v tribuf)\" load' (CAP_SYS_MODULE is missing; in a container, load it on the host)");
	else if (signatures_enforced(why, sizeof(why)))
		complain("%s is not signed by a key that this kernel trusts, and it must be: %s. Sign it with an enrolled key (mokutil --import), or use shm: channels",
			 path, why);
	else
		complain("the kernel does not permit it (a security module?): 'dmesg | tail' may tell more");
}

static int explain_load(int err, const char *path, const char *parameters)
{
	switch (-err) {
	case ENOEXEC:
		explain_format(path);
		break;
	case EACCES:	/* the file; whoever may load modules may mostly read it too */
		if (may_load_modules()) {
			complain("no right to read %s: look at the modes of the file and its folders",
				 path);
			break;
		}
		/* fall through */
	case EPERM:
		explain_right(path);
		break;
	case ENOKEY:
	case EKEYREJECTED:
	case EKEYREVOKED:
	case EKEYEXPIRED:
	case EBADMSG:
		complain("the kernel rejects the signature of %s (%s): sign it with a key that is enrolled (mokutil --import KEY.der), or switch Secure Boot off",
			 path, strerror(-err));
		break;
	case EINVAL:
		complain("the kernel rejects %s%s%s: 'modinfo -p' lists parameters and 'dmesg | tail' has the kernel's words",
			 path, *parameters ? " with " : "", parameters);
		break;
	case ENOENT:
		complain(access(path, F_OK) ? "%s: there is no such file" :
			 "%s needs symbols that this kernel lacks: 'dmesg | tail' names them; rebuild it for this kernel",
			 path);
		break;
	case ENOSYS:
		complain("this kernel cannot load modules (CONFIG_MODULES is off): use shm: channels");
		break;
	default:
		complain("cannot load %s: %s ('dmesg | tail' may tell more)", path,
			 strerror(-err));
	}
	return EXIT_FAILED;
}

/* EXIT_OK if what is loaded is what we were asked to load, as far as can be told. */
static int compare_builds(const char *path)
{
	char loaded[64], file[64];

	if (!*path || !module_srcversion(loaded, sizeof(loaded)) ||
	    !module_file_value(path, "srcversion", file, sizeof(file))) {
		printf("already loaded\n");
		return EXIT_OK;
	}
	if (!strcmp(loaded, file)) {
		printf("already loaded, this very build\n");
		return EXIT_OK;
	}
	complain("another build is loaded (srcversion %s, %s has %s): 'tribuf unload' first",
		 loaded, path, file);
	return EXIT_FAILED;
}

/* Parameters are taken by a module that is being loaded; later they are files. */
static int refuse_parameters(char *parameters)
{
	char *one = strtok(parameters, " ");
	int status = one ? EXIT_FAILED : EXIT_OK;

	for (; one; one = strtok(NULL, " "))
		complain("%s was not applied: write the value to /sys/module/" MODULE_NAME "/parameters/%.*s, or 'tribuf unload' first",
			 one, (int)strcspn(one, "="), one);
	return status;
}

static int already_loaded(const char *path, char *parameters)
{
	int status = compare_builds(path);

	return status ?: refuse_parameters(parameters);
}

static int insert(const char *path, char *parameters)
{
	struct kmod_ctx *ctx = open_kmod();
	struct kmod_module *module = NULL;
	int err;

	if (!ctx)
		return EXIT_FAILED;
	err = kmod_module_new_from_path(ctx, path, &module);
	if (!err)
		err = kmod_module_insert_module(module, 0, parameters);
	kmod_module_unref(module);
	kmod_unref(ctx);
	if (err == -EEXIST)
		return already_loaded(path, parameters);
	if (err)
		return explain_load(err, path, parameters);
	printf("loaded %s\n", path);
	if (access(DEVICE_PATH, F_OK))
		complain("loaded, but there is no " DEVICE_PATH ": is /dev a devtmpfs, or udev running?");
	return EXIT_OK;
}

static int no_module(void)
{
	struct utsname name;
	char headers[PATH_MAX];

	uname(&name);
	snprintf(headers, sizeof(headers), "/lib/modules/%s/build/Makefile", name.release);
	if (access("/proc/modules", F_OK))
		complain("this kernel (%s) cannot load modules at all: use shm: channels, or a virtual machine (tools/vm)",
			 name.release);
	else if (access(headers, F_OK))
		complain("there is no module for this kernel (%s), and no kernel headers to build it with: 'apt-get install linux-headers-%s', then 'make modules'",
			 name.release, name.release);
	else
		complain("there is no module for this kernel (%s) yet: 'make modules' builds it, 'make install' installs it",
			 name.release);
	return EXIT_FAILED;
}

/* getopt's share of both commands: no options but --help. -1: go on. */
static int only_help(int argc, char **argv)
{
	static const struct option options[] = {
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	int option = getopt_long(argc, argv, "h", options, NULL);

	return option == -1 ? -1 : help_or_usage(option);
}

static int add_parameter(char *parameters, size_t size, const char *parameter)
{
	size_t used = strlen(parameters);

	if (!strchr(parameter, '='))
		return usage_error("'%s' is no PARAMETER=VALUE", parameter);
	if (used + strlen(parameter) + 2 > size)
		return usage_error("too many parameters");
	snprintf(parameters + used, size - used, "%s%s", used ? " " : "", parameter);
	return EXIT_OK;
}

static int load(int argc, char **argv)
{
	char path[PATH_MAX] = "", parameters[1024] = "", vermagic[256];
	int status = only_help(argc, argv);
	bool named;

	if (status >= 0)
		return status;
	argv += optind;
	named = *argv && !strchr(*argv, '=');
	if (named)
		snprintf(path, sizeof(path), "%s", *argv++);
	else if (!module_find(MODULE_BUILT, path, sizeof(path)))
		module_find(MODULE_INSTALLED, path, sizeof(path));
	for (; *argv; argv++) {
		status = add_parameter(parameters, sizeof(parameters), *argv);
		if (status)
			return status;
	}
	if (named && !module_file_value(path, "vermagic", vermagic, sizeof(vermagic)))
		return explain_load(access(path, R_OK) ? -errno : -ENOEXEC, path, parameters);
	if (module_is_loaded())
		return already_loaded(path, parameters);
	return *path ? insert(path, parameters) : no_module();
}

static bool print_user(int pid, const char *name, void *context)
{
	(void)context;
	fprintf(stderr, "  process %d (%s)\n", pid, name);
	return true;
}

static int in_use(void)
{
	char count[16] = "?";

	read_line("/sys/module/" MODULE_NAME "/refcnt", count, sizeof(count));
	complain("the module is in use (%s references), by:", count);
	if (!device_users(print_user, NULL))
		fprintf(stderr, "  nobody that can be seen from here: %s\n",
			may_load_modules() ? "another PID namespace, or a descriptor in flight" :
			"try as root");
	return EXIT_BUSY;
}

static int removed(int err)
{
	switch (-err) {
	case 0:
		printf("unloaded\n");
		return EXIT_OK;
	case ENOENT:
		printf("not loaded\n");
		return EXIT_OK;
	case EAGAIN:
	case EBUSY:
		return in_use();
	case EPERM:
		complain(module_loading_disabled() ?
			 "unloading was switched off until the next boot (sysctl kernel.modules_disabled)" :
			 "no right to unload modules: run 'sudo \"$(command -v tribuf)\" unload' (CAP_SYS_MODULE is missing)");
		return EXIT_FAILED;
	default:
		complain("cannot unload the module: %s", strerror(-err));
		return EXIT_FAILED;
	}
}

static int unload(int argc, char **argv)
{
	struct kmod_module *module = NULL;
	struct kmod_ctx *ctx;
	int err, status = only_help(argc, argv);

	if (status >= 0)
		return status;
	if (argc != optind)
		return usage_error("too many arguments");
	if (!module_is_loaded())
		return removed(-ENOENT);
	ctx = open_kmod();
	if (!ctx)
		return EXIT_FAILED;
	err = kmod_module_new_from_name(ctx, MODULE_NAME, &module);
	if (!err)
		err = kmod_module_remove_module(module, KMOD_REMOVE_NOWAIT);
	kmod_module_unref(module);
	kmod_unref(ctx);
	return removed(err);
}

const struct command load_command = {
	"load", "load the kernel module", load_help, load,
};

const struct command unload_command = {
	"unload", "unload it, or say who uses it", unload_help, unload,
};
