/* SPDX-License-Identifier: GPL-2.0 */
/* What progs/local_storage_{ops,nmi}.c and their users have to agree on. */
#ifndef __LOCAL_STORAGE_OPS_H
#define __LOCAL_STORAGE_OPS_H

enum ls_kind { LS_TASK, LS_CGRP, LS_INODE, LS_SK, LS_NR_KINDS };

/* Commands of ioctl() that no file knows; the argument is a kind. */
enum ls_cmd {
	LS_CREATE = 0x4c530000,
	LS_CREATE_IRQS_OFF,
	LS_DELETE,
	LS_DELETE_IRQS_OFF,
	LS_RACE,
};

#define LS_RACE_TURNS	1000

/* ioctl()'s error, EXFULL, if the program ran and its helper said 0: ENOTTY is that none ran. */
#define LS_OK		54

/* What progs/local_storage_nmi.c did in one kind of place. */
struct ls_where {
	__u64 ran;
	__u64 create;
	__u64 create_failed;
	__u64 delete;
	__u64 delete_failed;
	__s64 last_err;
};

#endif
