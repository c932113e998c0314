/* SPDX-License-Identifier: GPL-2.0 */
/* What progs/local_storage_iter.c and its user have to agree on. */
#ifndef __LOCAL_STORAGE_ITER_H
#define __LOCAL_STORAGE_ITER_H

#define LS_CHURN	0x100000000ULL	/* the tag of owners that come and go */
#define LS_DOOMED	0x200000000ULL	/* of tasks whose fork() fails */

/* A value, and what the program writes for it. */
struct ls_value {
	__u64 tag;
	__u64 turn;
};

struct ls_line {
	__u64 tag;
	__u64 turn;
	__u64 id;	/* of the owner, as user space knows it */
};

#endif
