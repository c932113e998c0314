// SPDX-License-Identifier: GPL-2.0
/* New connections get copies of their listener's values; what fails leaves nothing. */
#include <bpf/btf.h>
#include <linux/sock_diag.h>
#include <test_progs.h>
#include "network_helpers.h"
#include "sysctl_helpers.h"

#include "local_storage_clone.skel.h"

#define NR_CLIENTS	2
#define OPTMEM_MAX	"/proc/sys/net/core/optmem_max"

struct pair {
	__u64 a;
	__u64 b;
};

static struct local_storage_clone *skel;
static int listener;
static bool stop;

static __u32 omem(int fd)
{
	__u32 info[SK_MEMINFO_VARS];
	socklen_t len = sizeof(info);

	if (getsockopt(fd, SOL_SOCKET, SO_MEMINFO, info, &len))
		return -1;

	return info[SK_MEMINFO_OPTMEM];
}

/* The memory that the map's fdinfo counts, its elements' included. */
static long map_memory(struct bpf_map *map)
{
	char path[64], line[128];
	long bytes = -1;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", bpf_map__fd(map));
	f = fopen(path, "r");
	if (!ASSERT_OK_PTR(f, "fdinfo"))
		return -1;
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, "memlock: %ld", &bytes) == 1)
			break;
	fclose(f);

	return bytes;
}

/* Elements are given back after a grace period. */
static void memory_returns_to(struct bpf_map *map, long bytes)
{
	int i;

	for (i = 0; i < 1000 && map_memory(map) != bytes; i++)
		usleep(10000);
	ASSERT_EQ(map_memory(map), bytes, "memory of the map");
}

/* A connection that leaves no TIME_WAIT behind when it is closed. */
static int connect_client(void)
{
	struct linger linger = { .l_onoff = 1 };
	int c = connect_to_fd(listener, 0);

	if (c >= 0)
		setsockopt(c, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));

	return c;
}

static int connect_child(void)
{
	int c, s;

	c = connect_client();
	if (c < 0)
		return -1;
	s = accept(listener, NULL, NULL);
	close(c);

	return s;
}

/* What a child is charged with goes with its values. */
static void test_omem(void)
{
	int child = -1, cloned = bpf_map__fd(skel->maps.cloned);
	struct bpf_map *maps[] = {
		skel->maps.cloned, skel->maps.cloned_too, skel->maps.not_cloned,
	};
	long memory[ARRAY_SIZE(maps)];
	struct pair p = { 1, 1 }, q;
	__u32 parents;
	int i;

	for (i = 0; i < ARRAY_SIZE(maps); i++)
		memory[i] = map_memory(maps[i]);
	listener = start_server(AF_INET, SOCK_STREAM, "127.0.0.1", 0, 0);
	if (!ASSERT_OK_FD(listener, "listener"))
		return;
	for (i = 0; i < ARRAY_SIZE(maps); i++)
		ASSERT_OK(bpf_map_update_elem(bpf_map__fd(maps[i]), &listener, &p, BPF_ANY),
			  "update");
	parents = omem(listener);

	child = connect_child();
	if (!ASSERT_OK_FD(child, "child"))
		goto out;
	ASSERT_OK(bpf_map_lookup_elem(cloned, &child, &q), "cloned");
	ASSERT_OK(bpf_map_lookup_elem(bpf_map__fd(maps[1]), &child, &q), "cloned, too");
	ASSERT_EQ(bpf_map_lookup_elem(bpf_map__fd(maps[2]), &child, &q), -ENOENT, "not cloned");
	/* The child is charged as its parent is without the third value. */
	ASSERT_OK(bpf_map_delete_elem(bpf_map__fd(maps[2]), &listener), "delete");
	ASSERT_LT(omem(child), parents, "less than the listener had");
	ASSERT_EQ(omem(child), omem(listener), "as the listener now");
	for (i = 0; i < 2; i++)
		ASSERT_OK(bpf_map_delete_elem(bpf_map__fd(maps[i]), &child), "delete");
	ASSERT_EQ(omem(child), 0, "nothing left");
out:
	if (child >= 0)
		close(child);
	close(listener);
	for (i = 0; i < ARRAY_SIZE(maps); i++)
		memory_returns_to(maps[i], memory[i]);
}

/* Under a limit that lets the first of the values through and not the second. */
static void test_half_way(void)
{
	struct bpf_map *maps[] = { skel->maps.cloned, skel->maps.cloned_too };
	long memory[ARRAY_SIZE(maps)];
	char old[32] = "", limit[32];
	struct pair p = { 1, 1 }, q;
	int i, client, child = -1;

	for (i = 0; i < ARRAY_SIZE(maps); i++)
		memory[i] = map_memory(maps[i]);
	listener = start_server(AF_INET, SOCK_STREAM, "127.0.0.1", 0, 0);
	if (!ASSERT_OK_FD(listener, "listener"))
		return;
	for (i = 0; i < ARRAY_SIZE(maps); i++)
		ASSERT_OK(bpf_map_update_elem(bpf_map__fd(maps[i]), &listener, &p, BPF_ANY),
			  "update");

	snprintf(limit, sizeof(limit), "%u", omem(listener) - 1);
	if (!ASSERT_OK(sysctl_set(OPTMEM_MAX, old, limit), "limit"))
		goto out;
	fcntl(listener, F_SETFL, fcntl(listener, F_GETFL) | O_NONBLOCK);
	for (i = 0; i < 8; i++) {
		client = connect_to_fd(listener, 0);
		/* The last step of the handshake makes the child, and cannot. */
		ASSERT_EQ(accept(listener, NULL, NULL), -1, "no child");
		close(client);
	}
	/* Everything that was made half is on its way out; only the listener's values stay. */
	ASSERT_OK(sysctl_set(OPTMEM_MAX, NULL, old), "old limit");
	fcntl(listener, F_SETFL, fcntl(listener, F_GETFL) & ~O_NONBLOCK);
	child = connect_child();
	if (ASSERT_OK_FD(child, "child"))
		for (i = 0; i < ARRAY_SIZE(maps); i++)
			ASSERT_OK(bpf_map_lookup_elem(bpf_map__fd(maps[i]), &child, &q), "value");
out:
	if (child >= 0)
		close(child);
	close(listener);
	for (i = 0; i < ARRAY_SIZE(maps); i++)
		memory_returns_to(maps[i], memory[i]);
}

static void *connect_all_the_time(void *arg)
{
	int *connects = arg, c;

	while (!READ_ONCE(stop)) {
		c = connect_client();
		if (c < 0)
			continue;
		close(c);
		++*connects;
	}

	return NULL;
}

/* Values of the listener change, by a new element and by none; a map comes and goes. */
static void *change_all_the_time(void *arg)
{
	LIBBPF_OPTS(bpf_map_create_opts, opts, .map_flags = BPF_F_NO_PREALLOC | BPF_F_CLONE,
		    .btf_fd = bpf_object__btf_fd(skel->obj),
		    .btf_key_type_id = bpf_map__btf_key_type_id(skel->maps.cloned),
		    .btf_value_type_id = bpf_map__btf_value_type_id(skel->maps.cloned));
	int fd, too = bpf_map__fd(skel->maps.cloned_too), *changes = arg;
	struct pair p = {};

	while (!READ_ONCE(stop)) {
		p.a = ++*changes;
		p.b = p.a;
		bpf_map_update_elem(bpf_map__fd(skel->maps.cloned), &listener, &p, BPF_ANY);
		if (*changes % 2)
			bpf_map_update_elem(too, &listener, &p, BPF_ANY);
		else
			bpf_map_delete_elem(too, &listener);
		fd = bpf_map_create(BPF_MAP_TYPE_SK_STORAGE, "passing", sizeof(int), sizeof(p), 0,
				    &opts);
		if (fd < 0)
			continue;
		bpf_map_update_elem(fd, &listener, &p, BPF_ANY);
		close(fd);
	}

	return NULL;
}

static void test_load(void)
{
	struct bpf_map *maps[] = { skel->maps.cloned, skel->maps.cloned_too };
	int i, s, nr, connects[NR_CLIENTS] = {}, changes = 0, children = 0, values = 0, none = 0;
	const char *seconds = getenv("BLS_SECONDS");
	pthread_t clients[NR_CLIENTS], changer;
	long memory[ARRAY_SIZE(maps)];
	struct pair p = {}, before;
	time_t end;

	for (i = 0; i < ARRAY_SIZE(maps); i++)
		memory[i] = map_memory(maps[i]);
	listener = start_server(AF_INET, SOCK_STREAM, "127.0.0.1", 0, 0);
	if (!ASSERT_OK_FD(listener, "listener"))
		return;
	ASSERT_OK(bpf_map_update_elem(bpf_map__fd(maps[0]), &listener, &p, BPF_ANY), "update");
	stop = false;
	if (!ASSERT_OK(pthread_create(&changer, NULL, change_all_the_time, &changes), "thread"))
		goto out;
	for (nr = 0; nr < NR_CLIENTS; nr++)
		if (!ASSERT_OK(pthread_create(&clients[nr], NULL, connect_all_the_time,
					      &connects[nr]), "thread"))
			break;
	end = time(NULL) + (seconds ? atoi(seconds) : 3);
	while (time(NULL) < end) {
		s = accept(listener, NULL, NULL);
		if (!ASSERT_OK_FD(s, "accept"))
			break;
		children++;
		for (i = 0; i < ARRAY_SIZE(maps); i++) {
			if (bpf_map_lookup_elem(bpf_map__fd(maps[i]), &s, &before)) {
				ASSERT_EQ(errno, ENOENT, "no value");
				ASSERT_EQ(i, 1, "the map whose values are deleted now and then");
				none++;
				continue;
			}
			values++;
			if (!ASSERT_EQ(before.a, before.b, "a whole value"))
				end = 0;
			ASSERT_OK(bpf_map_delete_elem(bpf_map__fd(maps[i]), &s), "delete");
		}
		close(s);
	}
	WRITE_ONCE(stop, true);
	pthread_join(changer, NULL);
	/* Who waits for the listener's queue gets through when that is closed. */
	shutdown(listener, SHUT_RDWR);
	while (nr--)
		pthread_join(clients[nr], NULL);
	ASSERT_GT(children, 0, "children");
	ASSERT_GT(values, 0, "values");
	ASSERT_GT(changes, 0, "changes");
	printf("measured: connections accepted while values are cloned: %d\n", children);
out:
	close(listener);
	for (i = 0; i < ARRAY_SIZE(maps); i++)
		memory_returns_to(maps[i], memory[i]);
}

void test_local_storage_clone(void)
{
	skel = local_storage_clone__open_and_load();
	if (!ASSERT_OK_PTR(skel, "open and load"))
		return;
	if (test__start_subtest("omem"))
		test_omem();
	if (test__start_subtest("half_way"))
		test_half_way();
	if (test__start_subtest("load"))
		test_load();
	local_storage_clone__destroy(skel);
}
