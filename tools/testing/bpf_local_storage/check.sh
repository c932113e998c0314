#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# check.sh: `make check`, the quick tier.
. "$(dirname "$0")/lib.sh"
check_vars
failed=0 passed=0
ok() { passed=$((passed + 1)); say "ok: $1"; }
bad() { failed=$((failed + 1)); say "FAILED: $1"; }

"$HERE/tree.sh"
for f in "$HERE"/*.sh "$REPO/.ci/run"; do
	bash -n "$f" && ok "syntax of ${f#"$REPO"/}" || bad "syntax of ${f#"$REPO"/}"
done
cd "$REPO"
# RCU_TASKS_TRACE says itself that BPF may use it: it does not know that this is BPF. That a
# __setup() is documented it can only see in a patch. bench declares what it runs as extern.
files=$(find include kernel net -name '*.[ch]' 2> /dev/null || true)
for f in $files patches/*.patch; do
	[[ -f $f ]] || continue
	kind=--file
	[[ $f != *.patch ]] || kind=--patch
	box "$OUT/linux" "$REPO" sh -c 'cd /linux && exec perl scripts/checkpatch.pl --strict \
		--no-summary --terse --show-types --ignore FILE_PATH_CHANGES,COMMIT_MESSAGE \
		--ignore MISSING_SIGN_OFF,EMAIL_SUBJECT,RCU_TASKS_TRACE \
		--ignore UNDOCUMENTED_SETUP,AVOID_EXTERNS "$1" "/build/$2"' - $kind "$f" \
		> "$OUT/checkpatch.log" 2>&1 && ok "checkpatch $f" || {
		bad "checkpatch $f"
		head -20 "$OUT/checkpatch.log"
	}
done
if "$HERE/kunit.sh" && [[ ! -s $OUT/kunit.complaints ]] &&
		! grep -qE '"status": "(FAIL|ERROR)"' "$OUT/kunit.json"; then
	ok "KUnit"
else
	bad "KUnit (see $OUT/kunit.log)"
	head -5 "$OUT/kunit.complaints" 2> /dev/null || true
fi
echo "$passed passed, $failed failed, 0 skipped"
[[ $failed == 0 ]]
