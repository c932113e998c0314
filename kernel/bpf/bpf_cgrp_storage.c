// SPDX-License-Identifier: GPL-2.0
/*
 * BPF local storage of cgroups.
 */
#include <linux/bpf.h>
#include <linux/bpf_local_storage.h>
#include <linux/btf.h>
#include <linux/btf_ids.h>
#include <linux/cgroup.h>
#include <linux/init.h>

static DEFINE_IDA(cgrp_slots);

static void *cgrp_fd_get(int fd, void **pin)
{
	struct cgroup *cgrp = cgroup_v1v2_get_from_fd(fd);

	*pin = cgrp;

	return cgrp;
}

static void cgrp_fd_put(void *pin)
{
	cgroup_put(pin);
}

static notrace struct bpf_local_storage __rcu **cgrp_storage(void *owner)
{
	struct cgroup *cgrp = owner;

	return &cgrp->bpf_cgrp_storage;
}

static bool cgrp_may_create(void *owner)
{
	struct cgroup *cgrp = owner;

	return !percpu_ref_is_dying(&cgrp->self.refcnt);
}

static notrace void *cgrp_iter_get(void *owner, void **pin)
{
	struct cgroup *cgrp = owner;
	struct cgroup_root *root = READ_ONCE(cgrp->root);
	struct list_head *link, *next;

	/*
	 * As for tasks: until it is among its parent's children, or a root among the roots, a
	 * cgroup that comes to nothing is freed whatever its count.
	 */
	link = root && cgrp == &root->cgrp ? &root->root_list : &cgrp->self.sibling;
	next = READ_ONCE(link->next);
	if (!next || next == link)
		return NULL;

	/*
	 * Its end begins with that of its count, a grace period after the flag is set: who sees the
	 * flag clear, as an RCU reader, may ask for the count. Not cgroup_tryget(), which may be
	 * traced.
	 */
	if (READ_ONCE(cgrp->self.flags) & CSS_RELEASED)
		return NULL;
	if (cgrp->self.flags & CSS_NO_REF || percpu_ref_tryget(&cgrp->self.refcnt))
		return cgrp;

	return NULL;
}

static void cgrp_iter_put(void *shown, void *pin)
{
	cgroup_put(shown);
}

static const struct bpf_local_storage_type cgrp_storage_type = {
	.fd_get = cgrp_fd_get,
	.fd_put = cgrp_fd_put,
	.storage = cgrp_storage,
	.may_create = cgrp_may_create,
	.iter_get = cgrp_iter_get,
	.iter_put = cgrp_iter_put,
	.slots = &cgrp_slots,
};

/**
 * bpf_cgrp_storage_free() - free the values of a cgroup that is being freed
 * @cgrp: the cgroup, without a reference left
 *
 * Any context but NMI. A program that fexit attached could give the cgroup another value, if it is
 * one that could not be made: those are not dying yet.
 */
notrace void bpf_cgrp_storage_free(struct cgroup *cgrp)
{
	bpf_local_storage_destroy(&cgrp->bpf_cgrp_storage);
}

BPF_CALL_4(bpf_cgrp_storage_get, struct bpf_map *, map, struct cgroup *, cgrp,
	   void *, value, u64, flags)
{
	return bpf_local_storage_get(&cgrp_storage_type, map, cgrp, value, flags);
}

BPF_CALL_2(bpf_cgrp_storage_delete, struct bpf_map *, map, struct cgroup *, cgrp)
{
	WARN_ON_ONCE(!bpf_rcu_lock_held());

	return cgrp ? bpf_local_storage_delete(cgrp, bpf_local_storage_map(map)) : -EINVAL;
}

static struct bpf_map *cgrp_storage_map_alloc(union bpf_attr *attr)
{
	return bpf_local_storage_map_alloc(attr, &cgrp_storage_type);
}

const struct bpf_map_ops cgrp_storage_map_ops = {
	BPF_LOCAL_STORAGE_MAP_OPS,
	.map_alloc = cgrp_storage_map_alloc,
	.map_free = bpf_local_storage_map_free,
};

const struct bpf_func_proto bpf_cgrp_storage_get_proto = {
	.func = bpf_cgrp_storage_get,
	.ret_type = RET_PTR_TO_MAP_VALUE_OR_NULL,
	.arg1_type = ARG_CONST_MAP_PTR,
	.arg2_type = ARG_PTR_TO_BTF_ID_OR_NULL,
	.arg2_btf_id = &bpf_cgroup_btf_id[0],
	.arg3_type = ARG_PTR_TO_MAP_VALUE_OR_NULL,
	.arg4_type = ARG_ANYTHING,
};

const struct bpf_func_proto bpf_cgrp_storage_delete_proto = {
	.func = bpf_cgrp_storage_delete,
	.ret_type = RET_INTEGER,
	.arg1_type = ARG_CONST_MAP_PTR,
	.arg2_type = ARG_PTR_TO_BTF_ID_OR_NULL,
	.arg2_btf_id = &bpf_cgroup_btf_id[0],
};

struct bpf_iter__bpf_cgrp_storage_map {
	__bpf_md_ptr(struct bpf_iter_meta *, meta);
	__bpf_md_ptr(struct bpf_map *, map);
	__bpf_md_ptr(struct cgroup *, cgroup);
	__bpf_md_ptr(void *, value);
};

DEFINE_BPF_ITER_FUNC(bpf_cgrp_storage_map, struct bpf_iter_meta *meta, struct bpf_map *map,
		     struct cgroup *cgroup, void *value)

BPF_LOCAL_STORAGE_ITER(cgrp, BPF_MAP_TYPE_CGRP_STORAGE, bpf_cgroup_btf_id[0], PTR_TRUSTED);
