# SPDX-License-Identifier: GPL-2.0
# Runs in the guest: the load, then what memory it left behind.
cd /tests/tools/testing/selftests/bpf || exit 1
ulimit -n 8192
echo "=== local_storage_stress"
timeout -k 5 "$LIMIT" ./test_progs -v --watchdog-timeout "$LIMIT" -a local_storage_stress \
	< /dev/null
echo "=== exit $?"
# kmemleak does not look at what is younger than five seconds, and wants to see it twice.
for _ in 1 2; do
	sleep 10
	echo scan > /sys/kernel/debug/kmemleak || exit
done
cat /sys/kernel/debug/kmemleak > /job/kmemleak
# Freed memory that KASAN holds back counts as allocated, until the cache is shrunk.
for cache in /sys/kernel/slab/kmalloc*; do
	echo 1 > "$cache/shrink"
	echo "@ ${cache##*/}"
	cat "/sys/kernel/debug/slab/${cache##*/}/alloc_traces" || exit
done > /job/allocated
echo "=== end"
