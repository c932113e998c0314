// SPDX-License-Identifier: GPL-2.0
/* How long the kernel takes to free a socket storage map, map by map. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

char _license[] SEC("license") = "GPL";

__u64 begun;
__u64 taken;
__u64 which;

SEC("fentry/bpf_sk_storage_map_free")
int BPF_PROG(free_begins, struct bpf_map *map)
{
	char name[sizeof("ls_cost")];

	/* By its name: the id is gone before the map. */
	bpf_probe_read_kernel(name, sizeof(name), map->name);
	if (!bpf_strncmp(name, sizeof(name), "ls_cost")) {
		which = (__u64)map;
		begun = bpf_ktime_get_ns();
	}

	return 0;
}

SEC("fexit/bpf_sk_storage_map_free")
int BPF_PROG(free_ends, struct bpf_map *map)
{
	/*
	 * The map is gone, but not its address yet: others' may end meanwhile. Of the test's own
	 * one is freed at a time: it waits for each.
	 */
	if (begun && !taken && which == (__u64)map)
		taken = bpf_ktime_get_ns() - begun;

	return 0;
}
