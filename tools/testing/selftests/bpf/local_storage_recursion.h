/* SPDX-License-Identifier: GPL-2.0 */
/* What progs/local_storage_recursion.c and its user have to agree on. */
#ifndef __LOCAL_STORAGE_RECURSION_H
#define __LOCAL_STORAGE_RECURSION_H

/* The socket of the test and another one, in the table that a task has at first. */
#define LS_SK_FD	60
#define LS_OTHER_SK_FD	61

/* What the nested program at one instruction does: on the map of what it interrupts, or another. */
enum ls_nested { LS_NESTED_DELETE, LS_NESTED_CREATE, LS_NESTED_OTHER, LS_NR_NESTED };

/* Counts of how nested operations ended. */
struct ls_nested_result {
	__u64 ran;
	__u64 locked;		/* with a lock held below */
	__u64 done;
	__u64 refused;		/* by a lock held below */
	__u64 failed;		/* with none held, or otherwise */
	__s64 last_err;
};

/* What a program saw on its way through a deletion. NULL is 0. */
struct ls_in_delete {
	__u64 ran;
	__u64 locks;		/* held by the deletion */
	__u64 same_get;
	__s64 same_delete;
	__u64 other_get;
	__s64 other_delete;
	__u64 third_create;
	__u64 stranger_create;
	__s64 stranger_delete;
};

#endif
