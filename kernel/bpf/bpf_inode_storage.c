// SPDX-License-Identifier: GPL-2.0
/*
 * BPF local storage of inodes. The storage pointer is in the BPF LSM's part of the security blob,
 * and the blob is the owner: it stays for a grace period after inode_free_security, whatever the
 * file system does with the inode.
 */
#include <linux/bpf.h>
#include <linux/bpf_local_storage.h>
#include <linux/bpf_lsm.h>
#include <linux/btf.h>
#include <linux/btf_ids.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/init.h>
#include <linux/wait_bit.h>

static DEFINE_IDA(inode_slots);

static void *inode_fd_get(int fd, void **pin)
{
	struct bpf_storage_blob *blob;
	struct file *file;

	file = fget_raw(fd);
	if (!file)
		return ERR_PTR(-EBADF);

	blob = bpf_inode(file_inode(file));
	if (!blob) {
		fput(file);
		return ERR_PTR(-EBADF);
	}
	/* Not the inode: its last iput() may sleep, and the caller is under rcu_read_lock(). */
	*pin = file;

	return blob;
}

static void inode_fd_put(void *pin)
{
	fput(pin);
}

static notrace struct bpf_local_storage __rcu **inode_storage(void *owner)
{
	struct bpf_storage_blob *blob = owner;

	return &blob->storage;
}

/*
 * Showing an inode to a program. A reference would not do: it keeps neither the superblock nor an
 * inode that is being evicted, and to drop it may take locks and sleep. So an inode is not kept
 * from its end, but its end is made to wait, in inode_free_security, for the programs that are
 * shown it at that moment. Whatever a file system does with the memory, by RCU or not, comes later.
 */

/* bpf_storage_blob::shown */
enum {
	SHOWN_CLOSED = 1 << 30,	/* no more; the bits below count the programs */
};

static notrace void *inode_iter_get(void *owner, void **pin)
{
	struct bpf_storage_blob *blob = owner;
	struct inode *inode = READ_ONCE(blob->inode);
	int shown = atomic_read(&blob->shown);

	do {
		if (!inode || shown & SHOWN_CLOSED)
			return NULL;
	} while (!atomic_try_cmpxchg(&blob->shown, &shown, shown + 1));

	return inode;
}

static void inode_iter_put(void *shown, void *pin)
{
	struct bpf_storage_blob *blob = bpf_inode(shown);

	/* From here on inode and blob may be gone: only the address is used. */
	if (atomic_dec_return(&blob->shown) == SHOWN_CLOSED)
		wake_up_var(&blob->shown);
}

/**
 * bpf_inode_storage_begin() - an inode gets its security blob
 * @inode: the inode
 *
 * The LSM hook inode_alloc_security. The inode has its superblock, and little else yet.
 *
 * Return: 0.
 */
int bpf_inode_storage_begin(struct inode *inode)
{
	WRITE_ONCE(bpf_inode(inode)->inode, inode);

	return 0;
}

/**
 * bpf_inode_storage_end() - an inode ends, and its blob is going to
 * @inode: the inode
 *
 * The LSM hook inode_free_security. May sleep, as programs on that hook may: while an iterator's
 * program, which itself does not sleep, is shown @inode.
 */
void bpf_inode_storage_end(struct inode *inode)
{
	struct bpf_storage_blob *blob = bpf_inode(inode);

	might_sleep();
	if (blob && atomic_fetch_or(SHOWN_CLOSED, &blob->shown))
		wait_var_event(&blob->shown, atomic_read_acquire(&blob->shown) == SHOWN_CLOSED);
}

static const struct bpf_local_storage_type inode_storage_type = {
	.fd_get = inode_fd_get,
	.fd_put = inode_fd_put,
	.storage = inode_storage,
	.iter_get = inode_iter_get,
	.iter_put = inode_iter_put,
	.slots = &inode_slots,
};

/**
 * bpf_inode_storage_free() - free the values of an inode that is being freed
 * @inode_security: the inode's security blob, of all LSMs
 *
 * The LSM hook inode_free_security_rcu: a grace period has passed since the inode could be found.
 * Not inode_free_security, since a path walk may still run programs on the inode then.
 *
 * RCU callback context.
 */
void bpf_inode_storage_free(void *inode_security)
{
	struct bpf_storage_blob *blob = inode_security + bpf_lsm_blob_sizes.lbs_inode;

	bpf_local_storage_destroy(&blob->storage);
}

/* An inode made before the LSMs were set up has no blob, and bpf_inode() wants an inode. */
static struct bpf_storage_blob *inode_blob(struct inode *inode)
{
	return inode ? bpf_inode(inode) : NULL;
}

BPF_CALL_4(bpf_inode_storage_get, struct bpf_map *, map, struct inode *, inode,
	   void *, value, u64, flags)
{
	return bpf_local_storage_get(&inode_storage_type, map, inode_blob(inode), value, flags);
}

BPF_CALL_2(bpf_inode_storage_delete, struct bpf_map *, map, struct inode *, inode)
{
	struct bpf_storage_blob *blob = inode_blob(inode);

	WARN_ON_ONCE(!bpf_rcu_lock_held());
	if (!blob)
		return inode ? -ENOENT : -EINVAL;

	return bpf_local_storage_delete(blob, bpf_local_storage_map(map));
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
	.map_free = bpf_local_storage_map_free,
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

struct bpf_iter__bpf_inode_storage_map {
	__bpf_md_ptr(struct bpf_iter_meta *, meta);
	__bpf_md_ptr(struct bpf_map *, map);
	__bpf_md_ptr(struct inode *, inode);
	__bpf_md_ptr(void *, value);
};

DEFINE_BPF_ITER_FUNC(bpf_inode_storage_map, struct bpf_iter_meta *meta, struct bpf_map *map,
		     struct inode *inode, void *value)

BPF_LOCAL_STORAGE_ITER(inode, BPF_MAP_TYPE_INODE_STORAGE, inode_btf_id[0], PTR_TRUSTED);
