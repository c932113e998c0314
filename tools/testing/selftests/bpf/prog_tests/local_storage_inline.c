// SPDX-License-Identifier: GPL-2.0
/*
 * Lookups that are part of the program: what they consist of, that they find what the helper finds,
 * and that only misses get to the helper, where who traces it sees them.
 */
#include <test_progs.h>

#include "local_storage_helpers.h"
#include "local_storage_inline.h"
#include "local_storage_inline.skel.h"
#include "local_storage_xlated.skel.h"
#include "local_storage_xlated_far.skel.h"
#include "local_storage_xlated_near.skel.h"
#include "testing_helpers.h"

/* The first slot numbers with one load more, and of those that need a directory. */
#define NEAR	4
#define FAR	17
#define NR_MAPS	(FAR + 1)

static const struct {
	const char *name;
	__u64 value;
	bool hit;
} expected[LS_NR_STEPS] = {
	[LS_MISS] = { "miss" },
	[LS_NO_OWNER] = { "no owner" },
	[LS_CREATE_IT] = { "create", LS_VALUE },
	[LS_HIT] = { "hit", LS_VALUE, true },
	[LS_HIT_CREATE] = { "hit, would create", LS_VALUE, true },
	[LS_HIT_FLAGS] = { "hit, flags not known", LS_VALUE, true },
	[LS_WRONG_FLAGS] = { "wrong flags" },
	[LS_UNKNOWN_FLAGS] = { "wrong flags, not known" },
	[LS_HIGH_FLAGS] = { "wrong flags, not in 32 bits" },
	[LS_NO_OWNER_HIT] = { "no owner, of a value" },
	[LS_DELETED] = { "deleted" },
};

static int owner_new(enum ls_kind kind)
{
	return kind == LS_SK ? socket(AF_UNIX, SOCK_DGRAM, 0) : ls_owner_new(kind);
}

static int outer_map(const struct local_storage_inline *skel, enum ls_kind kind)
{
	const struct bpf_map *map[] = {
		skel->maps.task_maps, skel->maps.cgrp_maps,
		skel->maps.inode_maps, skel->maps.sk_maps,
	};

	return bpf_map__fd(map[kind]);
}

static bool run(struct local_storage_inline *skel, enum ls_kind kind, int owner, unsigned int cmd)
{
	memset(&skel->bss->named, 0xff, sizeof(skel->bss->named));
	memset(&skel->bss->found, 0xff, sizeof(skel->bss->found));
	skel->bss->tgid = getpid();
	ioctl(owner, cmd, (unsigned long)kind);
	skel->bss->tgid = 0;

	return ASSERT_EQ(skel->bss->named.ran, 0, "ran") &&
	       ASSERT_EQ(skel->bss->found.ran, 0, "ran with a map found");
}

/* A map's slot number is given back after its elements' grace period: wait for those before us. */
static bool wait_for_slots(void)
{
	struct local_storage_inline *skel = local_storage_inline__open_and_load();
	const struct bpf_map *named[LS_NR_KINDS];
	int i, n, kind, fd[NR_MAPS], owner, key = 0;
	bool ran, ok = false;
	long none;

	if (!ASSERT_OK_PTR(skel, "load") ||
	    !ASSERT_OK(local_storage_inline__attach(skel), "attach"))
		goto out;
	named[LS_TASK] = skel->maps.task_map;
	named[LS_CGRP] = skel->maps.cgrp_map;
	named[LS_INODE] = skel->maps.inode_map;
	named[LS_SK] = skel->maps.sk_map;
	for (kind = 0; kind < LS_NR_KINDS; kind++) {
		owner = owner_new(kind);
		none = ls_memlock(bpf_map__fd(named[kind]));
		for (i = 0, ok = false; i < 1000 && !ok; i++) {
			for (n = 0; n < NR_MAPS; n++)
				fd[n] = ls_map_new(kind, sizeof(__u64), 0);
			bpf_map_update_elem(outer_map(skel, kind), &key, &fd[NR_MAPS - 1], BPF_ANY);
			ran = run(skel, kind, owner, LS_STEPS) && skel->bss->found.slot >= 0;
			/* None below it is somebody else's; the skeleton has a map of its own. */
			ok = ran && skel->bss->found.slot <= NR_MAPS;
			/* A map without elements is freed at once: ours must not be in the way. */
			ls_memlock_wait(fd[NR_MAPS - 1], none);
			ls_memlock_wait(bpf_map__fd(named[kind]), none);
			bpf_map_delete_elem(outer_map(skel, kind), &key);
			for (n = 0; n < NR_MAPS; n++)
				close(fd[n]);
			if (!ran)
				break;
			if (!ok)
				usleep(20000);
		}
		close(owner);
		if (!ASSERT_TRUE(ok, "free slots"))
			break;
	}
out:
	local_storage_inline__destroy(skel);
	/* Freed by work items. */
	sleep(1);

	return ok;
}

static void check(const struct ls_steps *steps, bool inlined, const char *what)
{
	char name[80];
	int i;

	for (i = 0; i < LS_NR_STEPS; i++) {
		snprintf(name, sizeof(name), "%s, %s: value", what, expected[i].name);
		ASSERT_EQ(steps->value[i], expected[i].value, name);
		snprintf(name, sizeof(name), "%s, %s: calls", what, expected[i].name);
		ASSERT_EQ(steps->calls[i], !(inlined && expected[i].hit), name);
	}
}

/* The other maps' values, of which a lookup must find none. */
static void others(const int *map, int nr, int owner, bool create)
{
	int i;

	for (i = 0; i < NR_MAPS; i++) {
		__u64 value = 100 + i;

		if (i == nr)
			continue;
		ASSERT_OK(create ? bpf_map_update_elem(map[i], &owner, &value, BPF_NOEXIST) :
			  bpf_map_delete_elem(map[i], &owner), "other");
	}
}

static void test_kind(struct local_storage_inline *skel, enum ls_kind kind, const int *map, int nr)
{
	bool sleeps = kind == LS_TASK || kind == LS_INODE;
	int i, key = 0, owner = owner_new(kind);

	if (!ASSERT_OK_FD(owner, "owner") ||
	    !ASSERT_OK(bpf_map_update_elem(outer_map(skel, kind), &key, &map[nr], BPF_ANY), "map"))
		goto out;

	for (i = 0; i < 4; i++) {
		if (i % 2 && !sleeps)
			continue;
		if (i == 2)
			others(map, nr, owner, true);
		if (!run(skel, kind, owner, i % 2 ? LS_STEPS_SLEEPABLE : LS_STEPS))
			break;
		ASSERT_EQ(skel->bss->named.slot < NEAR, nr < NEAR, "slot near");
		ASSERT_EQ(skel->bss->named.slot < FAR, nr < FAR, "slot far");
		ASSERT_EQ(skel->bss->found.slot, skel->bss->named.slot, "slot");
		check(&skel->bss->named, is_jit_enabled(), "named");
		check(&skel->bss->found, is_jit_enabled() && nr < FAR, "found");
	}
	if (i > 2)
		others(map, nr, owner, false);
out:
	if (owner >= 0)
		close(owner);
}

static void test_results(void)
{
	static const struct {
		const char *name;
		int nr;
	} where[] = { { "inline", 0 }, { "near", NEAR }, { "far", FAR } };
	int i, kind, map[LS_NR_KINDS][NR_MAPS], chosen[LS_NR_KINDS];
	struct local_storage_inline *skel;
	char name[32];

	for (kind = 0; kind < LS_NR_KINDS; kind++)
		for (i = 0; i < NR_MAPS; i++)
			map[kind][i] = ls_map_new(kind, sizeof(__u64), 0);

	for (i = 0; i < ARRAY_SIZE(where); i++) {
		for (kind = 0; kind < LS_NR_KINDS; kind++)
			chosen[kind] = map[kind][where[i].nr];
		skel = local_storage_inline__open();
		if (ASSERT_OK_PTR(skel, "open") && ls_reuse_maps(skel->obj, chosen) &&
		    ASSERT_OK(local_storage_inline__load(skel), "load") &&
		    ASSERT_OK(local_storage_inline__attach(skel), "attach")) {
			for (kind = 0; kind < LS_NR_KINDS; kind++) {
				snprintf(name, sizeof(name), "%s_%s", ls_name[kind], where[i].name);
				if (test__start_subtest(name))
					test_kind(skel, kind, map[kind], where[i].nr);
			}
		}
		local_storage_inline__destroy(skel);
	}
	for (kind = 0; kind < LS_NR_KINDS; kind++)
		for (i = 0; i < NR_MAPS; i++)
			if (map[kind][i] >= 0)
				close(map[kind][i]);
}

/* With the slots below a number taken: what maps that come next look like. */
static void test_xlated(void)
{
	int i, map[FAR];

	for (i = 0; i < FAR; i++)
		map[i] = ls_map_new(LS_TASK, sizeof(__u64), 0);
	RUN_TESTS(local_storage_xlated_far);
	while (i-- > NEAR)
		close(map[i]);
	/* Freed by work items, as above. */
	sleep(1);
	RUN_TESTS(local_storage_xlated_near);
	do
		close(map[i]);
	while (i--);
	sleep(1);
	RUN_TESTS(local_storage_xlated);
}

void test_local_storage_inline(void)
{
	if (wait_for_slots())
		test_xlated();
	if (wait_for_slots())
		test_results();
}
