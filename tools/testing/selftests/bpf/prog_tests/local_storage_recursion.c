// SPDX-License-Identifier: GPL-2.0
/*
 * A program that traces local storage's own functions and uses it there, on the same owner and map,
 * on another map, on another owner: what a lock held further down the stack stands in the way of is
 * refused, anything else works, and nothing hangs. First where a function is called in the section
 * of both locks, then at instructions all over creating and deleting, as an NMI may come.
 */
#include <test_progs.h>

#include "local_storage_helpers.h"
#include "local_storage_ops.skel.h"
#include "local_storage_recursion.h"
#include "local_storage_recursion.skel.h"
#include "trace_helpers.h"

/* Each costs grace periods: there is no time for all instructions. */
#define MAX_POINTS	150

/* Called with the storage's and the bucket's lock held: by ours, by stock. */
static const char * const in_both_locks[] = {
	"bpf_selem_unlink_storage", "bpf_selem_unlink_storage_nolock_misc",
};

/* All that creates and deletes a value and can be probed, inlined or not: of ours, of stock. */
static const char * const create_and_delete[] = {
	"bpf_local_storage_create", "bpf_local_storage_update", "bpf_local_storage_delete",
	"bpf_selem_unlink", "insert_selem", "link_selem", "publish_storage",
	"bpf_selem_unlink_storage", "bpf_selem_alloc", "bpf_selem_free", "bpf_selem_ride",
	"bpf_local_storage_alloc", "bpf_local_storage_free", "bpf_local_storage_kmalloc",
	"bpf_selem_link_map", "bpf_selem_link_map_nolock",
	"bpf_selem_link_storage_nolock", "bpf_selem_unlink_map", "bpf_selem_unlink_map_nolock",
	"bpf_selem_unlink_storage_nolock", "bpf_selem_unlink_storage_nolock_misc",
};

static int update(int map_fd, int fd)
{
	__u64 value = 0;

	return bpf_map_update_elem(map_fd, &fd, &value, BPF_ANY) ? -errno : 0;
}

static int delete(int map_fd, int fd)
{
	return bpf_map_delete_elem(map_fd, &fd) ? -errno : 0;
}

static bool traceable(const char *name)
{
	return libbpf_find_vmlinux_btf_id(name, BPF_TRACE_FENTRY) > 0;
}

static void test_in_delete(enum ls_kind kind)
{
	int a, b, c, i, err, owner, fd, sk[2] = { -1, -1 };
	struct local_storage_recursion *skel;
	const struct ls_in_delete *r;
	long none;

	skel = local_storage_recursion__open();
	if (!ASSERT_OK_PTR(skel, "open"))
		return;
	bpf_program__set_autoload(skel->progs.on_instruction, false);
	for (i = 0; i < ARRAY_SIZE(in_both_locks) && !traceable(in_both_locks[i]); i++)
		;
	if (i == ARRAY_SIZE(in_both_locks)) {
		printf("%s:SKIP: no function can be traced there\n", __func__);
		test__skip();
		goto out;
	}
	err = bpf_program__set_attach_target(skel->progs.on_delete, 0, in_both_locks[i]);
	if (!ASSERT_OK(err, "target") ||
	    !ASSERT_OK(local_storage_recursion__load(skel), "load") ||
	    !ASSERT_OK(local_storage_recursion__attach(skel), "attach"))
		goto out;

	owner = ls_owner_new(kind);
	if (!ASSERT_OK_FD(owner, "owner"))
		goto out;
	if (kind == LS_SK) {
		fd = socket(AF_INET, SOCK_DGRAM, 0);
		sk[0] = dup2(owner, LS_SK_FD);
		sk[1] = dup2(fd, LS_OTHER_SK_FD);
		close(fd);
		if (!ASSERT_EQ(sk[0], LS_SK_FD, "dup2") ||
		    !ASSERT_EQ(sk[1], LS_OTHER_SK_FD, "dup2"))
			goto close;
	}
	a = bpf_map__fd(kind == LS_TASK ? skel->maps.task_a : kind == LS_CGRP ? skel->maps.cgrp_a :
			kind == LS_INODE ? skel->maps.inode_a : skel->maps.sk_a);
	b = bpf_map__fd(kind == LS_CGRP ? skel->maps.cgrp_b : kind == LS_SK ? skel->maps.sk_b :
			skel->maps.task_b);
	c = bpf_map__fd(kind == LS_CGRP ? skel->maps.cgrp_c : kind == LS_SK ? skel->maps.sk_c :
			skel->maps.task_c);
	none = ls_memlock(a);

	ASSERT_OK(update(a, owner), "update");
	if (kind == LS_INODE) {
		/* The nested program's values are this task's. */
		fd = ls_owner_new(LS_TASK);
		ASSERT_OK(update(bpf_map__fd(skel->maps.task_a), fd), "update of the task");
	} else {
		fd = dup(owner);
	}
	ASSERT_OK(update(b, fd), "update of b");

	skel->bss->kind = kind;
	skel->bss->tgid = getpid();
	ASSERT_OK(delete(a, owner), "the deletion itself");
	skel->bss->tgid = 0;

	r = &skel->bss->in_delete;
	ASSERT_EQ(r->ran, 1, "runs of the program");
	ASSERT_GE(r->locks, 1, "locks held");
	if (kind == LS_INODE) {
		ASSERT_EQ(r->same_get, 1, "get of the task's");
		ASSERT_EQ(r->same_delete, 0, "delete the task's");
		ASSERT_EQ(r->other_get, 1, "get of b");
		ASSERT_EQ(r->other_delete, 0, "delete b");
		ASSERT_EQ(r->third_create, 1, "create c");
	} else {
		ASSERT_EQ(r->same_delete, -EDEADLK, "delete the same");
		ASSERT_EQ(r->other_get, 1, "get of b");
		ASSERT_EQ(r->other_delete, -EDEADLK, "delete b");
		ASSERT_EQ(r->third_create, 0, "create c");
	}
	ASSERT_EQ(r->stranger_create, 1, "create c for another owner");
	ASSERT_EQ(r->stranger_delete, 0, "delete c of another owner");

	/* It is as if nobody had been there. */
	ASSERT_EQ(delete(a, owner), -ENOENT, "deleted");
	ASSERT_EQ(delete(b, fd), kind == LS_INODE ? -ENOENT : 0, "delete b");
	ASSERT_EQ(delete(c, fd), kind == LS_INODE ? 0 : -ENOENT, "delete c");
	ASSERT_OK(update(a, owner), "update");
	ASSERT_OK(delete(a, owner), "delete");
	ASSERT_EQ(ls_memlock_wait(a, none), none, "memlock as before");
	close(fd);
close:
	for (i = 0; i < 2; i++)
		if (sk[i] >= 0)
			close(sk[i]);
	close(owner);
out:
	local_storage_recursion__destroy(skel);
}

/* Is this one of the functions, or what the compiler made of one? */
static bool wanted(const char *symbol)
{
	size_t len = strcspn(symbol, ".");
	int i;

	for (i = 0; i < ARRAY_SIZE(create_and_delete); i++)
		if (strlen(create_and_delete[i]) == len &&
		    !strncmp(create_and_delete[i], symbol, len) && !strstr(symbol, ".cold"))
			return true;

	return false;
}

static struct {
	int a, b, c;
	int owner;
	int pairs;
	int create_failed;
	int delete_failed;
} sweep;

/* With the probe in place: all that is nested, on an owner with and without another value. */
static void at_point(struct local_storage_recursion *skel)
{
	int i, err;

	for (i = 0; i < 2 * LS_NR_NESTED; i++) {
		if (i % 2)
			update(sweep.b, sweep.owner);
		skel->bss->nested = i / 2;
		skel->bss->tgid = getpid();
		sweep.pairs++;
		sweep.create_failed += !!ls_prog(sweep.owner, LS_TASK, LS_CREATE);
		err = ls_prog(sweep.owner, LS_TASK, LS_DELETE);
		sweep.delete_failed += err && err != -ENOENT;
		skel->bss->tgid = 0;
		delete(sweep.a, sweep.owner);
		delete(sweep.b, sweep.owner);
		delete(sweep.c, sweep.owner);
	}
}

/* Returns how many probes there were. */
static int sweep_function(struct local_storage_recursion *skel, const char *name, int size,
			  int step)
{
	LIBBPF_OPTS(bpf_kprobe_opts, opts);
	struct bpf_link *link;
	int points = 0;

	/* Where no instruction begins, there is no probe; nor where none may be. */
	while (opts.offset < size) {
		link = bpf_program__attach_kprobe_opts(skel->progs.on_instruction, name, &opts);
		if (link) {
			at_point(skel);
			points++;
			bpf_link__destroy(link);
		}
		opts.offset += link ? step : 1;
	}

	return points;
}

static void test_instructions(void)
{
	const struct ls_nested_result *r;
	struct local_storage_recursion *skel;
	struct local_storage_ops *ops;
	struct ksyms *ksyms = NULL;
	libbpf_print_fn_t print;
	int maps[LS_NR_KINDS], i, j, step, size = 0, points = 0;
	long none;

	memset(&sweep, 0, sizeof(sweep));
	memset(maps, -1, sizeof(maps));
	skel = local_storage_recursion__open();
	ops = local_storage_ops__open();
	if (!ASSERT_OK_PTR(skel, "open") || !ASSERT_OK_PTR(ops, "open"))
		goto out;
	bpf_program__set_autoload(skel->progs.on_delete, false);
	if (!ASSERT_OK(local_storage_recursion__load(skel), "load"))
		goto out;
	sweep.a = bpf_map__fd(skel->maps.task_a);
	sweep.b = bpf_map__fd(skel->maps.task_b);
	sweep.c = bpf_map__fd(skel->maps.task_c);
	for (i = 0; i < LS_NR_KINDS; i++)
		maps[i] = i == LS_TASK ? dup(sweep.a) : ls_map_new(i, sizeof(__u64), 0);
	sweep.owner = ls_owner_new(LS_TASK);
	ksyms = load_kallsyms_local();
	if (!ls_reuse_maps(ops->obj, maps) || !ASSERT_OK(local_storage_ops__load(ops), "load") ||
	    !ASSERT_OK(local_storage_ops__attach(ops), "attach") ||
	    !ASSERT_OK_FD(sweep.owner, "owner") || !ASSERT_OK_PTR(ksyms, "kallsyms"))
		goto out;
	none = ls_memlock(sweep.a);

	for (i = 0; i < ksyms->sym_cnt; i++)
		if (wanted(ksyms->syms[i].name))
			size += ksyms->syms[i + 1].addr - ksyms->syms[i].addr;
	step = 1 + size / MAX_POINTS;
	print = libbpf_set_print(NULL);
	for (i = 0; i < ksyms->sym_cnt; i++) {
		if (!wanted(ksyms->syms[i].name))
			continue;
		for (j = i + 1; ksyms->syms[j].addr == ksyms->syms[i].addr; j++)
			;
		points += sweep_function(skel, ksyms->syms[i].name,
					 ksyms->syms[j].addr - ksyms->syms[i].addr, step);
	}
	libbpf_set_print(print);

	r = &skel->bss->result;
	printf("bytes: %d, instructions: %d, nested: %llu, with a lock held: %llu, refused: %llu\n",
	       size, points, r->ran, r->locked, r->refused);
	ASSERT_GT(points, 50, "instructions");
	ASSERT_GT(r->ran, points, "nested operations");
	ASSERT_GT(r->refused, 0, "refused by a lock");
	ASSERT_EQ(r->failed, 0, "failed without a lock held");
	ASSERT_OK(r->last_err, "the last error");
	ASSERT_EQ(sweep.create_failed, 0, "creations around them that fail");
	ASSERT_EQ(sweep.delete_failed, 0, "deletions around them that fail");
	ASSERT_EQ(ls_memlock_wait(sweep.a, none), none, "memlock as before");
	ASSERT_EQ(ls_memlock_wait(sweep.c, none), none, "memlock as before");
	printf("measured: in NMI inside local storage, failures: %llu of %llu\n", r->failed,
	       r->ran);
	printf("measured: what such NMIs interrupt, failures: %d of %d\n",
	       sweep.create_failed + sweep.delete_failed, 2 * sweep.pairs);
out:
	free_kallsyms_local(ksyms);
	local_storage_ops__destroy(ops);
	local_storage_recursion__destroy(skel);
	for (i = 0; i < LS_NR_KINDS; i++)
		if (maps[i] >= 0)
			close(maps[i]);
	if (sweep.owner > 0)
		close(sweep.owner);
}

void test_local_storage_recursion(void)
{
	char name[32];
	int i;

	for (i = 0; i < LS_NR_KINDS; i++) {
		snprintf(name, sizeof(name), "in_delete_%s", ls_name[i]);
		if (test__start_subtest(name))
			test_in_delete(i);
	}
	if (test__start_subtest("instructions"))
		test_instructions();
}
