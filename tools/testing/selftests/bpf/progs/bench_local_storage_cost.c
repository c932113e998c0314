// SPDX-License-Identifier: GPL-2.0
/*
 * What single operations cost, on the storage of the task that runs the program; or of a socket,
 * for kernels that give programs no task.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

#define MAX_PRODUCERS	64
#define OPS		128

char _license[] SEC("license") = "GPL";

#define MAPS_OF(_type, _name)				\
struct {						\
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);	\
	__uint(max_entries, 1000);			\
	__type(key, int);				\
	__type(value, int);				\
	__array(values, struct {			\
		__uint(type, _type);			\
		__uint(map_flags, BPF_F_NO_PREALLOC);	\
		__type(key, int);			\
		__type(value, __u8[64]);		\
	});						\
} _name SEC(".maps")

MAPS_OF(BPF_MAP_TYPE_TASK_STORAGE, maps);
MAPS_OF(BPF_MAP_TYPE_SK_STORAGE, socket_maps);

/* Only there for who looks it up: it takes a slot. */
struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, __u8[64]);
} named SEC(".maps");

const volatile __u32 nr_maps = 1;
/*
 * Everything but the operation, to be subtracted. Of a socket's also a call, which takes the
 * interpreter longer than the lookup: of a helper that is the same in every kernel.
 */
const volatile bool empty;
/* Churn reads the clock, for which an emulator may have a lock, to tell creations apart. */
const volatile bool clock = true;

/* A line of its own for each producer. */
struct {
	long ops;
	long errors;
	long create_ns;
	__u32 next;
} __attribute__((aligned(128))) res[MAX_PRODUCERS];

/* Not a constant to the verifier. */
__u64 no_flags;

struct args {
	__u32 producer;
};

static __always_inline void *lookup_map(bool of_task, __u32 key)
{
	return of_task ? bpf_map_lookup_elem(&maps, &key) : bpf_map_lookup_elem(&socket_maps, &key);
}

static __always_inline void *get(void *map, bool of_task, struct bpf_sock *sk, __u64 flags)
{
	return of_task ? bpf_task_storage_get(map, bpf_get_current_task_btf(), NULL, flags) :
			 bpf_sk_storage_get(map, sk, NULL, flags);
}

/* Plain loops: the interpreter has neither callbacks nor kfuncs. */
static __always_inline int lookups(__u32 producer, bool of_task, struct bpf_sock *sk, __u64 flags)
{
	long errors = 0;
	int i;

	producer %= MAX_PRODUCERS;
	for (i = 0; i < OPS; i++) {
		void *map = lookup_map(of_task, res[producer].next++ % nr_maps);

		if (!map)
			return 1;
		if (!empty)
			errors += !get(map, of_task, sk, flags);
		else if (!of_task)
			errors += !bpf_sk_fullsock(sk);
	}
	res[producer].errors += errors;
	res[producer].ops += OPS;

	return 0;
}

/* Creates and deletes the last map's value. */
static __always_inline int churns(__u32 producer, bool of_task, struct bpf_sock *sk)
{
	__u64 begin, create_ns = 0;
	void *map;
	int i;

	producer %= MAX_PRODUCERS;
	map = lookup_map(of_task, nr_maps - 1);
	if (!map)
		return 1;

	for (i = 0; i < OPS; i++) {
		begin = clock ? bpf_ktime_get_ns() : 0;
		if (!empty && !get(map, of_task, sk, BPF_LOCAL_STORAGE_GET_F_CREATE))
			res[producer].errors++;
		create_ns += clock ? bpf_ktime_get_ns() - begin : 0;
		if (empty)
			continue;
		if (of_task)
			bpf_task_storage_delete(map, bpf_get_current_task_btf());
		else
			bpf_sk_storage_delete(map, sk);
	}
	res[producer].create_ns += create_ns;
	res[producer].ops += OPS;

	return 0;
}

/* Gives the task values of OPS more maps. */
SEC("syscall")
int fill(struct args *args)
{
	return lookups(args->producer, true, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);
}

SEC("syscall")
int lookup_flags(struct args *args)
{
	return lookups(args->producer, true, NULL, no_flags);
}

SEC("syscall")
int lookup_const(struct args *args)
{
	return lookups(args->producer, true, NULL, 0);
}

/* With a map that the verifier knows, there is nothing else in the loop. */
SEC("syscall")
int lookup_named(struct args *args)
{
	__u32 producer = args->producer % MAX_PRODUCERS;
	int i;

	for (i = 0; i < OPS; i++) {
		barrier();
		if (!empty && !bpf_task_storage_get(&named, bpf_get_current_task_btf(), NULL,
						    BPF_LOCAL_STORAGE_GET_F_CREATE))
			res[producer].errors++;
	}
	res[producer].ops += OPS;

	return 0;
}

SEC("syscall")
int churn(struct args *args)
{
	return churns(args->producer, true, NULL);
}

static __always_inline struct bpf_sock *full_socket(struct __sk_buff *skb)
{
	struct bpf_sock *sk = skb->sk;

	return sk ? bpf_sk_fullsock(sk) : NULL;
}

/* The socket is the run's own. The first rounds fill. */
SEC("tc")
int lookup_socket(struct __sk_buff *skb)
{
	struct bpf_sock *sk = full_socket(skb);

	return sk ? lookups(skb->mark, false, sk, BPF_LOCAL_STORAGE_GET_F_CREATE) : 1;
}

SEC("tc")
int churn_socket(struct __sk_buff *skb)
{
	struct bpf_sock *sk = full_socket(skb);

	return sk ? churns(skb->mark, false, sk) : 1;
}
