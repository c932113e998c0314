// SPDX-License-Identifier: GPL-2.0
/* Values of socket storage in the answers of sock_diag, and what ss makes of them. */
#include <bpf/btf.h>
#include <linux/bpf.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <netinet/tcp.h>
#include <test_progs.h>
#include "cap_helpers.h"
#include "network_helpers.h"
#include "sysctl_helpers.h"

#include "local_storage_diag.skel.h"

#define MANY_MAPS	1000
#define OPTMEM_MAX	"/proc/sys/net/core/optmem_max"

struct pair {
	__u32 a;
	__u32 b;
};

struct locked_pair {
	struct bpf_spin_lock lock;
	__u32 a;
	__u32 b;
};

static struct local_storage_diag *skel;

/* What was found for the sockets of one port. */
struct found {
	__u16 port;
	int sockets;
	int values;
	int torn;
	int wrong_size;
	__u32 last_size;
	__u64 sum_of_ids;
};

static __u32 map_id(int fd)
{
	struct bpf_map_info info = {};
	__u32 len = sizeof(info);

	return bpf_map_get_info_by_fd(fd, &info, &len) ? 0 : info.id;
}

static int map_new(struct btf *btf, int int_id, int value_id, __u32 size)
{
	LIBBPF_OPTS(bpf_map_create_opts, opts, .map_flags = BPF_F_NO_PREALLOC,
		    .btf_fd = btf__fd(btf), .btf_key_type_id = int_id,
		    .btf_value_type_id = value_id);

	return bpf_map_create(BPF_MAP_TYPE_SK_STORAGE, "diag", sizeof(int), size, 0, &opts);
}

/* Every value is two equal halves behind whatever lock there is, or bytes that are all alike. */
static void look_at_value(struct found *f, __u32 id, const struct rtattr *nla)
{
	const void *data = RTA_DATA(nla);
	__u32 len = RTA_PAYLOAD(nla), i;

	f->values++;
	f->sum_of_ids += id;
	f->last_size = len;
	if (id == map_id(bpf_map__fd(skel->maps.pairs))) {
		const struct pair *p = data;

		f->wrong_size += len != sizeof(*p);
		f->torn += p->a != p->b;
	} else if (id == map_id(bpf_map__fd(skel->maps.locked_pairs))) {
		const struct locked_pair *p = data;

		f->wrong_size += len != sizeof(*p);
		/* The lock is not for show. */
		f->torn += p->a != p->b || p->lock.val;
	} else {
		for (i = 1; i < len; i++)
			f->torn += ((char *)data)[i] != ((char *)data)[0];
	}
}

static void look_at_storages(struct found *f, const struct rtattr *storages)
{
	int left = RTA_PAYLOAD(storages), inner;
	const struct rtattr *s, *a;

	for (s = RTA_DATA(storages); RTA_OK(s, left); s = RTA_NEXT(s, left)) {
		const struct rtattr *value = NULL;
		__u32 id = 0;

		if (!ASSERT_EQ(s->rta_type & NLA_TYPE_MASK, SK_DIAG_BPF_STORAGE, "storage"))
			return;
		inner = RTA_PAYLOAD(s);
		for (a = RTA_DATA(s); RTA_OK(a, inner); a = RTA_NEXT(a, inner)) {
			if (a->rta_type == SK_DIAG_BPF_STORAGE_MAP_ID)
				id = *(__u32 *)RTA_DATA(a);
			else if (a->rta_type == SK_DIAG_BPF_STORAGE_MAP_VALUE)
				value = a;
		}
		ASSERT_EQ(inner, 0, "nothing after the attributes");
		if (ASSERT_NEQ(id, 0, "map id") && ASSERT_OK_PTR(value, "value"))
			look_at_value(f, id, value);
	}
	ASSERT_EQ(left, 0, "nothing after the storages");
}

/*
 * Ask for the listening TCP sockets with the values of the maps of @fds; @attr_len is the size that
 * each of the attributes has. The answers are read with buffers of @buf_len.
 */
static int dump(const int *fds, int nr, int attr_len, size_t buf_len, struct found *f)
{
	size_t len = NLMSG_SPACE(sizeof(struct inet_diag_req_v2)) + RTA_SPACE(0) +
		     nr * RTA_SPACE(attr_len);
	struct inet_diag_req_v2 *req;
	struct nlmsghdr *nlh, *h;
	struct rtattr *nest, *a;
	int i, sk, err = 0;
	bool done = false;
	char *buf;

	nlh = calloc(1, len);
	buf = malloc(buf_len);
	sk = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
	if (!ASSERT_OK_PTR(nlh, "request") || !ASSERT_OK_PTR(buf, "buffer") ||
	    !ASSERT_OK_FD(sk, "netlink socket")) {
		err = -ENOMEM;
		goto out;
	}

	nlh->nlmsg_len = len;
	nlh->nlmsg_type = SOCK_DIAG_BY_FAMILY;
	nlh->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
	req = NLMSG_DATA(nlh);
	req->sdiag_family = AF_INET;
	req->sdiag_protocol = IPPROTO_TCP;
	req->idiag_states = 1 << TCP_LISTEN;
	nest = (void *)nlh + NLMSG_SPACE(sizeof(*req));
	nest->rta_type = INET_DIAG_REQ_SK_BPF_STORAGES;
	nest->rta_len = RTA_LENGTH(nr * RTA_SPACE(attr_len));
	for (i = 0, a = RTA_DATA(nest); i < nr; i++, a = (void *)a + RTA_SPACE(attr_len)) {
		a->rta_type = SK_DIAG_BPF_STORAGE_REQ_MAP_FD;
		a->rta_len = RTA_LENGTH(attr_len);
		memcpy(RTA_DATA(a), &fds[i], attr_len < sizeof(int) ? attr_len : sizeof(int));
	}
	if (!ASSERT_EQ(send(sk, nlh, len, 0), len, "send")) {
		err = -errno;
		goto out;
	}

	while (!done) {
		ssize_t got = recv(sk, buf, buf_len, 0);

		if (!ASSERT_GT(got, 0, "recv")) {
			err = -errno;
			break;
		}
		for (h = (void *)buf; NLMSG_OK(h, got); h = NLMSG_NEXT(h, got)) {
			struct inet_diag_msg *msg = NLMSG_DATA(h);
			int left;

			if (h->nlmsg_type == NLMSG_ERROR)
				err = ((struct nlmsgerr *)NLMSG_DATA(h))->error;
			if (h->nlmsg_type == NLMSG_DONE)
				err = *(int *)NLMSG_DATA(h);
			if (h->nlmsg_type == NLMSG_ERROR || h->nlmsg_type == NLMSG_DONE) {
				done = true;
				break;
			}
			if (!f || msg->id.idiag_sport != f->port)
				continue;
			f->sockets++;
			left = h->nlmsg_len - NLMSG_LENGTH(sizeof(*msg));
			for (a = (void *)(msg + 1); RTA_OK(a, left); a = RTA_NEXT(a, left))
				if ((a->rta_type & NLA_TYPE_MASK) == INET_DIAG_SK_BPF_STORAGES)
					look_at_storages(f, a);
			ASSERT_EQ(left, 0, "nothing after the attributes of the socket");
		}
	}
out:
	if (sk >= 0)
		close(sk);
	free(nlh);
	free(buf);

	return err;
}

static int listener_new(struct found *f)
{
	struct sockaddr_in addr = {};
	socklen_t len = sizeof(addr);
	int fd;

	*f = (struct found){};
	fd = start_server(AF_INET, SOCK_STREAM, "127.0.0.1", 0, 0);
	if (fd >= 0 && !getsockname(fd, (struct sockaddr *)&addr, &len))
		f->port = addr.sin_port;

	return fd;
}

/* Requests that are wrong, each after some that are right: none keeps its maps. */
static void test_requests(void)
{
	int pairs = bpf_map__fd(skel->maps.pairs), locked = bpf_map__fd(skel->maps.locked_pairs);
	int array = bpf_map__fd(skel->maps.no_storage);
	struct pair p = { 5, 5 };
	struct found f;
	__u64 old_caps;
	int fd;

	fd = listener_new(&f);
	if (!ASSERT_OK_FD(fd, "listener") ||
	    !ASSERT_OK(bpf_map_update_elem(pairs, &fd, &p, BPF_ANY), "update"))
		goto out;

	ASSERT_EQ(dump((int[]){ locked, pairs, locked }, 3, 4, 8192, &f), -EEXIST, "twice");
	ASSERT_EQ(dump((int[]){ locked, array }, 2, 4, 8192, &f), -EINVAL, "an array");
	ASSERT_EQ(dump((int[]){ locked, fd }, 2, 4, 8192, &f), -EINVAL, "a socket");
	ASSERT_EQ(dump((int[]){ locked, -1 }, 2, 4, 8192, &f), -EBADF, "no descriptor");
	ASSERT_EQ(dump((int[]){ pairs }, 1, 2, 8192, &f), -EINVAL, "a short attribute");
	ASSERT_EQ(dump((int[]){ pairs }, 1, 8, 8192, &f), -EINVAL, "a long attribute");
	ASSERT_EQ(f.sockets, 0, "no answer but the error");
	if (ASSERT_OK(cap_disable_effective(1ULL << CAP_BPF | 1ULL << CAP_SYS_ADMIN, &old_caps),
		      "drop capabilities")) {
		ASSERT_EQ(dump((int[]){ pairs }, 1, 4, 8192, &f), -EPERM, "no CAP_BPF");
		ASSERT_OK(cap_enable_effective(old_caps, NULL), "restore capabilities");
	}
	ASSERT_EQ(f.sockets, 0, "no answer but the error");

	ASSERT_OK(dump((int[]){ locked, pairs }, 2, 4, 8192, &f), "two maps");
	ASSERT_EQ(f.sockets, 1, "sockets");
	ASSERT_EQ(f.values, 1, "values");
	ASSERT_EQ(f.sum_of_ids, map_id(pairs), "map id");
	ASSERT_EQ(f.torn, 0, "contents");
	ASSERT_OK(dump((int[]){ locked }, 1, 4, 8192, &f), "the other map");
	ASSERT_EQ(f.sockets, 2, "sockets");
	ASSERT_EQ(f.values, 1, "no value of it");
	ASSERT_OK(dump(NULL, 0, 4, 8192, &f), "all maps");
	ASSERT_EQ(f.values, 2, "values");
out:
	if (fd >= 0)
		close(fd);
}

static bool map_gone(__u32 id)
{
	int i, fd;

	for (i = 0; i < 1000; i++) {
		fd = bpf_map_get_fd_by_id(id);
		if (fd < 0)
			return true;
		close(fd);
		usleep(10000);
	}

	return false;
}

static struct btf *btf_new(int *int_id, int *value_id, __u32 size)
{
	struct btf *btf = btf__new_empty();
	int char_id;

	if (!ASSERT_OK_PTR(btf, "btf"))
		return NULL;
	*int_id = btf__add_int(btf, "int", sizeof(int), BTF_INT_SIGNED);
	char_id = btf__add_int(btf, "char", 1, BTF_INT_CHAR);
	*value_id = btf__add_array(btf, *int_id, char_id, size);
	ASSERT_OK(btf__load_into_kernel(btf), "load btf");

	return btf;
}

/* A socket with values of a thousand maps, far more than goes into one ordinary message. */
static void test_many_maps(void)
{
	int fds[MANY_MAPS], i, fd, err, int_id, value_id;
	char old_optmem[32] = "";
	__u64 sum_of_ids = 0;
	__u32 last = 0;
	struct btf *btf;
	struct found f;
	char value[16];

	memset(fds, -1, sizeof(fds));
	btf = btf_new(&int_id, &value_id, sizeof(value));
	fd = listener_new(&f);
	if (!btf || !ASSERT_OK_FD(fd, "listener"))
		goto out;
	/* The charge for so many is beyond the default limit. */
	if (!ASSERT_OK(sysctl_set(OPTMEM_MAX, old_optmem, "4194304"), "optmem_max"))
		goto out;
	for (i = 0; i < MANY_MAPS; i++) {
		memset(value, i, sizeof(value));
		fds[i] = map_new(btf, int_id, value_id, sizeof(value));
		if (!ASSERT_OK_FD(fds[i], "map") ||
		    !ASSERT_OK(bpf_map_update_elem(fds[i], &fd, value, BPF_NOEXIST), "update"))
			goto out;
		last = map_id(fds[i]);
		sum_of_ids += last;
	}

	for (i = 0; i < 2; i++) {
		f = (struct found){ .port = f.port };
		/* All by name, then all that there are. */
		err = dump(fds, i ? 0 : MANY_MAPS, 4, 262144, &f);
		ASSERT_OK(err, "dump");
		ASSERT_EQ(f.sockets, 1, "sockets");
		ASSERT_EQ(f.values, MANY_MAPS, "values");
		ASSERT_EQ(f.sum_of_ids, sum_of_ids, "map ids");
		ASSERT_EQ(f.last_size, sizeof(value), "size");
		ASSERT_EQ(f.torn, 0, "contents");
	}
	/* The last one comes twice: a thousand references to give back. */
	fds[0] = (close(fds[0]), dup(fds[MANY_MAPS - 1]));
	ASSERT_EQ(dump(fds, MANY_MAPS, 4, 8192, NULL), -EEXIST, "one twice");
out:
	for (i = 0; i < MANY_MAPS; i++)
		if (fds[i] >= 0)
			close(fds[i]);
	if (fd >= 0)
		close(fd);
	if (last)
		ASSERT_TRUE(map_gone(last), "the last map is gone");
	if (old_optmem[0])
		ASSERT_OK(sysctl_set(OPTMEM_MAX, NULL, old_optmem), "optmem_max");
	btf__free(btf);
}

/* The largest value that a map can have, and what is one byte larger. */
static void test_size_limit(void)
{
	int fd, map_fd = -1, int_id, value_id;
	__u32 size, low = 4096, high = 65536, id;
	static char value[65536];
	struct btf *btf;
	struct found f;

	/* Where the limit is depends on the kernel's structures. */
	while (low + 1 < high) {
		size = (low + high) / 2;
		btf = btf_new(&int_id, &value_id, size);
		map_fd = btf ? map_new(btf, int_id, value_id, size) : -1;
		btf__free(btf);
		if (map_fd >= 0) {
			low = size;
			close(map_fd);
		} else {
			ASSERT_EQ(map_fd, -E2BIG, "too large");
			high = size;
		}
	}
	ASSERT_GT(low, 60000, "the limit");
	printf("measured: largest value of a socket's map, bytes: %u\n", low);

	btf = btf_new(&int_id, &value_id, low);
	fd = listener_new(&f);
	map_fd = btf ? map_new(btf, int_id, value_id, low) : -1;
	if (!ASSERT_OK_FD(map_fd, "map") || !ASSERT_OK_FD(fd, "listener"))
		goto out;
	id = map_id(map_fd);
	memset(value, 0x5a, sizeof(value));
	if (!ASSERT_OK(bpf_map_update_elem(map_fd, &fd, value, BPF_NOEXIST), "update"))
		goto out;
	/* The first message is too small for it: it is made larger, not cut. */
	ASSERT_OK(dump(&map_fd, 1, 4, 262144, &f), "dump");
	ASSERT_EQ(f.sockets, 1, "sockets");
	ASSERT_EQ(f.values, 1, "values");
	ASSERT_EQ(f.last_size, low, "size");
	ASSERT_EQ(f.torn, 0, "contents");
	close(map_fd);
	map_fd = -1;
	ASSERT_TRUE(map_gone(id), "the map is gone");
out:
	if (map_fd >= 0)
		close(map_fd);
	if (fd >= 0)
		close(fd);
	btf__free(btf);
}

static bool stop;
static int changed_fd;

/* Sockets come and go with values that change all the time. */
static void *change(void *arg)
{
	int pairs = bpf_map__fd(skel->maps.pairs), locked = bpf_map__fd(skel->maps.locked_pairs);
	struct found f;
	__u32 n = 0;

	while (!READ_ONCE(stop)) {
		int i, fd = listener_new(&f);

		if (fd < 0)
			break;
		for (i = 0; i < 20; i++) {
			struct locked_pair l = { .a = n, .b = n };
			struct pair p = { n, n };

			/* In place under the lock, and by a new element. */
			bpf_map_update_elem(pairs, &fd, &p, BPF_ANY);
			bpf_map_update_elem(locked, &fd, &l, BPF_ANY);
			bpf_map_update_elem(locked, &changed_fd, &l, BPF_F_LOCK);
			bpf_map_update_elem(pairs, &changed_fd, &p, BPF_ANY);
			n++;
		}
		bpf_map_delete_elem(pairs, &fd);
		close(fd);
	}

	return NULL;
}

/* "ss -tln OPTION", what it prints. */
static void ss(const char *option, char *out, size_t size)
{
	char cmd[128];
	size_t n = 0;
	FILE *p;

	snprintf(cmd, sizeof(cmd), "ss -tln %s 2>&1", option);
	p = popen(cmd, "r");
	if (ASSERT_OK_PTR(p, "ss")) {
		n = fread(out, 1, size - 1, p);
		ASSERT_OK(pclose(p), "exit status of ss");
	}
	out[n] = 0;
}

static void test_changing(bool with_ss)
{
	int pairs = bpf_map__fd(skel->maps.pairs), locked = bpf_map__fd(skel->maps.locked_pairs);
	const char *s = getenv("BLS_SECONDS");
	struct locked_pair l = { .a = 1, .b = 1 };
	struct pair p = { 1, 1 };
	int i, fd, rounds = 0, nr = 0;
	static char out[65536];
	pthread_t thread[2];
	char option[32];
	struct found f;
	time_t end;

	if (with_ss && system("ss --help 2>&1 | grep -q -e --bpf-map-id")) {
		printf("SKIP: there is no ss that knows --bpf-map-id\n");
		test__skip();
		return;
	}
	fd = listener_new(&f);
	if (!ASSERT_OK_FD(fd, "listener") ||
	    !ASSERT_OK(bpf_map_update_elem(pairs, &fd, &p, BPF_ANY), "update") ||
	    !ASSERT_OK(bpf_map_update_elem(locked, &fd, &l, BPF_ANY), "update"))
		goto out;
	changed_fd = fd;
	stop = false;
	for (nr = 0; nr < 2; nr++)
		if (!ASSERT_OK(pthread_create(&thread[nr], NULL, change, NULL), "thread"))
			break;
	end = time(NULL) + (s ? atoi(s) : 3);
	while (time(NULL) < end) {
		struct found now = { .port = f.port };

		ASSERT_OK(dump((int[]){ pairs, locked }, rounds % 2 ? 2 : 0, 4, 32768, &now),
			  "dump");
		if (!ASSERT_EQ(now.sockets, 1, "sockets") || !ASSERT_EQ(now.values, 2, "values") ||
		    !ASSERT_EQ(now.torn, 0, "torn") || !ASSERT_EQ(now.wrong_size, 0, "wrong size"))
			break;
		/* A process under an emulator takes its time. */
		if (with_ss && rounds % 16 == 0) {
			ss("--bpf-maps", out, sizeof(out));
			ASSERT_HAS_SUBSTR(out, "map_id", "ss shows values");
			snprintf(option, sizeof(option), "--bpf-map-id=%u", map_id(pairs));
			ss(option, out, sizeof(out));
			ASSERT_HAS_SUBSTR(out, "map_id", "ss shows the map's values");
		}
		rounds++;
	}
	ASSERT_GT(rounds, 0, "rounds");
out:
	WRITE_ONCE(stop, true);
	for (i = 0; i < nr; i++)
		pthread_join(thread[i], NULL);
	if (fd >= 0)
		close(fd);
}

void test_local_storage_diag(void)
{
	skel = local_storage_diag__open_and_load();
	if (!ASSERT_OK_PTR(skel, "open and load"))
		return;
	if (test__start_subtest("requests"))
		test_requests();
	if (test__start_subtest("many_maps"))
		test_many_maps();
	if (test__start_subtest("size_limit"))
		test_size_limit();
	if (test__start_subtest("changing"))
		test_changing(false);
	if (test__start_subtest("changing_ss"))
		test_changing(true);
	local_storage_diag__destroy(skel);
}
