// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests for BPF local storage, on an owner type of their own: what a test gives an owner it
 * has to get back, in elements and in bytes.
 */
#include <kunit/test.h>
#include <linux/bpf.h>
#include <linux/btf.h>
#include <linux/completion.h>
#include <linux/delay.h>
#include <linux/fault-inject.h>
#include <linux/kthread.h>
#include <linux/rcupdate_trace.h>
#include <linux/slab.h>

#include "bpf_local_storage_internal.h"

struct test_owner {
	struct bpf_local_storage __rcu *storage;
	atomic_t charged;
	int limit;
	bool dying;
};

struct test_value {
	struct bpf_spin_lock lock;
	u32 seq;
	u64 num;
};

static DEFINE_IDA(test_slots);

static notrace struct bpf_local_storage __rcu **test_storage(void *owner)
{
	struct test_owner *o = owner;

	return &o->storage;
}

static bool test_may_create(void *owner)
{
	struct test_owner *o = owner;

	return !o->dying;
}

static int test_charge(void *owner, u32 size)
{
	struct test_owner *o = owner;

	if (atomic_add_return(size, &o->charged) <= o->limit)
		return 0;
	atomic_sub(size, &o->charged);

	return -ENOMEM;
}

static notrace void test_uncharge(void *owner, u32 size)
{
	struct test_owner *o = owner;

	/* Make what comes before and after it in the gate a little further apart. */
	udelay(5);
	atomic_sub(size, &o->charged);
}

static const struct bpf_local_storage_type test_type = {
	.storage = test_storage,
	.may_create = test_may_create,
	.charge = test_charge,
	.uncharge = test_uncharge,
	.slots = &test_slots,
};

static void owner_init(struct test_owner *o)
{
	memset(o, 0, sizeof(*o));
	o->limit = INT_MAX;
}

static void owner_destroy(struct test_owner *o)
{
	test_uncharge(o, bpf_local_storage_destroy(&o->storage));
}

static struct bpf_local_storage_map *map_new(struct kunit *test)
{
	union bpf_attr attr = {
		.map_type = BPF_MAP_TYPE_TASK_STORAGE,
		.key_size = sizeof(int),
		.value_size = sizeof(struct test_value),
		.map_flags = BPF_F_NO_PREALLOC,
	};
	struct bpf_map *map = bpf_local_storage_map_alloc(&attr, &test_type);
	static bool apart;

	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, map);
	/* Every other map's values never share their memory with a storage. */
	if (apart)
		bpf_local_storage_map(map)->joint = false;
	else
		KUNIT_EXPECT_TRUE(test, bpf_local_storage_map(map)->joint);
	apart = !apart;

	return bpf_local_storage_map(map);
}

/* As the BTF of struct test_value would have it. */
static void map_set_lock(struct kunit *test, struct bpf_local_storage_map *smap)
{
	struct btf_record *rec;

	rec = kunit_kzalloc(test, struct_size(rec, fields, 1), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, rec);
	rec->cnt = 1;
	rec->field_mask = BPF_SPIN_LOCK;
	rec->spin_lock_off = offsetof(struct test_value, lock);
	rec->fields[0].type = BPF_SPIN_LOCK;
	rec->fields[0].offset = rec->spin_lock_off;
	rec->fields[0].size = sizeof(struct bpf_spin_lock);
	smap->map.record = rec;
}

/* The context of a program. */
static void prog_enter(void)
{
	rcu_read_lock();
	migrate_disable();
}

static void prog_exit(void)
{
	migrate_enable();
	rcu_read_unlock();
}

static struct test_value *get(struct test_owner *o, struct bpf_local_storage_map *smap, u64 flags)
{
	unsigned long ret;

	prog_enter();
	ret = bpf_local_storage_get(&test_type, &smap->map, o, NULL, flags);
	prog_exit();

	return (struct test_value *)ret;
}

static int update(struct test_owner *o, struct bpf_local_storage_map *smap, u64 num, u64 flags,
		  bool swap_uptrs)
{
	struct test_value value = { .num = num };
	struct bpf_local_storage_data *sdata;

	prog_enter();
	sdata = bpf_local_storage_set(o, smap, &value, flags, swap_uptrs);
	prog_exit();

	return PTR_ERR_OR_ZERO(sdata);
}

static int delete(struct test_owner *o, struct bpf_local_storage_map *smap)
{
	int err;

	prog_enter();
	err = bpf_local_storage_delete(o, smap);
	prog_exit();

	return err;
}

static u32 cost(struct bpf_local_storage_map *smap, int nr_values)
{
	return sizeof(struct bpf_local_storage) + nr_values * smap->elem_size;
}

/* What an owner pays for slots outside the storage. */
static u32 slots_cost(struct test_owner *o)
{
	struct bpf_local_storage *storage = rcu_dereference_protected(o->storage, 1);
	struct bpf_local_storage_array *dir;
	u32 i, size = 0;

	if (!storage)
		return 0;
	if (rcu_access_pointer(storage->near))
		size += struct_size(dir, slots, BPF_LOCAL_STORAGE_NEAR);
	dir = rcu_dereference_protected(storage->dir, 1);
	if (!dir)
		return size;

	size += struct_size(dir, chunks, dir->nr);
	for (i = 0; i < dir->nr; i++)
		if (rcu_access_pointer(dir->chunks[i]))
			size += struct_size(dir, slots, BPF_LOCAL_STORAGE_CHUNK);

	return size;
}

/* Have a map found elsewhere: before it has values. */
static void map_renumber(struct kunit *test, struct bpf_local_storage_map *smap, u32 slot)
{
	int ret = ida_alloc_range(&test_slots, slot, slot, GFP_KERNEL);

	KUNIT_ASSERT_EQ(test, ret, slot);
	ida_free(&test_slots, smap->slot);
	smap->slot = slot;
}

/* How many elements are left after what was freed is really gone. */
static long live(struct bpf_local_storage_map *smap)
{
	int i;

	/* One grace period may be under way, and have the next asked for; a pause after each. */
	for (i = 0; i < 2; i++) {
		rcu_barrier_tasks_trace();
		schedule_timeout_uninterruptible(BPF_LOCAL_STORAGE_PAUSE + 1);
		flush_workqueue(bpf_local_storage_wq);
	}

	return bpf_local_storage_map_live(smap);
}

/* The same where some were handed over, or went through an irq_work. */
static long live_in_the_end(struct bpf_local_storage_map *smap)
{
	int i;

	for (i = 0; i < 500 && bpf_local_storage_map_live(smap); i++)
		msleep(20);

	return bpf_local_storage_map_live(smap);
}

static void create_test(struct kunit *test)
{
	struct bpf_local_storage_map *smap = map_new(test);
	struct test_owner o;
	struct test_value *v;
	u64 usage = bpf_local_storage_map_mem_usage(&smap->map);

	owner_init(&o);
	KUNIT_EXPECT_NULL(test, get(&o, smap, 0));
	KUNIT_EXPECT_NULL(test, get(&o, smap, BPF_LOCAL_STORAGE_GET_F_CREATE | 2));
	KUNIT_EXPECT_NULL(test, get(NULL, smap, BPF_LOCAL_STORAGE_GET_F_CREATE));
	KUNIT_EXPECT_EQ(test, atomic_read(&o.charged), 0);

	v = get(&o, smap, BPF_LOCAL_STORAGE_GET_F_CREATE);
	KUNIT_ASSERT_NOT_NULL(test, v);
	KUNIT_EXPECT_EQ(test, v->num, 0);
	KUNIT_EXPECT_PTR_EQ(test, get(&o, smap, 0), v);
	KUNIT_EXPECT_PTR_EQ(test, get(&o, smap, BPF_LOCAL_STORAGE_GET_F_CREATE), v);
	KUNIT_EXPECT_EQ(test, atomic_read(&o.charged), cost(smap, 1));
	KUNIT_EXPECT_EQ(test, live(smap), 1);
	KUNIT_EXPECT_EQ(test, bpf_local_storage_map_mem_usage(&smap->map), usage + smap->elem_size);

	KUNIT_EXPECT_EQ(test, delete(&o, smap), 0);
	o.dying = true;
	KUNIT_EXPECT_NULL(test, get(&o, smap, BPF_LOCAL_STORAGE_GET_F_CREATE));
	KUNIT_EXPECT_EQ(test, atomic_read(&o.charged), 0);
	KUNIT_EXPECT_EQ(test, live(smap), 0);
	bpf_local_storage_map_free(&smap->map);
}

/* Values above what kmalloc_nolock() has, as a syscall creates them. */
static void large_test(struct kunit *test)
{
	union bpf_attr attr = {
		.map_type = BPF_MAP_TYPE_TASK_STORAGE,
		.key_size = sizeof(int),
		.value_size = BPF_LOCAL_STORAGE_MAX_VALUE_SIZE,
		.map_flags = BPF_F_NO_PREALLOC,
	};
	struct bpf_map *map = bpf_local_storage_map_alloc(&attr, &test_type);
	struct bpf_local_storage_map *smap;
	struct test_owner o;
	void *value;
	int err;

	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, map);
	smap = bpf_local_storage_map(map);
	owner_init(&o);
	value = kunit_kzalloc(test, attr.value_size, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, value);
	memset(value, 0x5a, attr.value_size);

	prog_enter();
	err = PTR_ERR_OR_ZERO(bpf_local_storage_set(&o, smap, value, BPF_ANY, true));
	prog_exit();
	KUNIT_ASSERT_EQ(test, err, 0);
	KUNIT_EXPECT_MEMEQ(test, get(&o, smap, 0), value, attr.value_size);
	owner_destroy(&o);
	KUNIT_EXPECT_EQ(test, atomic_read(&o.charged), 0);
	KUNIT_EXPECT_EQ(test, live(smap), 0);
	bpf_local_storage_map_free(map);
}

static void replace_test(struct kunit *test)
{
	struct bpf_local_storage_map *smap = map_new(test);
	struct bpf_local_storage_map *other = map_new(test);
	struct test_value *v, *w;
	struct test_owner o;

	owner_init(&o);
	KUNIT_EXPECT_EQ(test, update(&o, other, 7, BPF_ANY, false), 0);
	KUNIT_EXPECT_EQ(test, update(&o, smap, 1, BPF_ANY, false), 0);
	v = get(&o, smap, 0);
	KUNIT_ASSERT_NOT_NULL(test, v);
	KUNIT_EXPECT_EQ(test, v->num, 1);

	KUNIT_EXPECT_EQ(test, update(&o, smap, 2, BPF_ANY, true), 0);
	w = get(&o, smap, 0);
	KUNIT_ASSERT_NOT_NULL(test, w);
	KUNIT_EXPECT_PTR_NE(test, v, w);
	KUNIT_EXPECT_EQ(test, w->num, 2);
	KUNIT_EXPECT_EQ(test, live(smap), 1);
	KUNIT_EXPECT_EQ(test, atomic_read(&o.charged), cost(smap, 2));
	KUNIT_EXPECT_EQ(test, get(&o, other, 0)->num, 7);

	owner_destroy(&o);
	KUNIT_EXPECT_EQ(test, atomic_read(&o.charged), 0);
	KUNIT_EXPECT_EQ(test, live(smap) + live(other), 0);
	bpf_local_storage_map_free(&smap->map);
	bpf_local_storage_map_free(&other->map);
}

static void delete_test(struct kunit *test)
{
	struct bpf_local_storage_map *smap = map_new(test);
	struct bpf_local_storage_map *other = map_new(test);
	struct test_owner o;

	owner_init(&o);
	KUNIT_EXPECT_EQ(test, delete(&o, smap), -ENOENT);
	KUNIT_EXPECT_EQ(test, update(&o, smap, 1, BPF_ANY, false), 0);
	KUNIT_EXPECT_EQ(test, update(&o, other, 1, BPF_ANY, false), 0);
	KUNIT_EXPECT_EQ(test, delete(&o, smap), 0);
	KUNIT_EXPECT_NULL(test, get(&o, smap, 0));
	KUNIT_EXPECT_EQ(test, delete(&o, smap), -ENOENT);
	KUNIT_EXPECT_EQ(test, atomic_read(&o.charged), cost(smap, 1));
	KUNIT_EXPECT_NOT_NULL(test, rcu_access_pointer(o.storage));

	/* With the last value goes the storage. */
	KUNIT_EXPECT_EQ(test, delete(&o, other), 0);
	KUNIT_EXPECT_NULL(test, rcu_access_pointer(o.storage));
	KUNIT_EXPECT_EQ(test, atomic_read(&o.charged), 0);
	KUNIT_EXPECT_EQ(test, live(smap) + live(other), 0);

	KUNIT_EXPECT_EQ(test, update(&o, smap, 2, BPF_ANY, false), 0);
	KUNIT_EXPECT_EQ(test, get(&o, smap, 0)->num, 2);
	owner_destroy(&o);
	bpf_local_storage_map_free(&smap->map);
	bpf_local_storage_map_free(&other->map);
}

static void flags_test(struct kunit *test)
{
	struct bpf_local_storage_map *smap = map_new(test);
	struct bpf_local_storage_map *other = map_new(test);
	struct test_owner o;
	int i;

	owner_init(&o);
	/* First without a storage, then with one that has no value of this map. */
	for (i = 0; i < 2; i++) {
		KUNIT_EXPECT_EQ(test, update(&o, smap, 1, BPF_EXIST, false), -ENOENT);
		KUNIT_EXPECT_EQ(test, update(&o, smap, 1, BPF_NOEXIST | BPF_EXIST, false), -EINVAL);
		KUNIT_EXPECT_EQ(test, update(&o, smap, 1, BPF_F_LOCK, false), -EINVAL);
		KUNIT_EXPECT_EQ(test, update(&o, smap, 1, BPF_F_LOCK << 1, false), -EINVAL);
		KUNIT_EXPECT_EQ(test, live(smap), 0);
		KUNIT_EXPECT_EQ(test, update(&o, smap, 1, BPF_NOEXIST, false), 0);
		KUNIT_EXPECT_EQ(test, update(&o, smap, 2, BPF_NOEXIST, false), -EEXIST);
		KUNIT_EXPECT_EQ(test, get(&o, smap, 0)->num, 1);
		KUNIT_EXPECT_EQ(test, update(&o, smap, 3, BPF_EXIST, false), 0);
		KUNIT_EXPECT_EQ(test, get(&o, smap, 0)->num, 3);
		KUNIT_EXPECT_EQ(test, delete(&o, smap), 0);
		KUNIT_EXPECT_EQ(test, update(&o, other, 1, BPF_ANY, false), 0);
	}
	owner_destroy(&o);
	KUNIT_EXPECT_EQ(test, atomic_read(&o.charged), 0);
	bpf_local_storage_map_free(&smap->map);
	bpf_local_storage_map_free(&other->map);
}

static void f_lock_test(struct kunit *test)
{
	struct bpf_local_storage_map *smap = map_new(test);
	struct test_owner o;
	struct test_value *v;

	map_set_lock(test, smap);
	owner_init(&o);
	KUNIT_EXPECT_EQ(test, update(&o, smap, 1, BPF_F_LOCK | BPF_EXIST, false), -ENOENT);
	KUNIT_EXPECT_EQ(test, update(&o, smap, 1, BPF_F_LOCK, false), 0);
	v = get(&o, smap, 0);
	KUNIT_ASSERT_NOT_NULL(test, v);

	/* In place, with and without BPF_EXIST; not with BPF_NOEXIST. */
	KUNIT_EXPECT_EQ(test, update(&o, smap, 2, BPF_F_LOCK, false), 0);
	KUNIT_EXPECT_PTR_EQ(test, get(&o, smap, 0), v);
	KUNIT_EXPECT_EQ(test, v->num, 2);
	KUNIT_EXPECT_EQ(test, update(&o, smap, 3, BPF_F_LOCK | BPF_EXIST, true), 0);
	KUNIT_EXPECT_EQ(test, v->num, 3);
	KUNIT_EXPECT_EQ(test, update(&o, smap, 4, BPF_F_LOCK | BPF_NOEXIST, true), -EEXIST);
	KUNIT_EXPECT_EQ(test, v->num, 3);
	KUNIT_EXPECT_EQ(test, live(smap), 1);

	owner_destroy(&o);
	KUNIT_EXPECT_EQ(test, atomic_read(&o.charged), 0);
	bpf_local_storage_map_free(&smap->map);
}

static void charge_test(struct kunit *test)
{
	struct bpf_local_storage_map *smap = map_new(test);
	struct bpf_local_storage_map *other = map_new(test);
	struct test_owner o;

	owner_init(&o);
	/* Not even the element, the element but not the storage, and both. */
	o.limit = smap->elem_size - 1;
	KUNIT_EXPECT_EQ(test, update(&o, smap, 1, BPF_ANY, false), -ENOMEM);
	o.limit = cost(smap, 1) - 1;
	KUNIT_EXPECT_EQ(test, update(&o, smap, 1, BPF_ANY, false), -ENOMEM);
	KUNIT_EXPECT_NULL(test, get(&o, smap, BPF_LOCAL_STORAGE_GET_F_CREATE));
	KUNIT_EXPECT_EQ(test, atomic_read(&o.charged), 0);
	KUNIT_EXPECT_EQ(test, live(smap), 0);
	o.limit = cost(smap, 1);
	KUNIT_EXPECT_EQ(test, update(&o, smap, 1, BPF_ANY, false), 0);

	/* A second one, and a replacement, which for a moment is a second one. */
	KUNIT_EXPECT_EQ(test, update(&o, other, 1, BPF_ANY, false), -ENOMEM);
	KUNIT_EXPECT_EQ(test, update(&o, smap, 2, BPF_ANY, false), -ENOMEM);
	KUNIT_EXPECT_EQ(test, get(&o, smap, 0)->num, 1);
	KUNIT_EXPECT_EQ(test, atomic_read(&o.charged), cost(smap, 1));
	o.limit = cost(smap, 2);
	KUNIT_EXPECT_EQ(test, update(&o, smap, 2, BPF_ANY, false), 0);
	KUNIT_EXPECT_EQ(test, atomic_read(&o.charged), cost(smap, 1));

	owner_destroy(&o);
	KUNIT_EXPECT_EQ(test, atomic_read(&o.charged), 0);
	KUNIT_EXPECT_EQ(test, live(smap) + live(other), 0);
	bpf_local_storage_map_free(&smap->map);
	bpf_local_storage_map_free(&other->map);
}

/* Whatever the distance between storages, no bucket gets more than twice its share. */
static void buckets_test(struct kunit *test)
{
	u32 i, odd, shift, log, bucket, *nr;

	nr = kunit_kcalloc(test, 64, sizeof(*nr), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, nr);
	for (log = 4; log <= 6; log++)
		for (odd = 1; odd < 8; odd += 2)
			for (shift = 3; shift <= 16; shift++) {
				memset(nr, 0, 64 * sizeof(*nr));
				for (i = 0; i < 16 << log; i++) {
					void *storage = (void *)PAGE_OFFSET + i * (odd << shift);

					bucket = bpf_local_storage_bucket(storage, log);
					KUNIT_ASSERT_LT(test, bucket, 1U << log);
					KUNIT_EXPECT_LE_MSG(test, ++nr[bucket], 32,
							    "%u buckets, %u bytes", 1U << log,
							    odd << shift);
				}
			}
}

static int copy(struct test_owner *to, struct test_value *from)
{
	int err;

	prog_enter();
	err = bpf_local_storage_copy(to, SELEM(container_of((void *)from,
							    struct bpf_local_storage_data, data)));
	prog_exit();

	return err;
}

static void clone_test(struct kunit *test)
{
	struct bpf_local_storage_map *smap = map_new(test);
	struct bpf_local_storage_map *locked = map_new(test);
	struct test_owner from, to;

	map_set_lock(test, locked);
	owner_init(&from);
	owner_init(&to);
	KUNIT_EXPECT_EQ(test, update(&from, smap, 1, BPF_ANY, false), 0);
	KUNIT_EXPECT_EQ(test, update(&from, locked, 2, BPF_ANY, false), 0);
	KUNIT_EXPECT_EQ(test, copy(&to, get(&from, smap, 0)), 0);

	/* Half way: what is there stays, and goes with the owner. */
	to.limit = cost(smap, 1);
	KUNIT_EXPECT_EQ(test, copy(&to, get(&from, locked, 0)), -ENOMEM);
	KUNIT_EXPECT_EQ(test, atomic_read(&to.charged), cost(smap, 1));
	to.limit = cost(smap, 2);
	KUNIT_EXPECT_EQ(test, copy(&to, get(&from, locked, 0)), 0);

	KUNIT_EXPECT_EQ(test, get(&to, smap, 0)->num, 1);
	KUNIT_EXPECT_EQ(test, get(&to, locked, 0)->num, 2);
	KUNIT_EXPECT_PTR_NE(test, get(&to, smap, 0), get(&from, smap, 0));
	KUNIT_EXPECT_EQ(test, atomic_read(&to.charged), cost(smap, 2));

	owner_destroy(&from);
	KUNIT_EXPECT_EQ(test, get(&to, smap, 0)->num, 1);
	owner_destroy(&to);
	KUNIT_EXPECT_EQ(test, atomic_read(&from.charged) + atomic_read(&to.charged), 0);
	KUNIT_EXPECT_EQ(test, live(smap) + live(locked), 0);
	bpf_local_storage_map_free(&smap->map);
	bpf_local_storage_map_free(&locked->map);
}

#define NR_OWNERS	100

static struct test_owner *owners_new(struct kunit *test)
{
	struct test_owner *o = kunit_kcalloc(test, NR_OWNERS, sizeof(*o), GFP_KERNEL);
	int i;

	KUNIT_ASSERT_NOT_NULL(test, o);
	for (i = 0; i < NR_OWNERS; i++)
		owner_init(&o[i]);

	return o;
}

static void map_free_test(struct kunit *test)
{
	struct bpf_local_storage_map *smap = map_new(test);
	struct bpf_local_storage_map *other = map_new(test);
	struct test_owner *o = owners_new(test);
	int i;

	for (i = 0; i < NR_OWNERS; i++) {
		KUNIT_EXPECT_EQ(test, update(&o[i], smap, i, BPF_ANY, i % 2), 0);
		if (i % 2)
			KUNIT_EXPECT_EQ(test, update(&o[i], other, i, BPF_ANY, true), 0);
	}
	bpf_local_storage_map_free(&smap->map);
	for (i = 0; i < NR_OWNERS; i++) {
		if (!(i % 2)) {
			KUNIT_EXPECT_NULL(test, rcu_access_pointer(o[i].storage));
			KUNIT_EXPECT_EQ(test, atomic_read(&o[i].charged), 0);
			continue;
		}
		KUNIT_EXPECT_EQ(test, get(&o[i], other, 0)->num, i);
		KUNIT_EXPECT_EQ(test, atomic_read(&o[i].charged), cost(other, 1));
		owner_destroy(&o[i]);
		KUNIT_EXPECT_EQ(test, atomic_read(&o[i].charged), 0);
	}
	KUNIT_EXPECT_EQ(test, live(other), 0);
	bpf_local_storage_map_free(&other->map);
}

/* Past the near slots, two chunks and a directory of one entry. */
#define NR_MAPS	(BPF_LOCAL_STORAGE_FAR + 2 * BPF_LOCAL_STORAGE_CHUNK + 4)

/* More maps than a storage has slots, and the numbers of maps that are gone. */
static void many_maps_test(struct kunit *test)
{
	struct bpf_local_storage_map *smap[NR_MAPS];
	struct test_owner o;
	int i, round;

	owner_init(&o);
	for (i = 0; i < NR_MAPS; i++)
		smap[i] = map_new(test);

	for (round = 0; round < 3; round++) {
		for (i = 0; i < NR_MAPS; i++)
			KUNIT_EXPECT_EQ(test, update(&o, smap[i], round + i, BPF_ANY, false), 0);
		for (i = 0; i < NR_MAPS; i++)
			KUNIT_EXPECT_EQ(test, get(&o, smap[i], 0)->num, round + i);
		for (i = round; i < NR_MAPS; i += 3) {
			bpf_local_storage_map_free(&smap[i]->map);
			smap[i] = map_new(test);
			KUNIT_EXPECT_NULL(test, get(&o, smap[i], 0));
		}
	}
	/* The last round replaced every third map, from 2 on, by one without a value. */
	BUILD_BUG_ON((NR_MAPS - 1) % 3 == 2);
	KUNIT_EXPECT_EQ(test, delete(&o, smap[0]), 0);
	KUNIT_EXPECT_EQ(test, delete(&o, smap[NR_MAPS - 1]), 0);
	KUNIT_EXPECT_NULL(test, get(&o, smap[NR_MAPS - 1], 0));

	owner_destroy(&o);
	KUNIT_EXPECT_EQ(test, atomic_read(&o.charged), 0);
	for (i = 0; i < NR_MAPS; i++) {
		KUNIT_EXPECT_EQ(test, live(smap[i]), 0);
		bpf_local_storage_map_free(&smap[i]->map);
	}
	KUNIT_EXPECT_TRUE(test, ida_is_empty(&test_slots));
}

/* The directory grows with values in it, and is paid for; so is a chunk. */
static void far_slots_test(struct kunit *test)
{
	static const u32 number[] = {
		BPF_LOCAL_STORAGE_FAR + 5 * BPF_LOCAL_STORAGE_CHUNK - 1,
		BPF_LOCAL_STORAGE_FAR,
		BPF_LOCAL_STORAGE_FAR - 1,
		BPF_LOCAL_STORAGE_SLOTS - 1,
		BPF_LOCAL_STORAGE_MAX_MAPS - 1,
		BPF_LOCAL_STORAGE_FAR + 5 * BPF_LOCAL_STORAGE_CHUNK,
	};
	struct bpf_local_storage_map *smap[ARRAY_SIZE(number)];
	struct test_owner o;
	int i, j, charged;

	owner_init(&o);
	for (i = 0; i < ARRAY_SIZE(smap); i++) {
		smap[i] = map_new(test);
		map_renumber(test, smap[i], number[i]);
	}

	for (i = 0; i < ARRAY_SIZE(smap); i++) {
		KUNIT_EXPECT_NULL(test, get(&o, smap[i], 0));
		/* Without room for the slots there is no value, and nothing is left behind. */
		charged = atomic_read(&o.charged);
		if (number[i] >= BPF_LOCAL_STORAGE_SLOTS) {
			o.limit = charged + cost(smap[i], 1);
			KUNIT_EXPECT_EQ(test, update(&o, smap[i], i, BPF_ANY, false), -ENOMEM);
			KUNIT_EXPECT_EQ(test, atomic_read(&o.charged), charged);
			o.limit = INT_MAX;
		}
		KUNIT_EXPECT_EQ(test, update(&o, smap[i], i, BPF_ANY, false), 0);
		KUNIT_EXPECT_EQ(test, atomic_read(&o.charged),
				cost(smap[i], i + 1) + slots_cost(&o));
		for (j = 0; j <= i; j++) {
			KUNIT_ASSERT_NOT_NULL(test, get(&o, smap[j], 0));
			KUNIT_EXPECT_EQ(test, get(&o, smap[j], 0)->num, j);
		}
	}
	for (i = 0; i < ARRAY_SIZE(smap); i++) {
		KUNIT_EXPECT_EQ(test, delete(&o, smap[i]), 0);
		KUNIT_EXPECT_NULL(test, get(&o, smap[i], 0));
	}
	KUNIT_EXPECT_EQ(test, atomic_read(&o.charged), 0);
	for (i = 0; i < ARRAY_SIZE(smap); i++)
		bpf_local_storage_map_free(&smap[i]->map);
	KUNIT_EXPECT_TRUE(test, ida_is_empty(&test_slots));
}

/* What happens in a lock's section below us, as seen by a program that recurses into it. */
static void refused_lock_test(struct kunit *test)
{
	struct bpf_local_storage_map *smap = map_new(test);
	struct bpf_local_storage_map *other = map_new(test);
	struct bpf_local_storage *storage;
	rqspinlock_t *locks[2];
	unsigned long flags;
	struct test_owner o;
	int i, err, charged, upd, upd_other, del, old_num;

	owner_init(&o);
	KUNIT_ASSERT_EQ(test, update(&o, smap, 1, BPF_ANY, false), 0);
	storage = rcu_dereference_protected(o.storage, 1);
	locks[0] = &storage->lock;
	locks[1] = &smap->buckets[bpf_local_storage_bucket(storage, smap->bucket_log)].lock;

	for (i = 0; i < 2; i++) {
		err = raw_res_spin_lock_irqsave(locks[i], flags);
		KUNIT_ASSERT_EQ(test, err, 0);
		upd = update(&o, smap, 2, BPF_ANY, false);
		del = delete(&o, smap);
		upd_other = update(&o, other, 3, BPF_ANY, false);
		charged = atomic_read(&o.charged);
		old_num = get(&o, smap, 0)->num;
		raw_res_spin_unlock_irqrestore(locks[i], flags);

		KUNIT_EXPECT_EQ(test, upd, -EDEADLK);
		KUNIT_EXPECT_EQ(test, del, -EDEADLK);
		/* Another map's bucket is another lock. */
		KUNIT_EXPECT_EQ(test, upd_other, i ? 0 : -EDEADLK);
		KUNIT_EXPECT_EQ(test, charged, cost(smap, 1 + i));
		KUNIT_EXPECT_EQ(test, old_num, 1);
	}
	KUNIT_EXPECT_EQ(test, update(&o, smap, 4, BPF_EXIST, false), 0);
	KUNIT_EXPECT_EQ(test, delete(&o, smap), 0);
	KUNIT_EXPECT_EQ(test, delete(&o, other), 0);
	KUNIT_EXPECT_EQ(test, atomic_read(&o.charged), 0);
	KUNIT_EXPECT_EQ(test, live_in_the_end(smap) + live_in_the_end(other), 0);
	bpf_local_storage_map_free(&smap->map);
	bpf_local_storage_map_free(&other->map);
}

/* destroy returns the charge whichever lock it is refused, and hands the rest over. */
static void refused_destroy_test(struct kunit *test)
{
	struct bpf_local_storage_map *smap = map_new(test);
	struct bpf_local_storage_map *other = map_new(test);
	struct bpf_local_storage *storage;
	rqspinlock_t *lock;
	unsigned long flags;
	struct test_owner o;
	int i, err, charged;
	u32 bucket;
	long left;

	for (i = 0; i < 2; i++) {
		owner_init(&o);
		KUNIT_ASSERT_EQ(test, update(&o, smap, 1, BPF_ANY, false), 0);
		KUNIT_ASSERT_EQ(test, update(&o, other, 1, BPF_ANY, false), 0);
		storage = rcu_dereference_protected(o.storage, 1);
		bucket = bpf_local_storage_bucket(storage, smap->bucket_log);
		lock = i ? &smap->buckets[bucket].lock : &storage->lock;

		err = raw_res_spin_lock_irqsave(lock, flags);
		KUNIT_ASSERT_EQ(test, err, 0);
		owner_destroy(&o);
		charged = atomic_read(&o.charged);
		left = bpf_local_storage_map_live(smap);
		raw_res_spin_unlock_irqrestore(lock, flags);
		/* Nobody may look at the owner any more. */
		memset(&o, 0xff, sizeof(o));

		KUNIT_EXPECT_EQ(test, charged, 0);
		KUNIT_EXPECT_EQ(test, left, 1);
		KUNIT_EXPECT_EQ(test, live_in_the_end(smap), 0);
		KUNIT_EXPECT_EQ(test, live_in_the_end(other), 0);
	}
	bpf_local_storage_map_free(&smap->map);
	bpf_local_storage_map_free(&other->map);
}

/* What one of two threads does, both beginning at the same time. */
struct race {
	struct bpf_local_storage_map **smap;
	int nr_maps;
	struct test_owner *o;
	int (*fn)(struct race *race);
	struct completion *start, done;
	int ret;
};

static int race_thread(void *arg)
{
	struct race *race = arg;

	wait_for_completion(race->start);
	race->ret = race->fn(race);
	complete(&race->done);

	return 0;
}

static void run_race(struct kunit *test, struct race *race)
{
	DECLARE_COMPLETION_ONSTACK(start);
	struct task_struct *t[2];
	int i;

	for (i = 0; i < 2; i++) {
		race[i].start = &start;
		init_completion(&race[i].done);
		t[i] = kthread_create_on_cpu(race_thread, &race[i], i % num_online_cpus(),
					     "race/%u");
	}
	/* One that was not woken up never runs, and goes when it is stopped. */
	if (IS_ERR(t[0]) || IS_ERR(t[1])) {
		for (i = 0; i < 2; i++)
			if (!IS_ERR(t[i]))
				kthread_stop(t[i]);
		KUNIT_FAIL_AND_ABORT(test, "no thread");
	}
	for (i = 0; i < 2; i++)
		wake_up_process(t[i]);
	complete_all(&start);
	for (i = 0; i < 2; i++)
		wait_for_completion(&race[i].done);
}

/* 400,000 creations and deletions in all. */
#define RACE_TURNS	100000

/* Creates and deletes the owner's only value: its storage comes and goes all the time. */
static int race_create_delete(struct race *race)
{
	struct test_value value = {};
	int i, failed = 0;

	for (i = 0; i < RACE_TURNS; i++) {
		struct bpf_local_storage_map *smap = race->smap[i % 2];
		int err;

		prog_enter();
		if (i % 3) {
			failed += !bpf_local_storage_get(&test_type, &smap->map, race->o, &value,
							 BPF_LOCAL_STORAGE_GET_F_CREATE);
		} else {
			failed += IS_ERR(bpf_local_storage_update(race->o, smap, &value, BPF_ANY,
								  true));
		}
		err = bpf_local_storage_delete(race->o, smap);
		failed += err && err != -ENOENT;
		prog_exit();
		/* Who frees as fast as this has to let RCU keep up. */
		if (i % 1024 == 1023)
			live(smap);
	}

	return failed;
}

static void race_create_delete_test(struct kunit *test)
{
	struct bpf_local_storage_map *smap[2] = { map_new(test), map_new(test) };
	struct race race[2] = {};
	struct test_owner o;
	int i;

	owner_init(&o);
	map_renumber(test, smap[1], BPF_LOCAL_STORAGE_SLOTS);
	for (i = 0; i < 2; i++) {
		race[i].smap = smap;
		race[i].o = &o;
		race[i].fn = race_create_delete;
	}
	run_race(test, race);
	KUNIT_EXPECT_EQ(test, race[0].ret, 0);
	KUNIT_EXPECT_EQ(test, race[1].ret, 0);

	owner_destroy(&o);
	KUNIT_EXPECT_EQ(test, atomic_read(&o.charged), 0);
	for (i = 0; i < 2; i++) {
		KUNIT_EXPECT_EQ(test, live(smap[i]), 0);
		bpf_local_storage_map_free(&smap[i]->map);
	}
}

static int race_free_maps(struct race *race)
{
	int i;

	for (i = 0; i < race->nr_maps; i++)
		bpf_local_storage_map_free(&race->smap[i]->map);

	return 0;
}

static int race_destroy_owners(struct race *race)
{
	int i, left = 0;

	/* The latest first, as they are on a bucket. */
	for (i = NR_OWNERS - 1; i >= 0; i--) {
		owner_destroy(&race->o[i]);
		left += atomic_read(&race->o[i].charged);
		/* Nobody may look at the owner any more. */
		memset(&race->o[i], 0xff, sizeof(race->o[i]));
	}

	return left;
}

/* Both ends of the same elements at once. A count that does not come out hangs map_free. */
static void race_teardown_test(struct kunit *test)
{
	struct bpf_local_storage_map *smap[4];
	struct test_owner *o = owners_new(test);
	struct race race[2] = {
		{ .smap = smap, .fn = race_free_maps },
		{ .o = o, .fn = race_destroy_owners },
	};
	int i, j, round;

	/* With one map each element is its owner's last. */
	for (round = 0; round < 100; round++) {
		race[0].nr_maps = round % 2 ? 1 : ARRAY_SIZE(smap);
		for (j = 0; j < race[0].nr_maps; j++)
			smap[j] = map_new(test);
		for (i = 0; i < NR_OWNERS; i++) {
			owner_init(&o[i]);
			for (j = 0; j < race[0].nr_maps; j++)
				KUNIT_ASSERT_EQ(test, update(&o[i], smap[j], i, BPF_ANY, true), 0);
		}
		run_race(test, race);
		KUNIT_EXPECT_EQ(test, race[1].ret, 0);
	}
	KUNIT_EXPECT_TRUE(test, ida_is_empty(&test_slots));
}

#ifdef CONFIG_FAIL_BPF_LOCAL_STORAGE_LOCK

static void fail_locks(u32 sites, unsigned long probability)
{
	bpf_local_storage_fail_sites = sites;
	bpf_local_storage_fail_attr.verbose = 0;
	atomic_set(&bpf_local_storage_fail_attr.times, -1);
	WRITE_ONCE(bpf_local_storage_fail_attr.probability, probability);
}

/*
 * All that takes a lock. Each operation may fail for want of one, and then has done nothing; the
 * two ends may not.
 */
static void all_operations(struct kunit *test)
{
	struct bpf_local_storage_map *smap[2] = { map_new(test), map_new(test) };
	struct test_owner o[3];
	int i, j, err, there;

	map_renumber(test, smap[1], BPF_LOCAL_STORAGE_SLOTS);
	for (i = 0; i < ARRAY_SIZE(o); i++) {
		owner_init(&o[i]);
		for (j = 0; j < ARRAY_SIZE(smap); j++) {
			err = update(&o[i], smap[j], 1, BPF_ANY, false);
			KUNIT_EXPECT_TRUE(test, !err || err == -ETIMEDOUT);
			KUNIT_EXPECT_EQ(test, !err, !!get(&o[i], smap[j], 0));
			err = update(&o[i], smap[j], 2, BPF_ANY, true);
			KUNIT_EXPECT_TRUE(test, !err || err == -ETIMEDOUT);
			if (!err)
				KUNIT_EXPECT_EQ(test, get(&o[i], smap[j], 0)->num, 2);
		}
		there = !!get(&o[i], smap[0], 0) + !!get(&o[i], smap[1], 0);
		KUNIT_EXPECT_EQ(test, atomic_read(&o[i].charged),
				(there ? cost(smap[0], there) : 0) + slots_cost(&o[i]));
	}

	/* The first owner loses its values one by one, the second is destroyed with them. */
	for (j = 0; j < ARRAY_SIZE(smap); j++) {
		there = !!get(&o[0], smap[j], 0);
		err = delete(&o[0], smap[j]);
		KUNIT_EXPECT_TRUE(test, err == (there ? 0 : -ENOENT) || err == -ETIMEDOUT);
		KUNIT_EXPECT_EQ(test, there && err, !!get(&o[0], smap[j], 0));
	}
	owner_destroy(&o[1]);
	KUNIT_EXPECT_EQ(test, atomic_read(&o[1].charged), 0);
	memset(&o[1], 0xff, sizeof(o[1]));

	/* The third's go with the maps. */
	for (j = 0; j < ARRAY_SIZE(smap); j++)
		bpf_local_storage_map_free(&smap[j]->map);
	for (i = 0; i < ARRAY_SIZE(o); i += 2) {
		KUNIT_EXPECT_NULL(test, rcu_access_pointer(o[i].storage));
		KUNIT_EXPECT_EQ(test, atomic_read(&o[i].charged), 0);
	}
	KUNIT_EXPECT_TRUE(test, ida_is_empty(&test_slots));
}

/* At each site: refuse the first acquisition, then only the second, until there are no more. */
static void fail_nth_test(struct kunit *test)
{
	int site, nth, unused;

	for (site = 0; site < BLS_NR_SITES; site++) {
		/* An iterator needs a program: see prog_tests/local_storage_iter.c. */
		if (site == BLS_ITER_BUCKET)
			continue;
		for (nth = 1, unused = 0; !unused; nth++) {
			fail_locks(BIT(site), 0);
			current->fail_nth = nth;
			all_operations(test);
			unused = current->fail_nth;
			current->fail_nth = 0;
		}
		/* The last turn refused none. */
		KUNIT_EXPECT_GT_MSG(test, nth, 2, "site %d was never reached", site);
	}
	fail_locks(~0, 0);
}

static void fail_random_test(struct kunit *test)
{
	static const int probability[] = { 1, 20, 60 };
	struct bpf_local_storage_map *smap[4];
	struct test_owner *o = owners_new(test);
	struct race race[2] = {
		{ .smap = smap, .nr_maps = ARRAY_SIZE(smap), .fn = race_free_maps },
		{ .o = o, .fn = race_destroy_owners },
	};
	int i, j, round;

	for (round = 0; round < 10 * ARRAY_SIZE(probability); round++) {
		for (j = 0; j < ARRAY_SIZE(smap); j++)
			smap[j] = map_new(test);
		fail_locks(~0, probability[round % ARRAY_SIZE(probability)]);
		for (i = 0; i < NR_OWNERS; i++) {
			owner_init(&o[i]);
			for (j = 0; j < ARRAY_SIZE(smap); j++)
				update(&o[i], smap[j], i, BPF_ANY, true);
		}
		run_race(test, race);
		KUNIT_EXPECT_EQ(test, race[1].ret, 0);
	}
	fail_locks(~0, 0);
	KUNIT_EXPECT_TRUE(test, ida_is_empty(&test_slots));
}

/* Refuse every lock for a while: destroy returns all the same, and map_free waits until it ends. */
static int race_let_go(struct race *race)
{
	int left = race_destroy_owners(race);

	msleep(200);
	fail_locks(~0, 0);

	return left;
}

static void fail_all_test(struct kunit *test)
{
	struct bpf_local_storage_map *smap[4];
	struct test_owner *o = owners_new(test);
	struct race race[2] = {
		{ .smap = smap, .nr_maps = ARRAY_SIZE(smap), .fn = race_free_maps },
		{ .o = o, .fn = race_let_go },
	};
	int i, j;

	for (j = 0; j < ARRAY_SIZE(smap); j++)
		smap[j] = map_new(test);
	for (i = 0; i < NR_OWNERS; i++)
		for (j = 0; j < ARRAY_SIZE(smap); j++)
			KUNIT_EXPECT_EQ(test, update(&o[i], smap[j], i, BPF_ANY, true), 0);
	fail_locks(~0, 100);
	run_race(test, race);
	KUNIT_EXPECT_EQ(test, race[1].ret, 0);
	KUNIT_EXPECT_TRUE(test, ida_is_empty(&test_slots));
}

#else

static void fail_nth_test(struct kunit *test)
{
	kunit_skip(test, "needs CONFIG_FAIL_BPF_LOCAL_STORAGE_LOCK");
}

#define fail_random_test	fail_nth_test
#define fail_all_test		fail_nth_test

#endif

static struct kunit_case local_storage_cases[] = {
	KUNIT_CASE(create_test),
	KUNIT_CASE(large_test),
	KUNIT_CASE(replace_test),
	KUNIT_CASE(delete_test),
	KUNIT_CASE(flags_test),
	KUNIT_CASE(f_lock_test),
	KUNIT_CASE(charge_test),
	KUNIT_CASE(buckets_test),
	KUNIT_CASE(clone_test),
	KUNIT_CASE(map_free_test),
	KUNIT_CASE(many_maps_test),
	KUNIT_CASE(far_slots_test),
	KUNIT_CASE(refused_lock_test),
	KUNIT_CASE(refused_destroy_test),
	KUNIT_CASE_SLOW(race_create_delete_test),
	KUNIT_CASE_SLOW(race_teardown_test),
	KUNIT_CASE_SLOW(fail_nth_test),
	KUNIT_CASE_SLOW(fail_random_test),
	KUNIT_CASE(fail_all_test),
	{}
};

static struct kunit_suite local_storage_suite = {
	.name = "bpf_local_storage",
	.test_cases = local_storage_cases,
};

kunit_test_suite(local_storage_suite);

MODULE_DESCRIPTION("KUnit tests for BPF local storage");
MODULE_LICENSE("GPL");
