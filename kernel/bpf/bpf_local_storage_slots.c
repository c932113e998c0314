// SPDX-License-Identifier: GPL-2.0
/*
 * BPF local storage: the slots of maps whose number has no place in the storage itself.
 *
 * Those that follow are in one array, the near one. For others a storage has a directory, whose
 * entries are chunks of slots; only the chunks that some map of its own falls into. All are arrays
 * of pointers. The near one and a chunk stay where they are until the storage is freed. The
 * directory is replaced by a larger one when a number is beyond it, and readers that still have
 * the old one find the same chunks there.
 *
 * What is added is charged to the owner, as part of the storage.
 */
#include <linux/bpf.h>
#include <linux/log2.h>
#include <linux/overflow.h>

#include "bpf_local_storage_internal.h"

static u32 array_size_of(u32 nr)
{
	return offsetof(struct bpf_local_storage_array, slots[nr]);
}

/* The entries of a directory that has at least @nr, without leaving any of its memory unused. */
static u32 dir_entries(u32 nr)
{
	return (roundup_pow_of_two(array_size_of(nr)) - array_size_of(0)) / sizeof(void *);
}

static struct bpf_local_storage_array *array_alloc(struct bpf_local_storage_map *smap, u32 nr)
{
	struct bpf_local_storage_array *array;
	bool from_bpf_ma;

	array = bpf_local_storage_kmalloc(smap, array_size_of(nr), &from_bpf_ma);
	if (array) {
		memset(array, 0, array_size_of(nr));
		array->nr = nr;
		array->from_bpf_ma = from_bpf_ma;
	}

	return array;
}

static void array_kfree(struct bpf_local_storage_array *array)
{
	if (array)
		bpf_local_storage_kfree(array, array->from_bpf_ma);
}

static void array_release(struct rcu_head *rcu)
{
	array_kfree(container_of(rcu, struct bpf_local_storage_array, rcu));
}

/* @array is off the storage, or never was on it, or NULL. */
static void array_free(struct bpf_local_storage_array *array)
{
	if (array)
		bpf_local_storage_free_after_gp(&array->rcu, array_release);
}

/**
 * bpf_local_storage_grow() - add a map's slot to a storage that has none for it
 * @storage: the storage
 * @smap: the map, kept alive by the caller
 * @owner: the storage's owner, kept alive by the caller
 *
 * Any context. RCU or RCU Tasks Trace read lock held.
 *
 * Return: 0, LOOK_AGAIN if the storage is no longer the owner's, -ENOMEM, also if the owner's limit
 * is reached, or -EDEADLK or -ETIMEDOUT from the storage's lock.
 */
int bpf_local_storage_grow(struct bpf_local_storage *storage,
			   struct bpf_local_storage_map *smap, void *owner)
{
	struct bpf_local_storage_array *dir, *slots, *larger = NULL;
	struct bpf_local_storage_array __rcu **place;
	bool near = smap->slot < BPF_LOCAL_STORAGE_FAR;
	u32 i, size, nr_slots, nr = 0;
	unsigned long flags;
	int err;

	nr_slots = near ? BPF_LOCAL_STORAGE_NEAR : BPF_LOCAL_STORAGE_CHUNK;
	size = array_size_of(nr_slots);
	i = near ? 0 : (smap->slot - BPF_LOCAL_STORAGE_FAR) / BPF_LOCAL_STORAGE_CHUNK;
	dir = rcu_dereference_check(storage->dir, bpf_rcu_lock_held());
	if (!near && (!dir || i >= dir->nr)) {
		nr = dir_entries(i + 1);
		size += array_size_of(nr);
	}

	err = bpf_local_storage_charge(smap, owner, size);
	if (err)
		return err;

	err = -ENOMEM;
	slots = array_alloc(smap, nr_slots);
	if (nr)
		larger = array_alloc(smap, nr);
	if (!slots || (nr && !larger))
		goto free;

	err = bpf_local_storage_lock(&storage->lock, &flags, BLS_GROW_STORAGE);
	if (err)
		goto free;

	if (!bpf_local_storage_in_use(storage)) {
		err = LOOK_AGAIN;
		goto unlock;
	}

	/* Others may have grown it meanwhile, but never shrunk it. */
	dir = rcu_dereference_protected(storage->dir, true);
	storage->mem_charge += size;
	if (!near && (!dir || i >= dir->nr)) {
		if (dir)
			memcpy(larger->chunks, dir->chunks, flex_array_size(dir, chunks, dir->nr));
		rcu_assign_pointer(storage->dir, larger);
		swap(dir, larger);
	}
	place = near ? &storage->near : &dir->chunks[i];
	if (!rcu_access_pointer(*place)) {
		rcu_assign_pointer(*place, slots);
		slots = NULL;
	}
	/* What is left over: the old directory, or one that is not needed after all; slots. */
	size = (larger ? array_size_of(larger->nr) : 0) + (slots ? array_size_of(slots->nr) : 0);
	storage->mem_charge -= size;
unlock:
	bpf_local_storage_unlock(&storage->lock, flags);
free:
	bpf_local_storage_uncharge(smap, owner, size);
	array_free(slots);
	array_free(larger);

	return err;
}

/**
 * bpf_local_storage_free_slots() - free what bpf_local_storage_grow() added
 * @storage: a storage that nobody can reach any more
 *
 * Task context, migration disabled.
 */
void bpf_local_storage_free_slots(struct bpf_local_storage *storage)
{
	struct bpf_local_storage_array *dir = rcu_dereference_protected(storage->dir, true);
	u32 i;

	array_kfree(rcu_dereference_protected(storage->near, true));
	if (!dir)
		return;

	for (i = 0; i < dir->nr; i++)
		array_kfree(rcu_dereference_protected(dir->chunks[i], true));
	array_kfree(dir);
}
