/* SPDX-License-Identifier: GPL-2.0 */
/* Maps of local storage of any size, and owners of the four kinds to go with them. */
#ifndef __LOCAL_STORAGE_HELPERS_H
#define __LOCAL_STORAGE_HELPERS_H

#include <bpf/btf.h>
#include <linux/btf.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <test_progs.h>

#include "local_storage_ops.h"
#include "task_local_storage_helpers.h"

static const char * const ls_name[] = { "task", "cgroup", "inode", "socket" };

/* A map whose value is an array of bytes; -1 with errno as map creation left it. */
static inline int ls_map_new(enum ls_kind kind, __u32 value_size, __u32 flags)
{
	static const enum bpf_map_type type[] = {
		BPF_MAP_TYPE_TASK_STORAGE, BPF_MAP_TYPE_CGRP_STORAGE,
		BPF_MAP_TYPE_INODE_STORAGE, BPF_MAP_TYPE_SK_STORAGE,
	};
	LIBBPF_OPTS(bpf_map_create_opts, opts, .map_flags = BPF_F_NO_PREALLOC | flags);
	struct btf *btf = btf__new_empty();
	int fd = -1, err, byte_id;

	if (!ASSERT_OK_PTR(btf, "btf"))
		return -1;
	opts.btf_key_type_id = btf__add_int(btf, "int", sizeof(int), BTF_INT_SIGNED);
	byte_id = btf__add_int(btf, "byte", 1, 0);
	opts.btf_value_type_id = btf__add_array(btf, opts.btf_key_type_id, byte_id, value_size);
	if (ASSERT_OK(btf__load_into_kernel(btf), "load btf")) {
		opts.btf_fd = btf__fd(btf);
		fd = bpf_map_create(type[kind], "ls_map", sizeof(int), value_size, 0, &opts);
	}
	err = errno;
	btf__free(btf);
	errno = err;

	return fd;
}

/* An owner that goes with its file descriptor, but for the task and the cgroup: they are ours. */
static inline int ls_owner_new(enum ls_kind kind)
{
	switch (kind) {
	case LS_TASK:
		return sys_pidfd_open(getpid(), 0);
	case LS_CGRP:
		return test__join_cgroup("/local_storage");
	case LS_INODE:
		return memfd_create("local_storage", 0);
	default:
		return socket(AF_INET, SOCK_DGRAM, 0);
	}
}

/* Before it is loaded: have progs/local_storage_ops.c work on these maps. */
static inline bool ls_reuse_maps(const struct bpf_object *obj, const int *map_fd)
{
	static const char * const name[] = { "task_map", "cgrp_map", "inode_map", "sk_map" };
	int i;

	for (i = 0; i < LS_NR_KINDS; i++)
		if (!ASSERT_OK(bpf_map__reuse_fd(bpf_object__find_map_by_name(obj, name[i]),
						 map_fd[i]), name[i]))
			return false;

	return true;
}

/*
 * Have the program do something to the owner of @kind that @fd names: 0, or what its helper said.
 * A helper that gave NULL said -ENODATA.
 */
static inline int ls_prog(int fd, enum ls_kind kind, enum ls_cmd cmd)
{
	ioctl(fd, cmd, (unsigned long)kind);

	return errno == LS_OK ? 0 : -errno;
}

/* What fdinfo says that a map takes. */
static inline long ls_memlock(int map_fd)
{
	char path[64], line[128];
	long bytes = -1;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", map_fd);
	f = fopen(path, "r");
	if (!ASSERT_OK_PTR(f, path))
		return -1;
	while (fgets(line, sizeof(line), f))
		sscanf(line, "memlock: %ld", &bytes);
	fclose(f);

	return bytes;
}

/* The same after grace periods, of which there may be a few: until it is what it should be. */
static inline long ls_memlock_wait(int map_fd, long bytes)
{
	int i;

	for (i = 0; i < 1000 && ls_memlock(map_fd) != bytes; i++)
		usleep(20000);

	return ls_memlock(map_fd);
}

#endif
