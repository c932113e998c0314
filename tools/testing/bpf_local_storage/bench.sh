#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# bench.sh: `make bench`. Stock and ours in turn, a boot each round, so that a machine that is
# slower for a while is so for both. Rounds that are done are kept for the same two kernels.
. "$(dirname "$0")/lib.sh"
check_vars
: "${ROUNDS:=3}"
[[ $ROUNDS =~ ^[1-9][0-9]?$ ]] || die "ROUNDS=$ROUNDS: give a number from 1 to 99"
need_disk "$OUT" 12
STOCK=1 DEBUG='' "$HERE/kernel.sh" vm
STOCK='' DEBUG='' "$HERE/kernel.sh" vm
"$HERE/selftests.sh"
accel=$("$HERE/vm.sh" stock probe)
say "accelerator: $accel"

id=$(echo "$accel"; cat "$HERE"/{job-bench.sh,guest-init,vm.sh} "$OUT/selftests/.done" \
	"$OUT"/build/{stock,ours}/arch/x86/boot/bzImage | sha256sum)
[[ $(cat "$OUT/bench/id" 2> /dev/null) == "$id" ]] || {
	rm -rf "$OUT/bench" "$OUT"/vm/bench
	mkdir -p "$OUT/bench"
	echo "$id" > "$OUT/bench/id"
}

# one MODE KERNEL ROUND WHAT: a boot that does every measurement of WHAT once
one() {
	local name=$1-$2-$3 dir=$OUT/vm/bench
	[[ ! -d $OUT/bench/$name ]] || { say "round $name: kept"; return; }
	rm -rf "$dir"
	mkdir -p "$dir"
	{ echo "LIMIT=200 $4"; cat "$HERE/job-bench.sh"; } > "$dir/job"
	say "round $name"
	SHOW='^=== [^e]|^Summary' "$HERE/vm.sh" "$2" bench 2400
	check_log "$dir/console.log" > "$dir/complaints"
	[[ ! -s $dir/complaints ]] || say "the kernel complained: $(head -1 "$dir/complaints")"
	mv "$dir" "$OUT/bench/$name"
}

all='SECONDS_EACH=2 BATCHES="16 32 64" ORDERS="seq int" MAPS="1 10 16 17 24 32 100 1000"'
all+=' COST_TIME="-w1 -d2" COST_MAPS="1 16 17 1000"'
few='SECONDS_EACH=1 BATCHES=32 ORDERS=seq MAPS="1 16 17 24 32 100 1000"'
few+=' COST_TIME="-w1 -d1" COST_MAPS="1 16 17 24 32 100 1000"'
for round in $(seq "$ROUNDS"); do
	one rate stock "$round" "$all"
	one rate ours "$round" "$all"
done
# The emulator can count instructions: figures that repeat to within a percent, but slow to get.
# A hypervisor cannot, and there the clock is good.
if [[ $accel == tcg ]]; then
	export ICOUNT=1 SMP=1
	one count stock 1 "$few"
	one count ours 1 "$few"
fi
cpu="$(grep -m1 'model name' /proc/cpuinfo | sed 's/.*: //'), $(nproc) CPUs, host Linux $(uname -r)"
status=0
box "" "" env PYTHONDONTWRITEBYTECODE=1 python3 /bls/bench.py /out "$accel" "$cpu" || status=$?
echo
echo "written to $OUT/bench.txt and $OUT/bench.csv; drawn in $OUT/bench/bench.svg and bench.png;" \
	"raw output in $OUT/bench/"
[[ $status == 0 ]] || die "some measurements failed"
