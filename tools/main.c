// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/* The tribuf command: finds the subcommand and lets it run. */
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>
#include "tool.h"

static const struct command *const commands[] = {
	&pub_command, &sub_command, &create_command, &ls_command, &info_command,
	&load_command, &unload_command, &doctor_command, &bench_command,
};

#define COMMANDS (sizeof(commands) / sizeof(commands[0]))

static void help(FILE *out)
{
	fputs("usage: tribuf COMMAND [ARGUMENT]...\n"
	      "\n"
	      "Triple-buffered shared-memory channels: one process publishes frames, another\n"
	      "takes the newest complete one, and neither ever waits for the other.\n"
	      "\n", out);
	for (size_t i = 0; i < COMMANDS; i++)
		fprintf(out, "  %-8s %s\n", commands[i]->name, commands[i]->summary);
	fputs("\n"
	      "A channel is called NAME on the device " DEVICE_PATH ", or shm:NAME in plain shared\n"
	      "memory, which needs no module. 'tribuf COMMAND --help' tells more and has examples.\n"
	      "\n"
	      "First steps, in two terminals:\n"
	      "  tribuf sub shm:hello                            prints what comes\n"
	      "  date | tribuf pub shm:hello --paced             sends a line\n"
	      "With the module (tribuf doctor tells what is missing for it, if anything):\n"
	      "  tribuf load\n"
	      "  tribuf sub hello --stats > copy\n"
	      "  tribuf pub hello FILE --paced --frame-size 1M\n"
	      "\n"
	      "Exit status: 0 all right; 1 failure (doctor: findings); 2 wrong usage; 3 timeout;\n"
	      "4 the channel was replaced, the role lost, or the peer broke the protocol; 5 nobody\n"
	      "reads the output; 6 another process has the role; 128+N ended by signal N.\n", out);
}

static const struct command *find(const char *name)
{
	for (size_t i = 0; i < COMMANDS; i++)
		if (!strcmp(name, commands[i]->name))
			return commands[i];
	return NULL;
}

static int help_on(const char *name)
{
	const struct command *command = name ? find(name) : NULL;

	if (name && !command)
		return usage_error("no command is called '%s'", name);
	if (command)
		fputs(command->help, stdout);
	else
		help(stdout);
	return EXIT_OK;
}

static int run(int argc, char **argv)
{
	const struct command *command;

	if (argc < 2) {
		help(stderr);
		return EXIT_USAGE;
	}
	if (!strcmp(argv[1], "--version") || !strcmp(argv[1], "-V")) {
		printf("tribuf %d.%d\n", TRIBUF_VERSION_MAJOR, TRIBUF_VERSION_MINOR);
		return EXIT_OK;
	}
	if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "help"))
		return help_on(argv[2]);
	command = find(argv[1]);
	if (!command)
		return usage_error("no command is called '%s'", argv[1]);
	command_is(command);
	return command->run(argc - 1, argv + 1);
}

/*
 * A channel that is opened must not get the number of a standard descriptor: what we
 * print would be written into it. In the wrong mode, so that who uses one is told that
 * it is bad, as before.
 */
static int fill_standard_descriptors(void)
{
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
		if (fcntl(fd, F_GETFD) < 0 &&
		    open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY) < 0) {
			complain("cannot open /dev/null: %m");
			return EXIT_FAILED;
		}
	return EXIT_OK;
}

int main(int argc, char **argv)
{
	int error, status = fill_standard_descriptors();

	if (status)
		return status;
	/* A reader of our output that leaves is an error of write(), see io.c. */
	signal(SIGPIPE, SIG_IGN);
	status = run(argc, argv);
	error = flush_output();
	return error && status == EXIT_OK ? output_failed(NULL, error) : status;
}
