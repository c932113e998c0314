// SPDX-License-Identifier: GPL-2.0
/*
 * BPF local storage of sockets: the iterator bpf_sk_storage_map, over the values of a map.
 */
#include <linux/bpf.h>
#include <linux/bpf_local_storage.h>
#include <linux/btf_ids.h>
#include <linux/init.h>
#include <linux/seq_file.h>
#include <net/sock.h>

struct sk_storage_iter {
	struct bpf_map *map;
	u32 bucket;
	u32 skip;		/* how many elements of the bucket come before the current one */
	struct sock *sk;	/* of the current one, referenced */
};

struct bpf_iter__bpf_sk_storage_map {
	__bpf_md_ptr(struct bpf_iter_meta *, meta);
	__bpf_md_ptr(struct bpf_map *, map);
	__bpf_md_ptr(struct sock *, sk);
	__bpf_md_ptr(void *, value);
};

DEFINE_BPF_ITER_FUNC(bpf_sk_storage_map, struct bpf_iter_meta *meta, struct bpf_map *map,
		     struct sock *sk, void *value)

/* The element's socket with a reference, or NULL if it is being freed. RCU read lock held. */
static struct sock *iter_get_sk(struct bpf_local_storage_elem *selem)
{
	struct bpf_local_storage *storage = rcu_dereference(selem->storage);
	unsigned long flags;
	struct sock *sk;

	if (!storage)
		return NULL;

	/* The socket itself is not RCU's: nothing but the gate keeps it until it is referenced. */
	local_irq_save(flags);
	sk = bpf_local_storage_enter(storage);
	if (sk) {
		if (!refcount_inc_not_zero(&sk->sk_refcnt))
			sk = NULL;
		bpf_local_storage_leave(storage);
	}
	local_irq_restore(flags);

	return sk;
}

/* The first element from @selem on, or else in the buckets that follow, whose socket lives. */
static struct bpf_local_storage_elem *iter_find(struct sk_storage_iter *iter,
						struct hlist_node *node)
{
	struct bpf_local_storage_map *smap = bpf_local_storage_map(iter->map);
	struct bpf_local_storage_elem *selem;

	for (;;) {
		for (; node; node = rcu_dereference(hlist_next_rcu(node)), iter->skip++) {
			selem = hlist_entry(node, struct bpf_local_storage_elem, map_node);
			iter->sk = iter_get_sk(selem);
			if (iter->sk)
				return selem;
		}
		if (++iter->bucket >= 1U << smap->bucket_log)
			return NULL;
		iter->skip = 0;
		node = rcu_dereference(hlist_first_rcu(&smap->buckets[iter->bucket].list));
	}
}

static void *iter_start(struct seq_file *seq, loff_t *pos)
	__acquires(RCU)
{
	struct sk_storage_iter *iter = seq->private;
	struct bpf_local_storage_map *smap = bpf_local_storage_map(iter->map);
	struct hlist_node *node;
	u32 skip;

	rcu_read_lock();
	if (iter->bucket >= 1U << smap->bucket_log)
		return NULL;
	if (!*pos)
		++*pos;

	node = rcu_dereference(hlist_first_rcu(&smap->buckets[iter->bucket].list));
	for (skip = iter->skip; node && skip; skip--)
		node = rcu_dereference(hlist_next_rcu(node));

	return iter_find(iter, node);
}

static void iter_put_sk(struct sk_storage_iter *iter)
{
	if (iter->sk)
		sock_put(iter->sk);
	iter->sk = NULL;
}

static void *iter_next(struct seq_file *seq, void *v, loff_t *pos)
{
	struct sk_storage_iter *iter = seq->private;
	struct bpf_local_storage_elem *selem = v;

	++*pos;
	iter_put_sk(iter);
	iter->skip++;

	return iter_find(iter, rcu_dereference(hlist_next_rcu(&selem->map_node)));
}

/* Without an element: the program's last call. */
static int iter_show(struct seq_file *seq, void *v)
{
	struct sk_storage_iter *iter = seq->private;
	struct bpf_iter__bpf_sk_storage_map ctx = {};
	struct bpf_local_storage_elem *selem = v;
	struct bpf_iter_meta meta = { .seq = seq };
	struct bpf_prog *prog = bpf_iter_get_info(&meta, !selem);

	if (!prog)
		return 0;

	ctx.meta = &meta;
	ctx.map = iter->map;
	if (selem) {
		ctx.sk = iter->sk;
		ctx.value = SDATA(selem)->data;
	}

	return bpf_iter_run_prog(prog, &ctx);
}

static void iter_stop(struct seq_file *seq, void *v)
	__releases(RCU)
{
	if (!v)
		iter_show(seq, NULL);
	iter_put_sk(seq->private);
	rcu_read_unlock();
}

static const struct seq_operations iter_seq_ops = {
	.start = iter_start,
	.next = iter_next,
	.stop = iter_stop,
	.show = iter_show,
};

static int iter_init(void *priv, struct bpf_iter_aux_info *aux)
{
	struct sk_storage_iter *iter = priv;

	/* The link's reference may go while the file is open. */
	bpf_map_inc_with_uref(aux->map);
	iter->map = aux->map;

	return 0;
}

static void iter_fini(void *priv)
{
	struct sk_storage_iter *iter = priv;

	bpf_map_put_with_uref(iter->map);
}

static const struct bpf_iter_seq_info iter_seq_info = {
	.seq_ops = &iter_seq_ops,
	.init_seq_private = iter_init,
	.fini_seq_private = iter_fini,
	.seq_priv_size = sizeof(struct sk_storage_iter),
};

static int iter_attach(struct bpf_prog *prog, union bpf_iter_link_info *linfo,
		       struct bpf_iter_aux_info *aux)
{
	struct bpf_map *map;
	int err = 0;

	if (!linfo->map.map_fd)
		return -EBADF;

	map = bpf_map_get_with_uref(linfo->map.map_fd);
	if (IS_ERR(map))
		return PTR_ERR(map);

	if (map->map_type != BPF_MAP_TYPE_SK_STORAGE)
		err = -EINVAL;
	else if (prog->aux->max_rdwr_access > map->value_size)
		err = -EACCES;

	if (err)
		bpf_map_put_with_uref(map);
	else
		aux->map = map;

	return err;
}

static void iter_detach(struct bpf_iter_aux_info *aux)
{
	bpf_map_put_with_uref(aux->map);
}

static struct bpf_iter_reg iter_reg = {
	.target = "bpf_sk_storage_map",
	.attach_target = iter_attach,
	.detach_target = iter_detach,
	.show_fdinfo = bpf_iter_map_show_fdinfo,
	.fill_link_info = bpf_iter_map_fill_link_info,
	.ctx_arg_info_size = 2,
	.ctx_arg_info = {
		{ offsetof(struct bpf_iter__bpf_sk_storage_map, sk), PTR_TO_BTF_ID_OR_NULL },
		{ offsetof(struct bpf_iter__bpf_sk_storage_map, value),
		  PTR_TO_BUF | PTR_MAYBE_NULL },
	},
	.seq_info = &iter_seq_info,
};

static int __init bpf_sk_storage_iter_init(void)
{
	iter_reg.ctx_arg_info[0].btf_id = btf_sock_ids[BTF_SOCK_TYPE_SOCK];

	return bpf_iter_reg_target(&iter_reg);
}
late_initcall(bpf_sk_storage_iter_init);
