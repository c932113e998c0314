// SPDX-License-Identifier: GPL-2.0
/*
 * The iterators over values: what was there all the time is shown once, whatever becomes of the
 * values around it between two reads, with its owner, which lives for as long as it is shown.
 *
 * BLS_SECONDS: how long each race runs.
 */
#define _GNU_SOURCE
#include <net/if.h>
#include <pthread.h>
#include <sched.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <test_progs.h>

#include "cgroup_helpers.h"
#include "local_storage_faults.h"
#include "local_storage_helpers.h"
#include "local_storage_iter.h"
#include "local_storage_iter.skel.h"
#include "network_helpers.h"

#define ITER_BUCKET	0x400	/* bit of enum bpf_local_storage_site */

#define NR_OWNERS	96
#define NR_STABLE	16	/* owners that stay in a race */
#define NR_READERS	2
#define STACK_SIZE	16384

struct owner {
	int fd;
	int pid;
	__u64 id;
	__u64 turn;	/* of its value, if it has one */
	bool value;
};

/* One who reads an iteration, what it has seen, and what was deleted before it had. */
struct reader {
	int fd;
	int seen[2 * NR_OWNERS];
	bool gone[2 * NR_OWNERS];
};

static struct local_storage_iter *skel;
static struct owner owners[2 * NR_OWNERS];
static struct reader readers[NR_READERS];
static char stacks[NR_READERS][STACK_SIZE] __aligned(16);
static bool stop;

static struct bpf_program *show_prog(enum ls_kind kind)
{
	struct bpf_program *prog[] = { skel->progs.task_show, skel->progs.cgrp_show,
				       skel->progs.inode_show, skel->progs.sk_show };

	return prog[kind];
}

static struct bpf_program *delete_prog(enum ls_kind kind)
{
	struct bpf_program *prog[] = { skel->progs.task_delete, skel->progs.cgrp_delete,
				       NULL, skel->progs.sk_delete };

	return prog[kind];
}

static struct bpf_program *too_far_prog(enum ls_kind kind)
{
	struct bpf_program *prog[] = { skel->progs.task_too_far, skel->progs.cgrp_too_far,
				       skel->progs.inode_too_far, skel->progs.sk_too_far };

	return prog[kind];
}

static int map_fd(enum ls_kind kind)
{
	struct bpf_map *map[] = { skel->maps.task_map, skel->maps.cgrp_map,
				  skel->maps.inode_map, skel->maps.sk_map };

	return bpf_map__fd(map[kind]);
}

/* With programs for the targets that this kernel has. */
static bool load(void)
{
	static const char * const target[] = { "bpf_task_storage_map", "bpf_cgrp_storage_map",
					       "bpf_inode_storage_map", "bpf_sk_storage_map" };
	enum ls_kind kind;

	skel = local_storage_iter__open();
	if (!ASSERT_OK_PTR(skel, "open"))
		return false;
	for (kind = 0; kind < LS_NR_KINDS; kind++) {
		if (libbpf_find_vmlinux_btf_id(target[kind], BPF_TRACE_ITER) <= 0)
			continue;
		bpf_program__set_autoload(show_prog(kind), true);
		bpf_program__set_autoload(too_far_prog(kind), true);
		if (delete_prog(kind))
			bpf_program__set_autoload(delete_prog(kind), true);
	}
	bpf_program__set_autoload(skel->progs.kptr_plain, true);
	bpf_program__set_autoload(skel->progs.kptr_write, true);
	bpf_program__set_autoload(skel->progs.sender, true);

	return ASSERT_OK(local_storage_iter__load(skel), "load");
}

static struct bpf_link *attach(struct bpf_program *prog, int fd)
{
	LIBBPF_OPTS(bpf_iter_attach_opts, opts);
	union bpf_iter_link_info linfo = { .map.map_fd = fd };

	opts.link_info = &linfo;
	opts.link_info_len = sizeof(linfo);

	return bpf_program__attach_iter(prog, &opts);
}

static int iter_new(struct bpf_program *prog, int fd)
{
	struct bpf_link *link = attach(prog, fd);
	int iter_fd;

	if (!ASSERT_OK_PTR(link, "attach"))
		return -1;
	iter_fd = bpf_iter_create(bpf_link__fd(link));
	ASSERT_OK_FD(iter_fd, "iter");
	bpf_link__destroy(link);

	return iter_fd;
}

/* Read a whole line, @chunk bytes at a time: 1, 0 at the end, or an error. */
static int read_line(int fd, struct ls_line *line, size_t chunk)
{
	size_t have = 0, want;
	ssize_t n;

	while (have < sizeof(*line)) {
		want = sizeof(*line) - have;
		n = read(fd, (char *)line + have, want < chunk ? want : chunk);
		if (n < 0)
			return -errno;
		if (!n)
			return have ? -EIO : 0;
		have += n;
	}

	return 1;
}

static int sleeper(void *arg)
{
	for (;;)
		pause();

	return 0;
}

static int nothing(void *arg)
{
	return 0;
}

static int make_task(struct owner *owner, int i)
{
	owner->pid = fork();
	if (!owner->pid)
		exit(sleeper(NULL));

	owner->id = owner->pid;

	return sys_pidfd_open(owner->pid, 0);
}

static int make_cgroup(struct owner *owner, int i)
{
	char name[32];

	snprintf(name, sizeof(name), "/ls_iter%d", i);
	owner->fd = create_and_get_cgroup(name);
	owner->id = get_cgroup_id(name);

	return owner->fd;
}

static int make_inode(struct owner *owner, int i)
{
	int fd = memfd_create("local_storage_iter", 0);
	struct stat st = {};

	fstat(fd, &st);
	owner->id = st.st_ino;

	return fd;
}

static int make_socket(struct owner *owner, int i)
{
	int fd = socket(AF_INET, i & 1 ? SOCK_DGRAM : SOCK_STREAM, 0);
	socklen_t len = sizeof(owner->id);

	getsockopt(fd, SOL_SOCKET, SO_COOKIE, &owner->id, &len);

	return fd;
}

/* An owner with a value that has its number as the tag. */
static bool make(enum ls_kind kind, int i)
{
	static int (* const make_owner[])(struct owner *, int) = {
		make_task, make_cgroup, make_inode, make_socket,
	};
	struct ls_value value = { .tag = i };

	owners[i].fd = make_owner[kind](&owners[i], i);
	owners[i].turn = 0;
	owners[i].value = true;

	return ASSERT_OK_FD(owners[i].fd, "owner") &&
	       ASSERT_OK(bpf_map_update_elem(map_fd(kind), &owners[i].fd, &value, BPF_NOEXIST),
			 "value");
}

static bool make_all(enum ls_kind kind, int nr)
{
	int i;

	for (i = 0; i < nr; i++)
		if (!make(kind, i))
			return false;

	return true;
}

static void end_all(enum ls_kind kind)
{
	char name[32];
	int i;

	for (i = 0; i < ARRAY_SIZE(owners); i++) {
		if (owners[i].pid > 0) {
			kill(owners[i].pid, SIGKILL);
			waitpid(owners[i].pid, NULL, 0);
		}
		if (owners[i].fd >= 0)
			close(owners[i].fd);
		snprintf(name, sizeof(name), "/ls_iter%d", i);
		if (owners[i].fd >= 0 && kind == LS_CGRP)
			remove_cgroup(name);
		owners[i].pid = 0;
		owners[i].fd = -1;
	}
}

/* Everything once, with its owner; what the program writes is the value. */
static void test_all(enum ls_kind kind)
{
	int i, fd, err, seen[NR_OWNERS] = {};
	struct ls_value value;
	struct ls_line line;

	if (!make_all(kind, NR_OWNERS))
		return;
	skel->bss->add = 1000;
	skel->bss->ends = 0;
	fd = iter_new(show_prog(kind), map_fd(kind));
	if (fd < 0)
		return;
	while ((err = read_line(fd, &line, sizeof(line))) > 0) {
		if (!ASSERT_LT(line.tag, NR_OWNERS, "tag"))
			break;
		seen[line.tag]++;
		ASSERT_EQ(line.id, owners[line.tag].id, "owner");
		ASSERT_EQ(line.turn, 1000, "value");
	}
	ASSERT_OK(err, "read");
	ASSERT_EQ(read(fd, &line, sizeof(line)), 0, "and no more");
	close(fd);
	for (i = 0; i < NR_OWNERS; i++) {
		ASSERT_EQ(seen[i], 1, "shown");
		ASSERT_OK(bpf_map_lookup_elem(map_fd(kind), &owners[i].fd, &value), "lookup");
		ASSERT_EQ(value.turn, 1000, "written");
	}
	ASSERT_EQ(skel->bss->ends, 1, "last call");
	ASSERT_EQ(skel->bss->dead, 0, "dead");
}

static void replace(enum ls_kind kind, int i)
{
	struct ls_value value = { .tag = i, .turn = ++owners[i].turn };

	ASSERT_OK(bpf_map_update_elem(map_fd(kind), &owners[i].fd, &value, BPF_EXIST), "replace");
}

static void delete(enum ls_kind kind, int i)
{
	int r;

	ASSERT_OK(bpf_map_delete_elem(map_fd(kind), &owners[i].fd), "delete");
	owners[i].value = false;
	for (r = 0; r < NR_READERS; r++)
		readers[r].gone[i] = !readers[r].seen[i];
}

/* Read by the byte: the next tag, or -1 at the end. */
static int next_tag(struct reader *reader)
{
	struct ls_line line;
	int err;

	err = read_line(reader->fd, &line, 1);
	ASSERT_GE(err, 0, "read");
	if (err <= 0 || !ASSERT_LT(line.tag, ARRAY_SIZE(owners), "tag"))
		return -1;
	reader->seen[line.tag]++;
	ASSERT_EQ(line.id, owners[line.tag].id, "owner");
	ASSERT_EQ(line.turn, owners[line.tag].turn, "the present value");

	return line.tag;
}

/*
 * Two iterations, read by the byte: each line is a start of its own. In between values come and go
 * before the place of the first iteration, at it, and behind it.
 */
static void test_tiny(enum ls_kind kind)
{
	int i, k, r, tag, next, nr = NR_OWNERS, order[NR_OWNERS];

	if (!make_all(kind, NR_OWNERS))
		return;
	skel->bss->add = 0;
	memset(readers, 0, sizeof(readers));
	readers[0].fd = iter_new(show_prog(kind), map_fd(kind));
	for (k = 0; k < NR_OWNERS; k++) {
		order[k] = next_tag(&readers[0]);
		if (!ASSERT_GE(order[k], 0, "order"))
			break;
	}
	close(readers[0].fd);
	if (k < NR_OWNERS)
		return;

	memset(readers, 0, sizeof(readers));
	for (r = 0; r < NR_READERS; r++)
		readers[r].fd = iter_new(show_prog(kind), map_fd(kind));
	for (k = 0; k < NR_OWNERS; k++) {
		if (!owners[order[k]].value)
			continue;
		/* New ones are shown or not. */
		do
			tag = next_tag(&readers[0]);
		while (tag >= NR_OWNERS);
		if (!ASSERT_EQ(tag, order[k], "in order"))
			break;

		for (i = k + 1; i < NR_OWNERS && !owners[order[i]].value; i++)
			;
		next = i < NR_OWNERS ? order[i] : tag;
		switch (k % 8) {
		case 0:
			delete(kind, tag);
			break;
		case 1:
			replace(kind, tag);
			break;
		case 2:
			replace(kind, next);
			break;
		case 3:
			if (next != tag)
				delete(kind, next);
			break;
		case 4:
			/* Most of what was shown. */
			for (i = 0; i < k; i++)
				if (owners[order[i]].value && i % 3)
					delete(kind, order[i]);
			break;
		case 5:
			make(kind, nr++);
			break;
		case 6:
			for (i = 0; i < 2; i++) {
				replace(kind, tag);
				replace(kind, next);
			}
			break;
		default:
			next_tag(&readers[1]);
			next_tag(&readers[1]);
		}
	}
	for (r = 0; r < NR_READERS; r++) {
		while (next_tag(&readers[r]) >= 0)
			;
		for (i = 0; i < NR_OWNERS; i++)
			ASSERT_EQ(readers[r].seen[i], !readers[r].gone[i], "shown once");
		for (i = NR_OWNERS; i < nr; i++)
			ASSERT_LE(readers[r].seen[i], 1, "new ones, at most once");
		close(readers[r].fd);
	}
	ASSERT_EQ(skel->bss->dead, 0, "dead");
}

/* How many are shown, each once. */
static int count(int fd, size_t chunk)
{
	int err, nr = 0, seen[NR_OWNERS] = {};
	struct ls_line line;

	while ((err = read_line(fd, &line, chunk)) > 0) {
		if (!ASSERT_LT(line.tag, NR_OWNERS, "tag"))
			return -1;
		ASSERT_EQ(seen[line.tag]++, 0, "shown once");
		nr++;
	}
	ASSERT_OK(err, "read");

	return nr;
}

/* The program deletes what it is shown: for the owners it is their only value. */
static void test_delete(enum ls_kind kind)
{
	int fd, i;
	__u64 v[2];

	if (!make_all(kind, NR_OWNERS))
		return;
	fd = iter_new(delete_prog(kind), map_fd(kind));
	ASSERT_EQ(count(fd, 1), NR_OWNERS, "shown and deleted");
	close(fd);
	ASSERT_EQ(skel->bss->dead, 0, "failed deletions");
	for (i = 0; i < NR_OWNERS; i++)
		ASSERT_EQ(bpf_map_lookup_elem(map_fd(kind), &owners[i].fd, v), -ENOENT, "deleted");
	fd = iter_new(show_prog(kind), map_fd(kind));
	ASSERT_EQ(count(fd, 1), 0, "shown afterwards");
	close(fd);
}

/* A file that is closed half way leaves nothing; one that is open keeps the map. */
static void test_ends(enum ls_kind kind)
{
	struct ls_line line;
	int fd[2], i;

	if (!make_all(kind, NR_OWNERS))
		return;
	for (i = 0; i < 2; i++)
		fd[i] = iter_new(show_prog(kind), map_fd(kind));
	for (i = 0; i < NR_OWNERS / 2; i++)
		ASSERT_EQ(read_line(fd[0], &line, 1), 1, "half");
	close(fd[0]);
	for (i = 0; i < NR_OWNERS / 2; i++)
		ASSERT_OK(bpf_map_delete_elem(map_fd(kind), &owners[i].fd), "delete");
	local_storage_iter__destroy(skel);
	skel = NULL;
	ASSERT_EQ(count(fd[1], 1), NR_OWNERS / 2, "the other half, without map or link");
	close(fd[1]);
}

/* Refused its lock an iteration says so, and goes on where it was. */
static void test_refused(enum ls_kind kind)
{
	int err, fd, again = 0, nr = 0, seen[NR_OWNERS] = {};
	char *p, buf[sizeof(struct ls_line)];
	struct ls_line line;

	if (access(FAULTS, F_OK)) {
		printf("skipped: this kernel has no " FAULTS "\n");
		test__skip();
		return;
	}
	if (!make_all(kind, NR_OWNERS))
		return;
	fd = iter_new(show_prog(kind), map_fd(kind));
	ASSERT_OK(inject(50, ITER_BUCKET), "refuse");
	for (p = buf; ; ) {
		err = read(fd, p, 1);
		if (err < 0 && errno == EAGAIN) {
			again++;
			continue;
		}
		if (!ASSERT_GE(err, 0, "read") || !err)
			break;
		if (++p < buf + sizeof(buf))
			continue;
		p = buf;
		memcpy(&line, buf, sizeof(line));
		if (!ASSERT_LT(line.tag, NR_OWNERS, "tag"))
			break;
		ASSERT_EQ(seen[line.tag]++, 0, "shown once");
		nr++;
	}
	ASSERT_EQ(nr, NR_OWNERS, "shown");
	ASSERT_GT(again, 0, "refused");
	ASSERT_EQ(skel->bss->ends, 1, "last call");
	close(fd);

	/* A file can be closed then, too. */
	ASSERT_OK(inject(0, ITER_BUCKET), "refuse no more");
	fd = iter_new(show_prog(kind), map_fd(kind));
	ASSERT_EQ(read_line(fd, &line, 1), 1, "read");
	ASSERT_OK(inject(50, ITER_BUCKET), "refuse");
	close(fd);
	ASSERT_OK(inject(0, ITER_BUCKET), "refuse no more");
}

static void attach_fails(struct bpf_program *prog, int fd, int err)
{
	struct bpf_link *link = attach(prog, fd);

	ASSERT_EQ(libbpf_get_error(link), err, bpf_program__name(prog));
	bpf_link__destroy(link);
}

static void test_attach(enum ls_kind kind)
{
	struct bpf_link *link;

	attach_fails(show_prog(kind), map_fd((kind + 1) % LS_NR_KINDS), -EINVAL);
	attach_fails(show_prog(kind), bpf_map__fd(skel->maps.bss), -EINVAL);
	attach_fails(show_prog(kind), 0, -EBADF);
	attach_fails(show_prog(kind), 9999, -EBADF);
	attach_fails(too_far_prog(kind), map_fd(kind), -EACCES);
	link = bpf_program__attach_iter(show_prog(kind), NULL);
	ASSERT_EQ(libbpf_get_error(link), -EBADF, "no map");
	if (kind != LS_SK)
		return;
	attach_fails(skel->progs.kptr_write, bpf_map__fd(skel->maps.kptr_map), -EACCES);
	attach_fails(skel->progs.kptr_write, bpf_map__fd(skel->maps.lock_map), -EACCES);
	link = attach(skel->progs.kptr_plain, bpf_map__fd(skel->maps.kptr_map));
	ASSERT_OK_PTR(link, "what is before the pointer");
	bpf_link__destroy(link);
}

static void pin_to_cpu(int cpu)
{
	cpu_set_t cpus;

	CPU_ZERO(&cpus);
	CPU_SET(cpu % libbpf_num_possible_cpus(), &cpus);
	pthread_setaffinity_np(pthread_self(), sizeof(cpus), &cpus);
}

struct churner {
	pthread_t thread;
	enum ls_kind kind;
	int nr;			/* which one, and on which CPU */
	int listener;
	int dir;
	long made;
};

static void give_value(struct churner *c, int fd)
{
	struct ls_value value = { .tag = LS_CHURN };

	if (fd >= 0 && !bpf_map_update_elem(map_fd(c->kind), &fd, &value, BPF_ANY))
		c->made++;
}

static void churn_tasks(struct churner *c)
{
	/* Has a value from the start: see progs/local_storage_iter.c. */
	int pid = clone(nothing, stacks[c->nr] + STACK_SIZE, CLONE_VM | SIGCHLD, NULL);

	if (pid > 0 && waitpid(pid, NULL, 0) == pid)
		c->made++;
}

static void churn_cgroups(struct churner *c)
{
	char name[16];
	int fd;

	snprintf(name, sizeof(name), "churn%d", c->nr);
	mkdirat(c->dir, name, 0700);
	fd = openat(c->dir, name, O_RDONLY | O_DIRECTORY);
	give_value(c, fd);
	if (fd >= 0)
		close(fd);
	unlinkat(c->dir, name, AT_REMOVEDIR);
}

static void churn_inodes(struct churner *c)
{
	char name[16];
	int fd, ends[2];

	snprintf(name, sizeof(name), "churn%d", c->nr);
	fd = openat(c->dir, name, O_CREAT | O_RDWR, 0600);
	give_value(c, fd);
	unlinkat(c->dir, name, 0);
	if (fd >= 0)
		close(fd);
	/* An inode whose memory is freed without a grace period. */
	if (pipe(ends))
		return;
	give_value(c, ends[0]);
	close(ends[0]);
	close(ends[1]);
}

static void churn_sockets(struct churner *c)
{
	struct linger reset = { .l_onoff = 1 };
	int fd, client;

	fd = socket(AF_INET, SOCK_DGRAM, 0);
	give_value(c, fd);
	if (fd >= 0)
		close(fd);
	/* The accepted one has a copy of the listener's value. */
	client = connect_to_fd(c->listener, 0);
	give_value(c, client);
	if (client < 0)
		return;
	fd = accept(c->listener, NULL, NULL);
	setsockopt(client, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
	close(client);
	if (fd >= 0)
		close(fd);
}

/* What stays gets new values, too, and is shown once all the same. */
static void replace_stable(struct churner *c)
{
	struct ls_value value = {};

	for (value.tag = 0; value.tag < NR_STABLE; value.tag++)
		bpf_map_update_elem(map_fd(c->kind), &owners[value.tag].fd, &value, BPF_EXIST);
}

static void *churn(void *arg)
{
	static void (* const of[])(struct churner *) = {
		churn_tasks, churn_cgroups, churn_inodes, churn_sockets,
	};
	struct churner *c = arg;

	pin_to_cpu(c->nr);
	while (!READ_ONCE(stop)) {
		of[c->kind](c);
		replace_stable(c);
	}

	return NULL;
}

/* A process in a cgroup that has room for no other: each fork() fails when it is nearly done. */
static int start_doomed(void)
{
	int cgrp, pid;
	char text[16];

	cgrp = create_and_get_cgroup("/ls_doomed");
	if (!ASSERT_OK_FD(cgrp, "cgroup"))
		return -1;
	close(cgrp);
	pid = fork();
	if (!pid) {
		raise(SIGSTOP);
		for (;;)
			if (!fork())
				exit(0);
	}
	waitpid(pid, NULL, WUNTRACED);
	snprintf(text, sizeof(text), "%d", pid);
	ASSERT_OK(write_cgroup_file("/ls_doomed", "cgroup.procs", text), "join");
	ASSERT_OK(write_cgroup_file("/ls_doomed", "pids.max", "1"), "pids.max");
	kill(pid, SIGCONT);

	return pid;
}

/* Complete iterations of one of the readers, each of which shows all that stays. */
static void *read_all(void *arg)
{
	static const size_t chunks[] = { 1, 64, 4096 };
	struct churner *c = arg;
	int fd, err, turn, i;

	pin_to_cpu(c->nr);
	for (turn = 0; !READ_ONCE(stop); turn++) {
		int seen[NR_STABLE] = {};
		struct ls_line line;

		fd = iter_new(show_prog(c->kind), map_fd(c->kind));
		if (fd < 0)
			break;
		do {
			err = read_line(fd, &line, chunks[turn % ARRAY_SIZE(chunks)]);
			if (err > 0 && line.tag < NR_STABLE)
				seen[line.tag]++;
			/* An emulated CPU can keep a lock for the quarter of a second. */
		} while (err > 0 || err == -EAGAIN);
		close(fd);
		if (!ASSERT_OK(err, "read"))
			break;
		for (i = 0; i < NR_STABLE; i++)
			ASSERT_EQ(seen[i], 1, "what stays, shown once");
		c->made++;
	}

	return NULL;
}

/* Owners come and go on all CPUs while they are shown, used, and their values written. */
static void test_race(enum ls_kind kind)
{
	struct churner churners[NR_READERS] = {}, reading[NR_READERS] = {};
	int i, nr, nr_reading, doomed = -1, listener = -1, dirfd = -1;
	char dir[] = "/tmp/local_storage_iter.XXXXXX";
	const char *seconds = getenv("BLS_SECONDS");
	struct ls_value value = { .tag = LS_CHURN };
	struct bpf_link *link = NULL;

	if (!make_all(kind, NR_STABLE))
		return;
	skel->bss->pid = getpid();
	skel->bss->add = 1;
	if (kind == LS_SK) {
		listener = start_server(AF_INET, SOCK_STREAM, "127.0.0.1", 0, 0);
		if (!ASSERT_OK_FD(listener, "listener"))
			return;
		ASSERT_OK(bpf_map_update_elem(map_fd(kind), &listener, &value, BPF_ANY), "value");
	} else if (kind == LS_CGRP) {
		dirfd = create_and_get_cgroup("/ls_churn");
		ASSERT_OK_FD(dirfd, "cgroup");
	} else if (kind == LS_INODE) {
		if (ASSERT_OK_PTR(mkdtemp(dir), "directory"))
			dirfd = open(dir, O_RDONLY | O_DIRECTORY);
	} else {
		doomed = start_doomed();
		skel->bss->doomed_pid = doomed;
		link = bpf_program__attach_lsm(skel->progs.task_alloc);
		if (!ASSERT_OK_PTR(link, "attach") || !ASSERT_GT(doomed, 0, "fork"))
			goto out;
	}

	stop = false;
	for (nr = 0; nr < NR_READERS; nr++) {
		churners[nr] = (struct churner) { .kind = kind, .nr = nr, .listener = listener,
						  .dir = dirfd };
		if (!ASSERT_OK(pthread_create(&churners[nr].thread, NULL, churn, &churners[nr]),
			       "thread"))
			break;
	}
	for (nr_reading = 0; nr_reading < NR_READERS; nr_reading++) {
		reading[nr_reading] = (struct churner) { .kind = kind, .nr = nr_reading };
		if (!ASSERT_OK(pthread_create(&reading[nr_reading].thread, NULL, read_all,
					      &reading[nr_reading]), "thread"))
			break;
	}
	sleep(seconds ? atoi(seconds) : 3);
	WRITE_ONCE(stop, true);
	while (nr_reading--) {
		pthread_join(reading[nr_reading].thread, NULL);
		ASSERT_GT(reading[nr_reading].made, 0, "iterations");
	}
	if (listener >= 0)
		shutdown(listener, SHUT_RDWR);
	for (i = 0; i < nr; i++) {
		pthread_join(churners[i].thread, NULL);
		ASSERT_GT(churners[i].made, 0, "owners that came and went");
	}
	ASSERT_EQ(skel->bss->dead, 0, "dead");
	if (kind == LS_TASK) {
		ASSERT_GT(skel->bss->doomed, 0, "tasks that were not made");
		ASSERT_EQ(skel->bss->doomed_shown, 0, "shown though not made");
	}
out:
	bpf_link__destroy(link);
	if (doomed > 0) {
		kill(doomed, SIGKILL);
		waitpid(doomed, NULL, 0);
	}
	if (listener >= 0)
		close(listener);
	if (dirfd >= 0)
		close(dirfd);
	if (kind == LS_INODE)
		rmdir(dir);
}

/*
 * The sockets with which the kernel answers pings are of one network namespace, but for the time of
 * a packet of another's. An iterator that is shown one holds a namespace: it has to let go of that
 * one, or the namespace outlives its last user, or goes before.
 */
static void test_netns(void)
{
	struct bpf_link *made = NULL, *shown = NULL;
	int fd, i, err = 0, iterations = 0;
	time_t end;
	FILE *ping;
	char c;

	SYS(none, "ip netns add ls_iter");
	/* The other end of this goes with the namespace. */
	SYS(out, "ip link add ls_iter0 type veth peer name ls_iter1 netns ls_iter");
	SYS(out, "ip -n ls_iter link set lo up");
	made = bpf_program__attach(skel->progs.sender);
	shown = attach(skel->progs.kptr_plain, bpf_map__fd(skel->maps.kptr_map));
	if (!ASSERT_OK_PTR(made, "attach") || !ASSERT_OK_PTR(shown, "attach iterator"))
		goto out;

	ping = popen("ip netns exec ls_iter ping -q -f -w 3 127.0.0.1 > /dev/null", "r");
	if (!ASSERT_OK_PTR(ping, "ping"))
		goto out;
	for (end = time(NULL) + 4; !err && time(NULL) < end; iterations++) {
		fd = bpf_iter_create(bpf_link__fd(shown));
		err = fd < 0 || read(fd, &c, 1);
		close(fd);
	}
	ASSERT_OK(err, "read");
	ASSERT_OK(pclose(ping), "answers");
	ASSERT_GT(iterations, 0, "iterations");
	ASSERT_NEQ(if_nametoindex("ls_iter0"), 0, "the namespace is there");
	SYS(out, "ip netns del ls_iter");
	for (i = 0; i < 1000 && if_nametoindex("ls_iter0"); i++)
		usleep(20000);
	ASSERT_EQ(if_nametoindex("ls_iter0"), 0, "the namespace is gone");
	goto none;
out:
	system("ip netns del ls_iter");
none:
	bpf_link__destroy(shown);
	bpf_link__destroy(made);
}

void test_local_storage_iter(void)
{
	static const struct {
		const char *name;
		void (*test)(enum ls_kind kind);
	} tests[] = {
		{ "all", test_all },
		{ "tiny", test_tiny },
		{ "delete", test_delete },
		{ "ends", test_ends },
		{ "refused", test_refused },
		{ "attach", test_attach },
		{ "race", test_race },
	};
	enum ls_kind kind;
	char name[32];
	int i;

	for (i = 0; i < ARRAY_SIZE(owners); i++)
		owners[i].fd = -1;
	if (!ASSERT_OK(setup_cgroup_environment(), "cgroups"))
		return;
	for (i = 0; i < ARRAY_SIZE(tests); i++) {
		for (kind = 0; kind < LS_NR_KINDS; kind++) {
			/* There is no helper for it. */
			if (kind == LS_INODE && tests[i].test == test_delete)
				continue;
			snprintf(name, sizeof(name), "%s_%s", tests[i].name, ls_name[kind]);
			if (!test__start_subtest(name))
				continue;
			if (load())
				tests[i].test(kind);
			end_all(kind);
			local_storage_iter__destroy(skel);
		}
	}
	if (test__start_subtest("netns")) {
		if (load())
			test_netns();
		local_storage_iter__destroy(skel);
	}
	cleanup_cgroup_environment();
}
