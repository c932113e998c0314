#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Our KUnit suites on user-mode Linux with two CPUs, by the base's kunit.py.
# Leaves out/kunit.{json,log,complaints}.
# kunit.sh TREE: those of another tree than out/linux, and out/kunit-series.*
# kunit.sh riscv: on riscv64, which has no 128-bit cmpxchg, in QEMU, without the cases that take
# long; and out/kunit-riscv.*
. "$(dirname "$0")/lib.sh"
check_vars
config=kernel/bpf/local_storage.kunitconfig
tree=$OUT/linux
name=kunit
case ${1:-} in
'' | riscv)	name+=${1:+-$1}; "$HERE/tree.sh" ;;
*)		name+=-series tree=$1 ;;
esac
rm -f "$OUT/$name".{json,json.new,complaints}
[[ -f $tree/$config ]] || die "$config is missing"
mkdir -p "$OUT/build/$name"
lock "$OUT/build/$name.lock"
say "KUnit: building and running (log: $OUT/$name.log)"
# Most of the time goes into compiling: without what is on by default and no suite asks for.
lean=(EXPERT=y AIO=n BLOCK=n HID_SUPPORT=n HWMON=n HW_RANDOM=n IO_URING=n USB_SUPPORT=n)
if [[ $name == kunit-riscv ]]; then
	arch=(--arch=riscv --make_options=LLVM=-21 "--make_options=CC=ccache clang-21"
		"--qemu_args=-smp 2" "--filter=speed>slow")
else
	lean+=(INPUT=n KUNIT_UML_PCI=n SERIO=n)
	# On user-mode Linux two CPUs need seccomp.
	arch=("--make_options=CC=ccache gcc" --kernel_args=ncpus=2 --kernel_args=seccomp=on)
fi
# Whether it went well is read from what it leaves.
box "$tree" "$OUT/build/$name" sh -c '
	cd /linux
	export PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
	exec timeout -k 5 2400 python3 tools/testing/kunit/kunit.py run --build_dir=/build \
		--timeout=600 "$@"' - --json="/out/$name.json.new" --jobs="$JOBS" \
	--kunitconfig="$config" "${lean[@]/#/--kconfig_add=CONFIG_}" "${arch[@]}" < /dev/null > "$OUT/$name.log" 2>&1 ||
	true
[[ -f $OUT/$name.json.new ]] || {
	grep -m5 -E 'error:|ERROR' "$OUT/$name.log" >&2 || tail -5 "$OUT/$name.log" >&2
	die "KUnit did not run: see $OUT/$name.log"
}
cp "$OUT/build/$name/test.log" "$OUT/$name.console.log"
check_log "$OUT/$name.console.log" > "$OUT/$name.complaints"
mv "$OUT/$name.json.new" "$OUT/$name.json"
say "KUnit: $(grep -a 'Testing complete' "$OUT/$name.log" | sed 's/.*complete. //' | tail -1)"
head -5 "$OUT/$name.complaints"
[[ ! -s $OUT/$name.complaints ]] && grep -q '"status": "PASS"' "$OUT/$name.json" &&
	! grep -qE '"status": "(FAIL|ERROR)"' "$OUT/$name.json"
