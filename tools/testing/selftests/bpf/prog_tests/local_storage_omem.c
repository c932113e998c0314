// SPDX-License-Identifier: GPL-2.0
/*
 * Values are charged to their socket as option memory, up to net.core.optmem_max: what is created,
 * replaced, deleted, cloned, or fails half way, comes out even to the byte.
 */
#include <linux/sock_diag.h>
#include <test_progs.h>

#include "local_storage_helpers.h"
#include "local_storage_omem.skel.h"
#include "local_storage_ops.skel.h"
#include "network_helpers.h"
#include "sysctl_helpers.h"

#ifndef SO_MEMINFO
#define SO_MEMINFO	55
#endif

#define OPTMEM_MAX	"/proc/sys/net/core/optmem_max"
#define VALUE_SIZE	1000
/* More than there are slots in a storage. */
#define NR_MAPS		20

static char value[VALUE_SIZE];

static long omem(int sk)
{
	__u32 mem[SK_MEMINFO_VARS];
	socklen_t len = sizeof(mem);

	if (!ASSERT_OK(getsockopt(sk, SOL_SOCKET, SO_MEMINFO, mem, &len), "SO_MEMINFO"))
		return -1;

	return mem[SK_MEMINFO_OPTMEM];
}

static void limit(long bytes)
{
	char text[32];

	snprintf(text, sizeof(text), "%ld", bytes);
	ASSERT_OK(sysctl_set(OPTMEM_MAX, NULL, text), "optmem_max");
}

static int update(int map_fd, int sk, __u64 flags)
{
	return bpf_map_update_elem(map_fd, &sk, value, flags) ? -errno : 0;
}

static int delete(int map_fd, int sk)
{
	return bpf_map_delete_elem(map_fd, &sk) ? -errno : 0;
}

/* What an element is charged, and a storage with it, as two maps of this size show it. */
static bool sizes(const int *map_fd, int sk, long *elem, long *storage)
{
	long one, two;

	if (!ASSERT_EQ(omem(sk), 0, "nothing at first") ||
	    !ASSERT_OK(update(map_fd[0], sk, BPF_NOEXIST), "first value"))
		return false;
	one = omem(sk);
	if (!ASSERT_OK(update(map_fd[1], sk, BPF_NOEXIST), "second value"))
		return false;
	two = omem(sk);
	*elem = two - one;
	*storage = one - *elem;

	return ASSERT_GE(*elem, VALUE_SIZE, "an element") && ASSERT_GT(*storage, 0, "a storage");
}

static void test_update(int *map_fd, int sk)
{
	long elem, storage;
	int i;

	if (!sizes(map_fd, sk, &elem, &storage))
		return;

	ASSERT_OK(update(map_fd[0], sk, BPF_ANY), "replace");
	ASSERT_OK(update(map_fd[1], sk, BPF_EXIST), "replace");
	ASSERT_EQ(omem(sk), storage + 2 * elem, "replaced");
	ASSERT_EQ(update(map_fd[1], sk, BPF_NOEXIST), -EEXIST, "update");
	ASSERT_EQ(delete(map_fd[2], sk), -ENOENT, "delete");
	ASSERT_EQ(omem(sk), storage + 2 * elem, "refused");

	ASSERT_OK(delete(map_fd[0], sk), "delete");
	ASSERT_EQ(omem(sk), storage + elem, "one is left");
	close(map_fd[1]);
	map_fd[1] = -1;
	for (i = 0; i < 1000 && omem(sk); i++)
		usleep(20000);
	ASSERT_EQ(omem(sk), 0, "the map went, the last value with it");

	/* By one map after the other, and back. */
	for (i = 2; i < NR_MAPS; i++)
		ASSERT_OK(update(map_fd[i], sk, BPF_NOEXIST), "update");
	ASSERT_GE(omem(sk), storage + (NR_MAPS - 2) * elem, "many values");
	for (i = 2; i < NR_MAPS; i++)
		ASSERT_OK(delete(map_fd[i], sk), "delete");
	ASSERT_EQ(omem(sk), 0, "all deleted");
}

static void test_limit(int *map_fd, int sk)
{
	struct local_storage_ops *skel;
	int maps[LS_NR_KINDS], i;
	long elem, storage;

	for (i = 0; i < LS_NR_KINDS; i++)
		maps[i] = i == LS_SK ? dup(map_fd[2]) : ls_map_new(i, VALUE_SIZE, 0);
	skel = local_storage_ops__open();
	if (!ASSERT_OK_PTR(skel, "open"))
		goto close;
	if (!ls_reuse_maps(skel->obj, maps) ||
	    !ASSERT_OK(local_storage_ops__load(skel), "load") ||
	    !ASSERT_OK(local_storage_ops__attach(skel), "attach") ||
	    !sizes(map_fd, sk, &elem, &storage))
		goto out;
	ASSERT_OK(delete(map_fd[0], sk), "delete");
	ASSERT_OK(delete(map_fd[1], sk), "delete");

	/* To reach the limit is one too many: no element; an element but no storage; both. */
	limit(elem);
	ASSERT_EQ(update(map_fd[2], sk, BPF_ANY), -ENOMEM, "no element");
	ASSERT_EQ(ls_prog(sk, LS_SK, LS_CREATE), -ENODATA, "no element for a program");
	ASSERT_EQ(omem(sk), 0, "nothing charged");
	limit(storage + elem);
	ASSERT_EQ(update(map_fd[2], sk, BPF_ANY), -ENOMEM, "no storage");
	ASSERT_EQ(ls_prog(sk, LS_SK, LS_CREATE), -ENODATA, "no storage for a program");
	ASSERT_EQ(omem(sk), 0, "given back half way");
	limit(storage + elem + 1);
	ASSERT_OK(ls_prog(sk, LS_SK, LS_CREATE), "just enough for a program");
	ASSERT_OK(ls_prog(sk, LS_SK, LS_DELETE), "delete by a program");
	ASSERT_EQ(omem(sk), 0, "nothing left");
	ASSERT_OK(update(map_fd[2], sk, BPF_ANY), "just enough");

	/* A second one, and what replaces the first, which for a moment is a second one. */
	ASSERT_EQ(update(map_fd[3], sk, BPF_ANY), -ENOMEM, "no second one");
	ASSERT_EQ(update(map_fd[2], sk, BPF_EXIST), -ENOMEM, "nothing to replace it with");
	ASSERT_EQ(omem(sk), storage + elem, "as before");
	limit(storage + 2 * elem + 1);
	ASSERT_OK(update(map_fd[2], sk, BPF_EXIST), "replace");
	ASSERT_EQ(omem(sk), storage + elem, "still one");
	/* Below what there is already: that stays, and can be deleted. */
	limit(1);
	ASSERT_EQ(update(map_fd[2], sk, BPF_EXIST), -ENOMEM, "replace");
	ASSERT_OK(delete(map_fd[2], sk), "delete");
	ASSERT_EQ(omem(sk), 0, "nothing left");
out:
	local_storage_ops__destroy(skel);
close:
	for (i = 0; i < LS_NR_KINDS; i++)
		close(maps[i]);
}

static void test_clone(void)
{
	int map_fd[2] = { -1, -1 }, listener, client = -1, child = -1, i;
	struct local_storage_omem *skel;
	long listener_omem, memlock[2];
	socklen_t len;

	skel = local_storage_omem__open_and_load();
	if (!ASSERT_OK_PTR(skel, "open and load"))
		return;
	listener = start_server(AF_INET, SOCK_STREAM, "127.0.0.1", 0, 0);
	if (!ASSERT_OK_FD(listener, "listener"))
		goto out;
	len = sizeof(skel->bss->listener_cookie);
	if (!ASSERT_OK(getsockopt(listener, SOL_SOCKET, SO_COOKIE, &skel->bss->listener_cookie,
				  &len), "SO_COOKIE") ||
	    !ASSERT_OK(local_storage_omem__attach(skel), "attach"))
		goto out;
	for (i = 0; i < 2; i++) {
		map_fd[i] = ls_map_new(LS_SK, VALUE_SIZE, BPF_F_CLONE);
		if (!ASSERT_OK_FD(map_fd[i], "map") ||
		    !ASSERT_OK(update(map_fd[i], listener, BPF_NOEXIST), "update"))
			goto out;
		memlock[i] = ls_memlock(map_fd[i]);
	}
	listener_omem = omem(listener);

	client = connect_to_fd(listener, 0);
	child = accept(listener, NULL, NULL);
	if (!ASSERT_OK_FD(client, "client") || !ASSERT_OK_FD(child, "accept"))
		goto out;
	ASSERT_EQ(omem(child), listener_omem, "child");
	ASSERT_EQ(omem(client), 0, "client");
	ASSERT_EQ(skel->bss->copied, 1, "connections");
	close(child);
	close(client);
	child = -1;
	client = -1;
	for (i = 0; i < 2; i++)
		ASSERT_EQ(ls_memlock_wait(map_fd[i], memlock[i]), memlock[i], "the listener's");

	/*
	 * Room for one of the two: there is no connection, though the client takes itself for
	 * connected, and nothing left of it. With more room its next segment makes one.
	 */
	limit(listener_omem);
	client = connect_to_fd(listener, 0);
	if (!ASSERT_OK_FD(client, "client"))
		goto out;
	for (i = 0; i < 1000 && !READ_ONCE(skel->bss->failed); i++)
		usleep(20000);
	ASSERT_GT(skel->bss->failed, 0, "connections refused");
	ASSERT_EQ(skel->bss->failed_err, -ENOMEM, "error");
	ASSERT_EQ(skel->bss->copied, 1, "connections");
	for (i = 0; i < 2; i++)
		ASSERT_EQ(ls_memlock_wait(map_fd[i], memlock[i]), memlock[i], "the listener's");
	ASSERT_EQ(omem(listener), listener_omem, "listener");

	limit(listener_omem + 1);
	ASSERT_EQ(send(client, "x", 1, 0), 1, "send");
	child = accept(listener, NULL, NULL);
	if (ASSERT_OK_FD(child, "accept"))
		ASSERT_EQ(omem(child), listener_omem, "child");
	ASSERT_EQ(skel->bss->copied, 2, "connections");
out:
	for (i = 0; i < 2; i++)
		if (map_fd[i] >= 0)
			close(map_fd[i]);
	if (child >= 0)
		close(child);
	if (client >= 0)
		close(client);
	if (listener >= 0)
		close(listener);
	local_storage_omem__destroy(skel);
}

static void with_maps(void (*test)(int *map_fd, int sk))
{
	int i, sk, map_fd[NR_MAPS];

	sk = socket(AF_INET, SOCK_DGRAM, 0);
	for (i = 0; i < NR_MAPS; i++)
		map_fd[i] = ls_map_new(LS_SK, VALUE_SIZE, 0);
	if (ASSERT_OK_FD(sk, "socket") && ASSERT_OK_FD(map_fd[NR_MAPS - 1], "maps"))
		test(map_fd, sk);
	for (i = 0; i < NR_MAPS; i++)
		if (map_fd[i] >= 0)
			close(map_fd[i]);
	if (sk >= 0)
		close(sk);
}

void test_local_storage_omem(void)
{
	char old[32];

	if (!ASSERT_OK(sysctl_set(OPTMEM_MAX, old, "1000000"), "optmem_max"))
		return;
	if (test__start_subtest("update"))
		with_maps(test_update);
	if (test__start_subtest("limit"))
		with_maps(test_limit);
	ASSERT_OK(sysctl_set(OPTMEM_MAX, NULL, "1000000"), "optmem_max");
	if (test__start_subtest("clone"))
		test_clone();
	ASSERT_OK(sysctl_set(OPTMEM_MAX, NULL, old), "optmem_max");
}
