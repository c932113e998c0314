// SPDX-License-Identifier: GPL-2.0
/*
 * Lookups that find something and such that do not, and which of them call the helper: with a map
 * that the program names, and with the same map found in another.
 */
#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include "local_storage_inline.h"
#include "local_storage_ops.h"

char _license[] SEC("license") = "GPL";

struct bpf_local_storage_map___slot {
	__u32 slot;
} __attribute__((preserve_access_index));

pid_t tgid;
struct ls_steps named;
struct ls_steps found;
volatile __u64 calls;
__u64 value = LS_VALUE;
__u64 no_flags;
__u64 wrong_flags = 2;
__u64 high_flags = 1ULL << 32;

#define STEP(nr, get)							\
do {									\
	__u64 before = calls, *v = get;					\
									\
	steps->value[nr] = v ? *v : 0;					\
	steps->calls[nr] = calls - before;				\
} while (0)

#define LS_KIND(kind, map_type, owner_type)						\
struct kind##_map {									\
	__uint(type, map_type);								\
	__uint(map_flags, BPF_F_NO_PREALLOC);						\
	__type(key, int);								\
	__type(value, __u64);								\
};											\
											\
struct kind##_map kind##_map SEC(".maps");						\
											\
struct {										\
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);					\
	__uint(max_entries, 1);								\
	__type(key, int);								\
	__type(value, int);								\
	__array(values, struct kind##_map);						\
} kind##_maps SEC(".maps");								\
											\
SEC("fentry/bpf_" #kind "_storage_get")							\
int BPF_PROG(kind##_get)								\
{											\
	if (bpf_get_current_pid_tgid() >> 32 == tgid)					\
		calls++;								\
											\
	return 0;									\
}											\
											\
static __always_inline void kind##_steps(struct ls_steps *steps, void *map,		\
					 owner_type owner, owner_type none)		\
{											\
	struct bpf_local_storage_map___slot *slot = map;				\
											\
	steps->slot = bpf_core_field_exists(slot->slot) ? slot->slot : -1;		\
	STEP(LS_MISS, bpf_##kind##_storage_get(map, owner, 0, 0));			\
	STEP(LS_NO_OWNER, bpf_##kind##_storage_get(map, none, 0, 1));			\
	STEP(LS_CREATE_IT, bpf_##kind##_storage_get(map, owner, &value, 1));		\
	STEP(LS_HIT, bpf_##kind##_storage_get(map, owner, 0, 0));			\
	STEP(LS_HIT_CREATE, bpf_##kind##_storage_get(map, owner, 0, 1));		\
	STEP(LS_HIT_FLAGS, bpf_##kind##_storage_get(map, owner, 0, no_flags));		\
	STEP(LS_WRONG_FLAGS, bpf_##kind##_storage_get(map, owner, 0, 2));		\
	STEP(LS_UNKNOWN_FLAGS, bpf_##kind##_storage_get(map, owner, 0, wrong_flags));	\
	STEP(LS_HIGH_FLAGS, bpf_##kind##_storage_get(map, owner, 0, high_flags));	\
	STEP(LS_NO_OWNER_HIT, bpf_##kind##_storage_get(map, none, 0, 0));		\
	if (!bpf_##kind##_storage_delete(map, owner))					\
		STEP(LS_DELETED, bpf_##kind##_storage_get(map, owner, 0, 0));		\
	steps->ran++;									\
}											\
											\
static __always_inline void kind##_both(owner_type owner, owner_type none)		\
{											\
	int key = 0;									\
	void *map;									\
											\
	kind##_steps(&named, &kind##_map, owner, none);					\
	map = bpf_map_lookup_elem(&kind##_maps, &key);					\
	if (map)									\
		kind##_steps(&found, map, owner, none);					\
}

LS_KIND(task, BPF_MAP_TYPE_TASK_STORAGE, struct task_struct *)
LS_KIND(cgrp, BPF_MAP_TYPE_CGRP_STORAGE, struct cgroup *)
LS_KIND(inode, BPF_MAP_TYPE_INODE_STORAGE, struct inode *)
LS_KIND(sk, BPF_MAP_TYPE_SK_STORAGE, struct sock *)

SEC("lsm/file_ioctl")
int BPF_PROG(file_ioctl, struct file *file, unsigned int cmd, unsigned long kind)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct unix_sock *unix_sk;
	struct socket *sock;

	if (cmd != LS_STEPS || task->tgid != tgid)
		return 0;

	switch (kind) {
	case LS_TASK:
		task_both(task, NULL);
		break;
	case LS_CGRP:
		cgrp_both(task->cgroups->dfl_cgrp, NULL);
		break;
	case LS_INODE:
		inode_both(file->f_inode, NULL);
		break;
	case LS_SK:
		sock = bpf_sock_from_file(file);
		unix_sk = sock ? bpf_skc_to_unix_sock(sock->sk) : NULL;
		/* It has no peer, but to the verifier that is a socket. */
		if (unix_sk)
			sk_both(sock->sk, unix_sk->peer);
		break;
	}

	return 0;
}

SEC("lsm.s/file_ioctl")
int BPF_PROG(file_ioctl_sleepable, struct file *file, unsigned int cmd, unsigned long kind)
{
	struct task_struct *task = bpf_get_current_task_btf();

	if (cmd != LS_STEPS_SLEEPABLE || task->tgid != tgid)
		return 0;

	if (kind == LS_TASK)
		task_both(task, NULL);
	else if (kind == LS_INODE)
		inode_both(file->f_inode, NULL);

	return 0;
}
