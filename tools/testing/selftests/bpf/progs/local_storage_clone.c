// SPDX-License-Identifier: GPL-2.0
/* Maps whose values a listener's new connections are given copies of. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

char _license[] SEC("license") = "GPL";

struct pair {
	__u64 a;
	__u64 b;
};

#define CLONE_MAP(name, flags)				\
struct {						\
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);		\
	__uint(map_flags, BPF_F_NO_PREALLOC | (flags));	\
	__type(key, int);				\
	__type(value, struct pair);			\
} name SEC(".maps")

CLONE_MAP(cloned, BPF_F_CLONE);
CLONE_MAP(cloned_too, BPF_F_CLONE);
CLONE_MAP(not_cloned, 0);
