// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/* SIGINT, SIGTERM and SIGHUP end a command cleanly: roles given back, numbers printed. */
#include <signal.h>
#include <time.h>
#include "tool.h"

static volatile sig_atomic_t caught;
static timer_t again;

/*
 * A signal between "was there one?" and the start of a blocking call would be
 * slept over. So the first one starts a timer that repeats it: each blocking
 * call then ends with EINTR within 20 ms.
 */
static void on_signal(int number)
{
	static const struct itimerspec soon = { { 0, 20000000 }, { 0, 20000000 } };
	int saved = errno;

	if (!caught) {
		caught = number;
		timer_settime(again, 0, &soon, NULL);
	}
	errno = saved;
}

/* Who started us with a signal ignored, as nohup does, or a script with '&', meant it. */
void signals_catch(void)
{
	static const int ends[] = { SIGINT, SIGTERM, SIGHUP };
	struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGALRM };
	struct sigaction action = { .sa_handler = on_signal }, before;	/* no SA_RESTART */

	timer_create(CLOCK_MONOTONIC, &event, &again);
	sigaction(SIGALRM, &action, NULL);
	for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++)
		if (!sigaction(ends[i], NULL, &before) && before.sa_handler != SIG_IGN)
			sigaction(ends[i], &action, NULL);
}

int signal_caught(void)
{
	return caught;
}
