# SPDX-License-Identifier: GPL-2.0
# Runs in the guest: every test of tests.list, then test_maps. One process a test, so that one
# that hangs or crashes does not take the others with it.
shopt -s extglob
mkdir /tmp/up /tmp/work /tmp/t
# The tests write beside themselves, and each kernel has modules of its own.
mount -t overlay -o lowerdir=/tests/tools/testing/selftests/bpf,upperdir=/tmp/up,workdir=/tmp/work \
	overlay /tmp/t
cp /job/*.ko /tmp/t/
cd /tmp/t || exit 1
ulimit -n 8192
for t in $(sed '/^#/d' /job/tests.list); do
	echo "=== $t"
	timeout -k 5 "$LIMIT" ./test_progs --watchdog-timeout "$LIMIT" -a "$t" < /dev/null 2>&1
	echo "=== exit $?"
done
echo "=== test_maps"
timeout -k 5 "$MAPS_LIMIT" ./test_maps < /dev/null 2>&1
echo "=== exit $?"
echo "=== end"
