#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# series.sh: `make series`. Writes out/series: what `git send-email` takes, and, as *.patch, what
# `git am` takes on the base. What the steps are is in series.list, what they say in series/.
. "$(dirname "$0")/lib.sh"
check_vars
[[ ${DRAFT:=} =~ ^1?$ ]] || die "DRAFT=$DRAFT: give DRAFT=1 or leave it out"
name=$(git -C "$REPO" config user.name) && email=$(git -C "$REPO" config user.email) ||
	die "git does not know who you are: set user.name and user.email with git config"
for f in bench test; do
	[[ -s $OUT/$f.txt || -n $DRAFT ]] || die "there are no figures for the cover letter: run" \
		"make bench and make test first (or, for a look, make series DRAFT=1)"
done
"$HERE/tree.sh"
lock "$OUT/series.lock"
work=$OUT/series.work
new=$OUT/series.new

# 1. Which file is in which step: in one, and in one only.
declare -A step_of
steps=()
while read -r pattern; do
	case $pattern in
	'' | '#'*) ;;
	*.txt | none) step=$pattern; steps+=("$step") ;;
	*) patterns+=("$step $pattern") ;;
	esac
done < "$HERE/series.list"
cd "$REPO"
for f in $(find include kernel net tools Documentation patches MAINTAINERS -type f ! -name '.*' \
		! -name '*.pyc' ! -name '*~' | sort); do
	for p in "${patterns[@]}"; do
		# shellcheck disable=SC2053
		[[ $f == ${p#* } ]] || continue
		[[ -z ${step_of[$f]:-} ]] || die "series.list: $f is in ${step_of[$f]} and in ${p%% *}"
		step_of[$f]=${p%% *}
	done
	[[ -n ${step_of[$f]:-} ]] || die "series.list: $f is in no section"
done

# 2. The steps as commits on the base, of which only what we touch is here.
rm -rf "$work" "$new"
mkdir -p "$work" "$new"
# The same files and messages make the same patches, whenever it is.
GIT_AUTHOR_DATE=$(git log -1 --format=%cI 2> /dev/null || date -Iseconds)
export GIT_AUTHOR_DATE GIT_COMMITTER_DATE=$GIT_AUTHOR_DATE
git=(git -C "$work" -c user.name="$name" -c user.email="$email" -c core.autocrlf=false
	-c commit.gpgsign=false -c core.hooksPath=/dev/null)
git -C "$OUT/linux" archive base | tar -x -C "$work"
"${git[@]}" init -q
"${git[@]}" add -A
"${git[@]}" commit -qm base
"${git[@]}" tag base
for step in "${steps[@]}"; do
	[[ $step != none ]] || continue
	files=$(for f in "${!step_of[@]}"; do [[ ${step_of[$f]} != "$step" ]] || echo "$f"; done | sort)
	[[ -n $files ]] || { say "series: nothing of ${step%.txt} here, left out"; continue; }
	for f in $files; do
		case $f in
		patches/*)	apply "$work" "$f" || die "$f does not apply in step $step" ;;
		MAINTAINERS)	cp "$OUT/linux/$f" "$work/$f" ;;
		*)		install -D -m "$(stat -c %a "$f")" "$f" "$work/$f" ;;
		esac
	done
	"${git[@]}" add -A
	"${git[@]}" commit -q -s -F "$HERE/series/$step"
done
for f in $(cd "$work" && git ls-files) ; do
	cmp -s "$work/$f" "$OUT/linux/$f" || die "the series makes another $f than make tree"
done

# 3. The letter, with what was measured last.
version=$(make -s -C "$OUT/linux" kernelversion)
for f in bench test; do
	[[ -n $DRAFT ]] || grep -q "Linux $version[-,]" "$OUT/$f.txt" ||
		die "$OUT/$f.txt is not of Linux $version: run make $f (or make series DRAFT=1)"
done
figures() {
	[[ -s $OUT/$1.txt ]] || { echo "(Figures are missing: make $1 was not run.)"; return; }
	# Not where things are on this machine.
	sed '/^logs: /d; /^configs: /d' "$OUT/$1.txt" | cat -s
}
"${git[@]}" config branch."$("${git[@]}" symbolic-ref --short HEAD)".description "$(
	while IFS= read -r line; do
		case $line in
		@BENCH@)	figures bench ;;
		@TEST@)		figures test ;;
		*)		echo "${line//@VERSION@/$version}" ;;
		esac
	done < "$HERE/series/00-cover.txt")"
"${git[@]}" format-patch -q -B --no-renames --subject-prefix="PATCH bpf-next" --cover-letter \
	--cover-from-description=subject -o "$new" base
# git am takes every *.patch, of which the letter is none.
mv "$new"/0000-cover-letter.patch "$new/0000-cover-letter.txt"
rm -rf "$OUT/series" "$work"
mv "$new" "$OUT/series"
say "out/series: $(find "$OUT/series" -name '*.patch' | wc -l) patches and a cover letter$(
	[[ -s $OUT/bench.txt && -s $OUT/test.txt ]] || echo ', a draft: figures are missing')"
