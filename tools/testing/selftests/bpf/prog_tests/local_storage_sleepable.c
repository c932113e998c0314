// SPDX-License-Identifier: GPL-2.0
/*
 * A value that a sleepable program has is good until the program returns, whatever becomes of the
 * owner. What is freed too early others get, which fill it, and KASAN sees it read.
 */
#include <pthread.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "local_storage_helpers.h"
#include "cgroup_helpers.h"
#include "local_storage_sleepable.skel.h"

/* Enough to be given again what was freed since. */
#define NR_OTHERS	1000
/* A machine with more would take long. */
#define MAX_CPUS	8

static cpu_set_t cpus;

static void *run(void *arg)
{
	LIBBPF_OPTS(bpf_test_run_opts, topts);
	int err = bpf_prog_test_run_opts(bpf_program__fd(arg), &topts);

	return (void *)(long)(err ?: (int)topts.retval);
}

/* Gives as many sockets a value of the same size, on a CPU that they are then freed by. */
static void fill(int map_fd, int *fd, int cpu)
{
	__u64 other[8];
	cpu_set_t set;
	int i;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	ASSERT_OK(sched_setaffinity(0, sizeof(set), &set), "affinity");
	memset(other, 0xff, sizeof(other));
	for (i = 0; i < NR_OTHERS; i++) {
		fd[i] = socket(AF_INET, SOCK_DGRAM, 0);
		if (fd[i] < 0 || bpf_map_update_elem(map_fd, &fd[i], other, BPF_ANY)) {
			ASSERT_FAIL("socket %d", i);
			break;
		}
	}
}

static void drain(int *fd)
{
	int i;

	for (i = 0; i < NR_OTHERS && fd[i] > 0; i++) {
		close(fd[i]);
		fd[i] = 0;
	}
	/* Grace periods of RCU. */
	sleep(1);
}

static void test_kept(enum ls_kind kind)
{
	struct local_storage_sleepable *skel;
	int i, cpu = 0, nr_cpus = 0, key = 0, map_fd = -1, *fd;
	__u64 value[8];
	struct bpf_program *prog;
	pthread_t thread;
	pid_t pid = 0;
	bool running;
	void *ret;

	skel = local_storage_sleepable__open_and_load();
	fd = calloc(NR_OTHERS, sizeof(*fd));
	if (!ASSERT_OK_PTR(skel, "load") || !ASSERT_OK_PTR(fd, "memory"))
		goto out;
	map_fd = ls_map_new(LS_SK, sizeof(value), 0);
	if (!ASSERT_OK_FD(map_fd, "map"))
		goto out;

	if (kind == LS_TASK) {
		prog = skel->progs.keep_task;
		pid = fork();
		if (!pid)
			for (;;)
				pause();
		skel->bss->owner_id = pid;
	} else {
		prog = skel->progs.keep_cgroup;
		close(create_and_get_cgroup("/local_storage_sleepable"));
		skel->bss->owner_id = get_cgroup_id("/local_storage_sleepable");
	}
	running = ASSERT_OK(pthread_create(&thread, NULL, run, prog), "thread");
	for (i = 0; running && i < 10000 && !skel->bss->have; i++)
		usleep(1000);
	ASSERT_TRUE(skel->bss->have, "the program has a value");
	if (kind == LS_TASK) {
		kill(pid, SIGKILL);
		ASSERT_EQ(waitpid(pid, NULL, 0), pid, "wait");
	} else {
		remove_cgroup("/local_storage_sleepable");
	}
	if (skel->bss->have) {
		/* For the owner's own end. */
		sleep(1);
		/* To free more, on each CPU, has allocators let go of what was freed there. */
		for (i = 0; i < CPU_SETSIZE && nr_cpus < MAX_CPUS; i++) {
			if (!CPU_ISSET(i, &cpus))
				continue;
			nr_cpus++;
			fill(map_fd, fd, i);
			drain(fd);
			cpu = i;
		}
		fill(map_fd, fd, cpu);
	}
	skel->bss->done = true;
	if (!running)
		goto out;
	pthread_join(thread, &ret);
	ASSERT_OK((long)ret, "program");

	ASSERT_OK(bpf_map_lookup_elem(bpf_map__fd(skel->maps.seen), &key, value), "seen");
	for (i = 0; i < ARRAY_SIZE(value); i++)
		ASSERT_EQ(value[i], skel->bss->owner_id, "still the value");
out:
	if (fd)
		drain(fd);
	free(fd);
	if (map_fd >= 0)
		close(map_fd);
	local_storage_sleepable__destroy(skel);
}

void test_local_storage_sleepable(void)
{
	int cgroup_fd = test__join_cgroup("/local_storage");
	struct rlimit old, files;

	getrlimit(RLIMIT_NOFILE, &old);
	sched_getaffinity(0, sizeof(cpus), &cpus);
	files = old;
	if (files.rlim_cur < NR_OTHERS + 100)
		files.rlim_cur = NR_OTHERS + 100;
	if (files.rlim_max < files.rlim_cur)
		files.rlim_max = files.rlim_cur;
	if (!ASSERT_OK_FD(cgroup_fd, "cgroup") ||
	    !ASSERT_OK(setrlimit(RLIMIT_NOFILE, &files), "setrlimit"))
		goto out;
	if (test__start_subtest("task"))
		test_kept(LS_TASK);
	if (test__start_subtest("cgroup"))
		test_kept(LS_CGRP);
	sched_setaffinity(0, sizeof(cpus), &cpus);
	setrlimit(RLIMIT_NOFILE, &old);
out:
	if (cgroup_fd >= 0)
		close(cgroup_fd);
}
