// SPDX-License-Identifier: GPL-2.0
/* Sleepable programs that have a value for longer than its owner lives. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

char _license[] SEC("license") = "GPL";

struct value {
	__u64 words[8];
};

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct value);
} task_map SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_CGRP_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct value);
} cgrp_map SEC(".maps");

/* What the value was in the end. Copied by the kernel, whose accesses KASAN sees. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, int);
	__type(value, struct value);
} seen SEC(".maps");

/* Whose value. */
__u64 owner_id;
volatile bool have, done;

struct task_struct *bpf_task_from_pid(s32 pid) __ksym;
void bpf_task_release(struct task_struct *p) __ksym;
struct cgroup *bpf_cgroup_from_id(__u64 cgid) __ksym;
void bpf_cgroup_release(struct cgroup *p) __ksym;

static int keep(struct value *v)
{
	int i, j, key = 0;

	for (i = 0; i < 8; i++)
		v->words[i] = owner_id;
	have = true;
	/* Within RCU Tasks Trace's reader, as if asleep. */
	bpf_for(i, 0, 10000) {
		bpf_for(j, 0, 1000000) {
			if (done)
				break;
		}
		if (done)
			break;
	}

	/* Else it was too short a time to show anything. */
	return done ? bpf_map_update_elem(&seen, &key, v, BPF_ANY) : 1;
}

SEC("syscall")
int keep_task(void *ctx)
{
	struct task_struct *task = bpf_task_from_pid(owner_id);
	struct value *v;

	if (!task)
		return 1;
	v = bpf_task_storage_get(&task_map, task, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);
	bpf_task_release(task);

	return v ? keep(v) : 1;
}

SEC("syscall")
int keep_cgroup(void *ctx)
{
	struct cgroup *cgrp = bpf_cgroup_from_id(owner_id);
	struct value *v;

	if (!cgrp)
		return 1;
	v = bpf_cgrp_storage_get(&cgrp_map, cgrp, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);
	bpf_cgroup_release(cgrp);

	return v ? keep(v) : 1;
}
