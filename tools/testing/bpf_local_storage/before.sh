#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# before.sh: `make before`. What made this start: on Linux 6.12 local storage refuses whoever shares
# a CPU with another in it. The same programs there, on the base and on ours, boots in turn; rounds
# that are done are kept.
. "$(dirname "$0")/lib.sh"
check_vars
need_disk "$OUT" 17
# First the base's, with which the toolbox comes.
STOCK=1 DEBUG='' "$HERE/kernel.sh" vm
LINUX='' V=6.12 STOCK=1 DEBUG='' NAME=before "$HERE/kernel.sh" vm
STOCK='' DEBUG='' "$HERE/kernel.sh" vm
"$HERE/selftests.sh" stock

kernels="before stock ours"
rounds before $kernels
for nr in $(seq "$ROUNDS"); do
	for kernel in $kernels; do
		round before "all-$kernel-$nr" ""
	done
done
tables before box "" "" env PYTHONDONTWRITEBYTECODE=1 python3 /bls/before.py /out "$ROUNDS" $kernels
