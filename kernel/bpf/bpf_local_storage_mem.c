// SPDX-License-Identifier: GPL-2.0
/*
 * BPF local storage: the one way in and the one way out for memory.
 *
 * In: programs run in contexts that no allocator but a lockless one is made for. Out: what is freed
 * is queued on a list of the CPU's, which is safe anywhere; one grace period at a time is asked
 * for, for all that is on the list by then.
 *
 * Which grace period: whatever a program may still hold is freed after one of RCU Tasks Trace, as
 * sleepable programs hold values, and storages, under rcu_read_lock_trace() alone. It implies one
 * of RCU. Only elements that map_free unlinks do with RCU: no program has that map any more, and
 * the readers left, who come past the elements on their way to others, are RCU readers.
 *
 * An owner's first value is allocated together with its storage where that takes no more memory
 * than two allocations. Each of the two has its own end, and the second frees the memory.
 */
#include <linux/bpf.h>
#include <linux/bpf_mem_alloc.h>
#include <linux/btf.h>
#include <linux/irq_work.h>
#include <linux/llist.h>
#include <linux/rcupdate_trace.h>
#include <linux/slab.h>
#include <linux/workqueue.h>

#include "bpf_local_storage_internal.h"

/*
 * Can the code below us hold a lock of RCU's queues, or, but on PREEMPT_RT, one that an allocator
 * spins on? Those are taken with IRQs off only. The allocators' per-CPU locks, which are not, are
 * only tried for.
 */
static bool interrupted_unknown(void)
{
	return in_nmi() || irqs_disabled();
}

/*
 * Has kmalloc_nolock() anything to give in this context, on this CPU? Where it has not, but for
 * slabs that are debugged, it never will; where it has, no memory is a memory cgroup's limit, or
 * bad luck.
 */
static bool kmalloc_nolock_works(void)
{
	bool works = false;

#if defined(CONFIG_HAVE_ALIGNED_STRUCT_PAGE) && defined(CONFIG_64BIT) && \
	defined(system_has_cmpxchg128)
	works = system_has_cmpxchg128();
#elif defined(CONFIG_HAVE_ALIGNED_STRUCT_PAGE) && !defined(CONFIG_64BIT) && \
	defined(system_has_cmpxchg64)
	works = system_has_cmpxchg64();
#endif
	if (IS_ENABLED(CONFIG_PREEMPT_RT))
		return works && !in_nmi() && !in_hardirq();

	return works && (IS_ENABLED(CONFIG_SMP) || !in_nmi());
}

/**
 * bpf_local_storage_kmalloc() - memory from where the context allows, not cleared
 * @smap: the map on whose behalf
 * @size: how much
 * @from_bpf_ma: set to what bpf_local_storage_kfree() has to be told
 *
 * Any context, migration disabled: the BPF allocator's caches are a CPU's.
 *
 * Return: the memory, or NULL.
 */
void *bpf_local_storage_kmalloc(struct bpf_local_storage_map *smap, size_t size, bool *from_bpf_ma)
{
	void *p;

	*from_bpf_ma = false;
	p = bpf_map_kmalloc_nolock(&smap->map, size, 0, NUMA_NO_NODE);
	if (likely(p))
		return p;

	/* Nor has it anything above KMALLOC_MAX_CACHE_SIZE. */
	if (!interrupted_unknown() && !IS_ENABLED(CONFIG_PREEMPT_RT))
		return bpf_map_kmalloc_node(&smap->map, size, GFP_NOWAIT | __GFP_NOWARN,
					    NUMA_NO_NODE);

	/* Not charged to a memory cgroup: only where there is nothing else. */
	if (kmalloc_nolock_works() || !bpf_global_ma_set || bpf_mem_alloc_check_size(false, size))
		return NULL;

	p = bpf_mem_alloc(&bpf_global_ma, size);
	*from_bpf_ma = p;

	return p;
}

/**
 * bpf_local_storage_kfree() - give back what bpf_local_storage_kmalloc() gave
 * @p: the memory, or NULL
 * @from_bpf_ma: as it was set then
 *
 * Task context, migration disabled.
 */
void bpf_local_storage_kfree(void *p, bool from_bpf_ma)
{
	if (from_bpf_ma)
		bpf_mem_free(&bpf_global_ma, p);
	else
		kfree(p);
}

/* The size of a storage with its first element behind it. */
static u32 joint_size(u32 elem_size)
{
	return sizeof(struct bpf_local_storage) + elem_size;
}

/**
 * bpf_local_storage_joint() - should an owner's first element be allocated with its storage?
 * @elem_size: the size of the map's elements
 *
 * Return: true if so: as one piece they take no more memory than as two.
 */
bool bpf_local_storage_joint(u32 elem_size)
{
	/* What is unlinked first leaves its memory with the other: so nothing large. */
	return joint_size(elem_size) <= 256 &&
	       kmalloc_size_roundup(joint_size(elem_size)) <=
	       kmalloc_size_roundup(sizeof(struct bpf_local_storage)) +
	       kmalloc_size_roundup(elem_size);
}

/* One part of the memory that begins with @storage is done with. */
static void storage_put(struct bpf_local_storage *storage)
{
	if (refcount_dec_and_test(&storage->parts))
		bpf_local_storage_kfree(storage, storage->from_bpf_ma);
}

static void storage_init(struct bpf_local_storage *storage, struct bpf_local_storage_map *smap,
			 void *owner, int parts, bool from_bpf_ma)
{
	memset(storage, 0, sizeof(*storage));
	raw_res_spin_lock_init(&storage->lock);
	storage->owner = owner;
	storage->mem_charge = sizeof(*storage) + smap->elem_size;
	storage->from_bpf_ma = from_bpf_ma;
	refcount_set(&storage->parts, parts);
}

/**
 * bpf_selem_alloc() - make an element, charged to its owner to be
 * @smap: the map, kept alive by the caller
 * @owner: whom to charge
 * @value: what to copy into it, or NULL for all zero
 * @swap_uptrs: the uptrs in @value are to move into the element
 * @fresh: set to a storage that came with it, as if from bpf_local_storage_alloc(), or to NULL
 *
 * Any context. The element counts on the map from here until its memory is given back.
 *
 * Return: the element, on no list, or ERR_PTR(-ENOMEM), also if the owner's limit is reached.
 */
struct bpf_local_storage_elem *
bpf_selem_alloc(struct bpf_local_storage_map *smap, void *owner, void *value, bool swap_uptrs,
		struct bpf_local_storage **fresh)
{
	struct bpf_local_storage_elem *selem;
	u32 size = smap->elem_size;
	bool joint, from_bpf_ma;
	void *p;
	int err;

	/* Should the owner get a storage meanwhile, both parts still serve, or end, singly. */
	joint = smap->joint && !rcu_access_pointer(*smap->type->storage(owner));
	if (joint)
		size = joint_size(size);

	err = bpf_local_storage_charge(smap, owner, size);
	if (err)
		return ERR_PTR(err);

	p = bpf_local_storage_kmalloc(smap, size, &from_bpf_ma);
	if (!p) {
		bpf_local_storage_uncharge(smap, owner, size);
		return ERR_PTR(-ENOMEM);
	}

	*fresh = joint ? p : NULL;
	selem = p;
	if (joint) {
		storage_init(*fresh, smap, owner, 2, from_bpf_ma);
		selem = (void *)(*fresh + 1);
	}
	bpf_local_storage_map_count(smap);
	selem->joint = joint;
	selem->from_bpf_ma = from_bpf_ma;
	SDATA(selem)->smap = smap;
	/* What is not set here is when the element is linked: few are cheaper to set than all. */
	memset(SDATA(selem)->data, 0, smap->map.value_size);
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

	storage = bpf_local_storage_kmalloc(smap, sizeof(*storage), &from_bpf_ma);
	if (!storage) {
		bpf_local_storage_uncharge(smap, owner, sizeof(*storage));
		return ERR_PTR(-ENOMEM);
	}
	storage_init(storage, smap, owner, 1, from_bpf_ma);

	return storage;
}

/*
 * The end of an element. No reader is left and no lock is held, and the map and its record live
 * until it is counted off.
 */
static void selem_release(struct rcu_head *rcu)
{
	struct bpf_local_storage_elem *selem;
	struct bpf_local_storage_map *smap;

	selem = container_of(rcu, struct bpf_local_storage_elem, rcu);
	smap = SDATA(selem)->smap;
	if (!IS_ERR_OR_NULL(smap->map.record))
		bpf_obj_free_fields(smap->map.record, SDATA(selem)->data);
	if (selem->joint)
		storage_put((struct bpf_local_storage *)selem - 1);
	else
		bpf_local_storage_kfree(selem, selem->from_bpf_ma);
	bpf_local_storage_map_uncount(smap);
}

static void storage_release(struct rcu_head *rcu)
{
	struct bpf_local_storage *storage = container_of(rcu, struct bpf_local_storage, rcu);
	struct llist_node *node = storage->riders;

	while (node) {
		struct rcu_head *rider = node_to_rcu_head(node);

		node = node->next;
		selem_release(rider);
	}
	bpf_local_storage_free_slots(storage);
	storage_put(storage);
}

/* So few that they had better wait for more. */
#define PAUSE_BELOW	256

/* What a CPU frees. The func of a queued rcu_head frees the thing that it is in. */
struct free_queue {
	struct llist_head freed;	/* what no grace period was asked for yet */
	struct llist_node *waiting;	/* for the one under way; only for who made this busy */
	unsigned long pause;		/* after the one under way, in jiffies; likewise */
	atomic_t busy;			/* there is one under way, or about to be asked for */
	struct rcu_head rcu;
	struct irq_work irq_work;
	struct delayed_work work;
};

/*
 * Where frees end, and where what destroy could not lock is tried again: a queue of its own, as
 * map_free sleeps on others until it is done, and unbound, as it may have much to do.
 */
struct workqueue_struct *bpf_local_storage_wq;

static void free_queue_elapsed(struct rcu_head *rcu)
{
	struct free_queue *q = container_of(rcu, struct free_queue, rcu);

	/* A long list has no place in an RCU callback, which has bottom halves off. */
	queue_delayed_work(bpf_local_storage_wq, &q->work, q->pause);
}

/*
 * Have what is on @q by now wait for a grace period. The caller has made @q busy.
 *
 * A grace period makes work on every CPU. Where little is freed there is a pause after it, so that
 * more comes together for the next.
 */
static void free_queue_next(struct free_queue *q)
{
	struct llist_node *node;
	int nr = 0;

	q->waiting = llist_del_all(&q->freed);
	for (node = q->waiting; node && nr < PAUSE_BELOW; node = node->next)
		nr++;
	q->pause = nr < PAUSE_BELOW ? BPF_LOCAL_STORAGE_PAUSE : 0;
	call_rcu_tasks_trace(&q->rcu, free_queue_elapsed);
}

static void free_queue_irq_work(struct irq_work *irq_work)
{
	free_queue_next(container_of(irq_work, struct free_queue, irq_work));
}

static bool free_queue_make_busy(struct free_queue *q)
{
	return !atomic_read(&q->busy) && !atomic_xchg(&q->busy, 1);
}

static void free_queue_work(struct work_struct *work)
{
	struct free_queue *q = container_of(to_delayed_work(work), struct free_queue, work);
	struct llist_node *node = q->waiting;

	/*
	 * Fully ordered: who makes @q busy next finds @waiting read; and, with the barrier in
	 * llist_add(), either who adds an entry sees that @q is not busy, or it is seen here.
	 */
	atomic_xchg(&q->busy, 0);
	if (!llist_empty(&q->freed) && free_queue_make_busy(q))
		free_queue_next(q);

	migrate_disable();
	while (node) {
		struct rcu_head *head = node_to_rcu_head(node);

		node = node->next;
		head->func(head);
		cond_resched();
	}
	migrate_enable();
}

/* Not on a thread of its own on PREEMPT_RT: that is gone early when a CPU goes. */
static DEFINE_PER_CPU(struct free_queue, free_queues) = {
	.irq_work = IRQ_WORK_INIT_HARD(free_queue_irq_work),
};

static int __init free_queues_init(void)
{
	int cpu;

	for_each_possible_cpu(cpu)
		INIT_DELAYED_WORK(&per_cpu(free_queues, cpu).work, free_queue_work);

	bpf_local_storage_wq = alloc_workqueue("bpf_local_storage", WQ_UNBOUND | WQ_MEM_RECLAIM, 0);
	if (!bpf_local_storage_wq)
		panic("cannot allocate the workqueue of BPF local storage");

	return 0;
}
core_initcall(free_queues_init);

/**
 * bpf_local_storage_irq_work() - have an irq_work run that nobody has queued
 * @work: the irq_work
 *
 * Any context. A CPU that goes offline switches to its idle task after it has taken its last
 * interrupt: what is queued there then never runs, so another CPU gets it.
 */
notrace void bpf_local_storage_irq_work(struct irq_work *work)
{
	/* Who is on a CPU that is not online stays there. No NMI comes there any more. */
	if (likely(cpu_online(raw_smp_processor_id()) || in_nmi()))
		irq_work_queue(work);
	else
		irq_work_queue_on(work, cpumask_first(cpu_online_mask));
}

/**
 * bpf_local_storage_free_after_gp() - free a thing once no program can hold it any more
 * @head: in the thing, which nobody can find from here on
 * @func: what frees it, in task context with migration disabled
 *
 * Any context. In NMI, or with IRQs off on the way in, code below us may hold the locks of RCU or
 * of what asking it for a grace period wakes. An irq_work interrupts none of these: they are taken
 * with IRQs off. No program may be attached: one that frees something itself, each time it comes by
 * inside llist_add(), would keep that from coming to an end.
 */
noinline notrace void bpf_local_storage_free_after_gp(struct rcu_head *head, rcu_callback_t func)
{
	/* Any CPU's queue does, should this one not be ours any more. */
	struct free_queue *q = raw_cpu_ptr(&free_queues);

	head->func = func;
	llist_add(rcu_head_to_node(head), &q->freed);
	if (!free_queue_make_busy(q))
		return;

	if (likely(!interrupted_unknown()))
		free_queue_next(q);
	else
		bpf_local_storage_irq_work(&q->irq_work);
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
	bpf_local_storage_free_after_gp(&selem->rcu, selem_release);
}

/**
 * bpf_selem_free_unlinked() - free the elements that map_free unlinked
 * @elems: what bpf_selem_ride() collected, each as for bpf_selem_free(); or NULL
 *
 * May sleep. The map is going: nobody who could have looked the elements up is left.
 */
void bpf_selem_free_unlinked(struct llist_node *elems)
{
	if (!elems)
		return;

	synchronize_rcu();
	migrate_disable();
	while (elems) {
		struct rcu_head *head = node_to_rcu_head(elems);

		elems = elems->next;
		selem_release(head);
		cond_resched();
	}
	migrate_enable();
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
 * @riders: elements to free with it, or NULL
 *
 * Any context. A program that looks for another map's value may be reading the storage, with the
 * lock of RCU Tasks Trace alone, whoever emptied it.
 */
void bpf_local_storage_free(struct bpf_local_storage *storage, struct llist_node *riders)
{
	storage->riders = riders;
	bpf_local_storage_free_after_gp(&storage->rcu, storage_release);
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
