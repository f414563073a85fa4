// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * Who is who on an shm channel: byte locks of open file descriptions. They
 * exclude two handles of one process as well, and end with their last
 * descriptor, so that a killed process leaves no role taken.
 */
#define _GNU_SOURCE		/* F_OFD_* */
#include "shm.h"

#include <fcntl.h>
#include <string.h>
#include <time.h>

static int set_lock(int fd, short type, int byte)
{
	struct flock lock = {
		.l_type = type,
		.l_whence = SEEK_SET,
		.l_start = byte,
		.l_len = 1,
	};

	return fcntl(fd, F_OFD_SETLK, &lock) ? -errno : 0;
}

/* The first byte within [@from, @to) that another handle holds, or @to. */
static int first_held(int fd, int from, int to)
{
	struct flock lock = {
		.l_type = F_WRLCK,
		.l_whence = SEEK_SET,
		.l_start = from,
		.l_len = to - from,
	};

	if (from >= to)
		return to;
	/* Where the kernel cannot tell, held: or a living channel would count as left over. */
	if (fcntl(fd, F_OFD_GETLK, &lock))
		return from;
	if (lock.l_type == F_UNLCK)
		return to;
	/* A stranger's may be longer than a byte. */
	return lock.l_start > from ? (int)lock.l_start : from;
}

bool shm_trylock(int fd)
{
	return !set_lock(fd, F_WRLCK, SHM_META);
}

int shm_lock(int fd, int64_t patience)
{
	struct timespec pause = { .tv_nsec = 20000 };
	int64_t deadline = now() + patience;

	while (!shm_trylock(fd)) {
		if (now() > deadline)
			return fail(EBUSY, "a process was stopped while it opened or closed the channel: continue or kill it");
		nanosleep(&pause, NULL);
		if (pause.tv_nsec < 1000000)
			pause.tv_nsec *= 2;
	}
	return 0;
}

void shm_unlock(int fd)
{
	set_lock(fd, F_UNLCK, SHM_META);
}

static int take_one_of(int fd, int from, int to)
{
	int byte;

	for (byte = from; byte < to; byte++)
		if (!set_lock(fd, F_WRLCK, byte))
			return byte;
	return -EBUSY;
}

int shm_take(int fd, uint32_t role)
{
	switch (role) {
	case TRIBUF_PRODUCER:
		return take_one_of(fd, SHM_PRODUCER, SHM_PRODUCER + 1);
	case TRIBUF_CONSUMER:
		return take_one_of(fd, SHM_CONSUMER, SHM_CONSUMER + 1);
	case TRIBUF_OBSERVER:
		return take_one_of(fd, SHM_OBSERVERS, SHM_KEEPERS);
	default:
		return take_one_of(fd, SHM_KEEPERS, SHM_END);
	}
}

void shm_drop(int fd, int byte)
{
	set_lock(fd, F_UNLCK, byte);
}

bool shm_held(int fd, int byte)
{
	return first_held(fd, byte, byte + 1) == byte;
}

/* Neighbouring locks of different handles are not merged: each is found. */
uint32_t shm_count(int fd, int from, int to)
{
	uint32_t count = 0;
	int byte = from;

	while ((byte = first_held(fd, byte, to)) < to) {
		byte++;
		count++;
	}
	return count;
}
