// SPDX-License-Identifier: GPL-2.0
/*
 * Every size of value that map creation accepts can be had by syscall, and by a program in task
 * context. With IRQs off a program gets what kmalloc_nolock() has: 8 KiB, for value and element.
 */
#include <test_progs.h>

#include "local_storage_helpers.h"
#include "local_storage_ops.skel.h"

/* Bytes of an element beside its value, and where kmalloc_nolock() ends. */
#define ELEM_MAX	256
#define NOLOCK_MAX	8192

/* The largest size that maps of a kind may have. */
static __u32 accepted(enum ls_kind kind)
{
	__u32 yes = 1, no = 1 << 20, size;
	int fd;

	while (no - yes > 1) {
		size = yes + (no - yes) / 2;
		fd = ls_map_new(kind, size, 0);
		if (fd < 0 && !ASSERT_EQ(errno, E2BIG, "too large"))
			return 0;
		if (fd < 0)
			no = size;
		else
			yes = size;
		if (fd >= 0)
			close(fd);
	}
	fd = ls_map_new(kind, 0, 0);
	if (!ASSERT_EQ(fd < 0 ? errno : 0, EINVAL, "size 0"))
		close(fd);

	return yes;
}

/* The value is @byte all over, and is really as long as it should be. */
static bool holds(int map_fd, int owner, __u32 size, __u8 byte)
{
	__u8 *value = malloc(size);
	__u32 i = 0;

	if (value && !bpf_map_lookup_elem(map_fd, &owner, value))
		while (i < size && value[i] == byte)
			i++;
	free(value);

	return i == size;
}

static bool by_syscall(int map_fd, int owner, __u32 size)
{
	__u8 *value = malloc(size);
	bool ok;

	memset(value, 0x5a, size);
	ok = !bpf_map_update_elem(map_fd, &owner, value, BPF_NOEXIST);
	free(value);

	return ok && holds(map_fd, owner, size, 0x5a) && !bpf_map_delete_elem(map_fd, &owner);
}

static bool by_program(int map_fd, int owner, enum ls_kind kind, __u32 size, bool irqs_off)
{
	return !ls_prog(owner, kind, irqs_off ? LS_CREATE_IRQS_OFF : LS_CREATE) &&
	       holds(map_fd, owner, size, 0) &&
	       !ls_prog(owner, kind, irqs_off ? LS_DELETE_IRQS_OFF : LS_DELETE);
}

enum way { SYSCALL, PROGRAM, PROGRAM_IRQS_OFF };

/* Returns for how many kinds it works. */
static int all_kinds(enum way way, const int *owner, __u32 size)
{
	struct local_storage_ops *skel = NULL;
	int i, map_fd[LS_NR_KINDS], works = 0;

	for (i = 0; i < LS_NR_KINDS; i++)
		map_fd[i] = ls_map_new(i, size, 0);

	if (way != SYSCALL) {
		skel = local_storage_ops__open();
		if (!ASSERT_OK_PTR(skel, "open"))
			goto out;
		if (!ls_reuse_maps(skel->obj, map_fd) ||
		    !ASSERT_OK(local_storage_ops__load(skel), "load") ||
		    !ASSERT_OK(local_storage_ops__attach(skel), "attach"))
			goto out;
	}
	for (i = 0; i < LS_NR_KINDS; i++) {
		if (way == SYSCALL)
			works += by_syscall(map_fd[i], owner[i], size);
		else
			works += by_program(map_fd[i], owner[i], i, size, way == PROGRAM_IRQS_OFF);
	}
out:
	local_storage_ops__destroy(skel);
	for (i = 0; i < LS_NR_KINDS; i++)
		if (map_fd[i] >= 0)
			close(map_fd[i]);

	return works;
}

static void test_sizes(enum way way, const int *owner, __u32 max, const char *what)
{
	__u32 size[] = { 1, 7, 8, 100, 1000, 4000, 7900, 9000, 16384, 20000, 40000, max };
	__u32 largest = 0;
	char name[64];
	int i, works;

	for (i = 0; i < ARRAY_SIZE(size); i++) {
		works = all_kinds(way, owner, size[i]);
		if (works == LS_NR_KINDS)
			largest = size[i];
		snprintf(name, sizeof(name), "%u bytes, kinds for which it works", size[i]);
		if (way != PROGRAM_IRQS_OFF || size[i] <= NOLOCK_MAX - ELEM_MAX)
			ASSERT_EQ(works, LS_NR_KINDS, name);
		else if (size[i] > NOLOCK_MAX)
			ASSERT_EQ(works, 0, name);
	}
	printf("measured: largest value %s, bytes: %u\n", what, largest);
}

void test_local_storage_size(void)
{
	int i, owner[LS_NR_KINDS];
	__u32 size, max = UINT_MAX;

	for (i = 0; i < LS_NR_KINDS; i++) {
		owner[i] = ls_owner_new(i);
		ASSERT_OK_FD(owner[i], ls_name[i]);
		size = accepted(i);
		if (size < max)
			max = size;
	}
	ASSERT_GT(max, 60000, "accepted by map creation");

	if (test__start_subtest("syscall"))
		test_sizes(SYSCALL, owner, max, "by syscall");
	if (test__start_subtest("program"))
		test_sizes(PROGRAM, owner, max, "by program");
	if (test__start_subtest("program_irqs_off"))
		test_sizes(PROGRAM_IRQS_OFF, owner, max, "by program, IRQs off");

	for (i = 0; i < LS_NR_KINDS; i++)
		if (owner[i] >= 0)
			close(owner[i]);
}
