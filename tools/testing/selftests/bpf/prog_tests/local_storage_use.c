// SPDX-License-Identifier: GPL-2.0
/* Runs what Documentation/bpf/map_local_storage.rst shows, and what it says of errors. */
#include <sys/wait.h>
#include <test_progs.h>

#include "network_helpers.h"
#include "task_local_storage_helpers.h"
#include "local_storage_use.skel.h"

/* Tasks: how many files one has opened. */
static int get_nr_opens(int map_fd, pid_t pid, __u64 *nr)
{
	int pidfd = sys_pidfd_open(pid, 0), err;

	if (pidfd < 0)
		return -errno;
	err = bpf_map_lookup_elem(map_fd, &pidfd, nr);
	close(pidfd);

	return err;
}

/* Cgroups: set how many tasks more one may start; without a limit if nr is negative. */
static int set_tasks_left(int map_fd, const char *cgroup, __s64 nr)
{
	int cgroup_fd = open(cgroup, O_RDONLY), err;

	if (cgroup_fd < 0)
		return -errno;
	if (nr < 0)
		err = bpf_map_delete_elem(map_fd, &cgroup_fd);
	else
		err = bpf_map_update_elem(map_fd, &cgroup_fd, &nr, BPF_ANY);
	close(cgroup_fd);

	return err;
}

/* Inodes: who was the first to open a file. O_PATH names it without opening it. */
static int get_first_opener(int map_fd, const char *path, int *pid)
{
	int fd = open(path, O_PATH), err;

	if (fd < 0)
		return -errno;
	err = bpf_map_lookup_elem(map_fd, &fd, pid);
	close(fd);

	return err;
}

/* Sockets: since when one waits for an answer; -ENOENT if it does not. */
static int get_asked_at(int map_fd, int sock_fd, __u64 *ns)
{
	return bpf_map_lookup_elem(map_fd, &sock_fd, ns);
}

/* The examples end here. */
static pid_t fork_reader(int fd)
{
	pid_t pid = fork();
	char c;

	if (!pid) {
		read(fd, &c, 1);
		_exit(0);
	}

	return pid;
}

static void test_task(struct local_storage_use *skel)
{
	int i, fd, pidfd, pipe_fd[2], map_fd = bpf_map__fd(skel->maps.nr_opens);
	pid_t child;
	__u64 nr;

	ASSERT_EQ(get_nr_opens(map_fd, getpid(), &nr), -ENOENT, "none before");
	skel->links.count_open = bpf_program__attach(skel->progs.count_open);
	if (!ASSERT_OK_PTR(skel->links.count_open, "attach"))
		return;
	for (i = 0; i < 3; i++) {
		fd = open("/dev/null", O_RDONLY);
		ASSERT_OK_FD(fd, "open");
		close(fd);
	}
	/* A pidfd is a file too. */
	bpf_link__destroy(skel->links.count_open);
	skel->links.count_open = NULL;
	ASSERT_OK(get_nr_opens(map_fd, getpid(), &nr), "nr_opens");
	ASSERT_EQ(nr, 3, "opens");

	/* A child starts without; a task that is gone has none. */
	if (!ASSERT_OK(pipe(pipe_fd), "pipe"))
		return;
	child = fork_reader(pipe_fd[0]);
	pidfd = sys_pidfd_open(child, 0);
	ASSERT_OK_FD(pidfd, "pidfd of the child");
	ASSERT_EQ(get_nr_opens(map_fd, child, &nr), -ENOENT, "not inherited");
	ASSERT_OK(bpf_map_update_elem(map_fd, &pidfd, &nr, BPF_NOEXIST), "a value for the child");
	ASSERT_EQ(write(pipe_fd[1], "", 1), 1, "let it go");
	ASSERT_EQ(waitpid(child, NULL, 0), child, "wait");
	close(pipe_fd[0]);
	close(pipe_fd[1]);
	ASSERT_EQ(bpf_map_lookup_elem(map_fd, &pidfd, &nr), -ENOENT, "gone");
	ASSERT_EQ(bpf_map_update_elem(map_fd, &pidfd, &nr, BPF_ANY), -ENOENT, "update, gone");
	close(pidfd);
	ASSERT_EQ(bpf_map_lookup_elem(map_fd, &pidfd, &nr), -EBADF, "closed");
}

static void test_flags(struct local_storage_use *skel)
{
	int pidfd = sys_pidfd_open(getpid(), 0), map_fd = bpf_map__fd(skel->maps.nr_opens);
	__u64 nr = 7;

	if (!ASSERT_OK_FD(pidfd, "pidfd"))
		return;
	ASSERT_OK(bpf_map_update_elem(map_fd, &pidfd, &nr, BPF_ANY), "any");
	ASSERT_EQ(bpf_map_update_elem(map_fd, &pidfd, &nr, BPF_NOEXIST), -EEXIST, "noexist");
	ASSERT_OK(bpf_map_update_elem(map_fd, &pidfd, &nr, BPF_EXIST), "exist");
	ASSERT_OK(bpf_map_delete_elem(map_fd, &pidfd), "delete");
	ASSERT_EQ(bpf_map_delete_elem(map_fd, &pidfd), -ENOENT, "delete again");
	ASSERT_EQ(bpf_map_update_elem(map_fd, &pidfd, &nr, BPF_EXIST), -ENOENT, "exist, none");
	ASSERT_EQ(bpf_map_update_elem(map_fd, &pidfd, &nr, BPF_NOEXIST | BPF_EXIST), -EINVAL,
		  "both");
	ASSERT_EQ(bpf_map_update_elem(map_fd, &pidfd, &nr, BPF_F_LOCK), -EINVAL, "no lock in it");
	ASSERT_EQ(bpf_map_lookup_elem(map_fd, &pidfd, &nr), -ENOENT, "nothing was made");
	close(pidfd);
}

static void test_cgroup(struct local_storage_use *skel, int cgroup_fd)
{
	int i, err, map_fd = bpf_map__fd(skel->maps.tasks_left);
	char path[64];
	pid_t child;
	__s64 left;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", cgroup_fd);
	if (!ASSERT_OK(set_tasks_left(map_fd, path, 2), "set"))
		return;
	skel->links.limit_tasks = bpf_program__attach(skel->progs.limit_tasks);
	if (!ASSERT_OK_PTR(skel->links.limit_tasks, "attach"))
		return;
	for (i = 0; i < 4; i++) {
		child = fork_reader(-1);
		err = child < 0 ? -errno : 0;
		if (child > 0)
			waitpid(child, NULL, 0);
		/* The fourth has the limit taken away. */
		if (i == 2) {
			ASSERT_EQ(err, -EAGAIN, "fork");
			ASSERT_OK(bpf_map_lookup_elem(map_fd, &cgroup_fd, &left), "lookup");
			ASSERT_EQ(left, 0, "left");
			ASSERT_OK(set_tasks_left(map_fd, path, -1), "no limit");
		} else {
			ASSERT_OK(err, "fork");
		}
	}
}

static void test_inode(struct local_storage_use *skel)
{
	int fd, keep, pid, map_fd = bpf_map__fd(skel->maps.first_opener);
	char path[] = "/tmp/local_storage_use.XXXXXX";
	pid_t child;

	fd = mkstemp(path);
	if (!ASSERT_OK_FD(fd, "file"))
		return;
	close(fd);
	/* In use, so that it keeps its value. */
	keep = open(path, O_PATH);
	ASSERT_OK_FD(keep, "path");
	skel->links.note_opener = bpf_program__attach(skel->progs.note_opener);
	if (!ASSERT_OK_PTR(skel->links.note_opener, "attach"))
		goto out;
	ASSERT_EQ(get_first_opener(map_fd, path, &pid), -ENOENT, "none yet");

	child = fork();
	if (!child)
		_exit(open(path, O_RDONLY) < 0);
	ASSERT_EQ(waitpid(child, NULL, 0), child, "wait");
	fd = open(path, O_RDONLY);
	ASSERT_OK_FD(fd, "open");
	close(fd);
	ASSERT_OK(get_first_opener(map_fd, path, &pid), "first opener");
	ASSERT_EQ(pid, child, "pid");
	ASSERT_OK(bpf_map_delete_elem(map_fd, &keep), "delete");
	ASSERT_EQ(get_first_opener(map_fd, path, &pid), -ENOENT, "deleted");
out:
	close(keep);
	unlink(path);
}

static void test_socket(struct local_storage_use *skel, int cgroup_fd)
{
	int server, client = -1, map_fd = bpf_map__fd(skel->maps.asked_at);
	struct sockaddr_in from;
	socklen_t len = sizeof(from);
	__u64 ns;
	char c;

	skel->links.question = bpf_program__attach_cgroup(skel->progs.question, cgroup_fd);
	skel->links.answer = bpf_program__attach_cgroup(skel->progs.answer, cgroup_fd);
	if (!ASSERT_OK_PTR(skel->links.question, "attach question") ||
	    !ASSERT_OK_PTR(skel->links.answer, "attach answer"))
		return;
	server = start_server(AF_INET, SOCK_DGRAM, "127.0.0.1", 0, 0);
	if (!ASSERT_OK_FD(server, "server"))
		return;
	client = connect_to_fd(server, 0);
	if (!ASSERT_OK_FD(client, "client"))
		goto out;

	ASSERT_EQ(get_asked_at(map_fd, client, &ns), -ENOENT, "not yet");
	ASSERT_EQ(send(client, "?", 1, 0), 1, "ask");
	ASSERT_OK(get_asked_at(map_fd, client, &ns), "asked at");
	ASSERT_GT(ns, 0, "time");
	ASSERT_EQ(recvfrom(server, &c, 1, 0, (struct sockaddr *)&from, &len), 1, "asked");
	ASSERT_EQ(sendto(server, "!", 1, 0, (struct sockaddr *)&from, len), 1, "answer");
	ASSERT_EQ(recv(client, &c, 1, 0), 1, "answered");
	ASSERT_EQ(get_asked_at(map_fd, client, &ns), -ENOENT, "waits no more");
	ASSERT_EQ(skel->bss->answers, 1, "answers");
	ASSERT_GT(skel->bss->waited_ns, 0, "waited");
out:
	close(server);
	if (client >= 0)
		close(client);
}

void test_local_storage_use(void)
{
	struct local_storage_use *skel;
	int cgroup_fd;

	cgroup_fd = test__join_cgroup("/local_storage_use");
	if (!ASSERT_OK_FD(cgroup_fd, "cgroup"))
		return;
	skel = local_storage_use__open_and_load();
	if (!ASSERT_OK_PTR(skel, "open and load"))
		goto out;

	if (test__start_subtest("task"))
		test_task(skel);
	if (test__start_subtest("flags"))
		test_flags(skel);
	if (test__start_subtest("cgroup"))
		test_cgroup(skel, cgroup_fd);
	if (test__start_subtest("inode"))
		test_inode(skel);
	if (test__start_subtest("socket"))
		test_socket(skel, cgroup_fd);
	local_storage_use__destroy(skel);
out:
	close(cgroup_fd);
}
