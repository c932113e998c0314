// SPDX-License-Identifier: GPL-2.0
/*
 * BPF local storage: the map, as bpf(2) sees it.
 *
 * A map outlives its elements: each counts on it from its allocation until its memory is given
 * back, and map_free sleeps until the count is zero. So whoever has an element has its map, and
 * with it the record that says which special fields to free.
 */
#include <linux/bpf.h>
#include <linux/btf.h>
#include <linux/btf_ids.h>
#include <linux/idr.h>
#include <linux/log2.h>
#include <linux/percpu.h>
#include <linux/slab.h>
#include <linux/wait.h>

#include "bpf_local_storage_internal.h"

#define CREATE_FLAGS	(BPF_F_NO_PREALLOC | BPF_F_CLONE)

BTF_ID_LIST_GLOBAL_SINGLE(bpf_local_storage_map_btf_id, struct, bpf_local_storage_map)

/*
 * Where map_free sleeps. Not in the map: an element that wakes it up must not touch the map any
 * more, having counted itself off.
 */
static DECLARE_WAIT_QUEUE_HEAD(map_free_wait);

/**
 * bpf_local_storage_map_live() - how many elements a map has, in use or on their way out
 * @smap: the map
 *
 * An estimate while elements come and go. Once none can come, zero means that there is none: the
 * counts only fall, so one read earlier than another is, if anything, too high.
 *
 * Return: the number.
 */
long bpf_local_storage_map_live(const struct bpf_local_storage_map *smap)
{
	long sum = 0;
	int cpu;

	for_each_possible_cpu(cpu)
		sum += atomic_long_read(per_cpu_ptr(smap->live, cpu));

	return sum;
}

/**
 * bpf_local_storage_map_uncount() - count an element off its map
 * @smap: the map, not to be touched any more afterwards
 *
 * Any context.
 */
void bpf_local_storage_map_uncount(struct bpf_local_storage_map *smap)
{
	/* Whatever was done with the map comes before: pairs with the acquire in map_free. */
	(void)atomic_long_fetch_dec_release(raw_cpu_ptr(smap->live));
	/*
	 * smap may be freed from here on. The barrier inside pairs with that of set_current_state()
	 * in wait_event(): either map_free sees the new count or this sees map_free waiting.
	 */
	if (wq_has_sleeper(&map_free_wait))
		wake_up_all(&map_free_wait);
}

int bpf_local_storage_map_alloc_check(union bpf_attr *attr)
{
	if (!(attr->map_flags & BPF_F_NO_PREALLOC) || attr->map_flags & ~CREATE_FLAGS)
		return -EINVAL;
	if (attr->max_entries || attr->key_size != sizeof(int) || !attr->value_size)
		return -EINVAL;
	/* sk diag hands values out by the map's type information. */
	if (!attr->btf_key_type_id || !attr->btf_value_type_id)
		return -EINVAL;
	if (attr->value_size > BPF_LOCAL_STORAGE_MAX_VALUE_SIZE)
		return -E2BIG;

	return 0;
}

int bpf_local_storage_map_check_btf(struct bpf_map *map, const struct btf *btf,
				    const struct btf_type *key_type,
				    const struct btf_type *value_type)
{
	return btf_type_is_i32(key_type) ? 0 : -EINVAL;
}

/**
 * bpf_local_storage_map_alloc() - create a map
 * @attr: what bpf(BPF_MAP_CREATE) was given, checked
 * @type: the type of owner
 *
 * May sleep.
 *
 * Return: the map, or an ERR_PTR().
 */
struct bpf_map *bpf_local_storage_map_alloc(union bpf_attr *attr,
					    const struct bpf_local_storage_type *type)
{
	struct bpf_local_storage_map *smap;
	u32 i, nr_buckets;
	int ret;

	smap = bpf_map_area_alloc(sizeof(*smap), NUMA_NO_NODE);
	if (!smap)
		return ERR_PTR(-ENOMEM);

	bpf_map_init_from_attr(&smap->map, attr);
	smap->type = type;
	smap->elem_size = offsetof(struct bpf_local_storage_elem, sdata.data[attr->value_size]);
	smap->joint = bpf_local_storage_joint(smap->elem_size);

	/* So many that CPUs which create for different owners seldom meet in one. */
	BUILD_BUG_ON(2 * roundup_pow_of_two(CONFIG_NR_CPUS) > U16_MAX);
	nr_buckets = max_t(u32, 16, 2 * roundup_pow_of_two(num_possible_cpus()));
	smap->bucket_log = ilog2(nr_buckets);

	ret = -ENOMEM;
	smap->buckets = bpf_map_kvcalloc(&smap->map, nr_buckets, sizeof(*smap->buckets),
					 GFP_USER | __GFP_NOWARN);
	if (!smap->buckets)
		goto free_smap;
	for (i = 0; i < nr_buckets; i++)
		raw_res_spin_lock_init(&smap->buckets[i].lock);

	smap->live = bpf_map_alloc_percpu(&smap->map, sizeof(*smap->live),
					  __alignof__(*smap->live), GFP_USER | __GFP_NOWARN);
	if (!smap->live)
		goto free_buckets;

	ret = ida_alloc_max(type->slots, BPF_LOCAL_STORAGE_MAX_MAPS - 1, GFP_USER);
	if (ret < 0)
		goto free_live;
	smap->slot = ret;

	return &smap->map;

free_live:
	free_percpu(smap->live);
free_buckets:
	kvfree(smap->buckets);
free_smap:
	bpf_map_area_free(smap);
	return ERR_PTR(ret);
}

/**
 * bpf_local_storage_map_free() - free a map that has no reference left
 * @map: the map
 *
 * May sleep, and does until the last element is gone; not at all if there is none. Nobody can find
 * the map to create another: programs, file descriptors and bpf_sk_storage_clone() have references,
 * and who reads the owners' lists comes to it through elements, which are waited for.
 */
void bpf_local_storage_map_free(struct bpf_map *map)
{
	struct bpf_local_storage_map *smap = bpf_local_storage_map(map);

	if (bpf_local_storage_map_live(smap)) {
		bpf_local_storage_map_unlink(smap);
		wait_event_idle(map_free_wait, !bpf_local_storage_map_live(smap));
	}
	/* Pairs with the release in bpf_local_storage_map_uncount(). */
	smp_acquire__after_ctrl_dep();

	/* No storage's slot holds an element of this map any more: another may have its number. */
	ida_free(smap->type->slots, smap->slot);
	free_percpu(smap->live);
	kvfree(smap->buckets);
	bpf_map_area_free(smap);
}

/**
 * bpf_local_storage_map_mem_usage() - the memory of a map and its elements
 * @map: the map
 *
 * Owners' storages belong to no map and are not in it.
 *
 * Return: the number of bytes.
 */
u64 bpf_local_storage_map_mem_usage(const struct bpf_map *map)
{
	const struct bpf_local_storage_map *smap;

	smap = container_of_const(map, struct bpf_local_storage_map, map);

	return sizeof(*smap) + (sizeof(*smap->buckets) << smap->bucket_log) +
	       sizeof(*smap->live) * num_possible_cpus() +
	       (u64)max(0L, bpf_local_storage_map_live(smap)) * smap->elem_size;
}

/* Keys are file descriptors of whoever asks: there is no next one to give. */
int bpf_local_storage_map_get_next_key(struct bpf_map *map, void *key, void *next_key)
{
	return -ENOTSUPP;
}

void *bpf_local_storage_map_lookup_elem(struct bpf_map *map, void *key)
{
	struct bpf_local_storage_map *smap = bpf_local_storage_map(map);
	struct bpf_local_storage_data *sdata;
	void *owner, *pin;

	owner = smap->type->fd_get(*(int *)key, &pin);
	if (IS_ERR(owner))
		return owner;

	sdata = bpf_local_storage_lookup_owner(smap->type, owner, smap);
	smap->type->fd_put(pin);

	/* Good for as long as the caller's rcu_read_lock(), whatever becomes of the owner. */
	return sdata ? sdata->data : NULL;
}

long bpf_local_storage_map_update_elem(struct bpf_map *map, void *key, void *value, u64 flags)
{
	struct bpf_local_storage_map *smap = bpf_local_storage_map(map);
	struct bpf_local_storage_data *sdata;
	void *owner, *pin;

	/* Pointers that a program may be using cannot be swapped under it. */
	if (flags & BPF_F_LOCK && btf_record_has_field(map->record, BPF_UPTR))
		return -EOPNOTSUPP;

	owner = smap->type->fd_get(*(int *)key, &pin);
	if (IS_ERR(owner))
		return PTR_ERR(owner);

	sdata = bpf_local_storage_set(owner, smap, value, flags, true);
	smap->type->fd_put(pin);

	return PTR_ERR_OR_ZERO(sdata);
}

long bpf_local_storage_map_delete_elem(struct bpf_map *map, void *key)
{
	struct bpf_local_storage_map *smap = bpf_local_storage_map(map);
	void *owner, *pin;
	int err;

	owner = smap->type->fd_get(*(int *)key, &pin);
	if (IS_ERR(owner))
		return PTR_ERR(owner);

	err = bpf_local_storage_delete(owner, smap);
	smap->type->fd_put(pin);

	return err;
}
