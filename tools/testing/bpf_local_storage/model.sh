#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# model.sh [long]: checks the model of who frees what, and that it catches what it has to.
# Leaves the logs in out/model.
. "$(dirname "$0")/lib.sh"
check_vars
[[ ${1:-} =~ ^(long)?$ ]] || die "model.sh ${1:-}: give long or nothing"
rm -f "$OUT/model.txt"
"$HERE/toolbox.sh" > /dev/null
lock "$OUT/model.lock"
rm -rf "$OUT/model"
mkdir "$OUT/model"
say "model: checking (logs: $OUT/model)"
box "" "" sh /bls/model/run.sh /bls/model/local_storage.pml /out/model "${1:-}" |
	tee "$OUT/model.txt"
