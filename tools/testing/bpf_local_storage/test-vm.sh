#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# test-vm.sh KERNEL tests|own|no-lsm: the selftests in a virtual machine on out/build/KERNEL, the
# base's or ours, by the list of that name; no-lsm boots with the BPF LSM off. All is kept in
# out/vm/LIST-KERNEL; a whole run there is not done again for the same kernel.
# test-vm.sh KERNEL some TEST...: those named, as test_progs -a takes them, or test_maps.
. "$(dirname "$0")/lib.sh"
check_vars
kernel=$1
list=$2
shift 2
name=$list-$kernel
dir=$OUT/vm/$name
# The debug kernel under an emulator takes its time.
limit=120 maps=600 all=1500
[[ $kernel != *-debug ]] || limit=300 maps=900 all=2400

mkdir -p "$OUT/vm"
lock "$dir.lock"
[[ $# == 0 && -f $OUT/selftests/.done && -d $OUT/build/$kernel/kmods ]] ||
	"$HERE/selftests.sh" "$kernel" "$kernel"
id=$(cat "$HERE"/{job-tests.sh,"${list/some/own}".list,guest-init,vm.sh} "$OUT/selftests/.done" \
	"$OUT/build/$kernel/arch/x86/boot/bzImage" | sha256sum)
if [[ $# == 0 && $(cat "$dir/id" 2> /dev/null) == "$id" ]]; then
	say "$list on $kernel: kept from before, same kernel"
	exit
fi
rm -rf "$dir"
mkdir -p "$dir"
cp "$OUT/build/$kernel"/kmods/*.ko "$dir/"
if [[ $# == 0 ]]; then
	sed '/^#/d; s/ .*//' "$HERE/$list.list" > "$dir/tests.list"
	# An older base may lack one of its.
	[[ $list != tests ]] || cp "$OUT/selftests/.tests" "$dir/tests.list"
else
	printf '%s\n' "$@" > "$dir/tests.list"
fi
[[ $list != no-lsm ]] || export CMDLINE=lsm=capability
echo "LIMIT=$limit MAPS_LIMIT=$maps OWN=$([[ $list == tests ]] || echo -v)" |
	cat - "$HERE/job-tests.sh" > "$dir/job"
say "$list on $kernel: running (accelerator: $("$HERE/vm.sh" "$kernel" probe))"
SHOW='^#[0-9]+ |^test_maps:|^=== test_maps' "$HERE/vm.sh" "$kernel" "$name" "$all" ||
	echo "the guest did not come to its end" > "$dir/broken"
{ cat "$dir/broken" 2> /dev/null || true; check_log "$dir/console.log"; } > "$dir/complaints"
[[ -f $dir/broken || $# != 0 ]] || echo "$id" > "$dir/id"
if [[ $# != 0 ]]; then
	cat "$dir/output" "$dir/complaints"
	say "console log and output: $dir"
	! grep -qE '^=== exit [^0]' "$dir/output" && [[ ! -s $dir/complaints ]]
fi
