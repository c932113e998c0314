// SPDX-License-Identifier: GPL-2.0
/*
 * BPF local storage: finding, creating, replacing and deleting values.
 *
 * Everything here runs while the caller keeps both ends alive, the owner and the map, so that it
 * races with its like, with the end of other owners and with the end of other maps, but never with
 * the end of this owner or of this map: that is in bpf_local_storage_teardown.c. All of it may run
 * in any context, NMI included, under rcu_read_lock() or rcu_read_lock_trace().
 *
 * An element goes onto and comes off both its lists with the storage's lock and the bucket's lock
 * held, taken in this order. Either may be refused, and then nothing has changed.
 */
#include <linux/bpf.h>
#include <linux/btf.h>
#include <linux/rculist.h>

#include "bpf_local_storage_internal.h"

/*
 * How often an insertion starts again because the owner's storage came or went under it. For each
 * turn somebody else has completed a creation or a deletion under a fair lock, so to use up this
 * many in a row takes as many operations of others, all landing in windows of a few instructions.
 */
#define INSERT_TURNS	128

static int check_flags(const struct bpf_local_storage_data *old, u64 map_flags)
{
	map_flags &= ~(u64)BPF_F_LOCK;

	if (old && map_flags == BPF_NOEXIST)
		return -EEXIST;

	if (!old && map_flags == BPF_EXIST)
		return -ENOENT;

	return 0;
}

static void selem_set_storage(struct bpf_local_storage_elem *selem,
			      struct bpf_local_storage *storage)
{
	struct bpf_local_storage_map *smap = SDATA(selem)->smap;

	rcu_assign_pointer(selem->storage, storage);
	/* The bucket follows from the storage, so a replacement meets the old element's bucket. */
	selem->bucket = bpf_local_storage_bucket(storage, smap->bucket_log);
	atomic_set(&selem->state, SELEM_MAP | SELEM_STORAGE);
}

/**
 * bpf_selem_unlink_storage() - take an element off its storage
 * @storage: the storage, its lock held, or its list taken over by destroy
 * @selem: an element on @storage
 *
 * After this no lookup that begins finds the element. Accounting is the caller's.
 */
void bpf_selem_unlink_storage(struct bpf_local_storage *storage,
			      struct bpf_local_storage_elem *selem)
{
	hlist_del_rcu(&selem->snode);
	RCU_INIT_POINTER(*bpf_local_storage_slot(storage, SDATA(selem)->smap->slot), NULL);
}

/* Make @storage, with @selem in @slot as all it holds, the owner's. */
static int publish_storage(struct bpf_local_storage __rcu **ptr,
			   struct bpf_local_storage *storage,
			   struct bpf_local_storage_data __rcu **slot,
			   struct bpf_local_storage_elem *selem)
{
	struct bpf_local_storage_map_bucket *b;
	unsigned long flags;
	int err;

	selem_set_storage(selem, storage);
	b = bpf_selem_bucket(selem);
	err = bpf_local_storage_lock(&b->lock, &flags, BLS_PUBLISH_BUCKET);
	if (err)
		return err;

	hlist_add_head_rcu(&selem->snode, &storage->list);
	rcu_assign_pointer(*slot, SDATA(selem));

	/*
	 * From the cmpxchg on, which orders what is written above before it, others find the
	 * element. Who wants to take it off again needs the bucket's lock: that is held until it
	 * is on the bucket too. An iterator over the bucket never sees an element whose storage
	 * was not the owner's.
	 */
	if (unlikely(unrcu_pointer(cmpxchg(ptr, NULL, RCU_INITIALIZER(storage))))) {
		bpf_selem_unlink_storage(storage, selem);
		err = LOOK_AGAIN;
	} else {
		hlist_add_head_rcu(&selem->map_node, &b->list);
	}
	bpf_local_storage_unlock(&b->lock, flags);

	return err;
}

/*
 * Put @selem on @storage, in @slot: in place of the map's old element, which is returned in @oldp
 * for the caller to free, or as a new one. With BPF_F_LOCK an old one stays and is returned.
 */
static struct bpf_local_storage_data *
link_selem(struct bpf_local_storage *storage, struct bpf_local_storage_data __rcu **slot,
	   struct bpf_local_storage_elem *selem, u64 map_flags,
	   struct bpf_local_storage_elem **oldp)
{
	struct bpf_local_storage_map *smap = SDATA(selem)->smap;
	struct bpf_local_storage_data *sdata;
	struct bpf_local_storage_elem *old;
	struct bpf_local_storage_map_bucket *b;
	unsigned long flags, b_flags;
	int err;

	err = bpf_local_storage_lock(&storage->lock, &flags, BLS_UPDATE_STORAGE);
	if (err)
		return ERR_PTR(err);

	if (unlikely(!bpf_local_storage_in_use(storage))) {
		err = LOOK_AGAIN;
		goto unlock;
	}

	sdata = rcu_dereference_check(*slot, bpf_rcu_lock_held());
	err = check_flags(sdata, map_flags);
	if (err || (sdata && map_flags & BPF_F_LOCK))
		goto unlock;

	selem_set_storage(selem, storage);
	b = bpf_selem_bucket(selem);
	err = bpf_local_storage_lock(&b->lock, &b_flags, BLS_UPDATE_BUCKET);
	if (err)
		goto unlock;

	if (sdata) {
		/* In one step on each list, so that no walk misses both the old and the new. */
		old = SELEM(sdata);
		hlist_replace_rcu(&old->map_node, &selem->map_node);
		hlist_replace_rcu(&old->snode, &selem->snode);
		atomic_set(&old->state, 0);
		*oldp = old;
	} else {
		hlist_add_head_rcu(&selem->map_node, &b->list);
		hlist_add_head_rcu(&selem->snode, &storage->list);
		storage->mem_charge += smap->elem_size;
	}
	rcu_assign_pointer(*slot, SDATA(selem));
	sdata = SDATA(selem);
	bpf_local_storage_unlock(&b->lock, b_flags);
unlock:
	bpf_local_storage_unlock(&storage->lock, flags);

	return err ? ERR_PTR(err) : sdata;
}

/*
 * Give the charged and filled @selem to @owner, whose storage becomes @fresh, which may be NULL, if
 * it has none. Returns its data, or that of the element that BPF_F_LOCK wants written to instead,
 * or an error; in both these cases @selem is the caller's.
 */
static struct bpf_local_storage_data *
insert_selem(void *owner, struct bpf_local_storage_elem *selem, struct bpf_local_storage *fresh,
	     u64 map_flags)
{
	struct bpf_local_storage_elem *old = NULL;
	struct bpf_local_storage_map *smap = SDATA(selem)->smap;
	struct bpf_local_storage __rcu **ptr = smap->type->storage(owner);
	struct bpf_local_storage *storage, *gone = NULL;
	struct bpf_local_storage_data *sdata = ERR_PTR(LOOK_AGAIN);
	struct bpf_local_storage_data __rcu **slot;
	int turn, err;

	for (turn = 0; turn < INSERT_TURNS && sdata == ERR_PTR(LOOK_AGAIN); turn++) {
		storage = rcu_dereference_check(*ptr, bpf_rcu_lock_held());
		if (storage && storage == gone) {
			/* Closed, and yet the owner's: destroy did that. */
			sdata = ERR_PTR(-ENOENT);
		} else if (storage) {
			slot = bpf_local_storage_reserve(storage, smap, owner);
			sdata = IS_ERR(slot) ? ERR_CAST(slot) :
				link_selem(storage, slot, selem, map_flags, &old);
			gone = storage;
		} else {
			err = check_flags(NULL, map_flags);
			if (!err && !fresh) {
				fresh = bpf_local_storage_alloc(smap, owner);
				err = PTR_ERR_OR_ZERO(fresh);
				if (err)
					fresh = NULL;
			}
			if (!err) {
				slot = bpf_local_storage_reserve(fresh, smap, owner);
				err = IS_ERR(slot) ? PTR_ERR(slot) :
				      publish_storage(ptr, fresh, slot, selem);
			}
			if (!err)
				fresh = NULL;
			sdata = err ? ERR_PTR(err) : SDATA(selem);
		}
	}

	if (sdata == ERR_PTR(LOOK_AGAIN))
		sdata = ERR_PTR(-ETIMEDOUT);
	if (unlikely(fresh))
		bpf_local_storage_discard(fresh, smap, owner);
	if (old) {
		/* What it was charged with is in mem_charge still, for its successor. */
		bpf_local_storage_uncharge(smap, owner, smap->elem_size);
		bpf_selem_free(old);
	}

	return sdata;
}

/* BPF_F_LOCK met an element: write into it. Should it be unlinked just now, this came first. */
static struct bpf_local_storage_data *
write_locked(struct bpf_local_storage_data *sdata, void *value)
{
	copy_map_value_locked(&sdata->smap->map, sdata->data, value, false);

	return sdata;
}

/**
 * bpf_local_storage_update() - set the value of a map for an owner, by a new element
 * @owner: the owner, which the caller keeps alive and which is not being freed
 * @smap: the map, kept alive by the caller
 * @value: the value to copy, or NULL for all zero
 * @map_flags: BPF_ANY, BPF_NOEXIST or BPF_EXIST, and BPF_F_LOCK to write to what is there
 * @swap_uptrs: the uptrs in @value are pinned, and are the map's from when its element is filled
 *
 * Any context. RCU or RCU Tasks Trace read lock held, for as long as the result is used. A function
 * of its own, as programs may be attached to it.
 *
 * Return: the value, or an ERR_PTR(): -EEXIST and -ENOENT as the flags ask, -ENOENT also if the
 * owner is being freed, -ENOMEM, and -EDEADLK or -ETIMEDOUT from the locks.
 */
noinline struct bpf_local_storage_data *
bpf_local_storage_update(void *owner, struct bpf_local_storage_map *smap, void *value,
			 u64 map_flags, bool swap_uptrs)
{
	struct bpf_local_storage_data *sdata;
	struct bpf_local_storage_elem *selem;
	struct bpf_local_storage *fresh;

	selem = bpf_selem_alloc(smap, owner, value, swap_uptrs, &fresh);
	if (IS_ERR(selem))
		return ERR_CAST(selem);

	sdata = insert_selem(owner, selem, fresh, map_flags);
	if (likely(sdata == SDATA(selem)))
		return sdata;
	bpf_selem_discard(selem, owner);

	return IS_ERR(sdata) ? sdata : write_locked(sdata, value);
}

/**
 * bpf_local_storage_set() - set the value of a map for an owner
 * @owner: as for bpf_local_storage_update()
 * @smap: as for bpf_local_storage_update()
 * @value: as for bpf_local_storage_update()
 * @map_flags: from the caller of bpf(2), not checked yet
 * @swap_uptrs: as for bpf_local_storage_update()
 *
 * Context as for bpf_local_storage_update(). What the flags rule out needs neither memory nor a
 * lock, nor does what BPF_F_LOCK finds.
 *
 * Return: as there, or ERR_PTR(-EINVAL) for flags that do not go together or that the value type
 * has no lock for.
 */
struct bpf_local_storage_data *
bpf_local_storage_set(void *owner, struct bpf_local_storage_map *smap, void *value,
		      u64 map_flags, bool swap_uptrs)
{
	struct bpf_local_storage_data *sdata;
	int err;

	if ((map_flags & ~(u64)BPF_F_LOCK) > BPF_EXIST ||
	    (map_flags & BPF_F_LOCK && !btf_record_has_field(smap->map.record, BPF_SPIN_LOCK)))
		return ERR_PTR(-EINVAL);

	sdata = bpf_local_storage_lookup_owner(smap->type, owner, smap);
	err = check_flags(sdata, map_flags);
	if (err)
		return ERR_PTR(err);
	if (sdata && map_flags & BPF_F_LOCK)
		return write_locked(sdata, value);

	return bpf_local_storage_update(owner, smap, value, map_flags, swap_uptrs);
}

/**
 * bpf_local_storage_create() - the part of bpf_*_storage_get() that creates
 * @owner: the owner, kept from being freed by the caller or by the type's tryget()
 * @smap: the map, kept alive by the caller
 * @value: what the value starts as, NULL: all zero
 *
 * Context as for bpf_local_storage_update(). Who creates it, the value is there: losing a race
 * against another creator is no error.
 *
 * Return: the value, or NULL.
 */
struct bpf_local_storage_data *
bpf_local_storage_create(void *owner, struct bpf_local_storage_map *smap, void *value)
{
	const struct bpf_local_storage_type *type = smap->type;
	struct bpf_local_storage_data *sdata;
	int turn;

	if (type->may_create && !type->may_create(owner))
		return NULL;
	if (type->tryget && !type->tryget(owner))
		return NULL;

	/* As above: each further turn takes a creation and a deletion by others. */
	for (turn = 0; turn < INSERT_TURNS; turn++) {
		sdata = bpf_local_storage_update(owner, smap, value, BPF_NOEXIST, false);
		if (sdata != ERR_PTR(-EEXIST))
			break;
		sdata = bpf_local_storage_lookup_owner(type, owner, smap);
		if (sdata)
			break;
	}

	if (type->put)
		type->put(owner);

	return IS_ERR(sdata) ? NULL : sdata;
}

/**
 * bpf_local_storage_copy() - give an owner a copy of an element of another owner
 * @owner: the new owner, which nobody else knows yet
 * @from: the element, kept alive by RCU; its map is kept alive by the caller
 *
 * Special fields other than the lock start out empty in the copy.
 *
 * Context: softirq or task, RCU read lock held.
 * Return: 0, -ENOMEM, -EEXIST if the owner has a value of the map, or the locks' error.
 */
int bpf_local_storage_copy(void *owner, struct bpf_local_storage_elem *from)
{
	struct bpf_local_storage_map *smap = SDATA(from)->smap;
	struct bpf_local_storage_data *sdata;
	struct bpf_local_storage_elem *selem;
	struct bpf_local_storage *fresh;

	selem = bpf_selem_alloc(smap, owner, NULL, false, &fresh);
	if (IS_ERR(selem))
		return PTR_ERR(selem);

	if (btf_record_has_field(smap->map.record, BPF_SPIN_LOCK))
		copy_map_value_locked(&smap->map, SDATA(selem)->data, SDATA(from)->data, true);
	else
		copy_map_value(&smap->map, SDATA(selem)->data, SDATA(from)->data);

	sdata = insert_selem(owner, selem, fresh, BPF_NOEXIST);
	if (IS_ERR(sdata))
		bpf_selem_discard(selem, owner);

	return PTR_ERR_OR_ZERO(sdata);
}

/**
 * bpf_selem_unlink() - delete an element
 * @selem: an element that a lookup found; owner and map are kept alive by the caller
 *
 * Any context. Of several callers one unlinks, uncharges and frees; the others have come second to
 * a deletion, or to a replacement that followed theirs, and are told that all is well.
 *
 * Return: 0, or -EDEADLK or -ETIMEDOUT from the locks: then the element is still there.
 */
int bpf_selem_unlink(struct bpf_local_storage_elem *selem)
{
	struct bpf_local_storage_map *smap = SDATA(selem)->smap;
	struct bpf_local_storage *storage;
	struct bpf_local_storage_map_bucket *b;
	unsigned long flags, b_flags;
	bool unlinked = false, last = false;
	void *owner = NULL;
	u32 size = 0;
	int err;

	storage = rcu_dereference_check(selem->storage, bpf_rcu_lock_held());
	if (!storage)
		return 0;

	err = bpf_local_storage_lock(&storage->lock, &flags, BLS_DELETE_STORAGE);
	if (err)
		return err;

	if (!bpf_local_storage_in_use(storage) || !atomic_read(&selem->state))
		goto unlock;

	b = bpf_selem_bucket(selem);
	err = bpf_local_storage_lock(&b->lock, &b_flags, BLS_DELETE_BUCKET);
	if (err)
		goto unlock;

	hlist_del_rcu(&selem->map_node);
	bpf_selem_unlink_storage(storage, selem);
	atomic_set(&selem->state, 0);
	bpf_local_storage_unlock(&b->lock, b_flags);

	unlinked = true;
	owner = storage->owner;
	size = smap->elem_size;
	last = hlist_empty(&storage->list) && bpf_local_storage_shut(storage, 0);
	if (last) {
		size = storage->mem_charge;
		bpf_local_storage_part(smap, owner);
	}
	storage->mem_charge -= size;
unlock:
	bpf_local_storage_unlock(&storage->lock, flags);

	if (!unlinked)
		return err;

	/* Both are out of everybody's reach: off the lists, and the caller pins the owner. */
	bpf_local_storage_uncharge(smap, owner, size);
	if (last) {
		struct llist_node *riders = NULL;

		bpf_selem_ride(selem, &riders);
		bpf_local_storage_free(storage, riders);
	} else {
		bpf_selem_free(selem);
	}

	return 0;
}

/**
 * bpf_local_storage_delete() - delete a map's value for an owner
 * @owner: the owner, kept alive by the caller
 * @smap: the map, kept alive by the caller
 *
 * Context as for bpf_local_storage_update().
 *
 * Return: 0, -ENOENT if there is no value or the owner is on its way out, or the locks' error.
 */
int bpf_local_storage_delete(void *owner, struct bpf_local_storage_map *smap)
{
	const struct bpf_local_storage_type *type = smap->type;
	struct bpf_local_storage_data *sdata;
	int err;

	if (type->tryget && !type->tryget(owner))
		return -ENOENT;

	sdata = bpf_local_storage_lookup_owner(type, owner, smap);
	err = sdata ? bpf_selem_unlink(SELEM(sdata)) : -ENOENT;

	if (type->put)
		type->put(owner);

	return err;
}
