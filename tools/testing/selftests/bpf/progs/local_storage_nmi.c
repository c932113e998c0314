// SPDX-License-Identifier: GPL-2.0
/*
 * Creates and deletes where next to nothing may be done: in NMI, and with IRQs off and the
 * scheduler's locks held. Only for tasks and cgroups: of the helpers for inodes and sockets the
 * former are for LSM programs, which do not run there, and the latter refuse NMI by themselves.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include "bpf_experimental.h"
#include "local_storage_ops.h"

char _license[] SEC("license") = "GPL";

int tgid;
struct ls_where nmi, sched;

#define LS_KIND(kind, map_type, owner_type)						\
struct {										\
	__uint(type, map_type);								\
	__uint(map_flags, BPF_F_NO_PREALLOC);						\
	__type(key, int);								\
	__type(value, __u64);								\
} kind##_map SEC(".maps");								\
											\
static __always_inline void kind##_ops(owner_type owner, struct ls_where *w)		\
{											\
	long err;									\
											\
	__sync_fetch_and_add(&w->create, 1);						\
	if (!bpf_##kind##_storage_get(&kind##_map, owner, 0,				\
				      BPF_LOCAL_STORAGE_GET_F_CREATE))			\
		__sync_fetch_and_add(&w->create_failed, 1);				\
	__sync_fetch_and_add(&w->delete, 1);						\
	err = bpf_##kind##_storage_delete(&kind##_map, owner);				\
	if (err) {									\
		__sync_fetch_and_add(&w->delete_failed, 1);				\
		w->last_err = err;							\
	}										\
}

LS_KIND(task, BPF_MAP_TYPE_TASK_STORAGE, struct task_struct *)
LS_KIND(cgrp, BPF_MAP_TYPE_CGRP_STORAGE, struct cgroup *)

SEC("tp_btf/nmi_handler")
int BPF_PROG(nmi_handler, void *handler, s64 delta_ns, int handled)
{
	struct task_struct *task = bpf_get_current_task_btf();

	/* Whoever is interrupted. */
	if (!tgid || !bpf_in_nmi())
		return 0;
	__sync_fetch_and_add(&nmi.ran, 1);
	task_ops(task, &nmi);
	cgrp_ops(task->cgroups->dfl_cgrp, &nmi);

	return 0;
}

SEC("tp_btf/sched_switch")
int BPF_PROG(sched_switch, bool preempt, struct task_struct *prev, struct task_struct *next)
{
	if (!tgid || prev->tgid != tgid)
		return 0;
	__sync_fetch_and_add(&sched.ran, 1);
	task_ops(prev, &sched);
	task_ops(next, &sched);

	return 0;
}

SEC("tp_btf/sched_wakeup")
int BPF_PROG(sched_wakeup, struct task_struct *task)
{
	if (!tgid || task->tgid != tgid)
		return 0;
	__sync_fetch_and_add(&sched.ran, 1);
	task_ops(task, &sched);

	return 0;
}

extern const void __cpu_online_mask __ksym;

/* A migration thread is the last that runs on a CPU that is offline, without tracepoints. */
SEC("?fentry/dequeue_task_stop")
int BPF_PROG(last)
{
	unsigned long online;

	if (bpf_probe_read_kernel(&online, sizeof(online), &__cpu_online_mask) ||
	    online >> bpf_get_smp_processor_id() & 1)
		return 0;
	__sync_fetch_and_add(&sched.ran, 1);
	task_ops(bpf_get_current_task_btf(), &sched);

	return 0;
}
