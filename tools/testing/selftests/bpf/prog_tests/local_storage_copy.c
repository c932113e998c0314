// SPDX-License-Identifier: GPL-2.0
/* A task, or a socket, begins as a copy of another, but without values. */
#include <sys/wait.h>

#include "local_storage_helpers.h"
#include "network_helpers.h"
#include "local_storage_copy.skel.h"

static struct local_storage_copy *skel;

static void expect_nothing(int shown)
{
	ASSERT_EQ(skel->bss->shown, shown, "copies shown");
	ASSERT_EQ(skel->bss->found, 0, "values of the original found");
	ASSERT_EQ(skel->bss->created, 0, "values created");
}

static void fork_once(void)
{
	pid_t pid = fork();

	if (!pid)
		_exit(0);
	ASSERT_GT(pid, 0, "fork");
	waitpid(pid, NULL, 0);
}

static void test_task(void)
{
	int map = bpf_map__fd(skel->maps.tasks), pidfd = ls_owner_new(LS_TASK);
	__u64 value = 1;

	skel->links.task_copied = bpf_program__attach(skel->progs.task_copied);
	if (!ASSERT_OK_FD(pidfd, "pidfd") || !ASSERT_OK_PTR(skel->links.task_copied, "attach"))
		goto out;
	skel->bss->tgid = getpid();
	ASSERT_OK(bpf_map_update_elem(map, &pidfd, &value, BPF_ANY), "update");
	fork_once();
	expect_nothing(1);
	ASSERT_OK(bpf_map_delete_elem(map, &pidfd), "delete");
	ASSERT_NEQ(bpf_map_delete_elem(bpf_map__fd(skel->maps.other_tasks), &pidfd), 0,
		   "a value that the copy got");
out:
	if (pidfd >= 0)
		close(pidfd);
}

/* The original has no storage, either, unless from elsewhere. */
static void test_task_without(void)
{
	skel->links.task_copied = bpf_program__attach(skel->progs.task_copied);
	if (!ASSERT_OK_PTR(skel->links.task_copied, "attach"))
		return;
	skel->bss->tgid = getpid();
	fork_once();
	expect_nothing(1);
}

static void test_socket(void)
{
	int listener, client = -1, child = -1, map = bpf_map__fd(skel->maps.sockets);
	__u64 value = 1;

	skel->links.socket_copied = bpf_program__attach(skel->progs.socket_copied);
	listener = start_server(AF_INET, SOCK_STREAM, "127.0.0.1", 0, 0);
	if (!ASSERT_OK_PTR(skel->links.socket_copied, "attach") ||
	    !ASSERT_OK_FD(listener, "listener"))
		goto out;
	skel->bss->port = ntohs(get_socket_local_port(listener));
	ASSERT_OK(bpf_map_update_elem(map, &listener, &value, BPF_ANY), "update");

	client = connect_to_fd(listener, 0);
	child = client < 0 ? -1 : accept(listener, NULL, NULL);
	if (!ASSERT_OK_FD(child, "child"))
		goto out;
	expect_nothing(1);
	ASSERT_EQ(bpf_map_lookup_elem(map, &child, &value), -ENOENT, "the child's value");
	/* The count that said no is one now. */
	ASSERT_OK(bpf_map_update_elem(map, &child, &value, BPF_NOEXIST), "create");
	ASSERT_NEQ(bpf_map_delete_elem(bpf_map__fd(skel->maps.other_sockets), &listener), 0,
		   "a value that the copy got");
out:
	if (child >= 0)
		close(child);
	if (client >= 0)
		close(client);
	if (listener >= 0)
		close(listener);
}

/* The first to see a task would see it while all of it is another's. */
static void test_refused(void)
{
	struct local_storage_copy *other = local_storage_copy__open();

	if (!ASSERT_OK_PTR(other, "open"))
		return;
	bpf_program__set_autoload(other->progs.task_copied, false);
	bpf_program__set_autoload(other->progs.socket_copied, false);
	ASSERT_OK(local_storage_copy__load(other), "load the maps");
	local_storage_copy__destroy(other);

	other = local_storage_copy__open();
	if (!ASSERT_OK_PTR(other, "open"))
		return;
	bpf_program__set_autoload(other->progs.task_copied, false);
	bpf_program__set_autoload(other->progs.socket_copied, false);
	bpf_program__set_autoload(other->progs.task_just_copied, true);
	ASSERT_EQ(local_storage_copy__load(other), -EINVAL, "load fexit/arch_dup_task_struct");
	local_storage_copy__destroy(other);
}

static void run(const char *name, void (*test)(void))
{
	if (!test__start_subtest(name))
		return;
	skel = local_storage_copy__open_and_load();
	if (ASSERT_OK_PTR(skel, "load"))
		test();
	local_storage_copy__destroy(skel);
}

void test_local_storage_copy(void)
{
	run("task", test_task);
	run("task_without", test_task_without);
	run("socket", test_socket);
	run("refused", test_refused);
}
