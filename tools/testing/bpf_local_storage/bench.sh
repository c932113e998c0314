#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# bench.sh: `make bench`. Stock and ours in turn, a boot each round, so that a machine that is
# slower for a while is so for both. Rounds that are done are kept for the same two kernels. Then
# our own tests on both: what they measure, and what stock fails.
. "$(dirname "$0")/lib.sh"
check_vars
need_disk "$OUT" 14
STOCK=1 DEBUG='' "$HERE/kernel.sh" vm
STOCK='' DEBUG='' "$HERE/kernel.sh" vm
STOCK=1 DEBUG='' "$HERE/kernel.sh" uml
STOCK='' DEBUG='' "$HERE/kernel.sh" uml
"$HERE/selftests.sh" stock stock ours

# profile KERNEL CASE NR FUNCTION BENCHMARK [SECONDS]: counts instructions while FUNCTION is called
# NR times
profile() {
	local name=profile-$1-$2 mark
	mark=$(awk -v name="$4" '$3 == name { print $1 }' "$OUT/build/$1/System.map")
	export PLUGIN=file=/out/profile.so,out=/out/vm/bench/profile,skip=$(($3 / 2)),count=$3,mark=$mark
	round bench "$name" "SECONDS_EACH=${6:-3} PROFILE=\"$5\""
	[[ -s $OUT/bench/$name/profile ]] || {
		say "$name: the guest did not come by $4 so often"
		rm -rf "$OUT/bench/$name"
	}
}

rounds bench {stock,ours}{,-uml}
all='SECONDS_EACH=2 BATCHES="16 32 64" ORDERS="seq int" MAPS="1 10 16 17 24 32 100 1000"'
all+=' COST_TIME="-w1 -d2" COST_MAPS="1 16 17 1000"'
native='NATIVE=1 TESTS=/linux COST_TIME="-w1 -d1" COST_MAPS="1 16 17 24 32 100 1000"'
few='SECONDS_EACH=1 BATCHES=32 ORDERS=seq MAPS="1 16 17 24 32 100 1000"'
few+=' COST_TIME="-w1 -d1" COST_MAPS="1 16 17 24 32 100 1000"'
for round in $(seq "$ROUNDS"); do
	round bench rate-stock-"$round" "$all"
	round bench rate-ours-"$round" "$all"
	round bench native-stock-"$round" "$native"
	round bench native-ours-"$round" "$native"
done
# The emulator can count instructions: figures that repeat to within a percent, but slow to get.
# A hypervisor cannot, and there the clock is good.
if [[ $accel == tcg ]]; then
	export ICOUNT=1 SMP=1
	round bench count-stock-1 "$few"
	round bench count-ours-1 "$few"
	# And where they go, of which the clock says nothing.
	box "" "" gcc -O2 -fPIC -shared -o /out/profile.so /bls/profile.c
	for kernel in stock ours; do
		profile $kernel only 400000 bpf_task_storage_delete \
			"--op churn --owner-maps 1 local-storage-cost"
		profile $kernel two 400000 bpf_task_storage_delete \
			"--op churn --owner-maps 2 local-storage-cost"
		profile $kernel socket 100000 sk_alloc \
			"local-storage-create --storage-type socket --batch-size 32"
		# What two CPUs make each other do is part of this.
		ICOUNT='' SMP=2 profile $kernel task 3000 bpf_task_storage_free \
			"local-storage-create --storage-type task --batch-size 32" 20
	done
fi
unset ICOUNT SMP PLUGIN
for kernel in stock ours; do
	for list in own no-lsm; do
		"$HERE/test-vm.sh" $kernel $list
	done
done
cpu="$(grep -m1 'model name' /proc/cpuinfo | sed 's/.*: //'), $(nproc) CPUs"
cpu+=", host Linux $(uname -r | cut -d- -f1)"
show() {
	local status=0
	box "" "" env PYTHONDONTWRITEBYTECODE=1 python3 /bls/bench.py /out "$accel" "$cpu" || status=$?
	[[ $accel != tcg ]] || box "" "" env PYTHONDONTWRITEBYTECODE=1 python3 /bls/profile.py \
		/out || status=$?
	echo
	box "" "" env SHOWN_OUT="$OUT" PYTHONDONTWRITEBYTECODE=1 python3 /bls/results.py /out ||
		status=$?
	return $status
}
tables bench show || die "some measurements failed: see $OUT/bench.failed.txt"
echo
echo "written to $OUT/bench.txt and $OUT/bench.csv; drawn in $OUT/bench/bench.svg and bench.png;" \
	"raw output in $OUT/bench/"
