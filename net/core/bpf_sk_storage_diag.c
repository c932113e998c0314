// SPDX-License-Identifier: GPL-2.0
/*
 * BPF local storage of sockets, as sock_diag shows it:
 *
 *	INET_DIAG_BPF_SK_STORAGES		nested
 *		SK_DIAG_BPF_STORAGE		nested, for each value
 *			SK_DIAG_BPF_STORAGE_MAP_ID	u32
 *			SK_DIAG_BPF_STORAGE_MAP_VALUE	the value, on 8 bytes
 */
#include <linux/bpf.h>
#include <linux/bpf_local_storage.h>
#include <linux/sock_diag.h>
#include <net/bpf_sk_storage.h>
#include <net/netlink.h>
#include <net/sock.h>

/* The maps that a request names; none: all. */
struct bpf_sk_storage_diag {
	u32 nr_maps;
	struct bpf_map *maps[];
};

/* What goes into one answer, and how large it would have to be. */
struct diag_answer {
	struct sk_buff *skb;
	struct nlattr *nest;
	unsigned int size;
	bool cut;
};

/**
 * bpf_sk_storage_diag_free() - free a request
 * @diag: what bpf_sk_storage_diag_alloc() returned, or NULL
 *
 * May sleep.
 */
void bpf_sk_storage_diag_free(struct bpf_sk_storage_diag *diag)
{
	while (diag && diag->nr_maps)
		bpf_map_put(diag->maps[--diag->nr_maps]);
	kfree(diag);
}
EXPORT_SYMBOL_GPL(bpf_sk_storage_diag_free);

static int diag_add_map(struct bpf_sk_storage_diag *diag, u32 fd)
{
	struct bpf_map *map = bpf_map_get(fd);
	int err = 0;
	u32 i;

	if (IS_ERR(map))
		return PTR_ERR(map);

	if (map->map_type != BPF_MAP_TYPE_SK_STORAGE)
		err = -EINVAL;
	for (i = 0; !err && i < diag->nr_maps; i++)
		if (diag->maps[i] == map)
			err = -EEXIST;

	if (err)
		bpf_map_put(map);
	else
		diag->maps[diag->nr_maps++] = map;

	return err;
}

/**
 * bpf_sk_storage_diag_alloc() - take down which maps a request asks for
 * @nla_stgs: the attribute that holds SK_DIAG_BPF_STORAGE_REQ_MAP_FD attributes
 *
 * May sleep.
 *
 * Return: the request, or an ERR_PTR(): -EPERM without CAP_BPF, -EINVAL for an attribute of a wrong
 * size or a map of another type, -EEXIST for a map named twice, -ENOMEM, or what a bad fd gives.
 */
struct bpf_sk_storage_diag *bpf_sk_storage_diag_alloc(const struct nlattr *nla_stgs)
{
	struct bpf_sk_storage_diag *diag;
	struct nlattr *nla;
	u32 nr_fds = 0;
	int rem, err;

	/* As for creating such a map. */
	if (!bpf_capable())
		return ERR_PTR(-EPERM);

	nla_for_each_nested_type(nla, SK_DIAG_BPF_STORAGE_REQ_MAP_FD, nla_stgs, rem) {
		if (nla_len(nla) != sizeof(u32))
			return ERR_PTR(-EINVAL);
		nr_fds++;
	}

	diag = kzalloc(struct_size(diag, maps, nr_fds), GFP_KERNEL);
	if (!diag)
		return ERR_PTR(-ENOMEM);

	nla_for_each_nested_type(nla, SK_DIAG_BPF_STORAGE_REQ_MAP_FD, nla_stgs, rem) {
		err = diag_add_map(diag, nla_get_u32(nla));
		if (err) {
			bpf_sk_storage_diag_free(diag);
			return ERR_PTR(err);
		}
	}

	return diag;
}
EXPORT_SYMBOL_GPL(bpf_sk_storage_diag_alloc);

static bool put_value(struct sk_buff *skb, struct bpf_local_storage_data *sdata)
{
	struct bpf_map *map = &sdata->smap->map;
	struct nlattr *nest, *nla = NULL;
	void *value;

	/* An attribute's length is 16 bits, its header included. */
	BUILD_BUG_ON(NLA_HDRLEN + BPF_LOCAL_STORAGE_MAX_VALUE_SIZE > U16_MAX);

	nest = nla_nest_start(skb, SK_DIAG_BPF_STORAGE);
	if (!nest)
		return false;

	if (!nla_put_u32(skb, SK_DIAG_BPF_STORAGE_MAP_ID, map->id))
		nla = nla_reserve_64bit(skb, SK_DIAG_BPF_STORAGE_MAP_VALUE, map->value_size,
					SK_DIAG_BPF_STORAGE_PAD);
	if (!nla) {
		nla_nest_cancel(skb, nest);
		return false;
	}

	value = nla_data(nla);
	if (btf_record_has_field(map->record, BPF_SPIN_LOCK))
		copy_map_value_locked(map, value, sdata->data, true);
	else
		copy_map_value(map, value, sdata->data);
	/* Special fields are not copied: do not show what was in the skb there. */
	check_and_init_map_value(map, value);
	nla_nest_end(skb, nest);

	return true;
}

static void answer_add(struct diag_answer *answer, struct bpf_local_storage_data *sdata)
{
	answer->size += nla_total_size(0) + nla_total_size(sizeof(u32)) +
			nla_total_size_64bit(sdata->smap->map.value_size);

	if (!answer->nest || !put_value(answer->skb, sdata))
		answer->cut = true;
}

/**
 * bpf_sk_storage_diag_put() - put a socket's values into a message
 * @diag: which maps
 * @sk: the socket, kept alive by the caller
 * @skb: the message
 * @stg_array_type: the attribute to put them in, e.g. INET_DIAG_BPF_SK_STORAGES
 * @res_diag_size: gets the room that all of them take, 0 if there is none
 *
 * Softirq or task context.
 *
 * Return: 0, or -EMSGSIZE if some did not fit: they are left out, the others are there.
 */
int bpf_sk_storage_diag_put(struct bpf_sk_storage_diag *diag, struct sock *sk,
			    struct sk_buff *skb, int stg_array_type,
			    unsigned int *res_diag_size)
{
	struct diag_answer answer = { .skb = skb };
	struct bpf_local_storage_data *sdata;
	struct bpf_local_storage_elem *selem;
	struct bpf_local_storage *storage;
	unsigned int start;
	u32 i;

	*res_diag_size = 0;
	guard(rcu)();
	storage = rcu_dereference(sk->sk_bpf_storage);
	if (!storage)
		return 0;

	answer.nest = nla_nest_start(skb, stg_array_type);
	start = skb->len;

	for (i = 0; i < diag->nr_maps; i++) {
		sdata = bpf_local_storage_lookup(storage, bpf_local_storage_map(diag->maps[i]));
		if (sdata)
			answer_add(&answer, sdata);
	}
	if (!diag->nr_maps)
		hlist_for_each_entry_rcu(selem, &storage->list, snode)
			answer_add(&answer, SDATA(selem));

	if (answer.nest && skb->len == start)
		nla_nest_cancel(skb, answer.nest);
	else if (answer.nest)
		nla_nest_end(skb, answer.nest);

	if (answer.size)
		*res_diag_size = nla_total_size(0) + answer.size;

	return answer.cut ? -EMSGSIZE : 0;
}
EXPORT_SYMBOL_GPL(bpf_sk_storage_diag_put);
