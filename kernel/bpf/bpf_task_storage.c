// SPDX-License-Identifier: GPL-2.0
/*
 * BPF local storage of tasks.
 */
#include <linux/bpf.h>
#include <linux/bpf_local_storage.h>
#include <linux/btf.h>
#include <linux/btf_ids.h>
#include <linux/init.h>
#include <linux/pid.h>
#include <linux/sched.h>
#include <linux/sched/task.h>

static DEFINE_IDA(task_slots);

static void *task_fd_get(int fd, void **pin)
{
	struct task_struct *task;
	unsigned int f_flags;
	struct pid *pid;

	pid = pidfd_get_pid(fd, &f_flags);
	if (IS_ERR(pid))
		return ERR_CAST(pid);

	task = get_pid_task(pid, PIDTYPE_PID);
	put_pid(pid);
	*pin = task;

	return task ?: ERR_PTR(-ENOENT);
}

static void task_fd_put(void *pin)
{
	put_task_struct(pin);
}

static notrace struct bpf_local_storage __rcu **task_storage(void *owner)
{
	struct task_struct *task = owner;

	return &task->bpf_storage;
}

/* A program may hold a task whose last reference is gone, by RCU alone. */
static bool task_may_create(void *owner)
{
	struct task_struct *task = owner;

	return refcount_read(&task->usage);
}

static notrace void *task_iter_get(void *owner, void **pin)
{
	struct task_struct *task = owner;

	/*
	 * A program may give a value to a task that is being made, with a reference that keeps
	 * nothing: if fork() fails, the task is freed whatever its count. It cannot fail any more
	 * once it has linked the task to a pid. The task's end undoes that, but leaves this link
	 * poisoned, not clear. Idle tasks have no pid, and no end.
	 */
	if (hlist_unhashed_lockless(&task->pid_links[PIDTYPE_PID]) && !is_idle_task(task))
		return NULL;

	/* Of a task that was reaped the relatives may be gone, which programs may look at. */
	if (!pid_alive(task))
		return NULL;

	return refcount_inc_not_zero(&task->usage) ? task : NULL;
}

static void task_iter_put(void *shown, void *pin)
{
	put_task_struct(shown);
}

static const struct bpf_local_storage_type task_storage_type = {
	.fd_get = task_fd_get,
	.fd_put = task_fd_put,
	.storage = task_storage,
	.may_create = task_may_create,
	.iter_get = task_iter_get,
	.iter_put = task_iter_put,
	.slots = &task_slots,
};

/**
 * bpf_task_storage_free() - free the values of a task that is being freed
 * @task: the task, without a reference left
 *
 * Any context but NMI. A program that fexit attached could give the task another value, if it is
 * one of a fork() that failed: those have a reference count still.
 */
notrace void bpf_task_storage_free(struct task_struct *task)
{
	bpf_local_storage_destroy(&task->bpf_storage);
}

BPF_CALL_4(bpf_task_storage_get, struct bpf_map *, map, struct task_struct *, task,
	   void *, value, u64, flags)
{
	return bpf_local_storage_get(&task_storage_type, map, task, value, flags);
}

BPF_CALL_2(bpf_task_storage_delete, struct bpf_map *, map, struct task_struct *, task)
{
	WARN_ON_ONCE(!bpf_rcu_lock_held());

	return task ? bpf_local_storage_delete(task, bpf_local_storage_map(map)) : -EINVAL;
}

static struct bpf_map *task_storage_map_alloc(union bpf_attr *attr)
{
	return bpf_local_storage_map_alloc(attr, &task_storage_type);
}

const struct bpf_map_ops task_storage_map_ops = {
	BPF_LOCAL_STORAGE_MAP_OPS,
	.map_alloc = task_storage_map_alloc,
	.map_free = bpf_local_storage_map_free,
};

const struct bpf_func_proto bpf_task_storage_get_proto = {
	.func = bpf_task_storage_get,
	.ret_type = RET_PTR_TO_MAP_VALUE_OR_NULL,
	.arg1_type = ARG_CONST_MAP_PTR,
	.arg2_type = ARG_PTR_TO_BTF_ID_OR_NULL,
	.arg2_btf_id = &btf_tracing_ids[BTF_TRACING_TYPE_TASK],
	.arg3_type = ARG_PTR_TO_MAP_VALUE_OR_NULL,
	.arg4_type = ARG_ANYTHING,
};

const struct bpf_func_proto bpf_task_storage_delete_proto = {
	.func = bpf_task_storage_delete,
	.ret_type = RET_INTEGER,
	.arg1_type = ARG_CONST_MAP_PTR,
	.arg2_type = ARG_PTR_TO_BTF_ID_OR_NULL,
	.arg2_btf_id = &btf_tracing_ids[BTF_TRACING_TYPE_TASK],
};

struct bpf_iter__bpf_task_storage_map {
	__bpf_md_ptr(struct bpf_iter_meta *, meta);
	__bpf_md_ptr(struct bpf_map *, map);
	__bpf_md_ptr(struct task_struct *, task);
	__bpf_md_ptr(void *, value);
};

DEFINE_BPF_ITER_FUNC(bpf_task_storage_map, struct bpf_iter_meta *meta, struct bpf_map *map,
		     struct task_struct *task, void *value)

BPF_LOCAL_STORAGE_ITER(task, BPF_MAP_TYPE_TASK_STORAGE, btf_tracing_ids[BTF_TRACING_TYPE_TASK],
		       PTR_TRUSTED);
