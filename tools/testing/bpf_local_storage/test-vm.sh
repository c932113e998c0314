#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# test-vm.sh KERNEL [TEST...]: the selftests in a virtual machine on out/build/KERNEL, all of
# tests.list or those named (as test_progs -a takes them, or test_maps). All is kept in
# out/vm/tests-KERNEL; a whole run there is not done again for the same kernel.
. "$(dirname "$0")/lib.sh"
check_vars
kernel=$1
shift
name=tests-$kernel
[[ $# == 0 ]] || name=some-$kernel
dir=$OUT/vm/$name
# The debug kernel under an emulator takes its time.
limit=120 maps=600 all=1500
[[ $kernel != *-debug ]] || limit=300 maps=900 all=2400

[[ -f $OUT/selftests/.done && -d $OUT/build/$kernel/kmods ]] || "$HERE/selftests.sh" "$kernel"
id=$(cat "$HERE"/{job-tests.sh,tests.list,guest-init,vm.sh} "$OUT/selftests/.done" \
	"$OUT/build/$kernel/arch/x86/boot/bzImage" | sha256sum)
if [[ $# == 0 && $(cat "$dir/id" 2> /dev/null) == "$id" ]]; then
	say "tests on $kernel: kept from before, same kernel"
	exit
fi
rm -rf "$dir"
mkdir -p "$dir"
cp "$OUT/build/$kernel"/kmods/*.ko "$dir/"
if [[ $# == 0 ]]; then
	{ sed '/^#/d; s/ .*//' "$HERE/tests.list"; echo test_maps; } > "$dir/tests.list"
else
	printf '%s\n' "$@" > "$dir/tests.list"
fi
{ echo "LIMIT=$limit MAPS_LIMIT=$maps"; cat "$HERE/job-tests.sh"; } > "$dir/job"
say "tests on $kernel: running (accelerator: $("$HERE/vm.sh" "$kernel" probe))"
SHOW='^#[0-9]+ |^test_maps:|^=== test_maps' "$HERE/vm.sh" "$kernel" "$name" "$all" ||
	echo "the guest did not come to its end" > "$dir/broken"
{ cat "$dir/broken" 2> /dev/null || true; check_log "$dir/console.log"; } > "$dir/complaints"
[[ -f $dir/broken || $# != 0 ]] || echo "$id" > "$dir/id"
if [[ $# != 0 ]]; then
	cat "$dir/output" "$dir/complaints"
	say "console log and output: $dir"
	! grep -qE '^=== exit [^0]' "$dir/output" && [[ ! -s $dir/complaints ]]
fi
