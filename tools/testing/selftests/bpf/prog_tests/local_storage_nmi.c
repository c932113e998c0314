// SPDX-License-Identifier: GPL-2.0
/*
 * Creating and deleting in NMI, and from scheduler tracepoints under the run queue's lock. There is
 * no replacing there: a program has no helper for it.
 */
#include <pthread.h>
#include <test_progs.h>

#include "local_storage_helpers.h"
#include "local_storage_nmi.skel.h"

/* A backtrace on a serial line is slow, and the kernel would complain of it. */
#define NMI_LONGEST	"/sys/kernel/debug/x86/nmi_longest_ns"
#define NR_NMIS		10
#define NR_SWITCHES	500

static bool stop, spinning;

static void pin(int nr)
{
	cpu_set_t cpu;

	CPU_ZERO(&cpu);
	CPU_SET(nr, &cpu);
	pthread_setaffinity_np(pthread_self(), sizeof(cpu), &cpu);
}

/* Files of debugfs do not seek, as sysctl_set() would have them. */
static int set_longest(unsigned long long ns, unsigned long long *old)
{
	FILE *f = fopen(NMI_LONGEST, "r");
	int n;

	if (!f)
		return -errno;
	n = old ? fscanf(f, "%llu", old) : 1;
	fclose(f);
	f = n == 1 ? fopen(NMI_LONGEST, "w") : NULL;
	if (!f)
		return -EINVAL;
	fprintf(f, "%llu", ns);

	return fclose(f) ? -errno : 0;
}

static void *spin(void *arg)
{
	pin(1);
	WRITE_ONCE(spinning, true);
	while (!READ_ONCE(stop))
		;

	return NULL;
}

static void judge(const struct ls_where *w, const char *what)
{
	ASSERT_GT(w->ran, 0, "runs of the program");
	ASSERT_EQ(w->create_failed, 0, "creations that fail");
	ASSERT_EQ(w->delete_failed, 0, "deletions that fail");
	ASSERT_OK(w->last_err, "the last error");
	printf("measured: %s, creations that fail: %llu of %llu\n", what, w->create_failed,
	       w->create);
	printf("measured: %s, deletions that fail: %llu of %llu\n", what, w->delete_failed,
	       w->delete);
}

/* A backtrace of all CPUs is had by NMI, where the architecture can. */
static void test_nmi(struct local_storage_nmi *skel)
{
	unsigned long long old;
	pthread_t thread;
	int i, fd;

	if (libbpf_num_possible_cpus() < 2 || set_longest(10000000000ULL, &old)) {
		printf("%s:SKIP: needs two CPUs, and NMIs that can be asked for\n", __func__);
		test__skip();
		return;
	}
	pin(0);
	stop = false;
	spinning = false;
	if (!ASSERT_OK(pthread_create(&thread, NULL, spin, NULL), "thread"))
		return;
	while (!READ_ONCE(spinning))
		usleep(1000);
	skel->links.nmi_handler = bpf_program__attach(skel->progs.nmi_handler);
	ASSERT_OK_PTR(skel->links.nmi_handler, "attach");
	skel->bss->tgid = getpid();
	fd = open("/proc/sysrq-trigger", O_WRONLY);
	if (ASSERT_OK_FD(fd, "sysrq-trigger"))
		for (i = 0; i < NR_NMIS; i++)
			ASSERT_EQ(write(fd, "l", 1), 1, "sysrq");
	skel->bss->tgid = 0;
	if (fd >= 0)
		close(fd);
	WRITE_ONCE(stop, true);
	pthread_join(thread, NULL);
	ASSERT_OK(set_longest(old, NULL), "nmi_longest_ns");

	if (!skel->bss->nmi.ran) {
		printf("%s:SKIP: no NMI arrived\n", __func__);
		test__skip();
		return;
	}
	judge(&skel->bss->nmi, "in NMI");
}

static int ping[2], pong[2];

static void *answer(void *arg)
{
	char c;

	pin(1);
	while (read(ping[0], &c, 1) == 1)
		write(pong[1], &c, 1);

	return NULL;
}

static void test_sched(struct local_storage_nmi *skel)
{
	pthread_t thread;
	char c = 0;
	int i;

	if (!ASSERT_OK(pipe(ping), "pipe") || !ASSERT_OK(pipe(pong), "pipe"))
		return;
	pin(0);
	if (!ASSERT_OK(pthread_create(&thread, NULL, answer, NULL), "thread"))
		return;
	skel->links.sched_switch = bpf_program__attach(skel->progs.sched_switch);
	skel->links.sched_wakeup = bpf_program__attach(skel->progs.sched_wakeup);
	ASSERT_OK_PTR(skel->links.sched_switch, "attach");
	ASSERT_OK_PTR(skel->links.sched_wakeup, "attach");
	skel->bss->tgid = getpid();
	for (i = 0; i < NR_SWITCHES; i++)
		if (!ASSERT_EQ(write(ping[1], &c, 1), 1, "ping") ||
		    !ASSERT_EQ(read(pong[0], &c, 1), 1, "pong"))
			break;
	skel->bss->tgid = 0;
	close(ping[1]);
	pthread_join(thread, NULL);
	close(ping[0]);
	close(pong[0]);
	close(pong[1]);
	judge(&skel->bss->sched, "under the run queue's lock");
}

void test_local_storage_nmi(void)
{
	struct local_storage_nmi *skel;
	int i, map_fd[2], cgroup = -1;
	long none[2];
	cpu_set_t old;

	sched_getaffinity(0, sizeof(old), &old);
	skel = local_storage_nmi__open_and_load();
	if (!ASSERT_OK_PTR(skel, "open and load"))
		return;
	cgroup = test__join_cgroup("/local_storage");
	if (!ASSERT_OK_FD(cgroup, "cgroup"))
		goto out;
	map_fd[0] = bpf_map__fd(skel->maps.task_map);
	map_fd[1] = bpf_map__fd(skel->maps.cgrp_map);
	for (i = 0; i < 2; i++)
		none[i] = ls_memlock(map_fd[i]);

	if (test__start_subtest("nmi"))
		test_nmi(skel);
	if (test__start_subtest("sched"))
		test_sched(skel);

	for (i = 0; i < 2; i++)
		ASSERT_EQ(ls_memlock_wait(map_fd[i], none[i]), none[i], "memlock as before");
out:
	local_storage_nmi__destroy(skel);
	if (cgroup >= 0)
		close(cgroup);
	sched_setaffinity(0, sizeof(old), &old);
}
