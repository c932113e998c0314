// SPDX-License-Identifier: GPL-2.0
/*
 * What fdinfo and bpftool say of a map's memory follows the number of its values; and what memory
 * these take, the storage of their owner included.
 */
#include <pthread.h>
#include <semaphore.h>
#include <sys/stat.h>
#include <test_progs.h>

#include "local_storage_helpers.h"

#define NR_OWNERS	1000
#define VALUE_SIZE	100

#ifndef PIDFD_THREAD
#define PIDFD_THREAD	O_EXCL
#endif

/* Threads are the cheapest tasks. */
static struct {
	sem_t ready;
	int pipe[2];
	int fd;
	pthread_t id[NR_OWNERS];
} threads;

static void *thread(void *arg)
{
	char c;

	threads.fd = sys_pidfd_open(sys_gettid(), PIDFD_THREAD);
	sem_post(&threads.ready);
	/* Until there is nobody left to write. */
	read(threads.pipe[0], &c, 1);

	return NULL;
}

static int thread_new(int i)
{
	pthread_attr_t attr;
	int err;

	if (!i) {
		sem_init(&threads.ready, 0, 0);
		if (pipe(threads.pipe))
			return -1;
	}
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 64 * 1024);
	err = pthread_create(&threads.id[i], &attr, thread, NULL);
	pthread_attr_destroy(&attr);
	if (err)
		return -1;
	sem_wait(&threads.ready);

	return threads.fd;
}

static int cgroup_new(int parent, int i)
{
	char name[16];

	snprintf(name, sizeof(name), "%d", i);
	if (mkdirat(parent, name, 0700))
		return -1;

	return openat(parent, name, O_RDONLY | O_DIRECTORY);
}

static void owners_end(enum ls_kind kind, int parent, int *owner)
{
	char name[16];
	int i;

	for (i = 0; i < NR_OWNERS; i++) {
		if (owner[i] < 0)
			break;
		close(owner[i]);
		if (kind == LS_CGRP) {
			snprintf(name, sizeof(name), "%d", i);
			ASSERT_OK(unlinkat(parent, name, AT_REMOVEDIR), "rmdir");
		}
	}
	if (kind == LS_TASK) {
		close(threads.pipe[1]);
		while (i--)
			pthread_join(threads.id[i], NULL);
		close(threads.pipe[0]);
		sem_destroy(&threads.ready);
	}
}

static long bpftool_says(int map_fd)
{
	struct bpf_map_info info = {};
	__u32 len = sizeof(info);
	char cmd[64], out[1024] = "", *at;
	FILE *f;

	if (!ASSERT_OK(bpf_map_get_info_by_fd(map_fd, &info, &len), "info"))
		return -1;
	snprintf(cmd, sizeof(cmd), "bpftool -j map show id %u", info.id);
	f = popen(cmd, "r");
	if (!ASSERT_OK_PTR(f, cmd))
		return -1;
	fread(out, 1, sizeof(out) - 1, f);
	pclose(f);
	at = strstr(out, "\"bytes_memlock\":");

	return ASSERT_OK_PTR(at, "bytes_memlock") ? atol(at + strlen("\"bytes_memlock\":")) : -1;
}

static void test_kind(enum ls_kind kind)
{
	int i, err, map_fd, parent = -1, owner[NR_OWNERS];
	char value[VALUE_SIZE] = {};
	long none, one, all;

	memset(owner, -1, sizeof(owner));
	if (kind == LS_CGRP) {
		parent = test__join_cgroup("/mem_usage");
		if (!ASSERT_OK_FD(parent, "cgroup"))
			return;
	}
	map_fd = ls_map_new(kind, VALUE_SIZE, 0);
	if (!ASSERT_OK_FD(map_fd, "map"))
		return;
	for (i = 0; i < NR_OWNERS; i++) {
		owner[i] = kind == LS_TASK ? thread_new(i) :
			   kind == LS_CGRP ? cgroup_new(parent, i) : ls_owner_new(kind);
		if (!ASSERT_OK_FD(owner[i], "owner"))
			goto out;
	}

	none = ls_memlock(map_fd);
	for (i = 0; i < NR_OWNERS; i++) {
		err = bpf_map_update_elem(map_fd, &owner[i], value, BPF_NOEXIST);
		if (!ASSERT_OK(err, "update"))
			goto out;
		if (!i)
			one = ls_memlock(map_fd);
	}
	all = ls_memlock(map_fd);
	ASSERT_GE(one - none, VALUE_SIZE, "one value");
	ASSERT_EQ(all - none, NR_OWNERS * (one - none), "all values");
	ASSERT_EQ(bpftool_says(map_fd), all, "bpftool");
	printf("measured: memlock, of 1000 %s values of 100 bytes: %ld\n", ls_name[kind],
	       all - none);

	/* Half of them are deleted, the others go with their owners. */
	for (i = 0; i < NR_OWNERS; i += 2)
		ASSERT_OK(bpf_map_delete_elem(map_fd, &owner[i]), "delete");
	all = none + NR_OWNERS / 2 * (one - none);
	ASSERT_EQ(ls_memlock_wait(map_fd, all), all, "half of the values");
out:
	owners_end(kind, parent, owner);
	if (i >= NR_OWNERS)
		ASSERT_EQ(ls_memlock_wait(map_fd, none), none, "no value");
	close(map_fd);
	if (parent >= 0)
		close(parent);
}

#define NR_SOCKETS	4000

/* What the cgroup of the maps is charged with for memory from the slab allocator. */
static long slab_bytes(int cgroup)
{
	char buf[8192] = "", *at;
	int fd;

	/* The kernel adds up its per-CPU figures every two seconds. */
	sleep(5);
	fd = openat(cgroup, "memory.stat", O_RDONLY);
	if (!ASSERT_OK_FD(fd, "memory.stat"))
		return -1;
	read(fd, buf, sizeof(buf) - 1);
	close(fd);
	at = strstr(buf, "slab_unreclaimable ");

	return ASSERT_OK_PTR(at, "slab_unreclaimable") ? atol(strchr(at, ' ')) : -1;
}

/* A value of 64 bytes of each of @map for each socket: the memory it takes, all told. */
static void test_slab(void)
{
	int i, m, cgroup, map[3] = { -1, -1, -1 }, owner[NR_SOCKETS];
	long before, after;
	char value[64] = {};

	memset(owner, -1, sizeof(owner));
	cgroup = test__join_cgroup("/mem_usage");
	if (!ASSERT_OK_FD(cgroup, "cgroup"))
		return;
	for (i = 0; i < NR_SOCKETS; i++) {
		owner[i] = ls_owner_new(LS_SK);
		if (!ASSERT_OK_FD(owner[i], "owner"))
			goto out;
	}
	for (m = 0; m < ARRAY_SIZE(map); m++) {
		map[m] = ls_map_new(LS_SK, sizeof(value), 0);
		if (!ASSERT_OK_FD(map[m], "map"))
			goto out;
		before = slab_bytes(cgroup);
		for (i = 0; i < NR_SOCKETS; i++)
			if (!ASSERT_OK(bpf_map_update_elem(map[m], &owner[i], value, BPF_NOEXIST),
				       "update"))
				goto out;
		after = slab_bytes(cgroup);
		ASSERT_GE(after - before, (long)NR_SOCKETS * sizeof(value), "charged");
		printf("measured: bytes for %s value of 64 on a socket: %ld\n",
		       !m ? "the first" : m == 1 ? "the second" : "a third",
		       (after - before) / NR_SOCKETS);
	}
out:
	for (i = 0; i < NR_SOCKETS; i++)
		if (owner[i] >= 0)
			close(owner[i]);
	for (m = 0; m < ARRAY_SIZE(map); m++)
		if (map[m] >= 0)
			close(map[m]);
	close(cgroup);
}

void test_local_storage_mem_usage(void)
{
	int kind;

	for (kind = 0; kind < LS_NR_KINDS; kind++)
		if (test__start_subtest(ls_name[kind]))
			test_kind(kind);
	if (test__start_subtest("slab"))
		test_slab();
}
