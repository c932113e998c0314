// SPDX-License-Identifier: GPL-2.0
/*
 * What programs can do to owners of the four kinds in task context: an ioctl() of the test asks
 * for it. An LSM program, since only these have the helpers of all four.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include "bpf_experimental.h"
#include "bpf_misc.h"
#include "local_storage_ops.h"

#define EINVAL		22
#define ENODATA		61
#define ENOENT		2
#define EOPNOTSUPP	95
#define MAX_ERRNO	4095

char _license[] SEC("license") = "GPL";

__u64 race_nulls;
__u64 race_errs;

/* Weak: the rest is of use on kernels before 6.14 too. */
extern void bpf_local_irq_save(unsigned long *flags) __weak __ksym;
extern void bpf_local_irq_restore(unsigned long *flags) __weak __ksym;

#define LS_KIND(kind, map_type, owner_type)						\
struct {										\
	__uint(type, map_type);								\
	__uint(map_flags, BPF_F_NO_PREALLOC);						\
	__type(key, int);								\
	__type(value, __u64);								\
} kind##_map SEC(".maps");								\
											\
static __always_inline long kind##_op(owner_type owner, unsigned int cmd)		\
{											\
	long i, err, nulls = 0, errs = 0;						\
	unsigned long flags;								\
	void *value;									\
											\
	switch (cmd) {									\
	case LS_CREATE:									\
		value = bpf_##kind##_storage_get(&kind##_map, owner, 0,			\
						 BPF_LOCAL_STORAGE_GET_F_CREATE);	\
		return value ? 0 : -ENODATA;						\
	case LS_CREATE_IRQS_OFF:							\
		if (!bpf_ksym_exists(bpf_local_irq_save))				\
			return -EOPNOTSUPP;						\
		bpf_local_irq_save(&flags);						\
		value = bpf_##kind##_storage_get(&kind##_map, owner, 0,			\
						 BPF_LOCAL_STORAGE_GET_F_CREATE);	\
		err = value ? 0 : -ENODATA;						\
		bpf_local_irq_restore(&flags);						\
		return err;								\
	case LS_DELETE:									\
		return bpf_##kind##_storage_delete(&kind##_map, owner);			\
	case LS_DELETE_IRQS_OFF:							\
		if (!bpf_ksym_exists(bpf_local_irq_save))				\
			return -EOPNOTSUPP;						\
		bpf_local_irq_save(&flags);						\
		err = bpf_##kind##_storage_delete(&kind##_map, owner);			\
		bpf_local_irq_restore(&flags);						\
		return err;								\
	case LS_RACE:									\
		bpf_for(i, 0, LS_RACE_TURNS) {						\
			if (!bpf_##kind##_storage_get(&kind##_map, owner, 0,		\
						      BPF_LOCAL_STORAGE_GET_F_CREATE))	\
				nulls++;						\
			err = bpf_##kind##_storage_delete(&kind##_map, owner);		\
			if (err && err != -ENOENT)					\
				errs++;							\
		}									\
		__sync_fetch_and_add(&race_nulls, nulls);				\
		__sync_fetch_and_add(&race_errs, errs);					\
		return 0;								\
	default:									\
		return -EINVAL;								\
	}										\
}

LS_KIND(task, BPF_MAP_TYPE_TASK_STORAGE, struct task_struct *)
LS_KIND(cgrp, BPF_MAP_TYPE_CGRP_STORAGE, struct cgroup *)
LS_KIND(inode, BPF_MAP_TYPE_INODE_STORAGE, struct inode *)
LS_KIND(sk, BPF_MAP_TYPE_SK_STORAGE, struct sock *)

SEC("lsm/file_ioctl")
int BPF_PROG(file_ioctl, struct file *file, unsigned int cmd, unsigned long kind)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct socket *sock;
	long err = -EINVAL;

	if (cmd < LS_CREATE || cmd > LS_RACE)
		return 0;

	switch (kind) {
	case LS_TASK:
		err = task_op(task->group_leader, cmd);
		break;
	case LS_CGRP:
		err = cgrp_op(task->cgroups->dfl_cgrp, cmd);
		break;
	case LS_INODE:
		err = inode_op(file->f_inode, cmd);
		break;
	case LS_SK:
		sock = bpf_sock_from_file(file);
		if (sock && sock->sk)
			err = sk_op(sock->sk, cmd);
		break;
	}

	return err < 0 && err >= -MAX_ERRNO ? err : -LS_OK;
}
