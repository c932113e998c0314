// SPDX-License-Identifier: GPL-2.0
/*
 * Many preemptible threads on two CPUs create, replace, look up and delete the values of one owner,
 * by program and by syscall. That two of them share a CPU, or race, is no reason for any to fail.
 */
#include <pthread.h>
#include <test_progs.h>

#include "local_storage_helpers.h"
#include "local_storage_ops.skel.h"

#define NR_THREADS	16
#define RACERS		2	/* one a CPU */
#define TURNS		100
#define RACE_CALLS	25

/* How often an operation came to an end that nobody gave a reason for. */
struct bad {
	int null;	/* a program's creation */
	int busy;
	int again;
	int other;
	int last_other;
};

static struct {
	struct bad bad;
	pthread_barrier_t start;
	enum ls_kind kind;
	int map_fd;
	int owner;
	int done;
} hammer;

static void count(int err, int allowed)
{
	__sync_fetch_and_add(&hammer.done, 1);
	if (!err || err == allowed)
		return;
	if (err == -ENODATA)
		__sync_fetch_and_add(&hammer.bad.null, 1);
	else if (err == -EBUSY)
		__sync_fetch_and_add(&hammer.bad.busy, 1);
	else if (err == -EAGAIN)
		__sync_fetch_and_add(&hammer.bad.again, 1);
	else
		__sync_fetch_and_add(&hammer.bad.other, 1), hammer.bad.last_other = err;
}

static int update(__u64 flags)
{
	__u64 value = flags;

	return bpf_map_update_elem(hammer.map_fd, &hammer.owner, &value, flags) ? -errno : 0;
}

static int lookup(void)
{
	__u64 value;

	return bpf_map_lookup_elem(hammer.map_fd, &hammer.owner, &value) ? -errno : 0;
}

static int delete(void)
{
	return bpf_map_delete_elem(hammer.map_fd, &hammer.owner) ? -errno : 0;
}

static void start_on_cpu(int nr)
{
	cpu_set_t cpu;

	CPU_ZERO(&cpu);
	CPU_SET(nr, &cpu);
	pthread_setaffinity_np(pthread_self(), sizeof(cpu), &cpu);
	pthread_barrier_wait(&hammer.start);
}

static void *hammer_thread(void *arg)
{
	int i;

	start_on_cpu((long)arg % RACERS);
	for (i = 0; i < TURNS; i++) {
		count(ls_prog(hammer.owner, hammer.kind, LS_CREATE), 0);
		count(update(BPF_ANY), 0);
		count(update(BPF_NOEXIST), -EEXIST);
		count(lookup(), -ENOENT);
		count(ls_prog(hammer.owner, hammer.kind, LS_DELETE), -ENOENT);
		count(update(BPF_EXIST), -ENOENT);
		count(ls_prog(hammer.owner, hammer.kind, LS_CREATE), 0);
		count(delete(), -ENOENT);
	}

	return NULL;
}

/* Two threads, each by itself on a CPU, and the owner's only value: its storage goes with it. */
static void *race_thread(void *arg)
{
	int i;

	start_on_cpu((long)arg % RACERS);
	for (i = 0; i < RACE_CALLS; i++)
		count(ls_prog(hammer.owner, hammer.kind, LS_RACE), 0);

	return NULL;
}

static void run(int nr_threads, void *(*fn)(void *arg))
{
	pthread_t thread[NR_THREADS];
	long i;

	pthread_barrier_init(&hammer.start, NULL, nr_threads);
	for (i = 0; i < nr_threads; i++)
		/* Those before would wait for this one. */
		if (pthread_create(&thread[i], NULL, fn, (void *)i))
			exit(1);
	for (i = 0; i < nr_threads; i++)
		pthread_join(thread[i], NULL);
	pthread_barrier_destroy(&hammer.start);
}

static void test_kind(struct local_storage_ops *skel, enum ls_kind kind, bool race)
{
	const int map_fd[] = {
		bpf_map__fd(skel->maps.task_map), bpf_map__fd(skel->maps.cgrp_map),
		bpf_map__fd(skel->maps.inode_map), bpf_map__fd(skel->maps.sk_map),
	};
	struct bad *bad = &hammer.bad;
	long none;

	memset(&hammer, 0, sizeof(hammer));
	hammer.kind = kind;
	hammer.map_fd = map_fd[kind];
	hammer.owner = ls_owner_new(kind);
	if (!ASSERT_OK_FD(hammer.owner, "owner"))
		return;
	none = ls_memlock(hammer.map_fd);

	if (race) {
		run(RACERS, race_thread);
		ASSERT_EQ(skel->bss->race_nulls, 0, "creations that fail");
		ASSERT_EQ(skel->bss->race_errs, 0, "deletions that fail");
		ASSERT_EQ(bad->other, 0, "calls of the program that fail");
		printf("measured: creations that fail in a race, of %d: %llu\n",
		       RACERS * RACE_CALLS * LS_RACE_TURNS, skel->bss->race_nulls);
	} else {
		run(NR_THREADS, hammer_thread);
		ASSERT_EQ(bad->null, 0, "creations that give NULL");
		ASSERT_EQ(bad->busy, 0, "-EBUSY");
		ASSERT_EQ(bad->again, 0, "-EAGAIN");
		if (!ASSERT_EQ(bad->other, 0, "other errors"))
			ASSERT_OK(bad->last_other, "the last of them");
		ASSERT_EQ(hammer.done, 8 * NR_THREADS * TURNS, "operations");
		printf("measured: %s, NULL/EBUSY/EAGAIN/other of %d: %d/%d/%d/%d\n", ls_name[kind],
		       hammer.done, bad->null, bad->busy, bad->again, bad->other);
	}
	delete();
	ASSERT_EQ(ls_memlock_wait(hammer.map_fd, none), none, "memlock as before");
	close(hammer.owner);
}

void test_local_storage_hammer(void)
{
	struct local_storage_ops *skel;
	int i;

	skel = local_storage_ops__open_and_load();
	if (!ASSERT_OK_PTR(skel, "open and load"))
		return;
	if (!ASSERT_OK(local_storage_ops__attach(skel), "attach"))
		goto out;

	for (i = 0; i < LS_NR_KINDS; i++)
		if (test__start_subtest(ls_name[i]))
			test_kind(skel, i, false);
	if (test__start_subtest("race"))
		test_kind(skel, LS_TASK, true);
out:
	local_storage_ops__destroy(skel);
}
