// SPDX-License-Identifier: GPL-2.0
/*
 * How long each task was off the CPU, kept in the task's local storage: no key to choose, no size
 * to guess, and a task that exits takes its figures with it.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "offcpu.h"

char _license[] SEC("license") = "GPL";

struct times {
	__u64 since;		/* when it went off the CPU, 0: it is on one, or was never seen */
	__u64 off_ns;
	__u64 times;
	__u64 longest_ns;
};

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct times);
} times SEC(".maps");

/* Runs with the run queue's lock held: a value can be created even there. */
SEC("tp_btf/sched_switch")
int BPF_PROG(sched_switch, bool preempt, struct task_struct *prev, struct task_struct *next)
{
	__u64 now = bpf_ktime_get_ns(), off;
	struct times *t;

	/* Not the idle tasks. */
	if (prev->pid) {
		t = bpf_task_storage_get(&times, prev, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);
		if (t)
			t->since = now;
	}

	t = next->pid ? bpf_task_storage_get(&times, next, NULL, 0) : NULL;
	if (t && t->since) {
		off = now - t->since;
		t->since = 0;
		t->off_ns += off;
		t->times++;
		if (off > t->longest_ns)
			t->longest_ns = off;
	}

	return 0;
}

/* Called for each value of the map, with its task. */
SEC("iter/bpf_task_storage_map")
int show(struct bpf_iter__bpf_task_storage_map *ctx)
{
	struct offcpu_record record = {};
	struct task_struct *task = ctx->task;
	struct times *t = ctx->value;

	if (!task || !t || !t->times)
		return 0;

	record.tid = task->pid;
	bpf_probe_read_kernel_str(record.comm, sizeof(record.comm), task->comm);
	record.off_ns = t->off_ns;
	record.times = t->times;
	record.longest_ns = t->longest_ns;
	bpf_seq_write(ctx->meta->seq, &record, sizeof(record));

	return 0;
}
