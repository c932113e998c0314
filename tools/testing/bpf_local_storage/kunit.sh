#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Our KUnit suites on user-mode Linux with two CPUs, by the base's kunit.py.
# Leaves out/kunit.{json,log,complaints}; fails only if nothing could be run.
. "$(dirname "$0")/lib.sh"
check_vars
config=kernel/bpf/local_storage.kunitconfig
[[ -f $REPO/$config ]] || die "$config is missing"
"$HERE/tree.sh"
mkdir -p "$OUT/build/kunit"
lock "$OUT/build/kunit.lock"
rm -f "$OUT"/kunit.{json,complaints}
say "KUnit: building and running (log: $OUT/kunit.log)"
# A config that asks for SMP gets two CPUs: user-mode Linux then needs seccomp.
smp=
! grep -q '^CONFIG_SMP=y' "$REPO/$config" || smp="--kernel_args=ncpus=2 --kernel_args=seccomp=on"
status=0
box "$OUT/linux" "$OUT/build/kunit" sh -c '
	cd /linux
	export PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
	exec timeout -k 5 2400 python3 tools/testing/kunit/kunit.py run --build_dir=/build --jobs="$1" \
		--kunitconfig="$2" --make_options="CC=ccache gcc" --json=/out/kunit.json.new \
		--timeout=600 $3' - "$JOBS" "$config" "$smp" < /dev/null > "$OUT/kunit.log" 2>&1 || status=$?
[[ -f $OUT/kunit.json.new ]] || {
	grep -m5 -E 'error:|ERROR' "$OUT/kunit.log" >&2 || tail -5 "$OUT/kunit.log" >&2
	die "KUnit did not run: see $OUT/kunit.log"
}
cp "$OUT/build/kunit/test.log" "$OUT/kunit.console.log"
check_log "$OUT/kunit.console.log" > "$OUT/kunit.complaints"
mv "$OUT/kunit.json.new" "$OUT/kunit.json"
say "KUnit: $(grep -a 'Testing complete' "$OUT/kunit.log" | sed 's/.*complete. //' | tail -1)"
