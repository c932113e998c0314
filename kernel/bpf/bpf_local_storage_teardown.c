// SPDX-License-Identifier: GPL-2.0
/*
 * BPF local storage: the two ends that cannot fail.
 *
 * destroy comes when an owner is being freed, map_free when a map is. Each owns one side of every
 * element it meets and has to take the other side's lock, which may be refused; and the two may
 * meet on the same element. Three rules make this safe; Documentation/bpf/local_storage.rst
 * argues them at length:
 *
 *  - A side is given up by clearing its bit in the element's state, once, when this side is done
 *    with the element. Whoever clears the last bit frees the element, and nobody else does.
 *  - A list that its owner takes over is marked as such under its lock (detached, spliced). From
 *    then on the other side leaves the links of that list alone.
 *  - The owner is touched only inside the gate. destroy shuts it, and then waits for the few
 *    instructions of whoever is inside.
 *
 * What cannot be locked now is kept and tried again from process context: by map_free itself,
 * which sleeps between its tries; for destroy, which has to return, by a work item. Neither needs
 * the owner for it.
 */
#include <linux/bpf.h>
#include <linux/irq_work.h>
#include <linux/llist.h>
#include <linux/rculist.h>
#include <linux/sched/signal.h>
#include <linux/workqueue.h>

#include "bpf_local_storage_internal.h"

/* How soon to try again what a lock was refused for: who has the lock needs microseconds. */
#define RETRY_DELAY	1

/* After this long without success somebody should know. */
#define STUCK		(5 * HZ)

/**
 * bpf_local_storage_enter() - pass the gate, to touch the owner of a storage
 * @storage: a storage, kept from being freed by RCU
 *
 * Inside, destroy of this owner does not return, so the owner exists. As destroy spins meanwhile,
 * IRQs are off from here to bpf_local_storage_leave(), and only a few instructions may be between:
 * take a reference, or uncharge. No program may be attached to them, lest it makes destroy wait, or
 * comes to be in destroy itself.
 *
 * Any context with IRQs off.
 *
 * Return: the owner, or NULL if it is being freed.
 */
notrace void *bpf_local_storage_enter(struct bpf_local_storage *storage)
{
	int gate = atomic_read(&storage->gate);

	do {
		if (gate & GATE_CLOSED)
			return NULL;
	} while (!atomic_try_cmpxchg_acquire(&storage->gate, &gate, gate + 1));

	return storage->owner;
}

/**
 * bpf_local_storage_leave() - go back through the gate
 * @storage: what bpf_local_storage_enter() was called with
 *
 * Orders what was done inside before destroy's return: pairs with its acquire in close_gate().
 */
notrace void bpf_local_storage_leave(struct bpf_local_storage *storage)
{
	/* A plain atomic_dec() orders nothing. */
	(void)atomic_fetch_dec_release(&storage->gate);
}

/* Shut the gate for good. Returns whether it was open until now. */
static bool close_gate(struct bpf_local_storage *storage)
{
	bool was_open = !(atomic_fetch_or(GATE_CLOSED, &storage->gate) & GATE_CLOSED);

	/*
	 * Nobody gets in any more, and who is inside runs a few instructions with IRQs off on
	 * another CPU: this ends.
	 */
	while (atomic_read_acquire(&storage->gate) & ~GATE_CLOSED)
		cpu_relax();

	return was_open;
}

/* map_free has @selem. Take it off its storage too. 1: done, 0: destroy has it, or an error. */
static int take_storage_side(struct bpf_local_storage_elem *selem)
{
	struct bpf_local_storage_map *smap = SDATA(selem)->smap;
	struct bpf_local_storage *storage;
	unsigned long flags;
	bool last = false;
	void *owner;
	u32 size;
	int err;

	guard(rcu)();
	/*
	 * destroy clears this pointer in each element before it frees the storage, after a grace
	 * period: if it is not NULL yet, the storage stays until the end of this function.
	 */
	storage = rcu_dereference(selem->storage);
	if (!storage)
		return 0;

	err = bpf_local_storage_lock(&storage->lock, &flags, BLS_MAP_FREE_STORAGE);
	if (err)
		return err;

	if (storage->detached) {
		bpf_local_storage_unlock(&storage->lock, flags);
		return 0;
	}

	bpf_selem_unlink_storage(storage, selem);
	owner = bpf_local_storage_enter(storage);
	if (owner) {
		size = smap->elem_size;
		/* If destroy shuts the gate behind us, it has the storage, and its charge. */
		last = hlist_empty(&storage->list) && bpf_local_storage_shut(storage, 1);
		if (last)
			size = storage->mem_charge;
		/* Not outside: once the gate is shut, destroy returns what is left here. */
		storage->mem_charge -= size;
		bpf_local_storage_uncharge(smap, owner, size);
		if (last)
			bpf_local_storage_part(smap, owner);
		bpf_local_storage_leave(storage);
	}
	bpf_local_storage_unlock(&storage->lock, flags);

	if (last)
		bpf_local_storage_free(storage, NULL);

	return 1;
}

/* destroy has @selem. Take it off its bucket too. 1: done, 0: map_free has it, or an error. */
static int take_map_side(struct bpf_local_storage_elem *selem)
{
	/* The element counts on the map, so the map is there. */
	struct bpf_local_storage_map_bucket *b = bpf_selem_bucket(selem);
	unsigned long flags;
	int err, taken;

	err = bpf_local_storage_lock(&b->lock, &flags, BLS_DESTROY_BUCKET);
	if (err)
		return err;

	taken = !b->spliced;
	if (taken)
		hlist_del_rcu(&selem->map_node);
	bpf_local_storage_unlock(&b->lock, flags);

	return taken;
}

/**
 * bpf_selem_unlink_nofail() - give up an element at the end of its map or of its owner
 * @selem: an element that the caller has taken off its own side's list, or has taken over with it
 * @side: the caller's side, SELEM_MAP or SELEM_STORAGE
 *
 * Tries to take the element off the other side's list as well, unless the other end did or does
 * that itself. Not to be able to is no failure: the caller keeps its side, and calls again.
 *
 * Context: any for SELEM_STORAGE, task for SELEM_MAP.
 *
 * Return: 1 if the caller now has all of the element and is to free it, 0 if it has nothing of it
 * any more and must not look at it, -EDEADLK or -ETIMEDOUT if it still has its own side.
 */
static int bpf_selem_unlink_nofail(struct bpf_local_storage_elem *selem, int side)
{
	int held = side;
	int ret;

	ret = side == SELEM_MAP ? take_storage_side(selem) : take_map_side(selem);
	if (ret < 0)
		return ret;
	if (ret)
		held = SELEM_MAP | SELEM_STORAGE;

	/* Fully ordered: what either side did to the element comes before its end. */
	return !(atomic_fetch_andnot(held, &selem->state) & ~held);
}

/*
 * What destroy could not lock. A queued rcu_head has its func set to what tries again; RCU itself
 * is not involved. A queued element is off its storage and has its STORAGE bit; a queued storage
 * has its gate shut.
 */
static LLIST_HEAD(orphans);

static void orphans_retry(struct work_struct *work);
static DECLARE_DELAYED_WORK(orphans_work, orphans_retry);

/* destroy may run where a wake-up could deadlock: go through an interrupt. */
static void orphans_kick(struct irq_work *work)
{
	queue_delayed_work(bpf_local_storage_wq, &orphans_work, RETRY_DELAY);
}

static struct irq_work orphans_irq_work = IRQ_WORK_INIT_HARD(orphans_kick);

static void hand_over(struct rcu_head *head, rcu_callback_t retry)
{
	head->func = retry;
	/* A list that was not empty has its kick under way, or its worker not yet begun. */
	if (llist_add(rcu_head_to_node(head), &orphans))
		bpf_local_storage_irq_work(&orphans_irq_work);
}

static void orphans_retry(struct work_struct *work)
{
	struct llist_node *node = llist_del_all(&orphans);
	static unsigned long since;	/* when all was last well; only this work item's */

	while (node) {
		struct rcu_head *head = node_to_rcu_head(node);

		node = node->next;
		head->func(head);
		cond_resched();
	}

	if (llist_empty(&orphans))
		since = 0;
	else if (!since)
		since = jiffies;
	else if (time_after(jiffies, since + STUCK))
		pr_warn_ratelimited("bpf local storage: values of owners that are gone wait for locks, for %lu s now\n",
				    (jiffies - since) / HZ);
}

static void retry_selem(struct rcu_head *head)
{
	struct bpf_local_storage_elem *selem;
	int ret;

	selem = container_of(head, struct bpf_local_storage_elem, rcu);
	ret = bpf_selem_unlink_nofail(selem, SELEM_STORAGE);
	if (ret < 0)
		hand_over(head, retry_selem);
	else if (ret)
		bpf_selem_free(selem);
}

static void dismantle(struct rcu_head *head)
{
	struct bpf_local_storage *storage = container_of(head, struct bpf_local_storage, rcu);
	struct bpf_local_storage_elem *selem;
	struct llist_node *riders = NULL;
	struct hlist_node *next;
	HLIST_HEAD(list);
	unsigned long flags;
	int ret = 0;

	/* For the slots of the storage, which nobody can grow any more. */
	guard(rcu)();
	if (bpf_local_storage_lock(&storage->lock, &flags, BLS_DESTROY_STORAGE)) {
		hand_over(head, dismantle);
		return;
	}

	storage->detached = true;
	hlist_move_list(&storage->list, &list);
	bpf_local_storage_unlock(&storage->lock, flags);

	hlist_for_each_entry_safe(selem, next, &list, snode) {
		bpf_selem_unlink_storage(storage, selem);
		/* Before the storage is freed: see take_storage_side(). */
		RCU_INIT_POINTER(selem->storage, NULL);

		/* To be refused takes a quarter of a second or more: once is enough. */
		if (ret >= 0)
			ret = bpf_selem_unlink_nofail(selem, SELEM_STORAGE);
		if (ret < 0)
			hand_over(&selem->rcu, retry_selem);
		else if (ret)
			bpf_selem_ride(selem, &riders);
	}

	bpf_local_storage_free(storage, riders);
}

/**
 * bpf_local_storage_destroy() - free all the values of an owner that is being freed
 * @ptr: the owner's storage pointer
 *
 * No program or syscall may be creating, replacing or deleting a value of the owner, nor begin to.
 * The backends see to that: a socket has no reference left, which the helpers take; a task and a
 * cgroup had a grace period since they could be found; an inode's blob is in its RCU callback.
 *
 * map_free of any of the maps may run at the same time. When this returns nobody touches the owner
 * any more, though some of its elements may still be waiting for a lock.
 *
 * Any context but NMI.
 *
 * Return: what is left to uncharge from the owner.
 */
u32 bpf_local_storage_destroy(struct bpf_local_storage __rcu **ptr)
{
	struct bpf_local_storage *storage;
	u32 charge;

	guard(rcu)();
	/* Acquire, for NULL too: pairs with bpf_local_storage_part() of a map_free that is done. */
	storage = unrcu_pointer(smp_load_acquire(ptr));
	/* If the gate was shut, map_free emptied the storage and frees it. */
	if (!storage || !close_gate(storage))
		return 0;

	/* Whoever still comes across the owner, as it is taken apart, finds nothing. */
	RCU_INIT_POINTER(*ptr, NULL);

	/* Stable now: only a pinned owner's updates, or map_free inside the gate, change it. */
	charge = storage->mem_charge;
	dismantle(&storage->rcu);

	return charge;
}

/* Try all of @list, which map_free owns: on to @unlinked, or what it has to keep, to @kept. */
static void unlink_list(struct hlist_head *list, struct hlist_head *kept,
			struct llist_node **unlinked)
{
	struct bpf_local_storage_elem *selem;
	struct hlist_node *next;
	int ret;

	hlist_for_each_entry_safe(selem, next, list, map_node) {
		ret = bpf_selem_unlink_nofail(selem, SELEM_MAP);
		if (ret < 0)
			/* The bucket is spliced and no iterator runs: map_node is ours. */
			hlist_add_head(&selem->map_node, kept);
		else if (ret)
			bpf_selem_ride(selem, unlinked);
		cond_resched();
	}
}

/**
 * bpf_local_storage_map_unlink() - take all elements of a map that is being freed off their owners
 * @smap: the map, which nobody can find any more
 *
 * Returns when map_free holds no element of the map. Some may be left that the end of their owners
 * holds, or that wait for their grace period: bpf_local_storage_map_live() counts them.
 *
 * May sleep.
 */
void bpf_local_storage_map_unlink(struct bpf_local_storage_map *smap)
{
	u32 nr_buckets = 1U << smap->bucket_log;
	struct llist_node *unlinked = NULL;
	unsigned long since = jiffies;
	HLIST_HEAD(kept);
	bool again;
	u32 i;

	do {
		HLIST_HEAD(list);

		hlist_move_list(&kept, &list);
		unlink_list(&list, &kept, &unlinked);

		again = false;
		for (i = 0; i < nr_buckets; i++) {
			struct bpf_local_storage_map_bucket *b = &smap->buckets[i];
			unsigned long flags;

			/* Only written here. */
			if (b->spliced)
				continue;
			if (bpf_local_storage_lock(&b->lock, &flags, BLS_MAP_FREE_BUCKET)) {
				again = true;
				continue;
			}
			b->spliced = true;
			hlist_move_list(&b->list, &list);
			bpf_local_storage_unlock(&b->lock, flags);
			unlink_list(&list, &kept, &unlinked);
		}

		again |= !hlist_empty(&kept);
		if (again)
			schedule_timeout_idle(RETRY_DELAY);
		if (again && time_after(jiffies, since + STUCK))
			pr_warn_ratelimited("bpf local storage: map %u is gone, but %ld values wait for locks, for %lu s now\n",
					    smap->map.id, bpf_local_storage_map_live(smap),
					    (jiffies - since) / HZ);
	} while (again);

	bpf_selem_free_unlinked(unlinked);
}
