/* SPDX-License-Identifier: GPL-2.0 */
/*
 * BPF local storage: what its own files share.
 */
#ifndef _BPF_LOCAL_STORAGE_INTERNAL_H
#define _BPF_LOCAL_STORAGE_INTERNAL_H

#include <linux/bpf_local_storage.h>

/* Both locks are taken here and nowhere else. */
static inline int bpf_local_storage_lock(rqspinlock_t *lock, unsigned long *flags)
{
	return raw_res_spin_lock_irqsave(lock, *flags);
}

static inline void bpf_local_storage_unlock(rqspinlock_t *lock, unsigned long flags)
{
	raw_res_spin_unlock_irqrestore(lock, flags);
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

/* bpf_local_storage.c: the lists and what a lock on them allows */
int bpf_selem_unlink(struct bpf_local_storage_elem *selem);
void bpf_selem_unlink_storage(struct bpf_local_storage *storage,
			      struct bpf_local_storage_elem *selem);
u32 bpf_local_storage_abandon(struct bpf_local_storage *storage, void *owner,
			      struct bpf_local_storage_map *smap);

/* bpf_local_storage_mem.c: where memory comes from and how it goes back */
struct bpf_local_storage_elem *
bpf_selem_alloc(struct bpf_local_storage_map *smap, void *owner, void *value, bool swap_uptrs);
void bpf_selem_free(struct bpf_local_storage_elem *selem);
void bpf_selem_free_map(struct bpf_local_storage_elem *selem);
void bpf_selem_discard(struct bpf_local_storage_elem *selem, void *owner);
struct bpf_local_storage *
bpf_local_storage_alloc(struct bpf_local_storage_map *smap, void *owner);
void bpf_local_storage_free(struct bpf_local_storage *storage, struct llist_node *riders);
void bpf_local_storage_discard(struct bpf_local_storage *storage,
			       struct bpf_local_storage_map *smap, void *owner);
void bpf_selem_ride(struct bpf_local_storage_elem *selem, struct llist_node **riders);

/* bpf_local_storage_map.c: the count of a map's elements */
long bpf_local_storage_map_live(const struct bpf_local_storage_map *smap);
void bpf_local_storage_map_count(struct bpf_local_storage_map *smap);
void bpf_local_storage_map_uncount(struct bpf_local_storage_map *smap);

/* bpf_local_storage_teardown.c */
#define GATE_CLOSED	BIT(30)	/* the bits below count who is inside */

void bpf_local_storage_map_unlink(struct bpf_local_storage_map *smap);

#endif /* _BPF_LOCAL_STORAGE_INTERNAL_H */
