/* SPDX-License-Identifier: GPL-2.0 */
/* What progs/local_storage_inline.c and its user have to agree on. */
#ifndef __LOCAL_STORAGE_INLINE_H
#define __LOCAL_STORAGE_INLINE_H

/* Commands of ioctl() that no file knows; the argument is an ls_kind. */
enum { LS_STEPS = 0x4c530100, LS_STEPS_SLEEPABLE };

/* What a program looks up, in this order. */
enum ls_step {
	LS_MISS,
	LS_NO_OWNER,
	LS_CREATE_IT,
	LS_HIT,
	LS_HIT_CREATE,		/* with BPF_LOCAL_STORAGE_GET_F_CREATE */
	LS_HIT_FLAGS,		/* with flags that are 0, which the verifier does not know */
	LS_WRONG_FLAGS,
	LS_UNKNOWN_FLAGS,	/* wrong, which the verifier does not know */
	LS_HIGH_FLAGS,		/* these too; they are 0 in 32 bits */
	LS_NO_OWNER_HIT,	/* no owner, where there could be a hit */
	LS_DELETED,
	LS_NR_STEPS
};

#define LS_VALUE	41	/* that is created; where there is none, a step has 0 */

struct ls_steps {
	__u64 value[LS_NR_STEPS];
	__u64 calls[LS_NR_STEPS];	/* that were made of the helper */
	__s64 slot;			/* of the map, -1 where the kernel has no such thing */
	__s64 ran;
};

#endif
