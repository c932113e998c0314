# SPDX-License-Identifier: GPL-2.0
# Runs in the guest: one round of what before.py compares. Its modules' tests are not asked for.
cd /tests/tools/testing/selftests/bpf || exit 1
echo "@kernel $(uname -r)"
timeout -k 5 "$LIMIT" ./test_progs -v -a local_storage_hammer < /dev/null
for type in socket task; do
	echo "=== create $type, batches of 32, k/s"
	timeout -k 5 "$LIMIT" ./bench -w1 -d2 -p 1 local-storage-create --storage-type $type \
		--batch-size 32 < /dev/null 2>&1
done
echo "=== end"
