// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/* Stands in for module.c where there was no libkmod to build with (cross builds). */
#include "tool.h"

static const char help[] =
	"This tribuf was built without libkmod, so it neither loads nor unloads the module:\n"
	"  insmod tribuf.ko       rmmod tribuf\n";

static int cannot(int argc, char **argv)
{
	(void)argc;
	complain("this tribuf was built without libkmod: use '%s' instead",
		 argv[0][0] == 'l' ? "insmod tribuf.ko" : "rmmod tribuf");
	return EXIT_FAILED;
}

bool module_find(enum where where, char *path, size_t size)
{
	return where == MODULE_BUILT && built_module_path(path, size);
}

bool module_file_value(const char *path, const char *key, char *value, size_t size)
{
	(void)path, (void)key, (void)value, (void)size;
	return false;
}

const struct command load_command = { "load", "not in this build", help, cannot };
const struct command unload_command = { "unload", "not in this build", help, cannot };
