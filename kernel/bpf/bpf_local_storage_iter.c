// SPDX-License-Identifier: GPL-2.0
/*
 * BPF local storage: the iterators, which show a program the values of a map and their owners.
 *
 * A reader may come back for the next few bytes whenever it likes. Until then an iterator keeps its
 * place with a cursor, a node of its own on the bucket's list, so that it makes no difference what
 * becomes of the elements around it. A cursor has an element's type but no map. Only iterators walk
 * these lists, under the bucket's lock, and they pass over the cursors.
 *
 * The element right behind the cursor may have been shown already. It is known again by its
 * storage, as is what replaced it; the element itself may be gone, and its address in use for
 * another. New elements come in at the head of the list, thus before the cursor. So what is behind
 * it was there when the cursor came onto the list, or replaced what was, of the same storage: no
 * second element there can have the storage of the one that was shown, were it at the address of an
 * earlier storage.
 *
 * An element is shown under rcu_read_lock(), taken before the element was found, which keeps it and
 * its storage. The owner needs more than that: see bpf_local_storage_type::iter_get. The map has a
 * reference, of the open file: map_free does not meet cursors.
 */
#include <linux/bpf.h>
#include <linux/btf.h>
#include <linux/rculist.h>
#include <linux/sched.h>
#include <linux/seq_file.h>

#include "bpf_local_storage_internal.h"

struct selem_iter {
	struct bpf_map *map;
	u32 bucket;
	const struct bpf_local_storage *done;	/* of the element that is to be passed over */
	void *shown;				/* what iter_get() gave for the current element, */
	void *pin;				/* and what it holds besides */
	struct bpf_local_storage_elem cursor;
};

static bool iter_at_end(const struct selem_iter *iter)
{
	return iter->bucket == 1U << bpf_local_storage_map(iter->map)->bucket_log;
}

/* The next element behind the cursor that was not shown and that its owner's end does not have. */
static struct bpf_local_storage_elem *iter_advance(struct selem_iter *iter,
						   struct bpf_local_storage **storage)
{
	struct bpf_local_storage_elem *selem = &iter->cursor;

	hlist_for_each_entry_continue(selem, map_node) {
		if (!SDATA(selem)->smap)
			continue;
		*storage = rcu_dereference(selem->storage);
		if (*storage && *storage != iter->done)
			break;
		hlist_del(&iter->cursor.map_node);
		hlist_add_behind(&iter->cursor.map_node, &selem->map_node);
		iter->done = NULL;
	}

	return selem;
}

static void iter_put(struct selem_iter *iter)
{
	if (iter->shown || iter->pin)
		bpf_local_storage_map(iter->map)->type->iter_put(iter->shown, iter->pin);
	iter->shown = NULL;
	iter->pin = NULL;
}

/* Keep the owner of @storage for the program. False: it is on its way out, or not there yet. */
static bool iter_get(struct selem_iter *iter, struct bpf_local_storage *storage)
{
	unsigned long flags;
	void *owner;

	/* The owner itself need not be RCU's: nothing but the gate keeps it until it is held. */
	local_irq_save(flags);
	owner = bpf_local_storage_enter(storage);
	if (owner) {
		iter->shown = bpf_local_storage_map(iter->map)->type->iter_get(owner, &iter->pin);
		bpf_local_storage_leave(storage);
	}
	local_irq_restore(flags);

	if (!iter->shown)
		iter_put(iter);

	return iter->shown;
}

/*
 * The next element to show, its owner held; NULL at the end. Refused the lock: -EAGAIN, and who
 * reads again goes on from there.
 */
static struct bpf_local_storage_elem *iter_find(struct selem_iter *iter)
{
	struct bpf_local_storage_map *smap = bpf_local_storage_map(iter->map);
	struct bpf_local_storage_map_bucket *b;
	struct bpf_local_storage_elem *selem;
	struct bpf_local_storage *storage;
	unsigned long flags;

	while (!iter_at_end(iter)) {
		b = &smap->buckets[iter->bucket];
		if (bpf_local_storage_lock(&b->lock, &flags, BLS_ITER_BUCKET))
			return ERR_PTR(-EAGAIN);

		if (hlist_unhashed(&iter->cursor.map_node))
			hlist_add_head(&iter->cursor.map_node, &b->list);
		selem = iter_advance(iter, &storage);
		if (!selem) {
			hlist_del_init(&iter->cursor.map_node);
			iter->bucket++;
		}
		bpf_local_storage_unlock(&b->lock, flags);

		if (!selem)
			continue;
		if (iter_get(iter, storage))
			return selem;
		iter->done = storage;
	}

	return NULL;
}

static void *iter_start(struct seq_file *seq, loff_t *pos)
	__acquires(RCU)
{
	rcu_read_lock();
	if (!*pos)
		++*pos;

	return iter_find(seq->private);
}

static void *iter_next(struct seq_file *seq, void *v, loff_t *pos)
{
	struct selem_iter *iter = seq->private;
	struct bpf_local_storage_elem *selem = v;

	++*pos;
	/* NULL if destroy has it by now: then it is passed over for that. */
	iter->done = rcu_access_pointer(selem->storage);

	/* There may be many, and there is a cursor: no need to hold up a grace period. */
	rcu_read_unlock();
	iter_put(iter);
	cond_resched();
	rcu_read_lock();

	return iter_find(iter);
}

/*
 * How much of a value a program may look at: up to the first field that the kernel relies on, as
 * the verifier does not tell writes from reads.
 */
static u32 accessible_size(const struct bpf_map *map)
{
	return IS_ERR_OR_NULL(map->record) ? map->value_size : map->record->fields[0].offset;
}

/* Without an element: the program's last call. */
static int iter_show(struct seq_file *seq, void *v)
{
	struct selem_iter *iter = seq->private;
	struct bpf_local_storage_elem *selem = v;
	struct bpf_iter_meta meta = { .seq = seq };
	struct bpf_prog *prog = bpf_iter_get_info(&meta, !selem);
	struct bpf_local_storage_iter_ctx ctx = {};

	if (!prog)
		return 0;
	/* The link's program may have been replaced by one that attaching it would have refused. */
	if (prog->sleepable || prog->aux->max_rdwr_access > accessible_size(iter->map))
		return -EACCES;

	ctx.meta = &meta;
	ctx.map = iter->map;
	if (selem) {
		ctx.owner = iter->shown;
		ctx.value = SDATA(selem)->data;
	}

	return bpf_iter_run_prog(prog, &ctx);
}

static void iter_stop(struct seq_file *seq, void *v)
	__releases(RCU)
{
	struct selem_iter *iter = seq->private;

	rcu_read_unlock();
	iter_put(iter);
	/* There is no element after an error either. */
	if (iter_at_end(iter))
		iter_show(seq, NULL);
}

static const struct seq_operations iter_seq_ops = {
	.start = iter_start,
	.next = iter_next,
	.stop = iter_stop,
	.show = iter_show,
};

static int iter_init(void *priv, struct bpf_iter_aux_info *aux)
{
	struct selem_iter *iter = priv;

	/* The link's reference may go while the file is open. */
	bpf_map_inc_with_uref(aux->map);
	iter->map = aux->map;

	return 0;
}

static void iter_fini(void *priv)
{
	struct selem_iter *iter = priv;
	struct bpf_local_storage_map_bucket *b;
	unsigned long flags;

	b = &bpf_local_storage_map(iter->map)->buckets[iter->bucket];
	while (!hlist_unhashed_lockless(&iter->cursor.map_node)) {
		/* A file can be closed but once. Who has the lock needs microseconds. */
		if (bpf_local_storage_lock(&b->lock, &flags, BLS_ITER_BUCKET)) {
			schedule_timeout_idle(1);
			continue;
		}
		hlist_del_init(&iter->cursor.map_node);
		bpf_local_storage_unlock(&b->lock, flags);
	}
	bpf_map_put_with_uref(iter->map);
}

const struct bpf_iter_seq_info bpf_local_storage_iter_seq_info = {
	.seq_ops = &iter_seq_ops,
	.init_seq_private = iter_init,
	.fini_seq_private = iter_fini,
	.seq_priv_size = sizeof(struct selem_iter),
};

/**
 * bpf_local_storage_iter_attach() - have a program iterate over a map
 * @prog: the program
 * @linfo: says which map
 * @aux: gets the map
 * @map_type: of what type the map has to be
 *
 * May sleep.
 *
 * Return: 0, -EBADF without a map, -EINVAL if it is of another type, -EPERM if it is another
 * program's alone, -EACCES if @prog uses more of a value than there is, or than it may.
 */
int bpf_local_storage_iter_attach(struct bpf_prog *prog, union bpf_iter_link_info *linfo,
				  struct bpf_iter_aux_info *aux, enum bpf_map_type map_type)
{
	struct bpf_map *map;
	int err = 0;

	if (!linfo->map.map_fd)
		return -EBADF;

	map = bpf_map_get_with_uref(linfo->map.map_fd);
	if (IS_ERR(map))
		return PTR_ERR(map);

	if (map->map_type != map_type)
		err = -EINVAL;
	else if (map->excl_prog_sha)
		err = -EPERM;
	else if (prog->aux->max_rdwr_access > accessible_size(map))
		err = -EACCES;

	if (err)
		bpf_map_put_with_uref(map);
	else
		aux->map = map;

	return err;
}

/**
 * bpf_local_storage_iter_detach() - undo bpf_local_storage_iter_attach()
 * @aux: has the map
 *
 * May sleep.
 */
void bpf_local_storage_iter_detach(struct bpf_iter_aux_info *aux)
{
	bpf_map_put_with_uref(aux->map);
}
