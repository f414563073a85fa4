// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * tribuf doctor: looks over the machine, and says for each finding what to do.
 * A check calls ok(), note() (worth knowing) or problem() (counts as a finding).
 */
#include <ctype.h>
#include <getopt.h>
#include <inttypes.h>
#include <limits.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/utsname.h>
#include <unistd.h>
#include "tool.h"

static const char help[] =
	"usage: tribuf doctor [--json]\n"
	"\n"
	"Looks over the machine: kernel, module, device, limits, memory, Secure Boot, shared\n"
	"memory left behind, guarded channels, io_uring. Says what is wrong and what to do. Changes\n"
	"nothing.\n"
	"\n"
	"      --json  {\"findings\": N, \"checks\": [{check, status, text, remedy}]}\n"
	"  -h, --help\n"
	"\n"
	"Exit status: 0 nothing found; 1 findings (lines marked PROBLEM); 2 wrong usage.\n";

#define ENOUGH_MEMORY	(64ull << 20)
#define ENOUGH_SHM	(16ull << 20)

static struct {
	struct json *json;	/* NULL: text */
	unsigned int findings;
	struct utsname kernel;
	bool can_load;		/* the kernel has loadable modules */
	bool loaded;
	char built[PATH_MAX], installed[PATH_MAX];	/* "": there is none */
} doctor;

static void report(const char *check, const char *status, const char *remedy, const char *format,
		   va_list args)
{
	char text[512];

	vsnprintf(text, sizeof(text), format, args);
	if (doctor.json) {
		json_open(doctor.json, NULL, '{');
		json_string(doctor.json, "check", check);
		json_string(doctor.json, "status", status);
		json_string(doctor.json, "text", text);
		json_string(doctor.json, "remedy", remedy);
		json_close(doctor.json, '}');
		return;
	}
	printf("%-8s %-10s %s\n", strcmp(status, "problem") ? status : "PROBLEM", check, text);
	if (*remedy)
		printf("%-8s %-10s   -> %s\n", "", "", remedy);
}

__attribute__((format(printf, 2, 3)))
static void ok(const char *check, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	report(check, "ok", "", format, args);
	va_end(args);
}

__attribute__((format(printf, 3, 4)))
static void note(const char *check, const char *remedy, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	report(check, "note", remedy, format, args);
	va_end(args);
}

__attribute__((format(printf, 3, 4)))
static void problem(const char *check, const char *remedy, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	report(check, "problem", remedy, format, args);
	va_end(args);
	doctor.findings++;
}

static void check_kernel(void)
{
	unsigned int major = 0, minor = 0;

	sscanf(doctor.kernel.release, "%u.%u", &major, &minor);
	if (major > 6 || (major == 6 && minor >= 1))
		ok("kernel", "%s %s", doctor.kernel.release, doctor.kernel.machine);
	else
		problem("kernel", "use a kernel of 6.1 or later, or shm: channels",
			"%s is older than 6.1", doctor.kernel.release);
	if (!doctor.can_load)
		problem("modules", "use shm: channels, or a virtual machine (tools/vm)",
			"this kernel cannot load modules (no CONFIG_MODULES)");
}

/* The kernel's configuration, where distributions leave it; NULL if nowhere. */
static FILE *open_config(bool *piped)
{
	static const char *const places[] = { "/boot/config-%s", "/lib/modules/%s/config",
					      "/lib/modules/%s/build/.config" };
	char path[PATH_MAX];
	FILE *file;

	*piped = !access("/proc/config.gz", R_OK);
	if (*piped)
		return popen("gzip -dc /proc/config.gz 2>/dev/null", "re");
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		snprintf(path, sizeof(path), places[i], doctor.kernel.release);
		file = fopen(path, "re");
		if (file)
			return file;
	}
	return NULL;
}

static void check_config(void)
{
	static const char *const wanted[] = { "CONFIG_MODULE_UNLOAD=y", "CONFIG_EPOLL=y",
					      "CONFIG_IPC_NS=y", "CONFIG_MODULE_SIG_FORCE=y" };
	bool piped, found[4] = { false };
	FILE *config = open_config(&piped);
	char line[256];

	if (!config) {
		note("config", "", "the kernel's configuration is not readable here");
		return;
	}
	while (fgets(line, sizeof(line), config)) {
		line[strcspn(line, "\n")] = '\0';
		for (size_t i = 0; i < 4; i++)
			found[i] |= !strcmp(line, wanted[i]);
	}
	if (piped)
		pclose(config);
	else
		fclose(config);
	if (!found[0] && doctor.can_load)
		note("config", "reboot to change the module",
		     "without CONFIG_MODULE_UNLOAD the module cannot be unloaded");
	if (!found[1])
		problem("config", "use a kernel with CONFIG_EPOLL", "no CONFIG_EPOLL");
	if (!found[2])
		note("config", "", "without CONFIG_IPC_NS all containers share the channels' names");
	if (found[3])
		note("config", "sign the module with a key that this kernel trusts",
		     "CONFIG_MODULE_SIG_FORCE: only signed modules");
	if (found[0] && found[1] && found[2] && !found[3])
		ok("config", "the options that matter are set");
}

static void check_built(void)
{
	char headers[PATH_MAX];

	snprintf(headers, sizeof(headers), "/lib/modules/%s/build/Makefile",
		 doctor.kernel.release);
	if (*doctor.built)
		ok("built", "%s", doctor.built);
	else if (*doctor.installed)
		ok("built", "not in this tree; the installed module serves");
	else if (doctor.loaded)
		note("built", "'make modules'", "the module is loaded, but its file is not here");
	else if (access(headers, F_OK))
		problem("built", "install the headers (linux-headers-$(uname -r)), then 'make modules'",
			"no module for this kernel, and no kernel headers to build it with");
	else
		problem("built", "'make modules'", "no module for this kernel yet");
	if (*doctor.installed)
		ok("installed", "%s", doctor.installed);
	else
		note("installed", "'make install' if it shall be there after a reboot", "not installed");
}

/* Is what is loaded what was built last? */
static void check_loaded(void)
{
	char loaded[64], file[64];
	const char *path = *doctor.built ? doctor.built : doctor.installed;

	if (!doctor.loaded) {
		problem("loaded", "'tribuf load' as root", "the module is not loaded");
		return;
	}
	if (!*path || !module_srcversion(loaded, sizeof(loaded)) ||
	    !module_file_value(path, "srcversion", file, sizeof(file)))
		note("loaded", "", "loaded; cannot tell which build");
	else if (strcmp(loaded, file))
		problem("loaded", "'tribuf unload', then 'tribuf load'",
			"another build is loaded: srcversion %s, the file has %s", loaded, file);
	else
		ok("loaded", "this build (srcversion %s)", loaded);
}

static void check_node(void)
{
	unsigned int major = 0, minor = 0;
	char number[32];
	struct stat node;

	if (!doctor.loaded)
		return;		/* said already */
	if (!read_line("/sys/class/misc/" MODULE_NAME "/dev", number, sizeof(number)) ||
	    sscanf(number, "%u:%u", &major, &minor) != 2)
		note("node", "", "/sys does not tell the device's number");
	if (stat(DEVICE_PATH, &node)) {
		problem("node", "start udev, or 'mknod " DEVICE_PATH " c MAJOR MINOR' with the numbers in /sys/class/misc/tribuf/dev",
			DEVICE_PATH " is not there: %m");
		return;
	}
	if (!S_ISCHR(node.st_mode) || (major && node.st_rdev != makedev(major, minor)))
		problem("node", "remove it, and make it anew ('mknod')",
			DEVICE_PATH " is not the module's device");
	else if (access(DEVICE_PATH, R_OK | W_OK))
		problem("node", "a udev rule gives it to a group: KERNEL==\"tribuf\", GROUP=\"...\", MODE=\"0660\"",
			"no right to read and write " DEVICE_PATH " (mode %03o, owner %u:%u)",
			node.st_mode & 0777, node.st_uid, node.st_gid);
	else
		ok("node", DEVICE_PATH ", mode %03o, owner %u:%u", node.st_mode & 0777,
		   node.st_uid, node.st_gid);
}

static uint64_t parameter(const char *name)
{
	char path[128], line[64];

	snprintf(path, sizeof(path), "/sys/module/" MODULE_NAME "/parameters/%s", name);
	return read_line(path, line, sizeof(line)) ? strtoull(line, NULL, 10) : 0;
}

static void check_limits(void)
{
	uint64_t channel = parameter("channel_bytes_max"), user = parameter("user_bytes_max");
	uint64_t channels = parameter("user_channels_max");
	char channel_text[16], user_text[16];

	if (!doctor.loaded)
		return;
	if (!channel || !user || !channels)
		problem("limits", "set them: /sys/module/tribuf/parameters/*_max",
			"a limit is 0: no channel can be made");
	else
		ok("limits", "%s per channel; %s and %" PRIu64 " channels per user",
		   human_size(channel, channel_text), human_size(user, user_text), channels);
	ok("in use", "%" PRIu64 " handles, %" PRIu64 " channels, %" PRIu64 " pages",
	   parameter("handles"), parameter("channels"), parameter("pages"));
}

/* Asked for, on a channel that nobody sees; only this kernel knows. */
static void check_guarded(void)
{
	struct tribuf_options how = TRIBUF_OPTIONS_INIT;
	struct tribuf *channel;
	int err;

	if (!doctor.loaded || access(DEVICE_PATH, R_OK))
		return;		/* said already */
	how.role = TRIBUF_KEEPER;
	how.flags = TRIBUF_CREATE | TRIBUF_ANONYMOUS | TRIBUF_GUARDED;
	how.slot_size = 1;
	err = tribuf_open(&channel, NULL, &how);
	if (!err) {
		ok("guarded", "the kernel can keep peers out of each other's slots (--guarded)");
		tribuf_close(channel);
	} else if (err == -EOPNOTSUPP) {
		note("guarded", "", "this kernel cannot keep peers out of each other's slots");
	} else {
		problem("guarded", "see what is said of limits and memory", "no channel can be made: %s",
			tribuf_explain());
	}
}

static uint64_t memory_available(void)
{
	FILE *file = fopen("/proc/meminfo", "re");
	unsigned long long kib = 0;
	char line[128];

	if (!file)
		return 0;
	while (fgets(line, sizeof(line), file))
		if (sscanf(line, "MemAvailable: %llu kB", &kib) == 1)
			break;
	fclose(file);
	return (uint64_t)kib << 10;
}

static void check_memory(void)
{
	uint64_t available = memory_available();
	struct statvfs shm;
	char text[16];

	human_size(available, text);
	if (available < ENOUGH_MEMORY)
		problem("memory", "three slots per channel must fit: end something, or use small slots",
			"only %s available", text);
	else
		ok("memory", "%s available", text);
	if (statvfs("/dev/shm", &shm)) {
		note("shm", "mount a tmpfs there if you want shm: channels", "no /dev/shm: %m");
		return;
	}
	available = (uint64_t)shm.f_bavail * shm.f_frsize;
	human_size(available, text);
	if (available < ENOUGH_SHM)
		problem("shm", "remove what fills it, or mount it larger (containers: --shm-size)",
			"only %s free in /dev/shm", text);
	else
		ok("shm", "%s free in /dev/shm", text);
}

static int count_leftover(const struct tribuf_list_entry *channel, void *context)
{
	unsigned int *count = context;

	*count += !channel->observers && !channel->keepers &&
		  !(channel->state & (TRIBUF_STATE_PRODUCER | TRIBUF_STATE_CONSUMER));
	return 0;
}

static void check_leftovers(void)
{
	unsigned int count = 0;
	int err = tribuf_list(TRIBUF_BACKEND_SHM, count_leftover, &count);

	if (err)
		note("leftovers", "", "cannot look at /dev/shm: %s", tribuf_explain());
	else if (count)
		note("leftovers", "'tribuf ls' names them; opening one again takes it over, else remove its file in /dev/shm",
		     "%u shm channel%s left by processes that are gone", count,
		     count == 1 ? "" : "s");
	else
		ok("leftovers", "none in /dev/shm");
}

static bool secure_boot(void)
{
	FILE *file = fopen("/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c",
			   "re");
	unsigned char value[5] = { 0 };	/* four bytes of attributes, then the value */
	bool on;

	if (!file)
		return false;
	on = fread(value, 1, sizeof(value), file) == sizeof(value) && value[4] == 1;
	fclose(file);
	return on;
}

static void check_signatures(void)
{
	const char *path = *doctor.built ? doctor.built : doctor.installed;
	char why[128], signer[128] = "";
	bool is_signed = *path && module_file_value(path, "signer", signer, sizeof(signer));

	if (module_loading_disabled() && !doctor.loaded)
		problem("signing", "reboot", "loading modules was switched off (kernel.modules_disabled)");
	if (!signatures_enforced(why, sizeof(why))) {
		ok("signing", "unsigned modules may be loaded%s",
		   secure_boot() ? ", though Secure Boot is on" : "");
		return;
	}
	if (doctor.loaded)
		ok("signing", "%s; the module is loaded all the same", why);
	else if (is_signed)
		note("signing", "its key must be enrolled: mokutil --import KEY.der, then reboot",
		     "%s; the module is signed by %s", why, signer);
	else
		problem("signing", "sign it: /usr/src/linux-headers-*/scripts/sign-file sha256 KEY CERT tribuf.ko, and enroll the certificate (mokutil --import)",
			"%s, and the module is not signed%s", why,
			secure_boot() ? " (Secure Boot is on)" : "");
}

static void check_uring(void)
{
	char parameters[128] = { 0 };	/* struct io_uring_params, all zero */
	long fd = syscall(SYS_io_uring_setup, 1, parameters);

	if (fd >= 0) {
		ok("io_uring", "works");
		close((int)fd);
	} else if (errno == ENOSYS) {
		note("io_uring", "", "this kernel has none; poll and epoll serve as well");
	} else {
		note("io_uring", "sysctl kernel.io_uring_disabled=0, or the container's seccomp profile",
		     "not permitted here: %m");
	}
}

static void examine(void)
{
	uname(&doctor.kernel);
	doctor.can_load = !access("/proc/modules", F_OK);
	doctor.loaded = module_is_loaded();
	module_find(MODULE_BUILT, doctor.built, sizeof(doctor.built));
	module_find(MODULE_INSTALLED, doctor.installed, sizeof(doctor.installed));
	check_kernel();
	check_config();
	if (doctor.can_load) {
		check_built();
		check_loaded();
		check_signatures();
	}
	check_node();
	check_limits();
	check_guarded();
	check_memory();
	check_leftovers();
	check_uring();
}

static void examine_as_json(void)
{
	struct json json = { .out = stdout };

	doctor.json = &json;
	json_open(&json, NULL, '{');
	json_open(&json, "checks", '[');
	examine();
	json_close(&json, ']');
	json_unsigned(&json, "findings", doctor.findings);
	json_close(&json, '}');
	putchar('\n');
}

static int run(int argc, char **argv)
{
	bool as_json;
	int status;

	status = parse_json_only(argc, argv, &as_json);
	if (status != GO_ON)
		return status;
	if (argc != optind)
		return usage_error("too many arguments");
	if (as_json)
		examine_as_json();
	else
		examine();
	if (!as_json && doctor.findings)
		printf("\n%u finding%s. Channels called shm:NAME need no module.\n",
		       doctor.findings, doctor.findings == 1 ? "" : "s");
	return doctor.findings ? EXIT_FAILED : EXIT_OK;
}

const struct command doctor_command = {
	"doctor", "look over the machine and say what to do", help, run,
};
