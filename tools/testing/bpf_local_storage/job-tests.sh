# SPDX-License-Identifier: GPL-2.0
# Runs in the guest: the tests of /job/tests.list. One process a test, so that one that hangs or
# crashes does not take the others with it.
mkdir /tmp/up /tmp/work /tmp/t
# The tests write beside themselves, and each kernel has modules of its own.
mount -t overlay -o lowerdir=/tests/tools/testing/selftests/bpf,upperdir=/tmp/up,workdir=/tmp/work \
	overlay /tmp/t
cp /job/*.ko /tmp/t/
cd /tmp/t || exit 1
ulimit -n 8192
while read -r t; do
	echo "=== $t"
	if [ "$t" = test_maps ]; then
		timeout -k 5 "$MAPS_LIMIT" ./test_maps < /dev/null
	else
		# With what ours measure.
		timeout -k 5 "$LIMIT" ./test_progs $OWN --watchdog-timeout "$LIMIT" -a "$t" < /dev/null
	fi
	echo "=== exit $?"
done < /job/tests.list
echo "=== end"
