// SPDX-License-Identifier: GPL-2.0
/* The programs that Documentation/bpf/map_local_storage.rst shows. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#define EAGAIN		11

char _license[] SEC("license") = "GPL";

/* Tasks: how many files each opens. */
struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, __u64);
} nr_opens SEC(".maps");

SEC("lsm/file_open")
int BPF_PROG(count_open, struct file *file)
{
	struct task_struct *task = bpf_get_current_task_btf();
	__u64 *nr;

	nr = bpf_task_storage_get(&nr_opens, task, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);
	/* Not to be had: no memory, or this runs inside the creation of another value. */
	if (nr)
		__sync_fetch_and_add(nr, 1);

	return 0;
}

/* Cgroups: those that have a limit may start so many tasks more. */
struct {
	__uint(type, BPF_MAP_TYPE_CGRP_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, __s64);
} tasks_left SEC(".maps");

SEC("lsm/task_alloc")
int BPF_PROG(limit_tasks, struct task_struct *child, __u64 clone_flags)
{
	struct task_struct *task = bpf_get_current_task_btf();
	__s64 *left;

	left = bpf_cgrp_storage_get(&tasks_left, task->cgroups->dfl_cgrp, NULL, 0);
	/* No value: nobody has set a limit. */
	if (!left || __sync_fetch_and_add(left, -1) > 0)
		return 0;
	__sync_fetch_and_add(left, 1);

	return -EAGAIN;
}

/* Inodes: who was the first to open each file. */
struct {
	__uint(type, BPF_MAP_TYPE_INODE_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, int);
} first_opener SEC(".maps");

SEC("lsm.s/file_open")
int BPF_PROG(note_opener, struct file *file)
{
	int me = bpf_get_current_pid_tgid() >> 32;

	/* Only what creates the value sets it: of many that open at once, one is the first. */
	bpf_inode_storage_get(&first_opener, file->f_inode, &me, BPF_LOCAL_STORAGE_GET_F_CREATE);

	return 0;
}

/* Sockets: how long each waits for an answer. */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, __u64);
} asked_at SEC(".maps");

__u64 answers;
__u64 waited_ns;

SEC("cgroup_skb/egress")
int question(struct __sk_buff *skb)
{
	struct bpf_sock *sk = skb->sk;
	__u64 *at;

	if (!sk)
		return 1;
	at = bpf_sk_storage_get(&asked_at, sk, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (at)
		*at = bpf_ktime_get_ns();

	return 1;
}

SEC("cgroup_skb/ingress")
int answer(struct __sk_buff *skb)
{
	struct bpf_sock *sk = skb->sk;
	__u64 *at;

	if (!sk)
		return 1;
	at = bpf_sk_storage_get(&asked_at, sk, NULL, 0);
	if (!at)
		return 1;
	/* Two answers at once may both get here, and both are told 0: then both count. */
	bpf_sk_storage_delete(&asked_at, sk);
	/* Deleted, but good until the program returns. */
	__sync_fetch_and_add(&waited_ns, bpf_ktime_get_ns() - *at);
	__sync_fetch_and_add(&answers, 1);

	return 1;
}
