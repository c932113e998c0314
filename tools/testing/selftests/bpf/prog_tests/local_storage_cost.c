// SPDX-License-Identifier: GPL-2.0
/* Times that a user waits for, measured and reported; only the results are asserted. */
#include <bpf/btf.h>
#include <linux/btf.h>
#include <sys/socket.h>
#include <test_progs.h>

#include "local_storage_cost.skel.h"

#define ROUNDS		9
#define NR_SOCKETS	512

static int map_new(struct local_storage_cost *skel, struct btf *btf, int int_id)
{
	LIBBPF_OPTS(bpf_map_create_opts, opts, .map_flags = BPF_F_NO_PREALLOC,
		    .btf_fd = btf__fd(btf), .btf_key_type_id = int_id, .btf_value_type_id = int_id);
	int fd;

	fd = bpf_map_create(BPF_MAP_TYPE_SK_STORAGE, "ls_cost", sizeof(int), sizeof(int), 0, &opts);
	if (!ASSERT_OK_FD(fd, "map"))
		return -1;
	skel->bss->begun = 0;
	skel->bss->taken = 0;

	return fd;
}

static int cmp(const void *a, const void *b)
{
	__u64 x = *(__u64 *)a, y = *(__u64 *)b;

	return x < y ? -1 : x > y;
}

/* The median time that map_free takes for a map with a value on each of the sockets. */
static void map_free_cost(struct local_storage_cost *skel, struct btf *btf, int int_id, int *sk,
			  int nr, const char *what)
{
	__u64 taken[ROUNDS];
	int round, i, fd, value = 1;

	for (round = 0; round < ROUNDS; round++) {
		fd = map_new(skel, btf, int_id);
		if (fd < 0)
			return;
		for (i = 0; i < nr; i++)
			ASSERT_OK(bpf_map_update_elem(fd, &sk[i], &value, BPF_NOEXIST), "update");
		close(fd);
		for (i = 0; i < 1000 && !READ_ONCE(skel->bss->taken); i++)
			usleep(10000);
		taken[round] = READ_ONCE(skel->bss->taken);
		if (!ASSERT_NEQ(taken[round], 0, "the map is freed"))
			return;
	}
	qsort(taken, ROUNDS, sizeof(*taken), cmp);
	printf("measured: %s, us: %llu\n", what, taken[ROUNDS / 2] / 1000);
}

void test_local_storage_cost(void)
{
	struct local_storage_cost *skel;
	struct btf *btf = NULL;
	int i, int_id, sk[NR_SOCKETS];

	memset(sk, -1, sizeof(sk));
	skel = local_storage_cost__open_and_load();
	if (!ASSERT_OK_PTR(skel, "open and load"))
		return;
	if (!ASSERT_OK(local_storage_cost__attach(skel), "attach"))
		goto out;

	btf = btf__new_empty();
	if (!ASSERT_OK_PTR(btf, "btf"))
		goto out;
	int_id = btf__add_int(btf, "int", sizeof(int), BTF_INT_SIGNED);
	if (!ASSERT_GT(int_id, 0, "int") || !ASSERT_OK(btf__load_into_kernel(btf), "load btf"))
		goto out;

	for (i = 0; i < NR_SOCKETS; i++) {
		sk[i] = socket(AF_INET, SOCK_DGRAM, 0);
		if (!ASSERT_OK_FD(sk[i], "socket"))
			goto out;
	}
	map_free_cost(skel, btf, int_id, sk, 0, "map_free of an empty map");
	map_free_cost(skel, btf, int_id, sk, NR_SOCKETS, "map_free, a value on 512 sockets each");
out:
	for (i = 0; i < NR_SOCKETS; i++)
		if (sk[i] >= 0)
			close(sk[i]);
	btf__free(btf);
	local_storage_cost__destroy(skel);
}
