# SPDX-License-Identifier: GPL-2.0
# Runs in the guest: one round of bench, a few seconds each measurement.
cd "${TESTS:-/tests}/tools/testing/selftests/bpf" || exit 1
ulimit -n 8192
echo "@cpu $(grep -m1 'model name' /proc/cpuinfo | cut -d: -f2)"
echo "@kernel $(uname -r)"
run() {
	# The maps of the one before are freed in the background.
	sleep 3
	echo "=== $*"
	timeout -k 5 "$LIMIT" ./bench "$@" < /dev/null 2>&1 ||
		echo "@failed $?"
}
# What two CPUs do over what one does; and what they do of the loop alone, which shares nothing.
scaling() {
	for cpus in 1 2; do
		run $COST_TIME -p $cpus -a --op "$1" --no-clock local-storage-cost
		run $COST_TIME -p $cpus -a --op "$1" --empty --no-clock local-storage-cost
	done
}
if [ -n "$PROFILE" ]; then
	run -w1 -d"$SECONDS_EACH" -p 1 $PROFILE
	echo "=== end"
	exit
fi
if [ -n "$NATIVE" ]; then
	# User-mode Linux gives programs no task. The maps' values are charged to the socket.
	echo 1000000 > /proc/sys/net/core/optmem_max
	run $COST_TIME -p 1 --op lookup-socket --empty local-storage-cost
	for n in $COST_MAPS; do
		run $COST_TIME -p 1 --op lookup-socket --owner-maps $n local-storage-cost
	done
	scaling churn-socket
	echo "=== end"
	exit
fi
for type in socket task; do
	for batch in $BATCHES; do
		run -w1 -d"$SECONDS_EACH" -p 1 local-storage-create --storage-type $type --batch-size $batch
	done
done
for n in $MAPS; do
	for order in $ORDERS; do
		run -w1 -d"$SECONDS_EACH" -p 1 --nr_maps $n local-storage-cache-$order-get
	done
done
# A single operation is what it costs with the loop around it, less the loop.
for op in lookup lookup-named churn; do
	run $COST_TIME -p 1 --op $op --empty local-storage-cost
done
run $COST_TIME -p 1 --op lookup-named local-storage-cost
for n in $COST_MAPS; do
	run $COST_TIME -p 1 --op lookup --owner-maps $n local-storage-cost
	run $COST_TIME -p 1 --op lookup-const --owner-maps $n local-storage-cost
done
for n in 1 2; do
	run $COST_TIME -p 1 --op churn --owner-maps $n local-storage-cost
done
[ "$(nproc)" = 1 ] || scaling churn
# What our own tests measure by the clock.
if [ "$(nproc)" != 1 ]; then
	echo "=== tests"
	timeout -k 5 "$LIMIT" ./test_progs -v -a local_storage_cost \
		-a local_storage_mem_usage/slab < /dev/null | grep measured: || echo "@failed"
fi
echo "=== end"
