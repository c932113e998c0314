// SPDX-License-Identifier: GPL-2.0
/*
 * What stands before a call of bpf_*_storage_get() once the verifier is done. Where a storage has
 * its slots is the kernel's own affair, so offsets may be any. The first map has one of the first
 * slot numbers, the test sees to it.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include "bpf_misc.h"

char _license[] SEC("license") = "GPL";

#define LS_MAP(kind, map_type)						\
struct {								\
	__uint(type, map_type);						\
	__uint(map_flags, BPF_F_NO_PREALLOC);				\
	__type(key, int);						\
	__type(value, __u64);						\
} kind##_map SEC(".maps")

LS_MAP(task, BPF_MAP_TYPE_TASK_STORAGE);
LS_MAP(cgrp, BPF_MAP_TYPE_CGRP_STORAGE);
LS_MAP(inode, BPF_MAP_TYPE_INODE_STORAGE);
LS_MAP(sk, BPF_MAP_TYPE_SK_STORAGE);

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, int);
	__type(value, int);
	__array(values, struct {
		__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
		__uint(map_flags, BPF_F_NO_PREALLOC);
		__type(key, int);
		__type(value, __u64);
	});
} task_maps SEC(".maps");

__u64 flags;

SEC("raw_tp")
__success __load_if_JITed()
__xlated("if r2 == 0x0 goto pc+6")
__xlated("r5 = *(u64 *)(r2 +{{[0-9]+}})")
__xlated("if r5 == 0x0 goto pc+4")
__xlated("r0 = *(u64 *)(r5 +{{[0-9]+}})")
__xlated("if r0 == 0x0 goto pc+2")
__xlated("r0 += 8")
__xlated("goto pc+1")
__xlated("call ")
int task(void *ctx)
{
	struct task_struct *task = bpf_get_current_task_btf();

	return !bpf_task_storage_get(&task_map, task, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
}

/* Flags that the verifier does not know are looked at first. */
SEC("raw_tp")
__success __load_if_JITed()
__xlated("if r4 > 0x1 goto pc+{{[0-9]+}}")
__xlated("if r2 == 0x0 goto pc+{{[0-9]+}}")
__xlated("r5 = *(u64 *)(r2 +{{[0-9]+}})")
int task_flags(void *ctx)
{
	return !bpf_task_storage_get(&task_map, bpf_get_current_task_btf(), 0, flags);
}

/* So are those that it knows to be wrong. */
SEC("raw_tp")
__success __load_if_JITed()
__xlated("if r4 > 0x1 goto pc+{{[0-9]+}}")
__xlated("if r2 == 0x0 goto pc+{{[0-9]+}}")
int task_bad_flags(void *ctx)
{
	return !bpf_task_storage_get(&task_map, bpf_get_current_task_btf(), 0, 2);
}

/* A map that is known only when the program runs says what its slot is. */
SEC("raw_tp")
__success __load_if_JITed()
__xlated("r0 = *(u32 *)(r1 +{{[0-9]+}})")
__xlated("if r0 >= 0x11 goto pc+15")
__xlated("if r2 == 0x0 goto pc+14")
__xlated("r5 = *(u64 *)(r2 +{{[0-9]+}})")
__xlated("if r5 == 0x0 goto pc+12")
__xlated("r0 <<= 3")
__xlated("if r0 >= 0x20 goto pc+3")
__xlated("r5 += r0")
__xlated("r0 = *(u64 *)(r5 +0)")
__xlated("goto pc+4")
__xlated("r5 = *(u64 *)(r5 +32)")
__xlated("if r5 == 0x0 goto pc+5")
__xlated("r5 += r0")
__xlated("r0 = *(u64 *)(r5 -8)")
__xlated("if r0 == 0x0 goto pc+2")
__xlated("r0 += 8")
__xlated("goto pc+1")
__xlated("call ")
int task_any_map(void *ctx)
{
	struct task_struct *task = bpf_get_current_task_btf();
	int key = 0;
	void *map;

	map = bpf_map_lookup_elem(&task_maps, &key);
	if (!map)
		return 1;

	return !bpf_task_storage_get(map, task, 0, 0);
}

SEC("tp_btf/cgroup_mkdir")
__success __load_if_JITed()
__xlated("if r2 == 0x0 goto pc+{{[0-9]+}}")
__xlated("r5 = *(u64 *)(r2 +{{[0-9]+}})")
__xlated("if r5 == 0x0 goto pc+{{[0-9]+}}")
__xlated("...")
__xlated("r0 += 8")
__xlated("goto pc+1")
__xlated("call ")
int BPF_PROG(cgrp, struct cgroup *cgrp)
{
	return !bpf_cgrp_storage_get(&cgrp_map, cgrp, 0, 0);
}

/* The owner's storage is in its security blob. */
SEC("lsm/file_open")
__success __load_if_JITed()
__xlated("if r2 == 0x0 goto pc+{{[0-9]+}}")
__xlated("r5 = *(u64 *)(r2 +{{[0-9]+}})")
__xlated("if r5 == 0x0 goto pc+{{[0-9]+}}")
__xlated("r5 = *(u64 *)(r5 +{{[0-9]+}})")
__xlated("if r5 == 0x0 goto pc+{{[0-9]+}}")
__xlated("...")
__xlated("r0 += 8")
__xlated("goto pc+1")
__xlated("call ")
int BPF_PROG(inode, struct file *file)
{
	bpf_inode_storage_get(&inode_map, file->f_inode, 0, 0);

	return 0;
}

/* Only a full socket has a storage: neither TCP_TIME_WAIT nor TCP_NEW_SYN_RECV. */
SEC("tc")
__success __load_if_JITed()
__xlated("r4 = 0")
__xlated("if r2 == 0x0 goto pc+{{[0-9]+}}")
__xlated("r5 = *(u8 *)(r2 +{{[0-9]+}})")
__xlated("if r5 == 0x6 goto pc+{{[0-9]+}}")
__xlated("if r5 == 0xc goto pc+{{[0-9]+}}")
__xlated("r5 = *(u64 *)(r2 +{{[0-9]+}})")
__xlated("if r5 == 0x0 goto pc+{{[0-9]+}}")
__xlated("...")
__xlated("r0 += 8")
__xlated("goto pc+1")
__xlated("call ")
int sk(struct __sk_buff *skb)
{
	struct bpf_sock *sk = skb->sk;

	if (!sk)
		return 0;

	return !bpf_sk_storage_get(&sk_map, sk, 0, 0);
}

/* The helper of tracing programs finds nothing in hard IRQs: it is called each time. */
SEC("fentry/tcp_close")
__success __load_if_JITed()
__xlated("r4 = 0")
__xlated("call ")
int BPF_PROG(sk_tracing, struct sock *sk)
{
	bpf_sk_storage_get(&sk_map, sk, 0, 0);

	return 0;
}
