// SPDX-License-Identifier: GPL-2.0
/*
 * BPF local storage of inodes. The storage pointer is in the BPF LSM's part of the security blob.
 */
#include <linux/bpf.h>
#include <linux/bpf_local_storage.h>
#include <linux/bpf_lsm.h>
#include <linux/btf_ids.h>
#include <linux/file.h>
#include <linux/fs.h>

static DEFINE_IDA(inode_slots);

static void *inode_fd_get(int fd, void **pin)
{
	struct file *file = fget_raw(fd);

	if (!file)
		return ERR_PTR(-EBADF);
	/* Not the inode: its last iput() may sleep, and the caller is under rcu_read_lock(). */
	*pin = file;

	return file_inode(file);
}

static void inode_fd_put(void *pin)
{
	fput(pin);
}

/* An inode made before the LSMs were set up has no blob. */
static struct bpf_local_storage __rcu **inode_storage(void *owner)
{
	struct bpf_storage_blob *blob = bpf_inode(owner);

	return blob ? &blob->storage : NULL;
}

static const struct bpf_local_storage_type inode_storage_type = {
	.fd_get = inode_fd_get,
	.fd_put = inode_fd_put,
	.storage = inode_storage,
	.slots = &inode_slots,
};

/**
 * bpf_inode_storage_free() - free the values of an inode that is being freed
 * @inode: the inode, without a reference left
 *
 * An LSM hook. Any context but NMI.
 */
void bpf_inode_storage_free(struct inode *inode)
{
	struct bpf_storage_blob *blob = bpf_inode(inode);

	if (blob)
		bpf_local_storage_destroy(&blob->storage);
}

BPF_CALL_4(bpf_inode_storage_get, struct bpf_map *, map, struct inode *, inode,
	   void *, value, u64, flags)
{
	return bpf_local_storage_get(&inode_storage_type, map, inode, value, flags);
}

BPF_CALL_2(bpf_inode_storage_delete, struct bpf_map *, map, struct inode *, inode)
{
	WARN_ON_ONCE(!bpf_rcu_lock_held());

	return inode ? bpf_local_storage_delete(inode, bpf_local_storage_map(map)) : -EINVAL;
}

static struct bpf_map *inode_storage_map_alloc(union bpf_attr *attr)
{
	/* Unless the LSM came up, nobody reserved room in the blobs, and bpf_inode() lies. */
	if (!bpf_lsm_initialized)
		return ERR_PTR(-EOPNOTSUPP);

	return bpf_local_storage_map_alloc(attr, &inode_storage_type);
}

const struct bpf_map_ops inode_storage_map_ops = {
	BPF_LOCAL_STORAGE_MAP_OPS,
	.map_alloc = inode_storage_map_alloc,
};

BTF_ID_LIST_SINGLE(inode_btf_id, struct, inode)

const struct bpf_func_proto bpf_inode_storage_get_proto = {
	.func = bpf_inode_storage_get,
	.ret_type = RET_PTR_TO_MAP_VALUE_OR_NULL,
	.arg1_type = ARG_CONST_MAP_PTR,
	.arg2_type = ARG_PTR_TO_BTF_ID_OR_NULL,
	.arg2_btf_id = &inode_btf_id[0],
	.arg3_type = ARG_PTR_TO_MAP_VALUE_OR_NULL,
	.arg4_type = ARG_ANYTHING,
};

const struct bpf_func_proto bpf_inode_storage_delete_proto = {
	.func = bpf_inode_storage_delete,
	.ret_type = RET_INTEGER,
	.arg1_type = ARG_CONST_MAP_PTR,
	.arg2_type = ARG_PTR_TO_BTF_ID_OR_NULL,
	.arg2_btf_id = &inode_btf_id[0],
};
