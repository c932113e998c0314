// SPDX-License-Identifier: GPL-2.0
/* Values for inodes at the ends of their lives. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

char _license[] SEC("license") = "GPL";

struct {
	__uint(type, BPF_MAP_TYPE_INODE_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, __u64);
} values SEC(".maps");

int pid;
__u64 created;
__u64 born;
__u64 freed;

static bool give_value(struct inode *inode)
{
	__u64 *v;

	if (bpf_get_current_pid_tgid() >> 32 != pid)
		return false;
	v = bpf_inode_storage_get(&values, inode, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!v)
		return false;
	__sync_fetch_and_add(&created, 1);
	*v = 1;

	return true;
}

/* In a path walk that may be under RCU alone: the inode may be gone already. */
SEC("lsm/inode_permission")
int BPF_PROG(permission, struct inode *inode, int mask)
{
	give_value(inode);

	return 0;
}

/* The inode is not finished yet, and may never be. */
SEC("lsm/inode_alloc_security")
int BPF_PROG(alloc_security, struct inode *inode)
{
	if (give_value(inode))
		__sync_fetch_and_add(&born, 1);

	return 0;
}

/* The last time that it is seen. */
SEC("lsm/inode_free_security")
void BPF_PROG(free_security, struct inode *inode)
{
	if (give_value(inode))
		__sync_fetch_and_add(&freed, 1);
}

struct inode_ctx {
	struct bpf_iter_meta *meta;
	struct bpf_map *map;
	struct inode *inode;
	__u64 *value;
};

__u64 shown;
__u64 no_superblock;

SEC("?iter/bpf_inode_storage_map")
int show(struct inode_ctx *ctx)
{
	struct inode *inode = ctx->inode;

	if (!inode || !ctx->value)
		return 0;
	shown++;
	*ctx->value += 1;
	if (!inode->i_sb || !inode->i_sb->s_type)
		no_superblock++;

	return 0;
}
