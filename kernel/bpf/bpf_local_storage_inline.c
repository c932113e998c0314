// SPDX-License-Identifier: GPL-2.0
/*
 * BPF local storage: lookups as instructions of the program.
 *
 * What a bpf_*_storage_get() helper does to find a value is put before its call. Only what is not
 * found gets to the call, and whatever is not plain: no owner, flags that there are not, a map
 * whose slot is too far away. The helper then says what comes of it.
 *
 * A program has a reference to each map that it names, so such a map's slot number is a constant.
 * R1 has the map otherwise.
 *
 * The loads depend on one another by their addresses: of all architectures with a JIT none needs
 * more than that for rcu_dereference().
 */
#include <linux/bpf.h>
#include <linux/bpf_local_storage.h>
#include <linux/bpf_lsm.h>
#include <linux/bpf_verifier.h>
#include <linux/cgroup.h>
#include <linux/filter.h>
#include <linux/fs.h>
#include <linux/sched.h>
#include <net/bpf_sk_storage.h>
#include <net/sock.h>
#include <net/tcp_states.h>

/* The offset of a jump to the call until it is known where that is. */
#define TO_CALL		S16_MAX

/* The offset of a load has as many bits; so there may be slots that no load gets at. */
#define MAX_SLOT							\
	(BPF_LOCAL_STORAGE_FAR - 1 +					\
	 BPF_LOCAL_STORAGE_CHUNK * BPF_LOCAL_STORAGE_ARRAY(S16_MAX))
static_assert(offsetof(struct task_struct, bpf_storage) <= S16_MAX);

/* The call finds its arguments, R1 to R4, as they were. That leaves two registers. */
#define RES		BPF_REG_0
#define PTR		BPF_REG_5

static struct bpf_insn *gen_load(struct bpf_insn *p, u8 reg, u8 from, u32 offset)
{
	*p++ = BPF_LDX_MEM(BPF_DW, reg, from, offset);
	*p++ = BPF_JMP_IMM(BPF_JEQ, reg, 0, TO_CALL);

	return p;
}

/* PTR: the storage of the owner in R2. RES stays. NULL: this helper is no such lookup. */
static struct bpf_insn *gen_storage(struct bpf_verifier_env *env, enum bpf_func_id id,
				    struct bpf_insn *p)
{
	*p++ = BPF_JMP_IMM(BPF_JEQ, BPF_REG_2, 0, TO_CALL);

	switch (id) {
	case BPF_FUNC_task_storage_get:
		return gen_load(p, PTR, BPF_REG_2, offsetof(struct task_struct, bpf_storage));
#ifdef CONFIG_CGROUPS
	case BPF_FUNC_cgrp_storage_get:
		return gen_load(p, PTR, BPF_REG_2, offsetof(struct cgroup, bpf_cgrp_storage));
#endif
#ifdef CONFIG_BPF_LSM
	case BPF_FUNC_inode_storage_get:
		p = gen_load(p, PTR, BPF_REG_2, offsetof(struct inode, i_security));
		return gen_load(p, PTR, PTR, bpf_lsm_blob_sizes.lbs_inode +
				offsetof(struct bpf_storage_blob, storage));
#endif
#ifdef CONFIG_NET
	case BPF_FUNC_sk_storage_get:
		/* That of tracing programs is another: it finds nothing in hard IRQs and NMIs. */
		if (env->ops->get_func_proto(id, env->prog)->func != bpf_sk_storage_get_proto.func)
			return NULL;
		/* As sk_fullsock() has it: others end where they have no storage pointer yet. */
		*p++ = BPF_LDX_MEM(BPF_B, PTR, BPF_REG_2, offsetof(struct sock, sk_state));
		*p++ = BPF_JMP_IMM(BPF_JEQ, PTR, TCP_TIME_WAIT, TO_CALL);
		*p++ = BPF_JMP_IMM(BPF_JEQ, PTR, TCP_NEW_SYN_RECV, TO_CALL);
		return gen_load(p, PTR, BPF_REG_2, offsetof(struct sock, sk_bpf_storage));
#endif
	default:
		return NULL;
	}
}

/* RES: what the slot of this number holds; PTR is the storage. As bpf_local_storage_slot(). */
static struct bpf_insn *gen_slot(struct bpf_insn *p, u32 slot)
{
	u32 offset;

	if (slot < BPF_LOCAL_STORAGE_SLOTS) {
		offset = offsetof(struct bpf_local_storage, slots[slot]);
	} else if (slot < BPF_LOCAL_STORAGE_FAR) {
		p = gen_load(p, PTR, PTR, offsetof(struct bpf_local_storage, near));
		slot -= BPF_LOCAL_STORAGE_SLOTS;
		offset = offsetof(struct bpf_local_storage_array, slots[slot]);
	} else {
		slot -= BPF_LOCAL_STORAGE_FAR;
		p = gen_load(p, PTR, PTR, offsetof(struct bpf_local_storage, dir));
		*p++ = BPF_LDX_MEM(BPF_W, RES, PTR, offsetof(struct bpf_local_storage_array, nr));
		*p++ = BPF_JMP_IMM(BPF_JLE, RES, slot / BPF_LOCAL_STORAGE_CHUNK, TO_CALL);
		offset = offsetof(struct bpf_local_storage_array,
				  chunks[slot / BPF_LOCAL_STORAGE_CHUNK]);
		p = gen_load(p, PTR, PTR, offset);
		slot %= BPF_LOCAL_STORAGE_CHUNK;
		offset = offsetof(struct bpf_local_storage_array, slots[slot]);
	}

	return gen_load(p, RES, PTR, offset);
}

/* The same for a number that is in RES, and is below BPF_LOCAL_STORAGE_FAR. */
static struct bpf_insn *gen_slot_of_res(struct bpf_insn *p)
{
	const int size = sizeof_field(struct bpf_local_storage, slots);
	const int near = offsetof(struct bpf_local_storage_array, slots);

	*p++ = BPF_ALU64_IMM(BPF_LSH, RES, ilog2(sizeof(void *)));
	*p++ = BPF_JMP_IMM(BPF_JGE, RES, size, 3);
	*p++ = BPF_ALU64_REG(BPF_ADD, PTR, RES);
	*p++ = BPF_LDX_MEM(BPF_DW, RES, PTR, offsetof(struct bpf_local_storage, slots));
	*p++ = BPF_JMP_A(4);
	p = gen_load(p, PTR, PTR, offsetof(struct bpf_local_storage, near));
	*p++ = BPF_ALU64_REG(BPF_ADD, PTR, RES);
	*p++ = BPF_LDX_MEM(BPF_DW, RES, PTR, near - size);
	*p++ = BPF_JMP_IMM(BPF_JEQ, RES, 0, TO_CALL);

	return p;
}

/**
 * bpf_local_storage_inline() - a lookup in place of a call of a bpf_*_storage_get() helper
 * @env: the verifier's state, for a program whose calls are being fixed up
 * @off: the call's place in the program
 *
 * The lookup goes to @env->insn_buf; the last of its instructions is the call, as it is. It is as
 * much an RCU reader as the helper is, by the section that the program runs in.
 *
 * Return: the number of instructions, 0 if the call had better stay alone.
 */
int bpf_local_storage_inline(struct bpf_verifier_env *env, u32 off)
{
	const struct bpf_insn_aux_data *aux = &env->insn_aux_data[off];
	struct bpf_insn *buf = env->insn_buf, *p = buf, *insn;
	struct bpf_insn call = env->prog->insnsi[off];
	struct bpf_local_storage_map *smap = NULL;

	/* An interpreter would have a dozen instructions to go through in place of one. */
	if (!env->prog->jit_requested || BITS_PER_LONG != 64)
		return 0;

	if (aux->const_reg_map_mask & BIT(BPF_REG_1)) {
		smap = bpf_local_storage_map(env->used_maps[aux->const_reg_vals[BPF_REG_1]]);
	} else {
		*p++ = BPF_LDX_MEM(BPF_W, RES, BPF_REG_1,
				   offsetof(struct bpf_local_storage_map, slot));
		*p++ = BPF_JMP_IMM(BPF_JGE, RES, BPF_LOCAL_STORAGE_FAR, TO_CALL);
	}
	/* With flags that there are not, the helper finds nothing. */
	if (!(aux->const_reg_mask & BIT(BPF_REG_4)) ||
	    aux->const_reg_vals[BPF_REG_4] > BPF_LOCAL_STORAGE_GET_F_CREATE)
		*p++ = BPF_JMP_IMM(BPF_JGT, BPF_REG_4, BPF_LOCAL_STORAGE_GET_F_CREATE, TO_CALL);
	p = gen_storage(env, call.imm, p);
	/* Not before now is it known to be a map of ours. */
	if (!p || (smap && smap->slot > MAX_SLOT))
		return 0;
	p = smap ? gen_slot(p, smap->slot) : gen_slot_of_res(p);
	*p++ = BPF_ALU64_IMM(BPF_ADD, RES, offsetof(struct bpf_local_storage_data, data));
	*p++ = BPF_JMP_A(1);
	*p = call;

	for (insn = buf; insn < p; insn++)
		if (BPF_CLASS(insn->code) == BPF_JMP && insn->off == TO_CALL)
			insn->off = p - insn - 1;

	return p - buf + 1;
}
