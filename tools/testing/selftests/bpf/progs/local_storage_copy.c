// SPDX-License-Identifier: GPL-2.0
/* What programs find in tasks and sockets that are copies of others still. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

char _license[] SEC("license") = "GPL";

#define MAP_OF(_type, _name)				\
struct {						\
	__uint(type, _type);				\
	__uint(map_flags, BPF_F_NO_PREALLOC);		\
	__type(key, int);				\
	__type(value, __u64);				\
} _name SEC(".maps")

MAP_OF(BPF_MAP_TYPE_TASK_STORAGE, tasks);
MAP_OF(BPF_MAP_TYPE_TASK_STORAGE, other_tasks);
MAP_OF(BPF_MAP_TYPE_SK_STORAGE, sockets);
MAP_OF(BPF_MAP_TYPE_SK_STORAGE, other_sockets);

/* Whose copies: of the tasks of a process, of the sockets that listen at a port. */
__u32 tgid;
__u16 port;

int shown, found, created;

/* In the middle of dup_task_struct(). */
SEC("fentry/dup_user_cpus_ptr")
int BPF_PROG(task_copied, struct task_struct *dst, struct task_struct *src)
{
	if (src->tgid != tgid)
		return 0;
	shown++;
	found += !!bpf_task_storage_get(&tasks, dst, NULL, 0);
	created += !!bpf_task_storage_get(&other_tasks, dst, NULL,
					  BPF_LOCAL_STORAGE_GET_F_CREATE);

	return 0;
}

/* Where the copy is the parent's yet, whatever comes next. */
SEC("?fexit/arch_dup_task_struct")
int BPF_PROG(task_just_copied, struct task_struct *dst)
{
	found += !!bpf_task_storage_get(&tasks, dst, NULL, 0);

	return 0;
}

SEC("lsm/sk_clone_security")
int BPF_PROG(socket_copied, const struct sock *sk, struct sock *newsk)
{
	if (sk->__sk_common.skc_num != port)
		return 0;
	shown++;
	found += !!bpf_sk_storage_get(&sockets, newsk, NULL, 0);
	created += !!bpf_sk_storage_get(&other_sockets, newsk, NULL,
					BPF_LOCAL_STORAGE_GET_F_CREATE);

	return 0;
}
