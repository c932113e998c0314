#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# test.sh: `make test`. Each step stands by itself and is skipped where its result, for the same
# kernel and the same tests, is there from a run that was interrupted.
. "$(dirname "$0")/lib.sh"
check_vars
need_disk "$OUT" 15

# run_tests KERNEL LIMIT MAPS_LIMIT VM_LIMIT
run_tests() {
	local kernel=$1 dir=$OUT/vm/tests-$1 id
	id=$(cat "$HERE"/{job-tests.sh,tests.list,guest-init,vm.sh} "$OUT/selftests/.done" \
		"$OUT/build/$kernel/arch/x86/boot/bzImage" | sha256sum)
	if [[ $(cat "$dir/id" 2> /dev/null) == "$id" ]]; then
		say "tests on $kernel: kept from the last run, same kernel"
		return
	fi
	rm -rf "$dir"
	mkdir -p "$dir"
	cp "$OUT/build/$kernel"/kmods/*.ko "$HERE/tests.list" "$dir/"
	{ echo "LIMIT=$2 MAPS_LIMIT=$3"; cat "$HERE/job-tests.sh"; } > "$dir/job"
	say "tests on $kernel: running (accelerator: $("$HERE/vm.sh" "$kernel" probe))"
	SHOW='^#[0-9]+ |^test_maps:|^=== test_maps' "$HERE/vm.sh" "$kernel" "tests-$kernel" "$4" ||
		echo "the guest did not come to its end" > "$dir/broken"
	{ cat "$dir/broken" 2> /dev/null || true; check_log "$dir/console.log"; } > "$dir/complaints"
	[[ -f $dir/broken ]] || echo "$id" > "$dir/id"
}

STOCK=1 "$HERE/kernel.sh" vm
STOCK='' "$HERE/kernel.sh" vm
"$HERE/selftests.sh" stock ours
run_tests stock 120 600 1500
run_tests ours 120 600 1500
"$HERE/kunit.sh" || rm -f "$OUT"/kunit.{json,complaints}
STOCK='' DEBUG=1 "$HERE/kernel.sh" vm
"$HERE/selftests.sh" ours-debug
run_tests ours-debug 300 900 2400

status=0
box "" "" env SHOWN_OUT="$OUT" python3 /bls/results.py /out stock ours ours-debug |
	tee "$OUT/test.txt" || status=$?
# Ours is run anew by the next `make test`; only an interrupted one goes on.
rm -f "$OUT"/vm/tests-ours*/id
exit $status
