/* SPDX-License-Identifier: GPL-2.0 */
/*
 * BPF local storage: what its own files share.
 */
#ifndef _BPF_LOCAL_STORAGE_INTERNAL_H
#define _BPF_LOCAL_STORAGE_INTERNAL_H

#include <linux/bpf_local_storage.h>
#include <linux/hash.h>
#include <linux/irq_work.h>

/* Where a lock is taken: which operation, and which of the two locks. */
enum bpf_local_storage_site {
	BLS_PUBLISH_BUCKET,
	BLS_UPDATE_STORAGE,
	BLS_UPDATE_BUCKET,
	BLS_GROW_STORAGE,
	BLS_DELETE_STORAGE,
	BLS_DELETE_BUCKET,
	BLS_DESTROY_STORAGE,
	BLS_DESTROY_BUCKET,
	BLS_MAP_FREE_BUCKET,
	BLS_MAP_FREE_STORAGE,
	BLS_ITER_BUCKET,
	BLS_NR_SITES
};

#ifdef CONFIG_FAIL_BPF_LOCAL_STORAGE_LOCK
struct fault_attr;
extern struct fault_attr bpf_local_storage_fail_attr;
extern u32 bpf_local_storage_fail_sites;
bool bpf_local_storage_fail_lock(enum bpf_local_storage_site site);
#else
static inline bool bpf_local_storage_fail_lock(enum bpf_local_storage_site site)
{
	return false;
}
#endif

/* Both locks are taken here and nowhere else. */
static inline int bpf_local_storage_lock(rqspinlock_t *lock, unsigned long *flags,
					 enum bpf_local_storage_site site)
{
	if (bpf_local_storage_fail_lock(site))
		return -ETIMEDOUT;

	return raw_res_spin_lock_irqsave(lock, *flags);
}

static inline void bpf_local_storage_unlock(rqspinlock_t *lock, unsigned long flags)
{
	raw_res_spin_unlock_irqrestore(lock, flags);
}

/* The bucket of a storage's elements: storages lie at regular distances, the buckets must not. */
static inline u32 bpf_local_storage_bucket(const struct bpf_local_storage *storage, u32 bucket_log)
{
	return hash_ptr(storage, bucket_log);
}

static inline struct bpf_local_storage_map_bucket *
bpf_selem_bucket(const struct bpf_local_storage_elem *selem)
{
	return &SDATA(selem)->smap->buckets[selem->bucket];
}

static inline int bpf_local_storage_charge(struct bpf_local_storage_map *smap, void *owner,
					   u32 size)
{
	return smap->type->charge ? smap->type->charge(owner, size) : 0;
}

static inline void bpf_local_storage_uncharge(struct bpf_local_storage_map *smap, void *owner,
					      u32 size)
{
	if (smap->type->uncharge)
		smap->type->uncharge(owner, size);
}

/*
 * A queue of what is to be freed, or to be tried again, is linked through the rcu_heads, which RCU
 * has no use for yet; func says what to do with an entry.
 */
static inline struct llist_node *rcu_head_to_node(struct rcu_head *head)
{
	static_assert(sizeof(struct llist_node) == sizeof(head->next));

	return (struct llist_node *)&head->next;
}

static inline struct rcu_head *node_to_rcu_head(struct llist_node *node)
{
	return container_of((void *)node, struct rcu_head, next);
}

/* bpf_local_storage::gate */
enum {
	GATE_CLOSED = 1 << 30,	/* the bits below count who is inside */
};

/* Is the storage still its owner's? Stable under the storage's lock where the owner is pinned. */
static inline bool bpf_local_storage_in_use(const struct bpf_local_storage *storage)
{
	return !(atomic_read(&storage->gate) & GATE_CLOSED);
}

/*
 * Shut the gate of a storage that has become empty, if nobody but the caller is inside; @self is 1
 * if the caller is, else 0. True if that was done: then it is the caller who frees the storage. Who
 * waits for the storage's lock finds the gate shut, and looks at the owner again.
 *
 * With somebody else inside, the empty storage stays the owner's: destroy waits for those inside
 * the gate of the storage it finds, so they must not be left behind in one that it does not find.
 */
static __always_inline bool bpf_local_storage_shut(struct bpf_local_storage *storage, int self)
{
	return atomic_try_cmpxchg(&storage->gate, &self, GATE_CLOSED | self);
}

/*
 * Part an owner from the storage that lost its last element, under the storage's lock. The last
 * thing done to the owner: destroy may find the pointer NULL and return at once, and pairs its
 * acquire with the release here.
 */
static __always_inline void bpf_local_storage_part(struct bpf_local_storage_map *smap, void *owner)
{
	/* Pairs with the acquire in bpf_local_storage_destroy(). */
	smp_store_release(smap->type->storage(owner), NULL);
}

/* The owner's storage came or went: look again. Never leaves insert_selem(). */
#define LOOK_AGAIN	(-EAGAIN)

/* bpf_local_storage.c: the lists and what a lock on them allows */
int bpf_selem_unlink(struct bpf_local_storage_elem *selem);
void bpf_selem_unlink_storage(struct bpf_local_storage *storage,
			      struct bpf_local_storage_elem *selem);

/* bpf_local_storage_mem.c: where memory comes from and how it goes back */
extern struct workqueue_struct *bpf_local_storage_wq;

void bpf_local_storage_irq_work(struct irq_work *work);

/* How long what was freed waits after its grace period, if it is little. */
#define BPF_LOCAL_STORAGE_PAUSE		(HZ / 10)

struct bpf_local_storage_elem *
bpf_selem_alloc(struct bpf_local_storage_map *smap, void *owner, void *value, bool swap_uptrs,
		struct bpf_local_storage **fresh);
void bpf_selem_free(struct bpf_local_storage_elem *selem);
void bpf_selem_free_unlinked(struct llist_node *elems);
void bpf_selem_discard(struct bpf_local_storage_elem *selem, void *owner);
struct bpf_local_storage *
bpf_local_storage_alloc(struct bpf_local_storage_map *smap, void *owner);
void bpf_local_storage_free(struct bpf_local_storage *storage, struct llist_node *riders);
void bpf_local_storage_discard(struct bpf_local_storage *storage,
			       struct bpf_local_storage_map *smap, void *owner);
void bpf_selem_ride(struct bpf_local_storage_elem *selem, struct llist_node **riders);

void *bpf_local_storage_kmalloc(struct bpf_local_storage_map *smap, size_t size, bool *from_bpf_ma);
void bpf_local_storage_kfree(void *p, bool from_bpf_ma);
bool bpf_local_storage_joint(u32 elem_size);
void bpf_local_storage_free_after_gp(struct rcu_head *head, rcu_callback_t func);

/* bpf_local_storage_slots.c: the slots that the storage itself has no room for */
int bpf_local_storage_grow(struct bpf_local_storage *storage,
			   struct bpf_local_storage_map *smap, void *owner);
void bpf_local_storage_free_slots(struct bpf_local_storage *storage);

/* The storage's slot for the map, which it may have to grow for: context and errors as there. */
static inline struct bpf_local_storage_data __rcu **
bpf_local_storage_reserve(struct bpf_local_storage *storage, struct bpf_local_storage_map *smap,
			  void *owner)
{
	struct bpf_local_storage_data __rcu **slot = bpf_local_storage_slot(storage, smap->slot);
	int err;

	if (likely(slot))
		return slot;

	err = bpf_local_storage_grow(storage, smap, owner);

	return err ? ERR_PTR(err) : bpf_local_storage_slot(storage, smap->slot);
}

/* bpf_local_storage_map.c: the count of a map's elements */
long bpf_local_storage_map_live(const struct bpf_local_storage_map *smap);

/*
 * Count an element on its map, which the caller keeps alive. Any context. Atomic, as this_cpu_inc()
 * is not safe against NMI on every architecture; but on a cache line that other CPUs seldom want.
 * Which CPU's count it is does not matter.
 */
static inline void bpf_local_storage_map_count(struct bpf_local_storage_map *smap)
{
	atomic_long_inc(raw_cpu_ptr(smap->live));
}

void bpf_local_storage_map_uncount(struct bpf_local_storage_map *smap);

/* bpf_local_storage_teardown.c: destroy, map_free, and the gate between the two */
void *bpf_local_storage_enter(struct bpf_local_storage *storage);
void bpf_local_storage_leave(struct bpf_local_storage *storage);
void bpf_local_storage_map_unlink(struct bpf_local_storage_map *smap);

#endif /* _BPF_LOCAL_STORAGE_INTERNAL_H */
