// SPDX-License-Identifier: GPL-2.0
/*
 * A map's memory is charged to the cgroup of who created the map. Where that has no more to give,
 * creating a value fails with -ENOMEM, for a program with NULL, and leaves nothing behind; for
 * maps of other cgroups nothing changes.
 */
#include <test_progs.h>

#include "cgroup_helpers.h"
#include "local_storage_helpers.h"
#include "local_storage_ops.skel.h"

/* With its element a value takes the better part of a page. */
#define VALUE_SIZE	3500
#define LIMIT		"2097152"
#define NR_OWNERS	1000
#define ROUNDS		4

static struct {
	int limited[LS_NR_KINDS];
	int other[LS_NR_KINDS];
} maps;

static int owner[NR_OWNERS];
static char value[VALUE_SIZE];

static int update(int map_fd, int fd)
{
	return bpf_map_update_elem(map_fd, &fd, value, BPF_NOEXIST) ? -errno : 0;
}

/* Give values to sockets until there is no more memory. Returns to how many. */
static int fill(void)
{
	int i, err = 0;

	for (i = 0; i < NR_OWNERS; i++) {
		err = update(maps.limited[LS_SK], owner[i]);
		if (err)
			break;
	}
	ASSERT_EQ(err, -ENOMEM, "at the limit");

	return i;
}

static void at_the_limit(const int *fd)
{
	int i, n;

	for (i = 0; i < LS_NR_KINDS; i++) {
		/* Often enough that a leak of a page each would show in the next round. */
		for (n = 0; n < 100; n++) {
			if (!ASSERT_EQ(update(maps.limited[i], fd[i]), -ENOMEM, ls_name[i]) ||
			    !ASSERT_EQ(ls_prog(fd[i], i, LS_CREATE), -ENODATA, ls_name[i]))
				break;
		}
		ASSERT_EQ(bpf_map_lookup_elem(maps.limited[i], &fd[i], value) ? errno : 0, ENOENT,
			  "no value");
		ASSERT_OK(update(maps.other[i], fd[i]), "a map of another cgroup");
		ASSERT_OK(bpf_map_delete_elem(maps.other[i], &fd[i]), "and its end");
	}
}

static void empty(int nr, long none)
{
	bool counted = ls_memlock(maps.limited[LS_SK]) != none;
	int i;

	for (i = 0; i < nr; i++)
		if (!ASSERT_OK(bpf_map_delete_elem(maps.limited[LS_SK], &owner[i]), "delete"))
			break;
	/* Where memlock does not tell when the grace periods are over, this has to do. */
	if (!counted)
		sleep(1);
}

static void test_limit(const int *fd)
{
	struct local_storage_ops *skel;
	long memlock[LS_NR_KINDS];
	int i, round, first = 0, nr;

	skel = local_storage_ops__open();
	if (!ASSERT_OK_PTR(skel, "open"))
		return;
	if (!ls_reuse_maps(skel->obj, maps.limited) ||
	    !ASSERT_OK(local_storage_ops__load(skel), "load") ||
	    !ASSERT_OK(local_storage_ops__attach(skel), "attach"))
		goto out;

	for (i = 0; i < LS_NR_KINDS; i++)
		memlock[i] = ls_memlock(maps.limited[i]);
	for (round = 0; round < ROUNDS; round++) {
		nr = fill();
		if (!round)
			first = nr;
		ASSERT_GT(nr, 100, "values up to the limit");
		/* A batch of pages for each CPU may be charged in advance. */
		ASSERT_GE(nr, first - 128, "as many as in the first round");
		at_the_limit(fd);
		empty(nr, memlock[LS_SK]);
		for (i = 0; i < LS_NR_KINDS; i++)
			ASSERT_EQ(ls_memlock_wait(maps.limited[i], memlock[i]), memlock[i],
				  "memlock as at the beginning");
	}

	/* The limit was all that was in the way. */
	ASSERT_OK(write_cgroup_file("/limited", "memory.max", "max"), "memory.max");
	for (i = 0; i < LS_NR_KINDS; i++) {
		ASSERT_OK(update(maps.limited[i], fd[i]), ls_name[i]);
		ASSERT_OK(ls_prog(fd[i], i, LS_DELETE), ls_name[i]);
		ASSERT_OK(ls_prog(fd[i], i, LS_CREATE), ls_name[i]);
	}
out:
	local_storage_ops__destroy(skel);
}

void test_local_storage_memory(void)
{
	int i, outside, limited, fd[LS_NR_KINDS];
	cpu_set_t old, cpu;

	memset(owner, -1, sizeof(owner));
	memset(fd, -1, sizeof(fd));
	memset(&maps, -1, sizeof(maps));

	/* What is charged in advance is so by CPU. */
	sched_getaffinity(0, sizeof(old), &old);
	CPU_ZERO(&cpu);
	CPU_SET(0, &cpu);
	if (!ASSERT_OK(sched_setaffinity(0, sizeof(cpu), &cpu), "affinity"))
		return;

	outside = test__join_cgroup("/outside");
	limited = create_and_get_cgroup("/limited");
	if (!ASSERT_OK_FD(outside, "cgroup") || !ASSERT_OK_FD(limited, "cgroup") ||
	    !ASSERT_OK(write_cgroup_file("/limited", "memory.max", LIMIT), "memory.max"))
		goto out;
	for (i = 0; i < NR_OWNERS; i++) {
		owner[i] = ls_owner_new(LS_SK);
		if (!ASSERT_OK_FD(owner[i], "socket"))
			goto out;
	}
	for (i = 0; i < LS_NR_KINDS; i++) {
		fd[i] = i == LS_CGRP ? dup(outside) : ls_owner_new(i);
		maps.other[i] = ls_map_new(i, VALUE_SIZE, 0);
		if (!ASSERT_OK_FD(fd[i], ls_name[i]) || !ASSERT_OK_FD(maps.other[i], "map"))
			goto out;
	}
	if (!ASSERT_OK(join_cgroup("/limited"), "join"))
		goto out;
	for (i = 0; i < LS_NR_KINDS; i++)
		maps.limited[i] = ls_map_new(i, VALUE_SIZE, 0);
	if (!ASSERT_OK(join_cgroup("/outside"), "join"))
		goto out;
	for (i = 0; i < LS_NR_KINDS; i++)
		if (!ASSERT_OK_FD(maps.limited[i], "map"))
			goto out;

	test_limit(fd);
out:
	for (i = 0; i < NR_OWNERS; i++)
		if (owner[i] >= 0)
			close(owner[i]);
	for (i = 0; i < LS_NR_KINDS; i++) {
		if (fd[i] >= 0)
			close(fd[i]);
		if (maps.other[i] >= 0)
			close(maps.other[i]);
		if (maps.limited[i] >= 0)
			close(maps.limited[i]);
	}
	if (limited >= 0)
		close(limited);
	if (outside >= 0)
		close(outside);
	sched_setaffinity(0, sizeof(old), &old);
}
