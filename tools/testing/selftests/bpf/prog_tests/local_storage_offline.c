// SPDX-License-Identifier: GPL-2.0
/*
 * A CPU that goes offline switches to its idle task once more when it gets no interrupts of its own
 * any more. What a program deletes there is freed all the same.
 */
#include <test_progs.h>

#include "local_storage_helpers.h"
#include "local_storage_nmi.skel.h"

#define CPU_ONLINE	"/sys/devices/system/cpu/cpu1/online"
#define NR_TURNS	5

void test_local_storage_offline(void)
{
	int i, map_fd, fd = open(CPU_ONLINE, O_WRONLY);
	struct local_storage_nmi *skel;
	long none;

	if (fd < 0) {
		printf("%s:SKIP: no second CPU, or it cannot go offline\n", __func__);
		test__skip();
		return;
	}
	skel = local_storage_nmi__open();
	if (!ASSERT_OK_PTR(skel, "open"))
		goto out;
	bpf_program__set_autoload(skel->progs.last, true);
	if (libbpf_find_vmlinux_btf_id("dequeue_task_stop", BPF_TRACE_FENTRY) < 0) {
		printf("%s:SKIP: no dequeue_task_stop() to attach to\n", __func__);
		test__skip();
		goto destroy;
	}
	if (!ASSERT_OK(local_storage_nmi__load(skel), "load"))
		goto destroy;
	map_fd = bpf_map__fd(skel->maps.task_map);
	none = ls_memlock(map_fd);
	skel->links.last = bpf_program__attach(skel->progs.last);
	ASSERT_OK_PTR(skel->links.last, "attach");
	for (i = 0; i < NR_TURNS; i++) {
		ASSERT_EQ(write(fd, "0", 1), 1, "offline");
		ASSERT_EQ(write(fd, "1", 1), 1, "online");
	}
	bpf_link__destroy(skel->links.last);
	skel->links.last = NULL;
	ASSERT_GT(skel->bss->sched.ran, 0, "runs of the program");
	ASSERT_EQ(ls_memlock_wait(map_fd, none), none, "memlock as before");
destroy:
	local_storage_nmi__destroy(skel);
out:
	close(fd);
}
