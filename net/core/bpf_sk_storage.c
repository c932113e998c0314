// SPDX-License-Identifier: GPL-2.0
/*
 * BPF local storage of sockets. Netlink's view is in bpf_sk_storage_diag.c.
 */
#include <linux/bpf.h>
#include <linux/bpf_local_storage.h>
#include <linux/btf.h>
#include <linux/btf_ids.h>
#include <linux/init.h>
#include <linux/net.h>
#include <net/bpf_sk_storage.h>
#include <net/sock.h>

static DEFINE_IDA(sk_slots);

static void *bpf_sk_storage_fd_get(int fd, void **pin)
{
	struct socket *sock;
	int err;

	sock = sockfd_lookup(fd, &err);
	if (!sock)
		return ERR_PTR(err);
	*pin = sock;

	return sock->sk;
}

static void bpf_sk_storage_fd_put(void *pin)
{
	struct socket *sock = pin;

	sockfd_put(sock);
}

static notrace struct bpf_local_storage __rcu **bpf_sk_storage_ptr(void *owner)
{
	struct sock *sk = owner;

	return &sk->sk_bpf_storage;
}

/* A program may hold, by RCU alone, a socket that is being freed. */
static bool bpf_sk_storage_tryget(void *owner)
{
	struct sock *sk = owner;

	return refcount_inc_not_zero(&sk->sk_refcnt);
}

/* Whoever gets at a storage has a full socket: no need for sock_gen_put(). */
static void bpf_sk_storage_put(void *owner)
{
	sock_put(owner);
}

/*
 * A socket ends with its last reference. One that is being cloned has none yet. A kernel's socket
 * keeps only the memory of its namespace, and has to end before that is taken apart: who holds it
 * for longer holds the namespace too. Which one that is may change: there are sockets that the
 * kernel has for all namespaces together, and that are of one at a time.
 */
static notrace void *bpf_sk_storage_iter_get(void *owner, void **pin)
{
	struct sock *sk = owner;

	/*
	 * Not the socket first: to drop what may be its last reference is nothing to do in here.
	 * A namespace that is a packet's was not taken apart yet, and its memory is freed a grace
	 * period after its devices went, through which packets come: so not before this RCU
	 * reader, which the iterator is, has left.
	 */
	if (refcount_read(&sk->sk_refcnt))
		*pin = maybe_get_net(sock_net(sk));

	return *pin && refcount_inc_not_zero(&sk->sk_refcnt) ? sk : NULL;
}

static void bpf_sk_storage_iter_put(void *shown, void *pin)
{
	/* In this order: the socket's end may need what its namespace has. */
	if (shown)
		sock_put(shown);
	put_net(pin);
}

/* Values count as option memory, with the limit that sock_kmalloc() has. */
static int bpf_sk_storage_charge(void *owner, u32 size)
{
	struct sock *sk = owner;
	int limit = READ_ONCE(sock_net(sk)->core.sysctl_optmem_max);

	if (size > limit || atomic_read(&sk->sk_omem_alloc) + size >= limit)
		return -ENOMEM;
	atomic_add(size, &sk->sk_omem_alloc);

	return 0;
}

static notrace void bpf_sk_storage_uncharge(void *owner, u32 size)
{
	struct sock *sk = owner;

	atomic_sub(size, &sk->sk_omem_alloc);
}

static const struct bpf_local_storage_type sk_storage_type = {
	.fd_get = bpf_sk_storage_fd_get,
	.fd_put = bpf_sk_storage_fd_put,
	.storage = bpf_sk_storage_ptr,
	.tryget = bpf_sk_storage_tryget,
	.put = bpf_sk_storage_put,
	.charge = bpf_sk_storage_charge,
	.uncharge = bpf_sk_storage_uncharge,
	.iter_get = bpf_sk_storage_iter_get,
	.iter_put = bpf_sk_storage_iter_put,
	.slots = &sk_slots,
};

/**
 * bpf_sk_storage_free() - free the values of a socket that is being freed
 * @sk: the socket, without a reference left
 *
 * Any context but NMI.
 */
void bpf_sk_storage_free(struct sock *sk)
{
	u32 charge = bpf_local_storage_destroy(&sk->sk_bpf_storage);

	if (charge)
		bpf_sk_storage_uncharge(sk, charge);
}

/**
 * bpf_sk_storage_clone() - copy a listener's values to the socket of a new connection
 * @sk: the listener
 * @newsk: the new socket, which nobody else knows yet
 *
 * Copies what is in maps with BPF_F_CLONE. Softirq or task context.
 *
 * Return: 0, -ENOMEM, or an error of the locks. After an error @newsk may have some of the values:
 * freeing it frees them.
 */
int bpf_sk_storage_clone(const struct sock *sk, struct sock *newsk)
{
	struct bpf_local_storage_elem *selem;
	struct bpf_local_storage *storage;
	int err = 0;

	rcu_read_lock_dont_migrate();
	storage = rcu_dereference(sk->sk_bpf_storage);
	if (!storage)
		goto out;

	hlist_for_each_entry_rcu(selem, &storage->list, snode) {
		struct bpf_map *map = &SDATA(selem)->smap->map;

		if (!(map->map_flags & BPF_F_CLONE))
			continue;

		/* The element keeps the map's memory, but a map on its way out gets no new ones. */
		map = bpf_map_inc_not_zero(map);
		if (IS_ERR(map))
			continue;

		err = bpf_local_storage_copy(newsk, selem);
		bpf_map_put(map);
		if (err)
			break;
	}
out:
	rcu_read_unlock_migrate();

	return err;
}

BPF_CALL_4(bpf_sk_storage_get, struct bpf_map *, map, struct sock *, sk,
	   void *, value, u64, flags)
{
	if (!sk || !sk_fullsock(sk))
		return (unsigned long)NULL;

	return bpf_local_storage_get(&sk_storage_type, map, sk, value, flags);
}

BPF_CALL_2(bpf_sk_storage_delete, struct bpf_map *, map, struct sock *, sk)
{
	WARN_ON_ONCE(!bpf_rcu_lock_held());
	if (!sk || !sk_fullsock(sk))
		return -EINVAL;

	return bpf_local_storage_delete(sk, bpf_local_storage_map(map));
}

/* The last reference to a socket may be dropped here, for which these are no places. */
static bool bpf_sk_storage_put_allowed(void)
{
	return !in_hardirq() && !in_nmi();
}

BPF_CALL_4(bpf_sk_storage_get_tracing, struct bpf_map *, map, struct sock *, sk,
	   void *, value, u64, flags)
{
	if (!bpf_sk_storage_put_allowed())
		return (unsigned long)NULL;

	return (unsigned long)____bpf_sk_storage_get(map, sk, value, flags);
}

BPF_CALL_2(bpf_sk_storage_delete_tracing, struct bpf_map *, map, struct sock *, sk)
{
	return bpf_sk_storage_put_allowed() ? ____bpf_sk_storage_delete(map, sk) : -EPERM;
}

/* A program that traces these functions may not call them. */
static bool bpf_sk_storage_tracing_allowed(const struct bpf_prog *prog)
{
	if (prog->aux->dst_prog)
		return false;

	switch (prog->expected_attach_type) {
	case BPF_TRACE_RAW_TP:	/* there is no tracepoint in here */
	case BPF_TRACE_ITER:
		return true;
	case BPF_TRACE_FENTRY:
	case BPF_TRACE_FEXIT:
	case BPF_TRACE_FSESSION:
		return !str_has_prefix(prog->aux->attach_func_name, "bpf_sk_storage");
	default:
		return false;
	}
}

static struct bpf_map *sk_storage_map_alloc(union bpf_attr *attr)
{
	return bpf_local_storage_map_alloc(attr, &sk_storage_type);
}

/* By this name programs attach to the end of a map of this type. */
static void bpf_sk_storage_map_free(struct bpf_map *map)
{
	bpf_local_storage_map_free(map);
}

const struct bpf_map_ops sk_storage_map_ops = {
	BPF_LOCAL_STORAGE_MAP_OPS,
	.map_alloc = sk_storage_map_alloc,
	.map_free = bpf_sk_storage_map_free,
};

#define SK_STORAGE_GET_PROTO						\
	.ret_type = RET_PTR_TO_MAP_VALUE_OR_NULL,			\
	.arg1_type = ARG_CONST_MAP_PTR,					\
	.arg3_type = ARG_PTR_TO_MAP_VALUE_OR_NULL,			\
	.arg4_type = ARG_ANYTHING

#define SK_STORAGE_DELETE_PROTO						\
	.ret_type = RET_INTEGER,					\
	.arg1_type = ARG_CONST_MAP_PTR

const struct bpf_func_proto bpf_sk_storage_get_proto = {
	.func = bpf_sk_storage_get,
	SK_STORAGE_GET_PROTO,
	.arg2_type = ARG_PTR_TO_BTF_ID_SOCK_COMMON,
};

/* For programs whose context is the socket. */
const struct bpf_func_proto bpf_sk_storage_get_cg_sock_proto = {
	.func = bpf_sk_storage_get,
	SK_STORAGE_GET_PROTO,
	.arg2_type = ARG_PTR_TO_CTX,
};

const struct bpf_func_proto bpf_sk_storage_delete_proto = {
	.func = bpf_sk_storage_delete,
	SK_STORAGE_DELETE_PROTO,
	.arg2_type = ARG_PTR_TO_BTF_ID_SOCK_COMMON,
};

const struct bpf_func_proto bpf_sk_storage_get_tracing_proto = {
	.func = bpf_sk_storage_get_tracing,
	SK_STORAGE_GET_PROTO,
	.arg2_type = ARG_PTR_TO_BTF_ID_OR_NULL,
	.arg2_btf_id = &btf_sock_ids[BTF_SOCK_TYPE_SOCK_COMMON],
	.allowed = bpf_sk_storage_tracing_allowed,
};

const struct bpf_func_proto bpf_sk_storage_delete_tracing_proto = {
	.func = bpf_sk_storage_delete_tracing,
	SK_STORAGE_DELETE_PROTO,
	.arg2_type = ARG_PTR_TO_BTF_ID_OR_NULL,
	.arg2_btf_id = &btf_sock_ids[BTF_SOCK_TYPE_SOCK_COMMON],
	.allowed = bpf_sk_storage_tracing_allowed,
};

struct bpf_iter__bpf_sk_storage_map {
	__bpf_md_ptr(struct bpf_iter_meta *, meta);
	__bpf_md_ptr(struct bpf_map *, map);
	__bpf_md_ptr(struct sock *, sk);
	__bpf_md_ptr(void *, value);
};

DEFINE_BPF_ITER_FUNC(bpf_sk_storage_map, struct bpf_iter_meta *meta, struct bpf_map *map,
		     struct sock *sk, void *value)

/* Not trusted, which would make what it points to less so: programs pass that to helpers. */
BPF_LOCAL_STORAGE_ITER(sk, BPF_MAP_TYPE_SK_STORAGE, btf_sock_ids[BTF_SOCK_TYPE_SOCK], 0);
