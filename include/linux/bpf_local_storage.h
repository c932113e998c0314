/* SPDX-License-Identifier: GPL-2.0 */
/*
 * BPF local storage: values that BPF programs and the bpf() syscall attach to kernel objects.
 *
 * Documentation/bpf/local_storage.rst has the structures, the locks and the rules on who may
 * free what; the comments here only say what a field is for.
 */
#ifndef _BPF_LOCAL_STORAGE_H
#define _BPF_LOCAL_STORAGE_H

#include <linux/bpf.h>
#include <linux/filter.h>
#include <linux/idr.h>
#include <linux/llist.h>
#include <linux/rculist.h>
#include <linux/refcount.h>
#include <linux/types.h>
#include <asm/rqspinlock.h>

/*
 * Where a storage has a map's value, by the map's slot number: the first few are in the storage
 * itself, so few that it fits 256 bytes together with a first value of 64; some more are one array
 * away, of 128 bytes; the others two, in chunks of 512.
 */
#define BPF_LOCAL_STORAGE_ARRAY(_BYTES)						\
	(((_BYTES) - sizeof(struct bpf_local_storage_array)) / sizeof(void *))
#define BPF_LOCAL_STORAGE_SLOTS	4
#define BPF_LOCAL_STORAGE_NEAR	BPF_LOCAL_STORAGE_ARRAY(128)
#define BPF_LOCAL_STORAGE_FAR	(BPF_LOCAL_STORAGE_SLOTS + BPF_LOCAL_STORAGE_NEAR)
#define BPF_LOCAL_STORAGE_CHUNK	BPF_LOCAL_STORAGE_ARRAY(512)

/* How many maps of a type there can be: a full directory fills what kmalloc_nolock() can give. */
#define BPF_LOCAL_STORAGE_MAX_MAPS						\
	(BPF_LOCAL_STORAGE_FAR + BPF_LOCAL_STORAGE_CHUNK *			\
	 BPF_LOCAL_STORAGE_ARRAY(KMALLOC_MAX_CACHE_SIZE))

struct bpf_local_storage;

/**
 * struct bpf_local_storage_type - what one kind of owner has of its own
 * @fd_get: find the owner that a file descriptor names and keep it alive; @pin gets what
 *	@fd_put has to be given. Returns the owner or an ERR_PTR(). RCU read lock held.
 * @fd_put: let go of what @fd_get pinned
 * @storage: where the owner keeps its storage pointer; notrace, as it is called inside the gate
 * @may_create: may the owner be given new values by a program? NULL: always
 * @tryget: take a reference for as long as a program creates or deletes a value; false if the
 *	owner is on its way out. NULL: the caller's own hold on the owner is enough
 * @put: drop what @tryget took
 * @charge: account @size bytes to the owner or return an error; any context. NULL: no accounting
 * @uncharge: the reverse of @charge; notrace
 * @iter_get: keep the owner alive while a program is shown it; inside the gate, so notrace. Returns
 *	what programs know as the owner, or NULL if the owner is on its way out, or may still come
 *	to nothing. @pin, NULL before, may get what is held besides, in this case too
 * @iter_put: undo @iter_get, given what that returned and pinned, outside the gate; may sleep if an
 *	owner was returned
 * @slots: the slot numbers that maps of this type use
 *
 * Whatever is common to all owners is written once and takes its differences from here. The
 * backends hand a constant of this type to always-inlined functions, so that on the lookup path
 * the compiler sees through the pointers.
 */
struct bpf_local_storage_type {
	void *(*fd_get)(int fd, void **pin);
	void (*fd_put)(void *pin);
	struct bpf_local_storage __rcu **(*storage)(void *owner);
	bool (*may_create)(void *owner);
	bool (*tryget)(void *owner);
	void (*put)(void *owner);
	int (*charge)(void *owner, u32 size);
	void (*uncharge)(void *owner, u32 size);
	void *(*iter_get)(void *owner, void **pin);
	void (*iter_put)(void *shown, void *pin);
	struct ida *slots;
};

struct bpf_local_storage_map_bucket {
	struct hlist_head list;		/* elements, through map_node */
	rqspinlock_t lock;		/* nests inside a storage's lock */
	bool spliced;			/* map_free took the list over; under lock */
} ____cacheline_aligned_in_smp;

struct bpf_local_storage_map {
	struct bpf_map map;
	const struct bpf_local_storage_type *type;
	struct bpf_local_storage_map_bucket *buckets;
	u32 bucket_log;
	u32 elem_size;
	u32 slot;			/* unique among the live maps of the type */
	bool joint;			/* an owner's first value is allocated with its storage */
	atomic_long_t __percpu *live;	/* elements whose memory is not yet given back */
};

/* What a lookup finds. */
struct bpf_local_storage_data {
	struct bpf_local_storage_map *smap;	/* never changes; outlived by the map */
	u8 data[] __aligned(8);
};

/* bpf_local_storage_elem::state, who still holds the element: see local_storage.rst */
enum {
	SELEM_MAP = 1,
	SELEM_STORAGE = 2,
};

/* One value: of one map, for one owner. */
struct bpf_local_storage_elem {
	struct hlist_node map_node;	/* on the map's bucket */
	struct hlist_node snode;	/* on the owner's storage */
	struct bpf_local_storage __rcu *storage;	/* NULL once destroy has taken snode off */
	struct rcu_head rcu;		/* its way out, or its place in a queue before that */
	atomic_t state;
	u16 bucket;			/* index, kept: the storage it was chosen by may go first */
	bool joint;			/* allocated with the storage before it */
	bool from_bpf_ma;
	struct bpf_local_storage_data sdata;
};

/* A directory of chunks, or slots. Goes with the storage, or for a larger directory. */
struct bpf_local_storage_array {
	struct rcu_head rcu;
	u32 nr;
	bool from_bpf_ma;
	union {
		DECLARE_FLEX_ARRAY(struct bpf_local_storage_array __rcu *, chunks);
		DECLARE_FLEX_ARRAY(struct bpf_local_storage_data __rcu *, slots);
	};
};

/* The values of one owner. */
struct bpf_local_storage {
	struct bpf_local_storage_data __rcu *slots[BPF_LOCAL_STORAGE_SLOTS];
	struct bpf_local_storage_array __rcu *near;	/* the slots that follow; set under lock */
	struct bpf_local_storage_array __rcu *dir;	/* of those beyond; grown under lock */
	struct hlist_head list;		/* elements, through snode */
	union {
		void *owner;		/* only inside the gate, or where the owner is pinned */
		/* Elements that are freed with the storage: the gate is shut, and nobody inside. */
		struct llist_node *riders;
	};
	struct rcu_head rcu;		/* as in the element */
	rqspinlock_t lock;
	atomic_t gate;			/* who may touch the owner: see local_storage.rst */
	refcount_t parts;		/* of the memory: the storage, an element behind it */
	u32 mem_charge;			/* charged to the owner for the storage and what is on it */
	bool detached;			/* destroy took the list over; under lock */
	bool from_bpf_ma;
} __aligned(8);

/* An element can stand right behind a storage. */
static_assert(!(sizeof(struct bpf_local_storage) % __alignof__(struct bpf_local_storage_elem)));

/* U16_MAX bounds what sk diag can put into one netlink attribute. */
#define BPF_LOCAL_STORAGE_MAX_VALUE_SIZE					\
	min_t(u32, U16_MAX - sizeof(struct bpf_local_storage_elem),		\
	      KMALLOC_MAX_SIZE - MAX_BPF_STACK - sizeof(struct bpf_local_storage_elem))

#define SELEM(_SDATA)	container_of((_SDATA), struct bpf_local_storage_elem, sdata)
#define SDATA(_SELEM)	(&(_SELEM)->sdata)

static inline struct bpf_local_storage_map *bpf_local_storage_map(struct bpf_map *map)
{
	return container_of(map, struct bpf_local_storage_map, map);
}

/**
 * bpf_local_storage_slot() - where a storage has a map's value
 * @storage: the storage
 * @slot: the map's slot number
 *
 * Any context, under rcu_read_lock() or rcu_read_lock_trace(). Slots stay for as long as the
 * storage does; it may be found through a directory that has just been replaced by a larger one.
 *
 * Return: the slot, or NULL if the storage has none of this number, so has no value of the map.
 */
static __always_inline struct bpf_local_storage_data __rcu **
bpf_local_storage_slot(struct bpf_local_storage *storage, u32 slot)
{
	struct bpf_local_storage_array *dir, *chunk;

	if (slot < BPF_LOCAL_STORAGE_SLOTS)
		return &storage->slots[slot];

	if (slot < BPF_LOCAL_STORAGE_FAR) {
		chunk = rcu_dereference_check(storage->near, bpf_rcu_lock_held());
		return chunk ? &chunk->slots[slot - BPF_LOCAL_STORAGE_SLOTS] : NULL;
	}

	slot -= BPF_LOCAL_STORAGE_FAR;
	dir = rcu_dereference_check(storage->dir, bpf_rcu_lock_held());
	if (!dir || slot / BPF_LOCAL_STORAGE_CHUNK >= dir->nr)
		return NULL;

	chunk = rcu_dereference_check(dir->chunks[slot / BPF_LOCAL_STORAGE_CHUNK],
				      bpf_rcu_lock_held());

	return chunk ? &chunk->slots[slot % BPF_LOCAL_STORAGE_CHUNK] : NULL;
}

/**
 * bpf_local_storage_lookup() - find a map's value in an owner's storage
 * @storage: the owner's storage
 * @smap: the map, kept alive by the caller
 *
 * Any context, under rcu_read_lock() or rcu_read_lock_trace(), which is also for how long the
 * result may be used. Takes no lock and walks no list, however many maps there are.
 *
 * A slot number belongs to one live map and is given back only after the last element of that map
 * is freed. So whatever a slot holds is of the map that has the number: nothing to compare.
 *
 * Return: the value, or NULL.
 */
static __always_inline struct bpf_local_storage_data *
bpf_local_storage_lookup(struct bpf_local_storage *storage, struct bpf_local_storage_map *smap)
{
	struct bpf_local_storage_data __rcu **slot = bpf_local_storage_slot(storage, smap->slot);

	return slot ? rcu_dereference_check(*slot, bpf_rcu_lock_held()) : NULL;
}

static __always_inline struct bpf_local_storage_data *
bpf_local_storage_lookup_owner(const struct bpf_local_storage_type *type, void *owner,
			       struct bpf_local_storage_map *smap)
{
	struct bpf_local_storage *storage;

	storage = rcu_dereference_check(*type->storage(owner), bpf_rcu_lock_held());

	return storage ? bpf_local_storage_lookup(storage, smap) : NULL;
}

struct bpf_local_storage_data *
bpf_local_storage_set(void *owner, struct bpf_local_storage_map *smap, void *value,
		      u64 map_flags, bool swap_uptrs);
struct bpf_local_storage_data *
bpf_local_storage_update(void *owner, struct bpf_local_storage_map *smap, void *value,
			 u64 map_flags, bool swap_uptrs);
struct bpf_local_storage_data *
bpf_local_storage_create(void *owner, struct bpf_local_storage_map *smap, void *value);
int bpf_local_storage_delete(void *owner, struct bpf_local_storage_map *smap);
int bpf_local_storage_copy(void *owner, struct bpf_local_storage_elem *from);
u32 bpf_local_storage_destroy(struct bpf_local_storage __rcu **ptr);

/**
 * bpf_local_storage_get() - the body of every bpf_*_storage_get() helper
 * @type: the owner's type, a constant
 * @map: the map
 * @owner: the owner, or NULL
 * @value: what a created value starts as; NULL: all zero
 * @flags: BPF_LOCAL_STORAGE_GET_F_CREATE or 0
 *
 * Return: the address of the value for the program, 0 if there is none and none was created.
 */
static __always_inline unsigned long
bpf_local_storage_get(const struct bpf_local_storage_type *type, struct bpf_map *map,
		      void *owner, void *value, u64 flags)
{
	struct bpf_local_storage_map *smap = bpf_local_storage_map(map);
	struct bpf_local_storage_data *sdata;

	WARN_ON_ONCE(!bpf_rcu_lock_held());
	if (unlikely(!owner || flags & ~(u64)BPF_LOCAL_STORAGE_GET_F_CREATE))
		return 0;

	sdata = bpf_local_storage_lookup_owner(type, owner, smap);
	if (unlikely(!sdata) && flags)
		sdata = bpf_local_storage_create(owner, smap, value);

	return sdata ? (unsigned long)sdata->data : 0;
}

/* The map operations that are the same for every type. */
int bpf_local_storage_map_alloc_check(union bpf_attr *attr);
struct bpf_map *bpf_local_storage_map_alloc(union bpf_attr *attr,
					    const struct bpf_local_storage_type *type);
void bpf_local_storage_map_free(struct bpf_map *map);
int bpf_local_storage_map_check_btf(struct bpf_map *map, const struct btf *btf,
				    const struct btf_type *key_type,
				    const struct btf_type *value_type);
u64 bpf_local_storage_map_mem_usage(const struct bpf_map *map);
int bpf_local_storage_map_get_next_key(struct bpf_map *map, void *key, void *next_key);
void *bpf_local_storage_map_lookup_elem(struct bpf_map *map, void *key);
long bpf_local_storage_map_update_elem(struct bpf_map *map, void *key, void *value, u64 flags);
long bpf_local_storage_map_delete_elem(struct bpf_map *map, void *key);

#define BPF_LOCAL_STORAGE_MAP_OPS					\
	.map_meta_equal = bpf_map_meta_equal,				\
	.map_alloc_check = bpf_local_storage_map_alloc_check,		\
	.map_get_next_key = bpf_local_storage_map_get_next_key,		\
	.map_lookup_elem = bpf_local_storage_map_lookup_elem,		\
	.map_update_elem = bpf_local_storage_map_update_elem,		\
	.map_delete_elem = bpf_local_storage_map_delete_elem,		\
	.map_check_btf = bpf_local_storage_map_check_btf,		\
	.map_mem_usage = bpf_local_storage_map_mem_usage,		\
	.map_btf_id = &bpf_local_storage_map_btf_id[0]

struct bpf_verifier_env;
int bpf_local_storage_inline(struct bpf_verifier_env *env, u32 off);

/* The iterators over a map's values. */
extern const struct bpf_iter_seq_info bpf_local_storage_iter_seq_info;
int bpf_local_storage_iter_attach(struct bpf_prog *prog, union bpf_iter_link_info *linfo,
				  struct bpf_iter_aux_info *aux, enum bpf_map_type map_type);
void bpf_local_storage_iter_detach(struct bpf_iter_aux_info *aux);

/* What a program gets, of whatever type the owner is. */
struct bpf_local_storage_iter_ctx {
	__bpf_md_ptr(struct bpf_iter_meta *, meta);
	__bpf_md_ptr(struct bpf_map *, map);
	__bpf_md_ptr(void *, owner);
	__bpf_md_ptr(void *, value);
};

/*
 * Register the target bpf_<_name>_storage_map, whose context was defined to look like the above.
 * @_btf_id: of what programs have as the owner; @_flag: PTR_TRUSTED or 0.
 */
#define BPF_LOCAL_STORAGE_ITER(_name, _map_type, _btf_id, _flag)				\
static int _name##_iter_attach(struct bpf_prog *prog, union bpf_iter_link_info *linfo,		\
			       struct bpf_iter_aux_info *aux)					\
{												\
	return bpf_local_storage_iter_attach(prog, linfo, aux, _map_type);			\
}												\
												\
static struct bpf_iter_reg _name##_iter_reg = {							\
	.target = "bpf_" #_name "_storage_map",							\
	.attach_target = _name##_iter_attach,							\
	.detach_target = bpf_local_storage_iter_detach,						\
	.show_fdinfo = bpf_iter_map_show_fdinfo,						\
	.fill_link_info = bpf_iter_map_fill_link_info,						\
	.ctx_arg_info_size = 2,									\
	.ctx_arg_info = {									\
		{ offsetof(struct bpf_local_storage_iter_ctx, owner),				\
		  PTR_TO_BTF_ID_OR_NULL | (_flag) },						\
		{ offsetof(struct bpf_local_storage_iter_ctx, value),				\
		  PTR_TO_BUF | PTR_MAYBE_NULL },						\
	},											\
	.seq_info = &bpf_local_storage_iter_seq_info,						\
};												\
												\
static int __init _name##_iter_init(void)							\
{												\
	BTF_TYPE_EMIT(struct bpf_iter__bpf_##_name##_storage_map);				\
	_name##_iter_reg.ctx_arg_info[0].btf_id = _btf_id;					\
												\
	return bpf_iter_reg_target(&_name##_iter_reg);						\
}												\
late_initcall(_name##_iter_init)

#endif /* _BPF_LOCAL_STORAGE_H */
