# SPDX-License-Identifier: GPL-2.0
# Runs in the guest: one round of the base's bench, a few seconds each measurement.
cd /tests/tools/testing/selftests/bpf || exit 1
ulimit -n 8192
echo "@cpu $(grep -m1 'model name' /proc/cpuinfo | cut -d: -f2)"
echo "@kernel $(uname -r)"
run() {
	echo "=== $*"
	timeout -k 5 "$LIMIT" ./bench -w1 -d"$SECONDS_EACH" "$@" < /dev/null 2>&1 ||
		echo "@failed $?"
}
for type in socket task; do
	for batch in $BATCHES; do
		run -p 1 local-storage-create --storage-type $type --batch-size $batch
	done
done
for n in $MAPS; do
	for order in $ORDERS; do
		run -p 1 --nr_maps $n local-storage-cache-$order-get
	done
done
echo "=== end"
