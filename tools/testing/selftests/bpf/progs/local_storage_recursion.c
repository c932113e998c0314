// SPDX-License-Identifier: GPL-2.0
/* Programs that run inside the operations of local storage, and do the same to the same owner. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include "local_storage_ops.h"
#include "local_storage_recursion.h"

#define EDEADLK		35
#define ENOENT		2
/* A task's first table of files, which is not looked at any more once there is a larger one. */
#define NR_OPEN_DEFAULT	64

char _license[] SEC("license") = "GPL";

int tgid;
enum ls_kind kind;
enum ls_nested nested;
struct ls_nested_result result;
struct ls_in_delete in_delete;

extern const struct rqspinlock_held rqspinlock_held_locks __ksym;

static __always_inline int locks_held(void)
{
	return ((struct rqspinlock_held *)bpf_this_cpu_ptr(&rqspinlock_held_locks))->cnt;
}

static __always_inline void count(bool locked, bool done, bool refused, long err)
{
	result.ran++;
	result.locked += locked;
	if (done) {
		result.done++;
	} else if (locked && refused) {
		result.refused++;
	} else {
		result.failed++;
		result.last_err = err;
	}
}

/*
 * a is the map of what is interrupted, or traced; b has a value on the same owner; c has none, nor
 * has it on another owner.
 */
#define LS_MAPS(kind, map_type)								\
struct {										\
	__uint(type, map_type);								\
	__uint(map_flags, BPF_F_NO_PREALLOC);						\
	__type(key, int);								\
	__type(value, __u64);								\
} kind##_a SEC(".maps"), kind##_b SEC(".maps"), kind##_c SEC(".maps")

LS_MAPS(task, BPF_MAP_TYPE_TASK_STORAGE);
LS_MAPS(cgrp, BPF_MAP_TYPE_CGRP_STORAGE);
LS_MAPS(inode, BPF_MAP_TYPE_INODE_STORAGE);
LS_MAPS(sk, BPF_MAP_TYPE_SK_STORAGE);

#define LS_IN_DELETE(kind, owner_type)							\
static __always_inline void kind##_in_delete(owner_type owner, typeof(owner) stranger)\
{											\
	if (!owner || !stranger)							\
		return;									\
	in_delete.ran++;								\
	in_delete.locks = locks_held();							\
	in_delete.same_get = !!bpf_##kind##_storage_get(&kind##_a, owner, 0, 0);	\
	in_delete.same_delete = bpf_##kind##_storage_delete(&kind##_a, owner);		\
	in_delete.other_get = !!bpf_##kind##_storage_get(&kind##_b, owner, 0, 0);	\
	in_delete.other_delete = bpf_##kind##_storage_delete(&kind##_b, owner);		\
	in_delete.third_create = !!bpf_##kind##_storage_get(&kind##_c, owner, 0, 1);	\
	in_delete.stranger_create = !!bpf_##kind##_storage_get(&kind##_c, stranger, 0,	\
							       1);			\
	in_delete.stranger_delete = bpf_##kind##_storage_delete(&kind##_c, stranger);	\
}

static __always_inline void task_nested(struct task_struct *owner)
{
	bool locked = locks_held();
	long err = -ENOENT;
	void *value;

	switch (nested) {
	case LS_NESTED_DELETE:
		err = bpf_task_storage_delete(&task_a, owner);
		count(locked, !err || err == -ENOENT, err == -EDEADLK, err);
		break;
	case LS_NESTED_CREATE:
		value = bpf_task_storage_get(&task_a, owner, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
		count(locked, value, true, 0);
		break;
	case LS_NESTED_OTHER:
		value = bpf_task_storage_get(&task_c, owner, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
		count(locked, value, true, 0);
		err = bpf_task_storage_delete(&task_c, owner);
		count(locked, !err || (!value && err == -ENOENT), err == -EDEADLK, err);
		break;
	default:
		break;
	}
}

LS_IN_DELETE(task, struct task_struct *)
LS_IN_DELETE(cgrp, struct cgroup *)
LS_IN_DELETE(sk, struct sock *)

/* The function is the test's choice. */
SEC("fentry")
int BPF_PROG(on_delete)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct socket *sock, *other;
	struct cgroup *cgrp;

	if (!tgid || task->tgid != tgid)
		return 0;

	switch (kind) {
	case LS_CGRP:
		cgrp = task->cgroups->dfl_cgrp;
		cgrp_in_delete(cgrp, cgrp->self.parent->cgroup);
		break;
	case LS_SK:
		if (task->files->fdt->max_fds != NR_OPEN_DEFAULT)
			break;
		sock = bpf_sock_from_file(task->files->fd_array[LS_SK_FD]);
		other = bpf_sock_from_file(task->files->fd_array[LS_OTHER_SK_FD]);
		if (sock && other)
			sk_in_delete(sock->sk, other->sk);
		break;
	default:
		/* Nobody runs here who might do it to an inode: it is a task's then. */
		task_in_delete(task, task->real_parent);
		break;
	}

	return 0;
}

/* On an instruction of the test's choice, in a state as of an NMI. */
SEC("kprobe")
int on_instruction(struct pt_regs *ctx)
{
	struct task_struct *task = bpf_get_current_task_btf();

	if (!tgid || task->tgid != tgid)
		return 0;
	task_nested(task->group_leader);

	return 0;
}
