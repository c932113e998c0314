// SPDX-License-Identifier: GPL-2.0
/*
 * BPF local storage: the one way in and the one way out for memory.
 *
 * In: programs run in contexts that no allocator but a lockless one is made for. Out: a grace
 * period is asked for at once where that is safe, else from an irq_work.
 *
 * Which grace period: whatever a program may still hold is freed after one of RCU Tasks Trace, as
 * sleepable programs hold values, and storages, under rcu_read_lock_trace() alone. It implies one
 * of RCU. Only elements that map_free unlinks do with RCU: no program has that map any more, and
 * the readers left, who come past the elements on their way to others, are RCU readers.
 */
#include <linux/bpf.h>
#include <linux/bpf_mem_alloc.h>
#include <linux/btf.h>
#include <linux/irq_work.h>
#include <linux/llist.h>
#include <linux/rcupdate_trace.h>
#include <linux/slab.h>

#include "bpf_local_storage_internal.h"

/*
 * Can the code below us hold a lock of RCU's queues, or, but on PREEMPT_RT, of an allocator? They
 * take theirs with IRQs off only.
 */
static bool interrupted_unknown(void)
{
	return in_nmi() || irqs_disabled();
}

/**
 * bpf_local_storage_zalloc() - zeroed memory, from where the context allows
 * @smap: the map on whose behalf
 * @size: how much
 * @from_bpf_ma: set to what bpf_local_storage_kfree() has to be told
 *
 * Any context.
 *
 * Return: the memory, or NULL.
 */
void *bpf_local_storage_zalloc(struct bpf_local_storage_map *smap, size_t size, bool *from_bpf_ma)
{
	void *p;

	*from_bpf_ma = false;
	p = bpf_map_kmalloc_nolock(&smap->map, size, __GFP_ZERO, NUMA_NO_NODE);
	if (likely(p))
		return p;

	/*
	 * kmalloc_nolock() has nothing above KMALLOC_MAX_CACHE_SIZE, nothing at all without a
	 * 128-bit cmpxchg, and at times just bad luck.
	 */
	if (!interrupted_unknown() && !IS_ENABLED(CONFIG_PREEMPT_RT))
		return bpf_map_kzalloc(&smap->map, size, GFP_NOWAIT | __GFP_NOWARN);

	/* Not charged to a memory cgroup: only where there is nothing else. */
	if (IS_ENABLED(CONFIG_HAVE_CMPXCHG_DOUBLE) || !bpf_global_ma_set ||
	    bpf_mem_alloc_check_size(false, size))
		return NULL;

	p = bpf_mem_alloc(&bpf_global_ma, size);
	if (p) {
		memset(p, 0, size);
		*from_bpf_ma = true;
	}

	return p;
}

/**
 * bpf_local_storage_kfree() - give back what bpf_local_storage_zalloc() gave
 * @p: the memory, or NULL
 * @from_bpf_ma: as it was set then
 *
 * RCU callback context.
 */
void bpf_local_storage_kfree(void *p, bool from_bpf_ma)
{
	/* An RCU callback: bottom halves are off, so there is no migration here either. */
	if (from_bpf_ma)
		bpf_mem_free(&bpf_global_ma, p);
	else
		kfree(p);
}

/**
 * bpf_selem_alloc() - make an element, charged to its owner to be
 * @smap: the map, kept alive by the caller
 * @owner: whom to charge
 * @value: what to copy into it, or NULL for all zero
 * @swap_uptrs: the uptrs in @value are to move into the element
 *
 * Any context. The element counts on the map from here until its memory is given back.
 *
 * Return: the element, on no list, or ERR_PTR(-ENOMEM), also if the owner's limit is reached.
 */
struct bpf_local_storage_elem *
bpf_selem_alloc(struct bpf_local_storage_map *smap, void *owner, void *value, bool swap_uptrs)
{
	struct bpf_local_storage_elem *selem;
	bool from_bpf_ma;
	int err;

	err = bpf_local_storage_charge(smap, owner, smap->elem_size);
	if (err)
		return ERR_PTR(err);

	selem = bpf_local_storage_zalloc(smap, smap->elem_size, &from_bpf_ma);
	if (!selem) {
		bpf_local_storage_uncharge(smap, owner, smap->elem_size);
		return ERR_PTR(-ENOMEM);
	}

	bpf_local_storage_map_count(smap);
	selem->from_bpf_ma = from_bpf_ma;
	SDATA(selem)->smap = smap;
	if (value) {
		copy_map_value(&smap->map, SDATA(selem)->data, value);
		if (swap_uptrs)
			bpf_obj_swap_uptrs(smap->map.record, SDATA(selem)->data, value);
	}

	return selem;
}

/**
 * bpf_local_storage_alloc() - make a storage, charged to its owner to be
 * @smap: the map whose value will be its first
 * @owner: whom to charge
 *
 * Any context. The storage comes with the charge of one element of @smap already entered.
 *
 * Return: the storage, or ERR_PTR(-ENOMEM), also if the owner's limit is reached.
 */
struct bpf_local_storage *
bpf_local_storage_alloc(struct bpf_local_storage_map *smap, void *owner)
{
	struct bpf_local_storage *storage;
	bool from_bpf_ma;
	int err;

	err = bpf_local_storage_charge(smap, owner, sizeof(*storage));
	if (err)
		return ERR_PTR(err);

	storage = bpf_local_storage_zalloc(smap, sizeof(*storage), &from_bpf_ma);
	if (!storage) {
		bpf_local_storage_uncharge(smap, owner, sizeof(*storage));
		return ERR_PTR(-ENOMEM);
	}

	storage->from_bpf_ma = from_bpf_ma;
	raw_res_spin_lock_init(&storage->lock);
	storage->owner = owner;
	storage->mem_charge = sizeof(*storage) + smap->elem_size;

	return storage;
}

/*
 * The end of an element. No reader is left and no lock is held, and the map and its record live
 * until it is counted off.
 */
static void selem_release(struct bpf_local_storage_elem *selem)
{
	struct bpf_local_storage_map *smap = SDATA(selem)->smap;

	bpf_obj_free_fields(smap->map.record, SDATA(selem)->data);
	bpf_local_storage_kfree(selem, selem->from_bpf_ma);
	bpf_local_storage_map_uncount(smap);
}

static void selem_free_cb(struct rcu_head *rcu)
{
	selem_release(container_of(rcu, struct bpf_local_storage_elem, rcu));
}

static void storage_free_cb(struct rcu_head *rcu)
{
	struct bpf_local_storage *storage = container_of(rcu, struct bpf_local_storage, rcu);
	struct llist_node *node = storage->riders;

	while (node) {
		struct rcu_head *rider = node_to_rcu_head(node);

		node = node->next;
		selem_free_cb(rider);
	}
	bpf_local_storage_free_slots(storage);
	bpf_local_storage_kfree(storage, storage->from_bpf_ma);
}

/* What was freed where RCU must not be called. The func of a queued rcu_head is the callback. */
struct free_queue {
	struct llist_head heads;
	struct irq_work work;
};

static void free_queue_flush(struct irq_work *work)
{
	struct free_queue *q = container_of(work, struct free_queue, work);
	struct llist_node *node = llist_del_all(&q->heads);

	while (node) {
		struct rcu_head *head = node_to_rcu_head(node);

		node = node->next;
		call_rcu_tasks_trace(head, head->func);
	}
}

static DEFINE_PER_CPU(struct free_queue, free_queues) = {
	.work = IRQ_WORK_INIT(free_queue_flush),
};

/**
 * bpf_local_storage_free_after_gp() - call back once no program can hold a thing any more
 * @head: in the thing, which nobody can find from here on
 * @func: what frees it
 *
 * Any context. In NMI, or with IRQs off on the way in, code below us may hold the locks of RCU or
 * of what an RCU callback's enqueueing wakes. An irq_work interrupts none of these: they are taken
 * with IRQs off.
 */
void bpf_local_storage_free_after_gp(struct rcu_head *head, rcu_callback_t func)
{
	struct free_queue *q;

	if (likely(!interrupted_unknown())) {
		call_rcu_tasks_trace(head, func);
		return;
	}

	head->func = func;
	/* IRQs are off: no migration between the two. */
	q = this_cpu_ptr(&free_queues);
	if (llist_add(rcu_head_to_node(head), &q->heads))
		irq_work_queue(&q->work);
}

/**
 * bpf_selem_free() - free an element that programs may still hold
 * @selem: off all lists, held by nobody but the caller
 *
 * Any context. Special fields go with it, after the grace period: exactly once, and with what a
 * program put into them until then.
 */
void bpf_selem_free(struct bpf_local_storage_elem *selem)
{
	bpf_local_storage_free_after_gp(&selem->rcu, selem_free_cb);
}

/**
 * bpf_selem_free_map() - free an element that map_free unlinked
 * @selem: off all lists, held by nobody but the caller
 *
 * Task context. The map is going: nobody who could have looked the element up is left.
 */
void bpf_selem_free_map(struct bpf_local_storage_elem *selem)
{
	/* Somebody waits for this one. */
	call_rcu_hurry(&selem->rcu, selem_free_cb);
}

/**
 * bpf_selem_discard() - undo bpf_selem_alloc()
 * @selem: an element that was never on a list
 * @owner: who was charged, kept alive by the caller
 *
 * Any context.
 */
void bpf_selem_discard(struct bpf_local_storage_elem *selem, void *owner)
{
	struct bpf_local_storage_map *smap = SDATA(selem)->smap;

	bpf_local_storage_uncharge(smap, owner, smap->elem_size);
	/* There are no readers to wait for, but the allocators take locks too. */
	bpf_selem_free(selem);
}

/**
 * bpf_selem_ride() - have an element freed together with its storage
 * @selem: as for bpf_selem_free()
 * @riders: the elements that ride along so far
 */
void bpf_selem_ride(struct bpf_local_storage_elem *selem, struct llist_node **riders)
{
	struct llist_node *node = rcu_head_to_node(&selem->rcu);

	node->next = *riders;
	*riders = node;
}

/**
 * bpf_local_storage_free() - free a storage
 * @storage: no longer the owner's, its list empty, held by nobody but the caller
 * @riders: elements to free in the same callback, or NULL
 *
 * Any context. A program that looks for another map's value may be reading the storage, with the
 * lock of RCU Tasks Trace alone, whoever emptied it.
 */
void bpf_local_storage_free(struct bpf_local_storage *storage, struct llist_node *riders)
{
	storage->riders = riders;
	bpf_local_storage_free_after_gp(&storage->rcu, storage_free_cb);
}

/**
 * bpf_local_storage_discard() - undo bpf_local_storage_alloc()
 * @storage: a storage that was never an owner's
 * @smap: the map it was made with
 * @owner: who was charged, kept alive by the caller
 *
 * Any context.
 */
void bpf_local_storage_discard(struct bpf_local_storage *storage,
			       struct bpf_local_storage_map *smap, void *owner)
{
	/* But for the element, which bpf_selem_alloc() charged. */
	bpf_local_storage_uncharge(smap, owner, storage->mem_charge - smap->elem_size);
	bpf_local_storage_free(storage, NULL);
}
