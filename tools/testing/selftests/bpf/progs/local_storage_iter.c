// SPDX-License-Identifier: GPL-2.0
/* Iterators over the values of each kind of owner. */
#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include "bpf_experimental.h"
#include "local_storage_iter.h"

#define HOLD	200

char _license[] SEC("license") = "GPL";

/* The test's: what is added to the turn of each value; its process, and the one that cannot fork */
__u64 add;
int pid;
int doomed_pid;

/* Last calls; owners without a reference; of tasks that never came to be: values, calls. */
long ends;
long dead;
long doomed;
long doomed_shown;

/* What is shown is in use: it has a count, or what stands for one. */
#define TASK_COUNT(task)	((task)->usage.refs.counter)
/* Who shows it has a reference, and the flag is set once there is none. */
#define CGRP_COUNT(cgrp)	((cgrp)->kn->count.counter && \
				 !((cgrp)->self.flags & CSS_RELEASED))
#define INODE_COUNT(inode)	((inode)->i_sb->s_magic)
#define SK_COUNT(sk)		((sk)->__sk_common.skc_refcnt.refs.counter)

#define TASK_ID(task)		((task)->pid)
#define CGRP_ID(cgrp)		((cgrp)->kn->id)
#define INODE_ID(inode)		((inode)->i_ino)
#define SK_ID(sk)		((sk)->__sk_common.skc_cookie.counter)

/* A helper that looks into the owner; there is none for inodes. */
#define TASK_USE(task)		bpf_task_storage_get(&task_map, task, 0, 0)
#define CGRP_USE(cgrp)		bpf_cgrp_storage_get(&cgrp_map, cgrp, 0, 0)
#define INODE_USE(inode)	(inode)
#define SK_USE(sk)		bpf_sk_storage_get(&sk_map, sk, 0, 0)

#define SHOW(kind, KIND, map_type, flags, owner_type)					\
struct {										\
	__uint(type, map_type);								\
	__uint(map_flags, BPF_F_NO_PREALLOC | (flags));					\
	__type(key, int);								\
	__type(value, struct ls_value);							\
} kind##_map SEC(".maps");								\
											\
struct kind##_ctx {									\
	struct bpf_iter_meta *meta;							\
	struct bpf_map *map;								\
	struct owner_type *owner;							\
	struct ls_value *value;								\
};											\
											\
SEC("?iter/bpf_" #kind "_storage_map")							\
int kind##_show(struct kind##_ctx *ctx)							\
{											\
	struct owner_type *owner = ctx->owner;						\
	struct ls_value *value = ctx->value;						\
	struct ls_line line;								\
	int i;										\
											\
	if (!owner || !value) {								\
		__sync_fetch_and_add(&ends, 1);						\
		return 0;								\
	}										\
	value->turn += add;								\
	line.tag = value->tag;								\
	line.turn = value->turn;							\
	line.id = KIND##_ID(owner);							\
	/* Give it the time to go. */							\
	if (line.tag & (LS_CHURN | LS_DOOMED))						\
		bpf_for(i, 0, HOLD)							\
			value->turn++;							\
	if (line.tag & LS_DOOMED)							\
		__sync_fetch_and_add(&doomed_shown, 1);					\
	if (!KIND##_USE(owner) && !(line.tag & LS_CHURN))				\
		__sync_fetch_and_add(&dead, 1);						\
	if (!KIND##_COUNT(owner))							\
		__sync_fetch_and_add(&dead, 1);						\
	bpf_seq_write(ctx->meta->seq, &line, sizeof(line));				\
											\
	return 0;									\
}											\
											\
SEC("?iter/bpf_" #kind "_storage_map")							\
int kind##_too_far(struct kind##_ctx *ctx)						\
{											\
	struct ls_value *value = ctx->value;						\
											\
	if (value)									\
		value[1].tag++;								\
											\
	return 0;									\
}

/* Programs of this kind have no helper that deletes an inode's value. */
#define DELETE(kind)									\
SEC("?iter/bpf_" #kind "_storage_map")							\
int kind##_delete(struct kind##_ctx *ctx)						\
{											\
	struct ls_value *value = ctx->value;						\
	struct ls_line line = {};							\
											\
	if (!ctx->owner || !value)							\
		return 0;								\
	if (bpf_##kind##_storage_delete(&kind##_map, ctx->owner))			\
		__sync_fetch_and_add(&dead, 1);						\
	/* It stays for as long as the program runs. */					\
	value->turn += add;								\
	line.tag = value->tag;								\
	line.turn = value->turn;							\
	bpf_seq_write(ctx->meta->seq, &line, sizeof(line));				\
											\
	return 0;									\
}

SHOW(task, TASK, BPF_MAP_TYPE_TASK_STORAGE, 0, task_struct)
SHOW(cgrp, CGRP, BPF_MAP_TYPE_CGRP_STORAGE, 0, cgroup)
SHOW(inode, INODE, BPF_MAP_TYPE_INODE_STORAGE, 0, inode)
SHOW(sk, SK, BPF_MAP_TYPE_SK_STORAGE, BPF_F_CLONE, sock)
DELETE(task)
DELETE(cgrp)
DELETE(sk)

/* A pointer in a value that is not to be written over. */
struct kptr_value {
	__u64 plain;
	struct task_struct __kptr *task;
};

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct kptr_value);
} kptr_map SEC(".maps");

/* The lock is where the pointer is in the other. */
struct lock_value {
	__u64 plain;
	struct bpf_spin_lock lock;
};

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct lock_value);
} lock_map SEC(".maps");

struct kptr_ctx {
	struct bpf_iter_meta *meta;
	struct bpf_map *map;
	struct sock *owner;
	struct kptr_value *value;
};

SEC("?iter/bpf_sk_storage_map")
int kptr_plain(struct kptr_ctx *ctx)
{
	if (ctx->value)
		ctx->value->plain = add;

	return 0;
}

SEC("?iter/bpf_sk_storage_map")
int kptr_write(struct kptr_ctx *ctx)
{
	if (ctx->value)
		*(__u64 *)&ctx->value->task = add;

	return 0;
}

/* A value for each socket that sends by IP: the kernel's own, with which it answers, too. */
SEC("?fentry/ip_append_data")
int BPF_PROG(sender, struct sock *sk)
{
	bpf_sk_storage_get(&kptr_map, sk, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);

	return 0;
}

/* A value for each task in the making, of which some will not be made. */
SEC("lsm/task_alloc")
int BPF_PROG(task_alloc, struct task_struct *task, unsigned long clone_flags)
{
	int tgid = bpf_get_current_pid_tgid() >> 32;
	struct ls_value *value;

	if (!tgid || (tgid != pid && tgid != doomed_pid))
		return 0;
	value = bpf_task_storage_get(&task_map, task, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!value)
		return 0;
	value->tag = tgid == pid ? LS_CHURN : LS_DOOMED;
	if (tgid == doomed_pid)
		__sync_fetch_and_add(&doomed, 1);

	return 0;
}
