// SPDX-License-Identifier: GPL-2.0
/* Values of inodes that are evicted, unlinked, born and freed. */
#include <bpf/btf.h>
#include <ftw.h>
#include <sys/mount.h>
#include <test_progs.h>

#include "local_storage_inode.skel.h"

#define NR_FILES	64

static struct local_storage_inode *skel;
static char paths[NR_FILES][128];
static int nr_paths;
static bool stop;

static int add_path(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	if (type == FTW_F && st->st_mode & 0400 && strlen(path) < sizeof(paths[0]))
		snprintf(paths[nr_paths++], sizeof(paths[0]), "%s", path);

	return nr_paths == NR_FILES;
}

static int has_value(const char *path)
{
	int fd = open(path, O_RDONLY), err;
	__u64 v;

	if (fd < 0)
		return -errno;
	err = bpf_map_lookup_elem(bpf_map__fd(skel->maps.values), &fd, &v);
	close(fd);

	return err ? err == -ENOENT ? 0 : err : 1;
}

/* Inodes that nobody uses are dropped from the cache, and come back without their values. */
static void test_evict(void)
{
	int i, fd, kept = -1, nr = 0, map = bpf_map__fd(skel->maps.values);
	__u64 v = 1;

	nr_paths = 0;
	nftw("/proc/sys/net/ipv4", add_path, 16, FTW_PHYS);
	if (!ASSERT_EQ(nr_paths, NR_FILES, "files"))
		return;
	for (i = 0; i < NR_FILES; i++) {
		fd = open(paths[i], O_RDONLY);
		if (!ASSERT_OK_FD(fd, "open") ||
		    !ASSERT_OK(bpf_map_update_elem(map, &fd, &v, BPF_NOEXIST), "update"))
			return;
		/* One stays in use. */
		if (i)
			close(fd);
		else
			kept = fd;
	}
	for (i = 0; i < NR_FILES; i++)
		ASSERT_EQ(has_value(paths[i]), 1, "the value is there");

	/* What was used lately survives a first time. */
	for (i = 0; i < 3; i++)
		ASSERT_OK(write_sysctl("/proc/sys/vm/drop_caches", "2"), "drop caches");
	for (i = 1; i < NR_FILES; i++)
		nr += has_value(paths[i]) == 1;
	ASSERT_LT(nr, NR_FILES / 2, "values that are still there");
	ASSERT_OK(bpf_map_lookup_elem(map, &kept, &v), "what is in use has its value");
	close(kept);
}

/* The value stays as long as the inode does, whether it has a name or not. */
static void test_unlink(void)
{
	int fd, path_fd, map = bpf_map__fd(skel->maps.values);
	char path[] = "/tmp/local_storage_inode.XXXXXX";
	__u64 v = 5;

	fd = mkstemp(path);
	if (!ASSERT_OK_FD(fd, "file"))
		return;
	path_fd = open(path, O_PATH);
	ASSERT_OK_FD(path_fd, "path");
	ASSERT_OK(bpf_map_update_elem(map, &fd, &v, BPF_NOEXIST), "update");
	ASSERT_OK(unlink(path), "unlink");
	v = 0;
	ASSERT_OK(bpf_map_lookup_elem(map, &fd, &v), "lookup");
	ASSERT_EQ(v, 5, "value");
	close(fd);
	ASSERT_OK(bpf_map_lookup_elem(map, &path_fd, &v), "by what has no file open");
	ASSERT_OK(bpf_map_delete_elem(map, &path_fd), "delete");
	ASSERT_EQ(bpf_map_lookup_elem(map, &path_fd, &v), -ENOENT, "deleted");
	ASSERT_OK(bpf_map_update_elem(map, &path_fd, &v, BPF_NOEXIST), "and again");
	close(path_fd);
	ASSERT_EQ(bpf_map_update_elem(map, &path_fd, &v, BPF_ANY), -EBADF, "closed");
}

/* Files of a file system of its own come and go, and it is unmounted and mounted again. */
static void *make_and_unlink(void *arg)
{
	char dir[64], path[80];
	int fd, n, ends[2], *rounds = arg;
	struct stat st;

	snprintf(dir, sizeof(dir), "/tmp/local_storage_inode.%lx", (long)arg);
	mkdir(dir, 0700);
	while (!READ_ONCE(stop)) {
		if (mount("ls_inode", dir, "tmpfs", 0, ""))
			break;
		for (n = 0; n < 16; n++) {
			snprintf(path, sizeof(path), "%s/%d", dir, n);
			fd = open(path, O_RDWR | O_CREAT, 0600);
			close(fd);
			stat(path, &st);
			if (n % 2)
				unlink(path);
			/* An inode that is freed without a grace period. */
			if (!pipe(ends)) {
				close(ends[0]);
				close(ends[1]);
			}
		}
		if (umount(dir))
			break;
		++*rounds;
	}
	rmdir(dir);

	return NULL;
}

/* All this with programs that give values to every inode they see, while all are shown. */
static void test_race(void)
{
	union bpf_iter_link_info linfo = { .map.map_fd = bpf_map__fd(skel->maps.values) };
	const char *seconds = getenv("BLS_SECONDS");
	time_t end = time(NULL) + (seconds ? atoi(seconds) : 3);
	struct bpf_link *link[4] = {};
	int i, nr, fd, rounds[2] = {};
	pthread_t thread[2];
	char c;

	LIBBPF_OPTS(bpf_iter_attach_opts, opts);

	skel->bss->pid = getpid();
	link[0] = bpf_program__attach_lsm(skel->progs.permission);
	link[1] = bpf_program__attach_lsm(skel->progs.alloc_security);
	link[2] = bpf_program__attach_lsm(skel->progs.free_security);
	for (i = 0; i < 3; i++)
		if (!ASSERT_OK_PTR(link[i], "attach"))
			goto out;
	if (bpf_program__autoload(skel->progs.show)) {
		opts.link_info = &linfo;
		opts.link_info_len = sizeof(linfo);
		link[3] = bpf_program__attach_iter(skel->progs.show, &opts);
		if (!ASSERT_OK_PTR(link[3], "attach the iterator"))
			goto out;
	} else {
		printf("without showing them: this kernel has no iterator for inode storage\n");
	}

	stop = false;
	for (nr = 0; nr < 2; nr++)
		if (!ASSERT_OK(pthread_create(&thread[nr], NULL, make_and_unlink, &rounds[nr]),
			       "thread"))
			break;
	while (time(NULL) < end) {
		if (!link[3]) {
			sleep(1);
			continue;
		}
		fd = bpf_iter_create(bpf_link__fd(link[3]));
		if (!ASSERT_OK_FD(fd, "iter"))
			break;
		ASSERT_EQ(read(fd, &c, 1), 0, "read");
		close(fd);
	}
	WRITE_ONCE(stop, true);
	while (nr--) {
		pthread_join(thread[nr], NULL);
		ASSERT_GT(rounds[nr], 0, "rounds");
	}
	ASSERT_GT(skel->bss->created, 0, "created");
	ASSERT_GT(skel->bss->born, 0, "values of inodes that are not finished");
	ASSERT_GT(skel->bss->freed, 0, "values of inodes that are being freed");
	ASSERT_EQ(skel->bss->no_superblock, 0, "shown without a file system");
	if (link[3])
		ASSERT_GT(skel->bss->shown, 0, "shown");
out:
	for (i = 0; i < ARRAY_SIZE(link); i++)
		bpf_link__destroy(link[i]);
}

/* Without the BPF LSM inodes have no room for values, and there is no map to be had. */
static void test_no_lsm(void)
{
	LIBBPF_OPTS(bpf_map_create_opts, opts, .map_flags = BPF_F_NO_PREALLOC);
	struct btf *btf = btf__new_empty();
	int id, fd;

	if (!ASSERT_OK_PTR(btf, "btf"))
		return;
	id = btf__add_int(btf, "int", sizeof(int), BTF_INT_SIGNED);
	ASSERT_OK(btf__load_into_kernel(btf), "load btf");
	opts.btf_fd = btf__fd(btf);
	opts.btf_key_type_id = id;
	opts.btf_value_type_id = id;
	fd = bpf_map_create(BPF_MAP_TYPE_INODE_STORAGE, "no_lsm", sizeof(int), sizeof(int), 0,
			    &opts);
	ASSERT_EQ(fd, -EOPNOTSUPP, "create");
	if (fd >= 0)
		close(fd);
	btf__free(btf);
}

static bool bpf_lsm_is_on(void)
{
	char names[256] = "";
	FILE *f = fopen("/sys/kernel/security/lsm", "r");

	if (ASSERT_OK_PTR(f, "list of LSMs")) {
		ASSERT_OK_PTR(fgets(names, sizeof(names), f), "names");
		fclose(f);
	}

	return strstr(names, "bpf");
}

void test_local_storage_inode(void)
{
	/* As the command line has it: lsm= without bpf. */
	if (!bpf_lsm_is_on()) {
		if (test__start_subtest("no_lsm"))
			test_no_lsm();
		return;
	}

	skel = local_storage_inode__open();
	if (!ASSERT_OK_PTR(skel, "open"))
		return;
	bpf_program__set_autoload(skel->progs.show,
				  libbpf_find_vmlinux_btf_id("bpf_inode_storage_map",
							     BPF_TRACE_ITER) > 0);
	if (!ASSERT_OK(local_storage_inode__load(skel), "load"))
		goto out;
	if (test__start_subtest("evict"))
		test_evict();
	if (test__start_subtest("unlink"))
		test_unlink();
	if (test__start_subtest("race"))
		test_race();
out:
	local_storage_inode__destroy(skel);
}
