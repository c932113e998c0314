/* SPDX-License-Identifier: GPL-2.0 */
#ifndef __OFFCPU_H
#define __OFFCPU_H

/* What the program says of a task. */
struct offcpu_record {
	int tid;
	char comm[16];
	unsigned long long off_ns;
	unsigned long long times;
	unsigned long long longest_ns;
};

#endif /* __OFFCPU_H */
