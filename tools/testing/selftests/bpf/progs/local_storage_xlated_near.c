// SPDX-License-Identifier: GPL-2.0
/* As progs/local_storage_xlated.c, for a map whose slot is one load away: the test sees to it. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include "bpf_misc.h"

char _license[] SEC("license") = "GPL";

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, __u64);
} task_map SEC(".maps");

SEC("raw_tp")
__success __load_if_JITed()
__xlated("if r2 == 0x0 goto pc+8")
__xlated("r5 = *(u64 *)(r2 +{{[0-9]+}})")
__xlated("if r5 == 0x0 goto pc+6")
__xlated("r5 = *(u64 *)(r5 +{{[0-9]+}})")
__xlated("if r5 == 0x0 goto pc+4")
__xlated("r0 = *(u64 *)(r5 +{{[0-9]+}})")
__xlated("if r0 == 0x0 goto pc+2")
__xlated("r0 += 8")
__xlated("goto pc+1")
__xlated("call ")
int xlated_near(void *ctx)
{
	return !bpf_task_storage_get(&task_map, bpf_get_current_task_btf(), 0, 0);
}
