#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# check.sh: `make check`, the quick tier.
. "$(dirname "$0")/lib.sh"
check_vars
"$HERE/lint.sh" quick || true
verdict=ok
"$HERE/kunit.sh" || verdict=FAILED
say "KUnit: $verdict (log: $OUT/kunit.log)"
echo "KUnit: $verdict" >> "$OUT/lint.txt"
verdicts "$OUT/lint.txt"
