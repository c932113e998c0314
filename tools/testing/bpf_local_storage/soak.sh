#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# soak.sh: `make soak`. The load of local_storage_stress for minutes, on our debug kernel and on the
# base's, whose locks a small patch can refuse too, with a look at all memory afterwards; the whole
# model; KUnit. What stock does is shown beside ours and fails nothing.
. "$(dirname "$0")/lib.sh"
check_vars
: "${MINUTES:=4}"
[[ $MINUTES =~ ^[1-9][0-9]{0,3}$ ]] || die "MINUTES=$MINUTES: give a number from 1 to 9999"
need_disk "$OUT" 25

STOCK='' DEBUG=1 "$HERE/kernel.sh" vm
STOCK=1 DEBUG=1 FAIL=1 "$HERE/kernel.sh" vm
"$HERE/selftests.sh" stock-fail-debug
loads=7
for kernel in ours-debug stock-fail-debug; do
	dir=$OUT/vm/soak-$kernel
	rm -rf "$dir"
	mkdir -p "$dir"
	limit=$((MINUTES * 60 + 1200))
	echo local_storage_stress > "$dir/tests.list"
	printf 'LIMIT=%s\nexport BLS_SECONDS=%s\n' $limit $((MINUTES * 60 / loads)) |
		cat - "$HERE/job-soak.sh" > "$dir/job"
	say "soak on $kernel: $MINUTES minutes and what it takes to come to an end"
	# Who allocated what is still there, and what nobody points to.
	CMDLINE="slab_debug=U kmemleak=on kasan_multi_shot" SHOW='^#[0-9]+|^left:' \
		"$HERE/vm.sh" "$kernel" "soak-$kernel" $((limit + 600)) ||
		echo "the guest did not come to its end" > "$dir/broken"
	{ cat "$dir/broken" 2> /dev/null || true; check_log "$dir/console.log"; } > "$dir/complaints"
done
"$HERE/model.sh" long || true
"$HERE/kunit.sh" || true

box "" "" env SHOWN_OUT="$OUT" PYTHONDONTWRITEBYTECODE=1 python3 /bls/soak.py /out \
	stock-fail-debug ours-debug | tee "$OUT/soak.txt"
