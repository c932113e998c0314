#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# demo.sh: `make demo`. Builds tools/bpf/offcpu against our kernel, boots that, and lets the tool
# look on while something happens.
. "$(dirname "$0")/lib.sh"
check_vars
need_disk "$OUT" 5
STOCK='' DEBUG='' "$HERE/kernel.sh" vm
mkdir -p "$OUT/demo"
say "offcpu: building (log: $OUT/demo.log)"
box "$OUT/linux" "$OUT/build/ours" sh -c '
	make -C /linux/tools/bpf/offcpu -j"$1" OUTPUT=/out/demo/ CLANG=clang-21 \
		VMLINUX_BTF=/build/vmlinux' - "$JOBS" > "$OUT/demo.log" 2>&1 || {
	grep -m5 -E 'error:|\*\*\*' "$OUT/demo.log" >&2 || tail -5 "$OUT/demo.log" >&2
	die "the build of offcpu failed: see $OUT/demo.log"
}
dir=$OUT/vm/demo
rm -rf "$dir"
mkdir -p "$dir"
cp "$OUT/demo/offcpu" "$dir/"
cat > "$dir/job" << 'END'
# Some that sleep, some that wait for a pipe, and more that compute than there are CPUs.
for i in 1 2 3; do
	(while :; do sleep 0.$i; done) &
	(while :; do :; done) &
done
(while :; do echo; done) | while read -r _; do :; done &
/job/offcpu 5
END
say "booting ours on $("$HERE/vm.sh" ours probe)"
"$HERE/vm.sh" ours demo 120
