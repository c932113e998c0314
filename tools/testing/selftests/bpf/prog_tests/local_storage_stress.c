// SPDX-License-Identifier: GPL-2.0
/*
 * Local storage under load, its locks refused on purpose, on all CPUs: values are created,
 * replaced and deleted by programs and by system calls, while their owners and their maps come and
 * go. Then the locks work again, everything is closed, and nothing may be left.
 *
 * BLS_SECONDS: how long each load runs.
 */
#define _GNU_SOURCE
#include <linux/compiler.h>
#include <pthread.h>
#include <sched.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <test_progs.h>
#include "cgroup_helpers.h"
#include "network_helpers.h"

#include "local_storage_faults.h"
#include "local_storage_stress.skel.h"

#define PATIENCE	60	/* seconds until all is freed, or a line is in the log */

/* Bits of enum bpf_local_storage_site. */
#define DESTROY_BUCKET	0x080
#define MAP_FREE_BUCKET	0x100
#define TEARDOWN	0x3c0	/* all of destroy's and of map_free's */
#define ALL		~0U

enum { SK, TASK, CGRP, INODE, NR_TYPES };

#define NR_MAPS		4
#define NR_OWNERS	16
#define NR_THREADS	6
#define STACK_SIZE	16384

static struct local_storage_stress *skel;
static struct bpf_map *outer[NR_TYPES];
static struct bpf_map_create_opts inner[NR_TYPES];
static __u32 value_size[NR_TYPES];

/* The first owner of each type stays. Of the others each of two threads has every second one. */
static int owners[NR_TYPES][NR_OWNERS], turns[NR_TYPES][NR_OWNERS];
static int maps[NR_TYPES][NR_MAPS];
static char stacks[NR_OWNERS][STACK_SIZE] __aligned(16);
static __u64 page[512] __aligned(4096);	/* what user pointers point to */
static bool stop;
static long maps_made, owners_made, updated, deleted;

static int open_skel(void)
{
	struct bpf_map *map;
	int type;

	skel = local_storage_stress__open();
	if (!ASSERT_OK_PTR(skel, "open"))
		return -1;
	outer[SK] = skel->maps.sk_maps;
	outer[TASK] = skel->maps.task_maps;
	outer[CGRP] = skel->maps.cgrp_maps;
	outer[INODE] = skel->maps.inode_maps;
	/* What the inner maps are like is not known any more once all is loaded. */
	for (type = 0; type < NR_TYPES; type++) {
		map = bpf_map__inner_map(outer[type]);
		value_size[type] = bpf_map__value_size(map);
		inner[type].sz = sizeof(*inner);
		inner[type].map_flags = bpf_map__map_flags(map);
		inner[type].btf_key_type_id = bpf_map__btf_key_type_id(map);
		inner[type].btf_value_type_id = bpf_map__btf_value_type_id(map);
	}
	maps_made = 0;
	if (!ASSERT_OK(local_storage_stress__load(skel), "load"))
		return -1;
	for (type = 0; type < NR_TYPES; type++)
		inner[type].btf_fd = bpf_object__btf_fd(skel->obj);
	skel->bss->checking = true;

	return ASSERT_OK(local_storage_stress__attach(skel), "attach") ? 0 : -1;
}

static int new_map(int type)
{
	static const enum bpf_map_type types[] = {
		BPF_MAP_TYPE_SK_STORAGE, BPF_MAP_TYPE_TASK_STORAGE,
		BPF_MAP_TYPE_CGRP_STORAGE, BPF_MAP_TYPE_INODE_STORAGE,
	};
	int fd;

	fd = bpf_map_create(types[type], "ls_stress", sizeof(int), value_size[type], 0,
			    &inner[type]);
	if (fd >= 0)
		__sync_fetch_and_add(&maps_made, 1);

	return fd;
}

static void owner_name(char *name, size_t size, int type, int i)
{
	snprintf(name, size, "%d.%d", i, turns[type][i]);
}

static int new_socket(int i)
{
	struct linger reset = { .l_onoff = 1 };
	int client, fd;

	if (i % 3)
		return socket(AF_INET, SOCK_DGRAM, 0);

	/* Comes with copies of the listener's values. */
	client = connect_to_fd(owners[SK][0], 0);
	if (client < 0)
		return -1;
	fd = accept(owners[SK][0], NULL, NULL);
	setsockopt(client, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
	close(client);

	return fd;
}

static int sleeper(void *arg)
{
	/* It runs in the test's memory: nothing but this. */
	for (;;)
		syscall(SYS_pause);

	return 0;
}

static int new_task(int i)
{
	int fd = -1, pid;

	pid = clone(sleeper, stacks[i] + STACK_SIZE,
		    CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_PIDFD | SIGCHLD, NULL, &fd);
	if (pid < 0)
		return -1;
	skel->bss->pids[i] = pid;

	return fd;
}

static int new_cgroup(int i)
{
	struct stat st;
	char name[32];
	int fd;

	owner_name(name, sizeof(name), CGRP, i);
	mkdirat(owners[CGRP][0], name, 0700);
	fd = openat(owners[CGRP][0], name, O_RDONLY | O_DIRECTORY);
	if (fd >= 0 && !fstat(fd, &st))
		skel->bss->cgrps[i] = st.st_ino;

	return fd;
}

static int new_inode(int i)
{
	char name[32];

	owner_name(name, sizeof(name), INODE, i);

	return openat(owners[INODE][0], name, O_CREAT | O_RDWR, 0600);
}

static void new_owner(int type, int i)
{
	static int (* const make[])(int) = { new_socket, new_task, new_cgroup, new_inode };

	turns[type][i]++;
	owners[type][i] = make[type](i);
	if (owners[type][i] >= 0)
		__sync_fetch_and_add(&owners_made, 1);
}

static void end_owner(int type, int i)
{
	int fd = owners[type][i];
	char name[32];

	if (fd < 0)
		return;
	owner_name(name, sizeof(name), type, i);
	owners[type][i] = -1;
	if (type == TASK) {
		kill(skel->bss->pids[i], SIGKILL);
		waitpid(skel->bss->pids[i], NULL, 0);
	} else if (type != SK) {
		unlinkat(owners[type][0], name, type == CGRP ? AT_REMOVEDIR : 0);
	}
	close(fd);
}

static void set_value(int type, int map, int owner, __u64 flags, unsigned int *seed)
{
	/* All of it is special fields, which are left alone, but for the user pointer. */
	__u64 value[16] = { type == TASK && rand_r(seed) & 1 ? (__u64)page : 0 };

	if (!bpf_map_update_elem(map, &owner, value, flags))
		__sync_fetch_and_add(&updated, 1);
}

/* Put a new map in the place of one that programs and the other threads use. */
static void replace_map(int type, int i, unsigned int *seed)
{
	int old = maps[type][i], fd = new_map(type), j;

	if (fd < 0)
		return;
	/* All owners at once, so that their ends meet the map's. */
	for (j = 0; j < NR_OWNERS && rand_r(seed) & 1; j++)
		set_value(type, fd, owners[type][j], BPF_ANY, seed);
	/* Else it is the old one's values, the program's, that go later, with the array's turn. */
	if (rand_r(seed) & 1)
		bpf_map_update_elem(bpf_map__fd(outer[type]), &i, &fd, BPF_ANY);
	maps[type][i] = fd;
	close(old);
}

/* A hook's program works on the owner; a system call sets or deletes the value. */
static void use_value(int type, int map, int owner, unsigned int *seed)
{
	static const __u64 flags[] = { BPF_ANY, BPF_NOEXIST, BPF_EXIST, BPF_F_LOCK };
	struct sockaddr_storage addr;
	socklen_t len = sizeof(addr);
	char path[32];
	int fd;

	switch (rand_r(seed) % 4) {
	case 0:
		set_value(type, map, owner, flags[rand_r(seed) % 4], seed);
		break;
	case 1:
		if (!bpf_map_delete_elem(map, &owner))
			__sync_fetch_and_add(&deleted, 1);
		break;
	default:
		getsockname(owners[SK][rand_r(seed) % NR_OWNERS], (void *)&addr, &len);
		getpeername(owners[SK][rand_r(seed) % NR_OWNERS], (void *)&addr, &len);
		snprintf(path, sizeof(path), "/proc/self/fd/%d",
			 owners[INODE][rand_r(seed) % NR_OWNERS]);
		fd = open(path, O_RDONLY);
		if (fd >= 0)
			close(fd);
	}
}

static void *work(void *arg)
{
	unsigned int seed = (long)arg, me = (long)arg;
	int type, i;
	cpu_set_t cpus;

	/* Both of each kind, on different CPUs. */
	CPU_ZERO(&cpus);
	CPU_SET(me % 2 % libbpf_num_possible_cpus(), &cpus);
	pthread_setaffinity_np(pthread_self(), sizeof(cpus), &cpus);

	while (!READ_ONCE(stop)) {
		type = rand_r(&seed) % NR_TYPES;
		i = rand_r(&seed) % NR_OWNERS;
		switch (me / 2) {
		case 0:
			if (i && i % 2 == me % 2) {
				end_owner(type, i);
				new_owner(type, i);
			}
			break;
		case 1:
			replace_map(type, i % (NR_MAPS / 2) * 2 + me % 2, &seed);
			break;
		default:
			use_value(type, maps[type][rand_r(&seed) % NR_MAPS], owners[type][i],
				  &seed);
		}
	}

	return NULL;
}

/* User pages pinned and not released, of the whole system. */
static long pinned_pages(void)
{
	long value, pinned = 0;
	char line[128];
	FILE *f;

	/* Collects what CPUs have counted on their own. */
	f = fopen("/proc/sys/vm/stat_refresh", "w");
	if (f) {
		fputs("1", f);
		fclose(f);
	}
	f = fopen("/proc/vmstat", "r");
	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "nr_foll_pin_acquired %ld", &value) == 1)
			pinned += value;
		if (sscanf(line, "nr_foll_pin_released %ld", &value) == 1)
			pinned -= value;
	}
	if (f)
		fclose(f);

	return pinned;
}

static int dying_cgroups(void)
{
	char text[256] = "", *p;
	int fd, nr = -1;

	fd = openat(owners[CGRP][0], "cgroup.stat", O_RDONLY);
	if (fd >= 0 && read(fd, text, sizeof(text) - 1) > 0) {
		p = strstr(text, "nr_dying_descendants");
		if (p)
			sscanf(p, "nr_dying_descendants %d", &nr);
	}
	close(fd);

	return nr;
}

/*
 * Maps that are not freed yet, if all are closed. The program at the end of a free is not run where
 * it is interrupted by another such end on the same CPU, but that is counted.
 */
static long maps_left(void)
{
	struct bpf_prog_info info = {};
	__u32 len = sizeof(info);
	long ended;

	if (bpf_prog_get_info_by_fd(bpf_program__fd(skel->progs.map_free_ends), &info, &len))
		return -1;
	ended = skel->bss->frees_ended + info.recursion_misses;
	return maps_made - skel->bss->our_frees_begun + skel->bss->frees_begun - ended;
}

/* Have the program look at what the listener is charged, and at the references to this task. */
static void look(void)
{
	struct sockaddr_storage addr;
	socklen_t len = sizeof(addr);

	skel->bss->checking = true;
	getsockname(owners[SK][0], (void *)&addr, &len);
}

static void check_left(long nr, const char *what)
{
	printf("left: %ld %s\n", nr, what);
	ASSERT_EQ(nr, 0, what);
}

/* Nothing is in use any more. Wait for what is asked for, but not for ever. */
static void check_gone(int refs, long pinned)
{
	int i;

	for (i = 0; i < PATIENCE * 10; i++) {
		look();
		if (!maps_left() && !skel->bss->bytes_left &&
		    skel->bss->task_refs == refs && pinned_pages() == pinned && !dying_cgroups())
			break;
		usleep(100000);
	}
	check_left(maps_left(), "maps");
	check_left(skel->bss->bytes_left, "bytes charged to a socket without values");
	check_left(skel->bss->bytes_lost, "bytes charged to sockets that are gone");
	check_left(skel->bss->task_refs - refs, "references to a task");
	check_left(pinned_pages() - pinned, "pinned user pages");
	check_left(dying_cgroups(), "cgroups that are gone");
}

static int setup(char *dir)
{
	struct stat st;
	int type, i;

	memset(owners, -1, sizeof(owners));
	memset(maps, -1, sizeof(maps));
	owners_made = 0;
	updated = 0;
	deleted = 0;
	stop = false;

	if (open_skel())
		return -1;
	owners[SK][0] = start_server(AF_INET, SOCK_STREAM, "127.0.0.1", 0, 0);
	owners[TASK][0] = syscall(SYS_pidfd_open, getpid(), 0);
	owners[CGRP][0] = create_and_get_cgroup("/ls_stress");
	if (!ASSERT_OK_PTR(mkdtemp(dir), "directory"))
		return -1;
	owners[INODE][0] = open(dir, O_RDONLY | O_DIRECTORY);
	for (type = 0; type < NR_TYPES; type++)
		if (!ASSERT_OK_FD(owners[type][0], "first owner"))
			return -1;
	if (!ASSERT_OK(fstat(owners[CGRP][0], &st), "cgroup"))
		return -1;

	skel->bss->pid = getpid();
	skel->bss->pids[0] = getpid();
	skel->bss->cgrps[0] = st.st_ino;

	for (type = 0; type < NR_TYPES; type++) {
		for (i = 1; i < NR_OWNERS; i++) {
			new_owner(type, i);
			if (!ASSERT_OK_FD(owners[type][i], "owner"))
				return -1;
		}
		for (i = 0; i < NR_MAPS; i++) {
			maps[type][i] = new_map(type);
			if (!ASSERT_OK_FD(maps[type][i], "map") ||
			    !ASSERT_OK(bpf_map_update_elem(bpf_map__fd(outer[type]), &i,
							   &maps[type][i], BPF_ANY), "publish"))
				return -1;
		}
	}

	return 0;
}

static void close_all(void)
{
	int type, i;

	for (type = 0; type < NR_TYPES; type++) {
		for (i = 1; i < NR_OWNERS; i++)
			end_owner(type, i);
		for (i = 0; i < NR_MAPS; i++) {
			bpf_map_delete_elem(bpf_map__fd(outer[type]), &i);
			if (maps[type][i] >= 0)
				close(maps[type][i]);
		}
	}
}

static void load(int percent, unsigned int sites)
{
	char dir[] = "/tmp/ls_stressXXXXXX", *env = getenv("BLS_SECONDS");
	int seconds = env ? atoi(env) : 2, i, nr = 0, refs;
	pthread_t threads[NR_THREADS];
	long pinned = pinned_pages();

	if (percent && access(FAULTS, F_OK)) {
		printf("skipped: this kernel has no " FAULTS "\n");
		test__skip();
		return;
	}
	if (setup(dir))
		goto out;
	look();
	refs = skel->bss->task_refs;
	skel->bss->checking = false;

	for (nr = 0; nr < NR_THREADS; nr++)
		if (!ASSERT_OK(pthread_create(&threads[nr], NULL, work, (void *)(long)nr),
			       "thread"))
			break;
	for (i = 0; i < seconds * 4; i++) {
		/* Where all are refused nothing moves: a quarter of a second in turn. */
		ASSERT_OK(inject(percent < 100 || i % 2 ? percent : 0, sites), "inject");
		usleep(250000);
	}
	WRITE_ONCE(stop, true);
	for (i = 0; i < nr; i++)
		pthread_join(threads[i], NULL);
	skel->bss->checking = true;
	/* Some of the ends still meet refusals. */
	close_all();
	usleep(250000);
	ASSERT_OK(inject(0, ALL), "injection off");

	printf("%ld owners, %ld maps; programs: %ld uses, %ld deletions; ", owners_made, maps_made,
	       skel->bss->used, skel->bss->deleted);
	printf("system calls: %ld updates, %ld deletions\n", updated, deleted);
	ASSERT_GT(owners_made, NR_TYPES * NR_OWNERS, "owners");
	ASSERT_GT(maps_made, NR_TYPES * NR_MAPS, "maps");
	ASSERT_GT(skel->bss->used, 0, "uses by programs");
	ASSERT_GT(skel->bss->deleted, 0, "deletions by programs");
	ASSERT_GT(updated, 0, "updates by system calls");
	ASSERT_GT(deleted, 0, "deletions by system calls");
	check_gone(refs, pinned);
out:
	inject(0, ALL);
	if (!nr && skel)
		close_all();
	for (i = 0; i < NR_TYPES; i++)
		if (owners[i][0] >= 0)
			close(owners[i][0]);
	rmdir(dir);
	local_storage_stress__destroy(skel);
}

/* Has the kernel's log, from where @fd is, a line with each of @what? */
static bool logged(int fd, const char **what, int nr)
{
	char line[2048];
	ssize_t len;
	int i;

	while ((len = read(fd, line, sizeof(line) - 1)) > 0) {
		line[len] = '\0';
		for (i = 0; i < nr; i++)
			if (what[i] && strstr(line, what[i]))
				what[i] = NULL;
	}
	for (i = 0; i < nr; i++)
		if (what[i])
			return false;

	return true;
}

/* What waits for locks for seconds is told, and goes on when it gets them. */
static void told(void)
{
	const char *lines[2] = {
		"values of owners that are gone wait for locks",
		"is gone, but 1 values wait for locks",
	};
	int sk[2] = { -1, -1 };
	int map[2] = { -1, -1 };
	int kmsg, i;

	if (access(FAULTS, F_OK)) {
		printf("skipped: this kernel has no " FAULTS "\n");
		test__skip();
		return;
	}
	kmsg = open("/dev/kmsg", O_RDONLY | O_NONBLOCK);
	if (open_skel() || !ASSERT_OK_FD(kmsg, "kmsg"))
		goto out;
	lseek(kmsg, 0, SEEK_END);
	for (i = 0; i < 2; i++) {
		__u64 value[16] = {};

		sk[i] = socket(AF_INET, SOCK_DGRAM, 0);
		map[i] = new_map(SK);
		if (!ASSERT_OK(bpf_map_update_elem(map[i], &sk[i], value, BPF_ANY), "update"))
			goto out;
	}
	if (!ASSERT_OK(inject(100, DESTROY_BUCKET | MAP_FREE_BUCKET), "inject"))
		goto out;
	/* An owner ends and cannot have a map's lock, a map ends and cannot have its own. */
	close(sk[0]);
	close(map[1]);
	sk[0] = -1;
	map[1] = -1;
	for (i = 0; i < PATIENCE * 10 && !logged(kmsg, lines, ARRAY_SIZE(lines)); i++)
		usleep(100000);
	ASSERT_NULL(lines[0], "line of the owner");
	ASSERT_NULL(lines[1], "line of the map");
	ASSERT_EQ(maps_left(), 2, "maps while refused");

	close(map[0]);
	map[0] = -1;
	ASSERT_OK(inject(0, ALL), "injection off");
	for (i = 0; i < PATIENCE * 10 && maps_left(); i++)
		usleep(100000);
	ASSERT_EQ(maps_left(), 0, "maps left");
out:
	inject(0, ALL);
	for (i = 0; i < 2; i++) {
		if (sk[i] >= 0)
			close(sk[i]);
		if (map[i] >= 0)
			close(map[i]);
	}
	if (kmsg >= 0)
		close(kmsg);
	local_storage_stress__destroy(skel);
}

void test_local_storage_stress(void)
{
	if (!ASSERT_OK(setup_cgroup_environment(), "cgroups"))
		return;
	if (test__start_subtest("nothing_refused"))
		load(0, ALL);
	if (test__start_subtest("teardown_1"))
		load(1, TEARDOWN);
	if (test__start_subtest("teardown_20"))
		load(20, TEARDOWN);
	if (test__start_subtest("teardown_100"))
		load(100, TEARDOWN);
	if (test__start_subtest("all_1"))
		load(1, ALL);
	if (test__start_subtest("all_20"))
		load(20, ALL);
	if (test__start_subtest("all_100"))
		load(100, ALL);
	if (test__start_subtest("told"))
		told();
	cleanup_cgroup_environment();
}
