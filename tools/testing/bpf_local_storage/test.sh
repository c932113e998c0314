#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# test.sh: `make test`. Each step stands by itself and is skipped where its result, for the same
# kernel and the same tests, is there from a run that was interrupted.
. "$(dirname "$0")/lib.sh"
check_vars
need_disk "$OUT" 15

# On kernels that look for mistakes, the base's to compare with. Release kernels are for bench.sh.
export DEBUG=1
STOCK=1 "$HERE/kernel.sh" vm
STOCK='' "$HERE/kernel.sh" vm
"$HERE/selftests.sh" stock-debug stock-debug ours-debug
"$HERE/test-vm.sh" stock-debug tests
for list in tests own no-lsm; do
	"$HERE/test-vm.sh" ours-debug $list
done
"$HERE/model.sh" || true
"$HERE/lint.sh" quick || true
"$HERE/kunit.sh" || true

show() {
	echo "Linux $(make -s -C "$OUT/linux" kernelversion), accelerator: $("$HERE/vm.sh" ours-debug probe)"
	box "" "" env SHOWN_OUT="$OUT" python3 /bls/results.py /out stock-debug ours-debug
}
status=0
tables test show || status=$?
# Ours is run anew by the next `make test`; only an interrupted one goes on.
rm -f "$OUT"/vm/{tests,own,no-lsm}-ours-debug/id
exit $status
