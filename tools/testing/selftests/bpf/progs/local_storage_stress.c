// SPDX-License-Identifier: GPL-2.0
/*
 * Uses local storage of every kind whenever the test makes a system call that one of these hooks
 * is on, and counts what is left when all should be gone.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include "bpf_experimental.h"

#define NR_MAPS		4
#define NR_OWNERS	16
#define HOLD		2000

char _license[] SEC("license") = "GPL";

/*
 * What a value can have. Timers, work queues, lists and trees are refused for local storage by
 * map_check_btf(): so the list is in an object that a value points to. A user pointer can be had
 * for tasks only. Each task pointer counts on the test's own task, so nothing is lost unseen.
 */
struct link {
	struct bpf_list_node node;
	struct task_struct __kptr *task;
};

struct chain {
	struct bpf_spin_lock lock;
	struct bpf_list_head head __contains(link, node);
};

struct page_data {
	__u64 count;
};

struct value {
	struct bpf_spin_lock lock;
	__u64 count;
	struct task_struct __kptr *task;
	struct cgroup __kptr *cgrp;
	struct chain __kptr *chain;
};

struct task_value {
	struct page_data __uptr *page;
	__u64 count;
	struct task_struct __kptr *task;
	struct cgroup __kptr *cgrp;
	struct chain __kptr *chain;
};

/* Else clang has only forward declarations of what nothing but a tagged pointer points to. */
struct chain *unused_chain;
struct link *unused_link;
struct page_data *unused_page;

#define LOCAL_STORAGE(name, map_type, value_type, flags)			\
	struct name##_map {							\
		__uint(type, map_type);						\
		__uint(map_flags, BPF_F_NO_PREALLOC | (flags));			\
		__type(key, int);						\
		__type(value, struct value_type);				\
	};									\
	struct {								\
		__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);			\
		__uint(max_entries, NR_MAPS);					\
		__type(key, int);						\
		__array(values, struct name##_map);				\
	} name##_maps SEC(".maps")

LOCAL_STORAGE(sk, BPF_MAP_TYPE_SK_STORAGE, value, BPF_F_CLONE);
LOCAL_STORAGE(task, BPF_MAP_TYPE_TASK_STORAGE, task_value, 0);
LOCAL_STORAGE(cgrp, BPF_MAP_TYPE_CGRP_STORAGE, value, 0);
LOCAL_STORAGE(inode, BPF_MAP_TYPE_INODE_STORAGE, value, 0);

/* The test's: its process, and what there is to work on. */
int pid;
int pids[NR_OWNERS];
__u64 cgrps[NR_OWNERS];
bool checking;

/* What was done. */
long used, deleted;
long our_frees_begun, frees_begun, frees_ended;

/* What was left: of sockets that were freed; of one looked at; references to the test's task. */
long bytes_lost;
int bytes_left;
int task_refs;

struct task_struct *bpf_task_from_pid(s32 pid) __ksym;
void bpf_task_release(struct task_struct *p) __ksym;
struct cgroup *bpf_cgroup_from_id(u64 id) __ksym;
void bpf_cgroup_release(struct cgroup *cgrp) __ksym;

static struct task_struct *any_task(void)
{
	__u32 i = bpf_get_prandom_u32();

	return bpf_task_from_pid(i & 0x100 ? pid : pids[i % NR_OWNERS]);
}

static struct cgroup *any_cgrp(void)
{
	return bpf_cgroup_from_id(cgrps[bpf_get_prandom_u32() % NR_OWNERS]);
}

static struct chain *new_chain(void)
{
	struct chain *chain = bpf_obj_new(typeof(*chain));
	struct task_struct *task;
	struct link *link;

	if (!chain)
		return NULL;
	link = bpf_obj_new(typeof(*link));
	if (!link)
		return chain;

	task = bpf_task_from_pid(pid);
	if (task)
		task = bpf_kptr_xchg(&link->task, task);
	if (task)
		bpf_task_release(task);

	bpf_spin_lock(&chain->lock);
	bpf_list_push_front(&chain->head, &link->node);
	bpf_spin_unlock(&chain->lock);

	return chain;
}

/* Put new objects in place of what is in the value, which may be unlinked by now. */
#define FILL(v) ({								\
	struct task_struct *task = any_task();					\
	struct cgroup *cgrp = any_cgrp();					\
	struct chain *chain = new_chain();					\
										\
	if (task)								\
		task = bpf_kptr_xchg(&(v)->task, task);				\
	if (task)								\
		bpf_task_release(task);						\
	if (cgrp)								\
		cgrp = bpf_kptr_xchg(&(v)->cgrp, cgrp);				\
	if (cgrp)								\
		bpf_cgroup_release(cgrp);					\
	if (chain)								\
		chain = bpf_kptr_xchg(&(v)->chain, chain);			\
	if (chain)								\
		bpf_obj_drop(chain);						\
})

static __noinline int use_value(struct value *v, bool hold)
{
	int i;

	bpf_spin_lock(&v->lock);
	v->count++;
	bpf_spin_unlock(&v->lock);
	FILL(v);
	if (hold)
		bpf_for(i, 0, HOLD)
			v->count++;
	if (hold)
		FILL(v);

	return 0;
}

static __noinline int use_task_value(struct task_value *v, bool hold)
{
	struct page_data *page = v->page;
	int i;

	if (page)
		page->count++;
	FILL(v);
	if (hold)
		bpf_for(i, 0, HOLD)
			v->count++;
	if (hold) {
		FILL(v);
		page = v->page;
		if (page)
			page->count++;
	}

	return 0;
}

/* One of: delete, delete and create, create if there is none; and keep hold of it for a while. */
#define WORK(name, use, owner) ({						\
	__u32 what = bpf_get_prandom_u32();					\
	int i = what % NR_MAPS;							\
	typeof(((struct name##_map *)0)->value) v;				\
	void *map = bpf_map_lookup_elem(&name##_maps, &i);			\
										\
	what >>= 8;								\
	if (map && what % 4 < 2 && !bpf_##name##_storage_delete(map, owner))	\
		__sync_fetch_and_add(&deleted, 1);				\
	if (map && what % 4 > 0) {						\
		v = bpf_##name##_storage_get(map, owner, NULL,			\
					     BPF_LOCAL_STORAGE_GET_F_CREATE);	\
		if (v) {							\
			use(v, (what >> 4) % 8 == 0);				\
			__sync_fetch_and_add(&used, 1);				\
		}								\
	}									\
})

static bool ours(void)
{
	return bpf_get_current_pid_tgid() >> 32 == pid;
}

static __noinline int work_on_others(void)
{
	struct task_struct *task = any_task();
	struct cgroup *cgrp = any_cgrp();

	if (task) {
		WORK(task, use_task_value, task);
		bpf_task_release(task);
	}
	if (cgrp) {
		WORK(cgrp, use_value, cgrp);
		bpf_cgroup_release(cgrp);
	}

	return 0;
}

/* Sleepable: what it holds is kept by RCU Tasks Trace alone. */
SEC("lsm.s/socket_getsockname")
int BPF_PROG(getsockname, struct socket *sock)
{
	struct sock *sk = sock->sk;

	if (!ours() || !sk)
		return 0;
	if (checking) {
		bytes_left = sk->sk_omem_alloc.counter;
		task_refs = bpf_get_current_task_btf()->rcu_users.refs.counter;
		return 0;
	}

	WORK(sk, use_value, sk);
	work_on_others();

	return 0;
}

SEC("lsm/socket_getpeername")
int BPF_PROG(getpeername, struct socket *sock)
{
	struct sock *sk = sock->sk;

	if (!ours() || !sk)
		return 0;

	WORK(sk, use_value, sk);
	work_on_others();

	return 0;
}

SEC("lsm.s/file_open")
int BPF_PROG(file_open, struct file *file)
{
	if (!ours() || checking)
		return 0;

	WORK(inode, use_value, file->f_inode);
	work_on_others();

	return 0;
}

SEC("lsm/inode_unlink")
int BPF_PROG(inode_unlink, struct inode *dir, struct dentry *dentry)
{
	struct inode *inode = dentry->d_inode;

	if (!ours() || checking || !inode)
		return 0;

	WORK(inode, use_value, inode);

	return 0;
}

SEC("fexit/bpf_sk_storage_free")
int BPF_PROG(sk_storage_free, struct sock *sk)
{
	if (sk->sk_omem_alloc.counter)
		__sync_fetch_and_add(&bytes_lost, sk->sk_omem_alloc.counter);

	return 0;
}

/* Unlike other programs, those of the LSM may interrupt themselves: this misses nothing. */
SEC("lsm/bpf_map_free")
void BPF_PROG(map_free_begins, struct bpf_map *map)
{
	char name[sizeof("ls_stress")];

	bpf_probe_read_kernel(name, sizeof(name), map->name);
	if (!bpf_strncmp(name, sizeof(name), "ls_stress"))
		__sync_fetch_and_add(&our_frees_begun, 1);
	__sync_fetch_and_add(&frees_begun, 1);
}

SEC("fexit/bpf_map_free_deferred")
int BPF_PROG(map_free_ends, struct work_struct *work)
{
	__sync_fetch_and_add(&frees_ended, 1);

	return 0;
}
