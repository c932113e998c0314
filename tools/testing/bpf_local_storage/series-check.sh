#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# series-check.sh: `make series-check`. What a maintainer does with the series: applies it to the
# base, patch by patch, and each time builds what it touches and runs KUnit, if that is there yet.
# What passed is not built again as long as it, and what comes before it, is the same.
. "$(dirname "$0")/lib.sh"
check_vars
need_disk "$OUT" 15
DRAFT=1 "$HERE/series.sh"
stock_source
base=$SRC
tree=$OUT/series.tree
passed=$OUT/series.passed
log=$OUT/series-check.log
lock "$OUT/series-check.lock"
git=(git -C "$tree" -c user.name=base -c user.email=base@localhost -c core.autocrlf=false)

# 1. The base, with git for the files that the series touches.
# An own tree may have changed.
if [[ -n $LINUX || $(cat "$tree/.base-id" 2> /dev/null) != "$base" ]]; then
	say "copying the base to out/series.tree"
	rm -rf "$tree" "$tree.new" "$OUT"/build/series "$OUT"/build/kunit-series "$passed"
	cp -a --reflink=auto "$base" "$tree.new"
	git init -q "$tree.new"
	echo '*' > "$tree.new/.git/info/exclude"
	echo "$base" > "$tree.new/.base-id"
	mv "$tree.new" "$tree"
fi
"${git[@]}" am --abort 2> /dev/null || true
"${git[@]}" rev-parse -q --verify base > /dev/null || "${git[@]}" commit -q --allow-empty -m base
"${git[@]}" tag base 2> /dev/null || true
"${git[@]}" reset -q --hard base
git -C "$OUT/linux" ls-tree -r --name-only base | "${git[@]}" add -f --pathspec-from-file=-
"${git[@]}" commit -q --amend --allow-empty -m base
"${git[@]}" tag -f base > /dev/null

# 2. Patch by patch.
bad() { head -20 "$log" >&2; die "$1: $2 (log: $log)"; }
build() {
	mkdir -p "$OUT/build/series"
	box "$tree" "$OUT/build/series" sh -ec '
		cat /bls/vm.config /bls/lint.config > /tmp/config
		make="make -C /linux O=/build -j$1"
		shift
		$make -s KCONFIG_ALLCONFIG=/tmp/config allnoconfig
		exec $make CC="ccache gcc" HOSTCC="ccache gcc" "$@"' - "$JOBS" "$@" > "$log" 2>&1
}
patches=("$OUT"/series/*.patch)
for i in "${!patches[@]}"; do
	p=$(basename "${patches[$i]}")
	name="patch $((i + 1)) of ${#patches[@]}"
	"${git[@]}" am -q "${patches[$i]}" > "$log" 2>&1 || bad "$p" "git am refuses it"
	[[ ! -s $log ]] || bad "$p" "git am complains"
	id=$({ echo "$base"; cat "${patches[@]:0:i+1}" | grep -vE '^(From |Date: )'; } | sha256sum)
	if grep -qxF "$id" "$passed" 2> /dev/null; then
		say "$name: passed before"
		continue
	fi
	say "$name: $("${git[@]}" log -1 --format=%s)"
	checkpatch "$base" "$OUT/series" "$p" > "$log" 2>&1
	[[ ! -s $log ]] || bad "$p" "checkpatch complains"
	touched=$("${git[@]}" diff --name-only HEAD~ -- include kernel net security)
	if [[ -n $touched ]]; then
		say "$name: building kernel/bpf/, net/core/, security/bpf/, and what else it touches"
		build kernel/bpf/ net/core/ security/bpf/ \
			$(echo "$touched" | sed -n 's/\.c$/.o/p') || bad "$p" "it does not build"
		[[ ! -f $tree/kernel/bpf/local_storage.kunitconfig ]] || "$HERE/kunit.sh" "$tree" ||
			die "$p: KUnit fails"
	fi
	echo "$id" >> "$passed"
done

# 3. All of it.
for p in "${patches[@]}"; do
	# But for what adds it, and what only touches files of others.
	files=$(sed -n 's,^+++ b/\([^[:space:]]*\).*,\1,p' "$p")
	files=$(cd "$REPO" && ls $files 2> /dev/null) || true
	[[ -n $files && $files != MAINTAINERS ]] || continue
	box "$tree" "$OUT/series" sh -c 'cd /linux && exec perl scripts/get_maintainer.pl --no-git \
		--no-git-fallback --sections "/build/$1"' - "$(basename "$p")" > "$log" 2>&1
	grep -q 'BPF \[LOCAL STORAGE\]' "$log" ||
		bad "$(basename "$p")" "get_maintainer.pl does not find our entry"
done
say "get_maintainer.pl: finds our entry for each patch of ours"
say "building the kernel to the end"
build vmlinux || bad "the series" "it does not link"
say "all ${#patches[@]} patches apply and build, checkpatch and KUnit have no complaint"
