// SPDX-License-Identifier: GPL-2.0
/* How often a listener's values were copied to the socket of a new connection, or could not be. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

char _license[] SEC("license") = "GPL";

__u64 listener_cookie;
int copied;
int failed;
int failed_err;

SEC("fexit/bpf_sk_storage_clone")
int BPF_PROG(clone_ends, const struct sock *sk, struct sock *newsk, int ret)
{
	if (!listener_cookie || sk->__sk_common.skc_cookie.counter != listener_cookie)
		return 0;
	if (ret) {
		failed_err = ret;
		__sync_fetch_and_add(&failed, 1);
	} else {
		__sync_fetch_and_add(&copied, 1);
	}

	return 0;
}
