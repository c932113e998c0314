// SPDX-License-Identifier: GPL-2.0
/* What single operations of local storage cost: lookup, create, create and delete. */
#include <argp.h>
#include <linux/btf.h>
#include <pthread.h>

#include "bench.h"
#include "bench_local_storage_cost.skel.h"
#include "testing_helpers.h"

#define MAX_MAPS	1000
#define OPS		"lookup, lookup-const, lookup-named, lookup-socket, churn or churn-socket"

static struct bench_local_storage_cost *skel;
static const char *op = "lookup";
static __u32 nr_maps = 1;
static bool empty, no_clock;
static long errors;
/* When the last measurement ended. */
static unsigned long last_ns;

enum {
	ARG_OP = 9100,
	ARG_MAPS,
	ARG_EMPTY,
	ARG_NO_CLOCK,
};

static const struct argp_option opts[] = {
	{ "op", ARG_OP, "OP", 0, OPS },
	{ "owner-maps", ARG_MAPS, "N", 0, "How many maps the owner has values of" },
	{ "empty", ARG_EMPTY, NULL, 0, "Everything but the operation" },
	{ "no-clock", ARG_NO_CLOCK, NULL, 0, "Churn: do not measure creations alone" },
	{},
};

static error_t parse_arg(int key, char *arg, struct argp_state *state)
{
	switch (key) {
	case ARG_OP:
		op = arg;
		break;
	case ARG_MAPS:
		nr_maps = atoi(arg);
		if (nr_maps < 1 || nr_maps > MAX_MAPS) {
			fprintf(stderr, "owner-maps: 1 to %d\n", MAX_MAPS);
			argp_usage(state);
		}
		break;
	case ARG_EMPTY:
		empty = true;
		break;
	case ARG_NO_CLOCK:
		no_clock = true;
		break;
	default:
		return ARGP_ERR_UNKNOWN;
	}

	return 0;
}

const struct argp bench_local_storage_cost_argp = {
	.options = opts,
	.parser = parse_arg,
};

static void validate(void)
{
	if (env.consumer_cnt) {
		fprintf(stderr, "local-storage-cost has no consumers\n");
		exit(1);
	}
}

static struct bpf_program *program(void)
{
	if (!strcmp(op, "lookup"))
		return skel->progs.lookup_flags;
	if (!strcmp(op, "lookup-const"))
		return skel->progs.lookup_const;
	if (!strcmp(op, "lookup-named"))
		return skel->progs.lookup_named;
	if (!strcmp(op, "lookup-socket"))
		return skel->progs.lookup_socket;
	if (!strcmp(op, "churn"))
		return skel->progs.churn;
	if (!strcmp(op, "churn-socket"))
		return skel->progs.churn_socket;

	fprintf(stderr, "op %s: " OPS "\n", op);
	exit(1);
}

static bool socket_op(void)
{
	return bpf_program__type(program()) == BPF_PROG_TYPE_SCHED_CLS;
}

static void setup(void)
{
	LIBBPF_OPTS(bpf_map_create_opts, copts, .map_flags = BPF_F_NO_PREALLOC);
	bool named = !strcmp(op, "lookup-named");
	struct bpf_map *maps, *inner;
	struct bpf_program *prog;
	int i, fd;

	setup_libbpf();
	skel = bench_local_storage_cost__open();
	if (!skel) {
		fprintf(stderr, "cannot open the program\n");
		exit(1);
	}
	skel->rodata->nr_maps = nr_maps;
	skel->rodata->empty = empty;
	skel->rodata->clock = !no_clock;
	bpf_map__set_autocreate(skel->maps.named, named);
	bpf_map__set_autocreate(skel->maps.maps, !socket_op());
	bpf_map__set_autocreate(skel->maps.socket_maps, socket_op());
	maps = socket_op() ? skel->maps.socket_maps : skel->maps.maps;
	inner = bpf_map__inner_map(maps);
	bpf_object__for_each_program(prog, skel->obj)
		bpf_program__set_autoload(prog, prog == program() ||
					  (prog == skel->progs.fill && !socket_op()));
	copts.btf_key_type_id = bpf_map__btf_key_type_id(inner);
	copts.btf_value_type_id = bpf_map__btf_value_type_id(inner);
	if (bench_local_storage_cost__load(skel)) {
		fprintf(stderr, "cannot load the program\n");
		exit(1);
	}

	copts.btf_fd = bpf_object__btf_fd(skel->obj);
	for (i = 0; i < nr_maps; i++) {
		fd = bpf_map_create(bpf_map__type(inner), NULL, sizeof(int), 64, 0, &copts);
		if (fd < 0 || bpf_map_update_elem(bpf_map__fd(maps), &i, &fd, 0)) {
			fprintf(stderr, "cannot create map %d\n", i);
			exit(1);
		}
		close(fd);
	}
	last_ns = get_time_ns();
}

static void run(struct bpf_program *prog, __u32 id)
{
	LIBBPF_OPTS(bpf_test_run_opts, topts, .ctx_in = &id, .ctx_size_in = sizeof(id));
	static char packet[64];
	struct __sk_buff skb = { .mark = id };

	if (socket_op()) {
		topts.ctx_in = &skb;
		topts.ctx_size_in = sizeof(skb);
		topts.data_in = packet;
		topts.data_size_in = sizeof(packet);
		/* All of it with one socket, and inside one RCU read section: values pile up. */
		topts.repeat = prog == skel->progs.churn_socket ? 100 : INT_MAX;
	}
	if (bpf_prog_test_run_opts(bpf_program__fd(prog), &topts) || topts.retval) {
		fprintf(stderr, "cannot run the program\n");
		exit(1);
	}
}

static void *producer(void *input)
{
	struct bpf_program *prog = program();
	__u32 id = (long)input;

	/* Churn ends, each time, by deleting the last map's value. */
	while (!socket_op() && skel->bss->res[id].next < nr_maps)
		run(skel->progs.fill, id);

	while (true)
		run(prog, id);

	return NULL;
}

static void measure(struct bench_res *bres)
{
	unsigned long now = get_time_ns();
	int i;

	bres->duration_ns = now - last_ns;
	last_ns = now;
	for (i = 0; i < env.producer_cnt; i++) {
		bres->hits += atomic_swap(&skel->bss->res[i].ops, 0);
		bres->gp_ns += atomic_swap(&skel->bss->res[i].create_ns, 0);
		errors += atomic_swap(&skel->bss->res[i].errors, 0);
	}
}

static double op_ns(const struct bench_res *bres)
{
	return bres->hits ? (double)bres->duration_ns * env.producer_cnt / bres->hits : 0;
}

static void report_progress(int iter, struct bench_res *bres, long delta_ns)
{
	printf("Iter %3d (%7.3lfus): %10.1lf ns/op\n", iter, (delta_ns - 1000000000) / 1000.0,
	       op_ns(bres));
}

static void report_final(struct bench_res bres[], int n)
{
	double ns = 0, create = 0;
	int i;

	for (i = 0; i < n; i++) {
		ns += op_ns(&bres[i]) / n;
		create += bres[i].hits ? (double)bres[i].gp_ns / bres[i].hits / n : 0;
	}
	printf("Summary: cost %.1lf ns/op, of it create %.1lf\n", ns, create);
	if (errors)
		printf("cost errors %ld create_errs 0\n", errors);
}

/* Cost of a lookup, of a creation and of a deletion that follows it */
const struct bench bench_local_storage_cost = {
	.name = "local-storage-cost",
	.argp = &bench_local_storage_cost_argp,
	.validate = validate,
	.setup = setup,
	.producer_thread = producer,
	.measure = measure,
	.report_progress = report_progress,
	.report_final = report_final,
};
