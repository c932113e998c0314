// SPDX-License-Identifier: GPL-2.0
/* offcpu [SECONDS]: who waited most while it looked on. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "offcpu.h"
#include "offcpu.skel.h"

#define MAX_TASKS	4096
#define SHOWN		15

static struct offcpu_record tasks[MAX_TASKS];

static int by_time(const void *a, const void *b)
{
	const struct offcpu_record *x = a, *y = b;

	return (x->off_ns < y->off_ns) - (x->off_ns > y->off_ns);
}

/* Fills tasks[] from the map. Returns how many there are, or -1. */
static int read_tasks(const struct offcpu_bpf *skel)
{
	LIBBPF_OPTS(bpf_iter_attach_opts, opts);
	union bpf_iter_link_info linfo = { .map.map_fd = bpf_map__fd(skel->maps.times) };
	struct bpf_link *link;
	size_t size = 0;
	ssize_t n = -1;
	int fd = -1;

	opts.link_info = &linfo;
	opts.link_info_len = sizeof(linfo);
	link = bpf_program__attach_iter(skel->progs.show, &opts);
	if (link)
		fd = bpf_iter_create(bpf_link__fd(link));
	if (fd >= 0) {
		do {
			n = read(fd, (char *)tasks + size, sizeof(tasks) - size);
			size += n > 0 ? n : 0;
		} while (n > 0 || (n < 0 && errno == EAGAIN));
		close(fd);
	}
	bpf_link__destroy(link);

	return n < 0 ? -1 : (int)(size / sizeof(tasks[0]));
}

int main(int argc, char **argv)
{
	int i, nr, seconds = argc > 1 ? atoi(argv[1]) : 5;
	struct offcpu_bpf *skel;

	if (seconds < 1) {
		fprintf(stderr, "usage: offcpu [SECONDS]\n");
		return 1;
	}
	skel = offcpu_bpf__open_and_load();
	if (!skel) {
		fprintf(stderr, "cannot load: root, and a kernel with bpf_task_storage_map?\n");
		return 1;
	}
	/* Attaches sched_switch; the iterator waits for the map it is to show. */
	skel->links.sched_switch = bpf_program__attach(skel->progs.sched_switch);
	if (!skel->links.sched_switch) {
		fprintf(stderr, "cannot attach: %s\n", strerror(errno));
		offcpu_bpf__destroy(skel);
		return 1;
	}
	sleep(seconds);

	nr = read_tasks(skel);
	if (nr < 0) {
		fprintf(stderr, "cannot read the map: %s\n", strerror(errno));
		offcpu_bpf__destroy(skel);
		return 1;
	}
	qsort(tasks, nr, sizeof(tasks[0]), by_time);
	printf("%d tasks went off a CPU in %d seconds and came back\n", nr, seconds);
	printf("%8s %-16s %12s %10s %12s\n", "TID", "TASK", "OFF ms", "TIMES", "LONGEST ms");
	for (i = 0; i < nr && i < SHOWN; i++)
		printf("%8d %-16s %12.1f %10llu %12.1f\n", tasks[i].tid, tasks[i].comm,
		       tasks[i].off_ns / 1e6, tasks[i].times, tasks[i].longest_ns / 1e6);
	offcpu_bpf__destroy(skel);

	return 0;
}
