// SPDX-License-Identifier: GPL-2.0-only
/*
 * A fuzzer of /dev/tribuf that is guided by coverage (KCOV): programs that reach
 * new edges of the module, or get an answer that none got before, are kept and
 * changed further. Each is written down before it runs, so that a kernel that
 * dies leaves them behind. It stops at the first complaint in the kernel's log,
 * at the first object that stays behind, at the first process that cannot be
 * killed. selftests/fuzz/run is the host's side of it.
 */
#include "fuzz.h"

#include <dirent.h>
#include <getopt.h>
#include <linux/kcov.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#define KCOV		"/sys/kernel/debug/kcov"
#define KCOV_WORDS	(64ul << 10)
#define FEATURES	(1u << 18)
#define CORPUS_MAX	8192
#define HISTORY		32	/* programs in one of the two files of what ran last */
#define PATIENCE_MS	1500	/* for a program; then it is killed */
#define DEATH_MS	30000	/* for dying of that */

static const char *out = ".";

static struct {
	int fd[LANES];
	uint64_t *area[LANES];		/* [0]: how many, then that many addresses */
} kcov;

static uint8_t seen[FEATURES];
static unsigned int features;
static struct program *corpus;
static unsigned int corpus_count;
static unsigned long programs, operations;
static long channels, handles, pages;

/* ---- coverage ---- */

static void watch_begin(unsigned int lane)
{
	if (!kcov.area[lane])
		return;
	__atomic_store_n(&kcov.area[lane][0], 0, __ATOMIC_RELAXED);
	ioctl(kcov.fd[lane], KCOV_ENABLE, KCOV_TRACE_PC);
}

static void watch_end(unsigned int lane)
{
	if (kcov.area[lane])
		ioctl(kcov.fd[lane], KCOV_DISABLE, 0);
}

static const struct watcher watcher = { watch_begin, watch_end };

/* High descriptors: a program that closes one twice closes another one of its own. */
static bool kcov_open(void)
{
	for (int i = 0; i < LANES; i++) {
		int fd = open(KCOV, O_RDWR | O_CLOEXEC);

		kcov.fd[i] = fcntl(fd, F_DUPFD_CLOEXEC, 200);
		close(fd);
		if (kcov.fd[i] < 0 || ioctl(kcov.fd[i], KCOV_INIT_TRACE, KCOV_WORDS))
			return false;
		kcov.area[i] = map(kcov.fd[i], 0, KCOV_WORDS * 8, PROT_READ | PROT_WRITE);
		if (!kcov.area[i])
			return false;
	}
	return true;
}

static bool feature(uint64_t what)
{
	uint32_t at = (uint32_t)(what * 0x9e3779b97f4a7c15ull >> 46);

	if (seen[at])
		return false;
	seen[at] = 1;
	features++;
	return true;
}

/* Edges, and answers of each kind of operation after the one before it. */
static unsigned int new_features(const struct lane_log *log)
{
	unsigned int news = 0;

	for (int lane = 0; lane < LANES; lane++) {
		const uint64_t *area = kcov.area[lane];
		uint64_t count = area ? area[0] : 0, before = 0;

		for (uint64_t i = 1; i <= count && i < KCOV_WORDS; i++) {
			news += feature(area[i] ^ before << 1);
			before = area[i];
		}
		for (unsigned int i = 0; i < log[lane].done; i++) {
			int answer = log[lane].result[i].answer;

			news += feature(0x10000000u * (log[lane].result[i].kind + 1u) +
					(answer > 0 ? 1u : (uint32_t)answer));
		}
		if (kcov.area[lane])
			kcov.area[lane][0] = 0;
	}
	return news;
}

/* ---- what goes wrong ---- */

/*
 * By KCSAN's strict rules the kernel has data races of its own in plenty; and one of
 * ours is by design, see tools/complaints.awk.
 */
static bool complains(const char *line)
{
	static const char *const signs[] = {
		"WARNING:", "BUG:", "KASAN:", "UBSAN:", "Oops", "general protection",
		"possible recursive", "possible circular", "possible irq", "inconsistent lock",
		"suspicious RCU", "refcount_t:", "Bad page", "INFO: task", "detected stall",
		"held lock freed", "still has locks", "lock held when returning",
	};

	if (strstr(line, "KCSAN:"))
		return strstr(line, "[tribuf]") &&
		       !strstr(line, "__handle_mm_fault / tribuf_guard_set_ptes ");
	for (size_t i = 0; i < sizeof(signs) / sizeof(signs[0]); i++)
		if (strstr(line, signs[i]))
			return true;
	return false;
}

/* The first line of the kernel's log that is a complaint, or NULL. */
static const char *complaint(int kmsg)
{
	static char line[1024];
	ssize_t got;

	while ((got = read(kmsg, line, sizeof(line) - 1)) > 0 || errno == EPIPE) {
		line[got > 0 ? got : 0] = 0;
		if (complains(line))
			return line;
		errno = 0;
	}
	return NULL;
}

static bool nothing_left(void)
{
	return eventually(5000, parameter("handles") == handles &&
			  parameter("channels") == channels && parameter("pages") == pages);
}

/* ---- one program ---- */

static bool ends_within(int pidfd, unsigned int ms)
{
	struct pollfd p = { .fd = pidfd, .events = POLLIN };

	return poll(&p, 1, (int)ms) == 1;
}

/* Until no process of it is left. False if one cannot be killed. */
static bool reap_all(pid_t group)
{
	kill(-group, SIGKILL);
	return eventually(DEATH_MS, waitpid(-1, NULL, WNOHANG) < 0 && errno == ECHILD);
}

/* False if it hangs in the kernel. */
static bool run_program(const struct program *p, struct lane_log *log)
{
	pid_t pid;
	int pidfd;

	memset(log, 0, sizeof(*log) * LANES);
	pid = fork();
	if (!pid) {
		setpgid(0, 0);
		program_run(p, log, &watcher);
		_exit(0);
	}
	setpgid(pid, pid);
	pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (!p->kill_us)
		ends_within(pidfd, PATIENCE_MS);
	else
		sleep_ns(p->kill_us * 1000ull);
	close(pidfd);
	programs++;
	for (int i = 0; i < LANES; i++)
		operations += log[i].done;
	return reap_all(pid);
}

/* Two files in turn: the one that is full is kept until the other is, too. */
static void write_down(const struct program *p)
{
	static FILE *file;
	char path[256];

	if (!(programs % HISTORY)) {
		snprintf(path, sizeof(path), "%s/history.%lu", out, programs / HISTORY % 2);
		if (file)
			fclose(file);
		file = fopen(path, "w");
	}
	if (!file)
		return;
	fprintf(file, "# program %lu\n", programs);
	program_print(file, p);
	fflush(file);
}

/* Run it; false, with words, if anything is wrong afterwards. */
static bool try_program(const struct program *p, struct lane_log *log, int kmsg)
{
	const char *line;

	write_down(p);
	if (!run_program(p, log)) {
		printf("# a process cannot be killed\n");
		return false;
	}
	line = complaint(kmsg);
	if (line) {
		printf("# the kernel complains: %s\n", strchr(line, ';') ?: line);
		return false;
	}
	if (!nothing_left()) {
		printf("# left: %ld handles, %ld channels, %ld pages\n", parameter("handles"),
		       parameter("channels"), parameter("pages"));
		return false;
	}
	return true;
}

/* ---- the corpus ---- */

static void keep(const struct program *p, FILE *to)
{
	if (corpus_count < CORPUS_MAX)
		corpus[corpus_count++] = *p;
	if (to) {
		program_print(to, p);
		fflush(to);
	}
}

static unsigned int load(const char *path, struct program *to, unsigned int room)
{
	FILE *file = fopen(path, "r");
	unsigned int count = 0;

	while (file && count < room && program_read(file, &to[count]))
		count++;
	if (file)
		fclose(file);
	return count;
}

/* New ones more often than old ones. */
static const struct program *pick(uint64_t *rng)
{
	unsigned int window = corpus_count > 64 && chance(rng) & 1 << 20 ? 64 : corpus_count;

	return &corpus[corpus_count - 1 - (unsigned int)(chance(rng) >> 33) % window];
}

static void next_program(struct program *p, uint64_t *rng)
{
	if (!corpus_count || !(chance(rng) >> 40 & 7)) {
		program_make(p, rng);
		return;
	}
	*p = *pick(rng);
	program_mutate(p, pick(rng), rng);
}

/* ---- the runs ---- */

static bool fuzz(unsigned int seconds, const char *known, struct lane_log *log, int kmsg)
{
	uint64_t end = now() + seconds * NS_PER_S, rng = seed();
	struct program *given = calloc(CORPUS_MAX, sizeof(*given)), p;
	unsigned int count = known && given ? load(known, given, CORPUS_MAX) : 0, i;
	char path[256];
	FILE *file;

	snprintf(path, sizeof(path), "%s/corpus", out);
	file = fopen(path, "w");
	for (i = 0; now() < end; i++) {
		if (i < count)
			p = given[i];
		else
			next_program(&p, &rng);
		if (!try_program(&p, log, kmsg))
			return false;
		if (new_features(log))
			keep(&p, file);
	}
	printf("# %u of %u known programs kept\n", corpus_count < count ? corpus_count : count,
	       count);
	return true;
}

static bool replay(const char *path, unsigned int times, struct lane_log *log, int kmsg)
{
	struct program *given = calloc(CORPUS_MAX, sizeof(*given));
	unsigned int count = given ? load(path, given, CORPUS_MAX) : 0;

	if (!count) {
		fprintf(stderr, "fuzz: no program in %s\n", path);
		return false;
	}
	while (times--)
		for (unsigned int i = 0; i < count; i++)
			if (!try_program(&given[i], log, kmsg))
				return false;
	return true;
}

static int usage(void)
{
	fprintf(stderr, "usage: fuzz [-t SECONDS] [-c CORPUS] [-o FOLDER]   (TRIBUF_SEED)\n"
			"       fuzz -r FILE [-n TIMES] [-o FOLDER]\n");
	return 2;
}

int main(int argc, char **argv)
{
	struct lane_log *log = mmap(NULL, sizeof(*log) * LANES, PROT_READ | PROT_WRITE,
				    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	const char *known = NULL, *file = NULL;
	unsigned int seconds = 60, times = 1;
	int opt, kmsg;
	bool fine;

	while ((opt = getopt(argc, argv, "t:c:o:r:n:")) > 0) {
		switch (opt) {
		case 't': seconds = (unsigned int)atoi(optarg); break;
		case 'c': known = optarg; break;
		case 'o': out = optarg; break;
		case 'r': file = optarg; break;
		case 'n': times = (unsigned int)atoi(optarg); break;
		default: return usage();
		}
	}
	corpus = calloc(CORPUS_MAX, sizeof(*corpus));
	kmsg = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (!corpus || log == MAP_FAILED || kmsg < 0)
		return 2;
	lseek(kmsg, 0, SEEK_END);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	handles = parameter("handles");
	channels = parameter("channels");
	pages = parameter("pages");
	if (handles < 0) {
		fprintf(stderr, "fuzz: the module is not loaded\n");
		return 2;
	}
	if (!kcov_open())
		printf("# no KCOV here: not guided\n");
	fine = file ? replay(file, times, log, kmsg) : fuzz(seconds, known, log, kmsg);
	printf("# %lu programs, %lu operations, %u features, %u programs kept\n", programs,
	       operations, features, corpus_count);
	return fine ? 0 : 1;
}
