// SPDX-License-Identifier: GPL-2.0
/*
 * A plugin for QEMU: where a guest's instructions go, while it comes past an address so many times.
 * -plugin file=profile.so,mark=ADDRESS,skip=N,count=N,out=FILE: after N times without counting.
 *
 * Every block of guest code counts how often it runs. When the count is full, FILE gets it, and a
 * line for each block, its address and how many instructions it ran; it is not there before.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What is used of QEMU's interface for plugins: Debian has no header of it. */
typedef uint64_t qemu_plugin_id_t;
struct qemu_info_t;
struct qemu_plugin_insn;
struct qemu_plugin_tb;
enum qemu_plugin_cb_flags { QEMU_PLUGIN_CB_NO_REGS };

size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *tb, size_t idx);
uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *insn);
void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t id,
					   void (*cb)(qemu_plugin_id_t id,
						      struct qemu_plugin_tb *tb));
void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *tb,
					  void (*cb)(unsigned int cpu, void *data),
					  enum qemu_plugin_cb_flags flags, void *data);

int qemu_plugin_version = 3;

#define MAX_CPUS	2

/* One for each translation: code that is translated anew has another. */
struct block {
	struct block *next;
	unsigned long long address;
	unsigned long long insns;
	unsigned long long runs[MAX_CPUS];
};

static struct block *blocks;
static unsigned long long mark, skip, count, passed;
static const char *out;

static void write_counts(void)
{
	FILE *f = fopen(out, "w");
	struct block *b;

	if (f)
		fprintf(f, "%llu\n", count);
	for (b = blocks; f && b; b = b->next) {
		unsigned long long runs = 0;
		int cpu;

		for (cpu = 0; cpu < MAX_CPUS; cpu++)
			runs += b->runs[cpu];
		if (runs)
			fprintf(f, "%llx %llu\n", b->address, runs * b->insns);
	}
	if (!f || fclose(f))
		perror(out);
}

static void block_runs(unsigned int cpu, void *data)
{
	struct block *b = data;

	if (cpu >= MAX_CPUS)
		abort();
	if (b->address == mark &&
	    __atomic_add_fetch(&passed, 1, __ATOMIC_RELAXED) == skip + count + 1)
		write_counts();
	if (passed > skip && passed <= skip + count)
		b->runs[cpu]++;
}

static void block_translated(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
	struct block *b = calloc(1, sizeof(*b));

	if (!b)
		abort();
	b->address = qemu_plugin_insn_vaddr(qemu_plugin_tb_get_insn(tb, 0));
	b->insns = qemu_plugin_tb_n_insns(tb);
	b->next = blocks;
	blocks = b;
	qemu_plugin_register_vcpu_tb_exec_cb(tb, block_runs, QEMU_PLUGIN_CB_NO_REGS, b);
}

int qemu_plugin_install(qemu_plugin_id_t id, const struct qemu_info_t *info, int argc, char **argv)
{
	int i;

	for (i = 0; i < argc; i++) {
		char *value = strchr(argv[i], '=');

		if (!value)
			return -1;
		*value++ = '\0';
		if (!strcmp(argv[i], "mark"))
			mark = strtoull(value, NULL, 16);
		else if (!strcmp(argv[i], "skip"))
			skip = strtoull(value, NULL, 10);
		else if (!strcmp(argv[i], "count"))
			count = strtoull(value, NULL, 10);
		else if (!strcmp(argv[i], "out"))
			out = strdup(value);
	}
	if (!mark || !count || !out)
		return -1;
	qemu_plugin_register_vcpu_tb_trans_cb(id, block_translated);

	return 0;
}
