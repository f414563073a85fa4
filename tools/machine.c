// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/* What the system says about the module and its device: /proc, /sys, /dev. */
#include <dirent.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/utsname.h>
#include <unistd.h>
#include "tool.h"

/* The first line of a small file, without its newline. */
bool read_line(const char *path, char *line, size_t size)
{
	FILE *file = fopen(path, "re");
	bool got;

	if (!file)
		return false;
	got = fgets(line, (int)size, file);
	fclose(file);
	if (got)
		line[strcspn(line, "\n")] = '\0';
	return got;
}

bool module_is_loaded(void)
{
	return !access("/sys/module/" MODULE_NAME "/initstate", F_OK);
}

bool module_srcversion(char *text, size_t size)
{
	return read_line("/sys/module/" MODULE_NAME "/srcversion", text, size);
}

/* The command is built as build/TRIPLET/bin/tribuf, the module as build/RELEASE/tribuf.ko. */
bool built_module_path(char *path, size_t size)
{
	char self[PATH_MAX];
	struct utsname name;
	ssize_t length = readlink("/proc/self/exe", self, sizeof(self) - 1);
	int printed;

	if (length < 0 || uname(&name))
		return false;
	self[length] = '\0';
	for (int up = 0; up < 3; up++) {
		char *slash = strrchr(self, '/');

		if (!slash)
			return false;
		*slash = '\0';
	}
	printed = snprintf(path, size, "%s/%s/" MODULE_NAME ".ko", self, name.release);
	return printed > 0 && (size_t)printed < size && !access(path, F_OK);
}

static bool device_number(dev_t *number)
{
	char line[32];
	unsigned int major, minor;
	struct stat node;

	if (read_line("/sys/class/misc/" MODULE_NAME "/dev", line, sizeof(line)) &&
	    sscanf(line, "%u:%u", &major, &minor) == 2) {
		*number = makedev(major, minor);
		return true;
	}
	if (stat(DEVICE_PATH, &node) || !S_ISCHR(node.st_mode))
		return false;
	*number = node.st_rdev;
	return true;
}

static bool has_open(int pid, dev_t number)
{
	char path[64];
	struct dirent *entry;
	struct stat file;
	bool found = false;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	dir = opendir(path);
	if (!dir)
		return false;	/* it ended, or is none of ours to look into */
	while (!found && (entry = readdir(dir)))
		found = !fstatat(dirfd(dir), entry->d_name, &file, 0) &&
			S_ISCHR(file.st_mode) && file.st_rdev == number;
	closedir(dir);
	return found;
}

/* A mapping holds the channel too, after its descriptor was closed. */
static bool has_mapped(int pid)
{
	char path[64], line[PATH_MAX + 128];
	bool found = false;
	FILE *maps;

	snprintf(path, sizeof(path), "/proc/%d/maps", pid);
	maps = fopen(path, "re");
	if (!maps)
		return false;
	while (!found && fgets(line, sizeof(line), maps))
		found = strstr(line, " " DEVICE_PATH);
	fclose(maps);
	return found;
}

#define COMM_SIZE	64	/* of threads of the kernel, which are longer than others */

static void process_name(int pid, char name[static 4 * COMM_SIZE])
{
	char path[64], comm[COMM_SIZE];

	snprintf(path, sizeof(path), "/proc/%d/comm", pid);
	escape(read_line(path, comm, sizeof(comm)) ? comm : "?", name);
}

/* How many processes use the device, as far as we may see; @each may end it. */
int device_users(bool (*each)(int pid, const char *name, void *context), void *context)
{
	struct dirent *entry;
	bool more = true;
	int pid, count = 0;
	char name[4 * COMM_SIZE];
	dev_t number;
	DIR *proc;

	proc = device_number(&number) ? opendir("/proc") : NULL;
	if (!proc)
		return 0;
	while (more && (entry = readdir(proc))) {
		pid = atoi(entry->d_name);	/* 0: no process */
		if (!pid || (!has_open(pid, number) && !has_mapped(pid)))
			continue;
		count++;
		process_name(pid, name);
		more = each(pid, name, context);
	}
	closedir(proc);
	return count;
}

bool may_load_modules(void)
{
	static const int cap_sys_module = 16;
	unsigned long long effective = 0;
	FILE *status = fopen("/proc/self/status", "re");
	char line[256];

	if (!status)
		return !geteuid();
	while (fgets(line, sizeof(line), status))
		if (sscanf(line, "CapEff: %llx", &effective) == 1)
			break;
	fclose(status);
	return effective >> cap_sys_module & 1;
}

bool module_loading_disabled(void)
{
	char line[16];

	return read_line("/proc/sys/kernel/modules_disabled", line, sizeof(line)) &&
	       line[0] == '1';
}

bool signatures_enforced(char *why, size_t size)
{
	char line[64];

	*why = '\0';
	if (read_line("/sys/kernel/security/lockdown", line, sizeof(line)) &&
	    !strstr(line, "[none]"))
		snprintf(why, size, "kernel lockdown is on: %s", line);
	else if (read_line("/sys/module/module/parameters/sig_enforce", line, sizeof(line)) &&
		 line[0] == 'Y')
		snprintf(why, size, "module.sig_enforce is on");
	return *why;
}
