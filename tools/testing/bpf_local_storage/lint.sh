#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# lint.sh: `make lint`, what tools can say of our files without running them. lint.sh quick: what of
# that takes no build, which make check and make test have too. Leaves out/lint.txt.
. "$(dirname "$0")/lib.sh"
check_vars
[[ ${1:-} =~ ^(quick)?$ ]] || die "lint.sh $1: give quick or nothing"
rm -f "$OUT/lint.txt"
stock_source
base=$SRC
"$HERE/tree.sh"
lock "$OUT/lint.lock"
log=$OUT/lint.log
skip=
: > "$OUT/lint.txt.new"
cd "$REPO"
code=$(find include kernel net -name '*.[ch]')
patched=$(sed -n 's,^+++ b/\([^[:space:]]*\.c\).*,\1,p' patches/* | grep -v ^tools/ | sort -u)
objects=$(printf '%s\n' $code $patched | sed -n 's/\.c$/.o/p')

# result NAME: ok if the log is empty, or skipped for the reason in $skip
result() {
	local verdict=ok
	if [[ -n $skip ]]; then
		verdict="skipped ($skip)"
	elif [[ -s $log ]]; then
		verdict=FAILED
	fi
	say "$1: $verdict"
	echo "$1: $verdict" >> "$OUT/lint.txt.new"
	[[ $verdict != FAILED ]] || head -20 "$log"
	skip=
	: > "$log"
}

# about_ours FILE: the lines of it that name a file of ours
about_ours() {
	grep -E "(^|/)($(printf '%s|' $code)Documentation/bpf/[a-z_]*local_storage.rst):" "$1"
}

{
	for f in "$HERE"/*.sh "$HERE"/model/*.sh "$HERE/guest-init" "$REPO/.ci/run"; do
		bash -n "$f" || true
	done
	box "" "" python3 -c 'import ast, glob
for f in glob.glob("/bls/*.py"):
    ast.parse(open(f).read(), f)' || true
} > "$log" 2>&1
result "syntax of the scripts"

checkpatch "$base" "$REPO" $code $(find tools -name '*.[ch]') patches/*.patch > "$log" 2>&1
result "checkpatch --strict"

box "$OUT/linux" "" sh -c 'cd /linux && exec scripts/kernel-doc -none -Wall -Werror "$@"' - $code \
	2>&1 | grep -v '^[0-9]* warnings as errors' > "$log" || true
result "kernel-doc -Wall"

while read -r _ pattern; do
	compgen -G "$OUT/linux/$pattern" > /dev/null || echo "MAINTAINERS: no $pattern"
done < <(grep ^F: MAINTAINERS) > "$log"
result "files in MAINTAINERS"

if "$HERE/toolbox.sh" python3-sphinx python3-yaml > /dev/null; then
	rm -rf "$OUT/build/docs"
	mkdir -p "$OUT/build/docs"
	box "$OUT/linux" "$OUT/build/docs" make -C /linux O=/build SPHINXDIRS=bpf htmldocs \
		> "$OUT/docs.log" 2>&1 || true
	about_ours "$OUT/docs.log" > "$log" || true
	for f in Documentation/bpf/*.rst; do
		[[ -s $OUT/build/docs/Documentation/output/bpf/$(basename "$f" .rst).html ]] ||
			echo "$f was not built: see $OUT/docs.log" >> "$log"
	done
else
	skip="python3-sphinx cannot be had"
fi
result "sphinx on our pages"

# build DIR CONFIG MAKE-VARIABLE... TARGET...: what make says of our files, and that it fails, into
# the log. CONFIG is allmodconfig, or what to add to allnoconfig.
build() {
	local dir=$OUT/build/lint-$1 config=$2
	shift 2
	mkdir -p "$dir"
	box "$OUT/linux" "$dir" bash -c '
		PATH=/usr/lib/ccache:$PATH
		jobs=$1 config=$2 objects=$3
		shift 3
		cd /linux
		vars=$(printf "%s\n" "$@" | grep =)
		echo "$config" > /tmp/config
		if ! cmp -s /tmp/config /build/.fragment; then
			if [ "$config" = allmodconfig ]; then
				make -s O=/build $vars allmodconfig
			else
				make -s O=/build $vars KCONFIG_ALLCONFIG=/tmp/config allnoconfig
			fi || exit
			cp /tmp/config /build/.fragment
		fi
		# What is up to date is silent.
		(cd /build && rm -f $objects)
		make O=/build -k -j"$jobs" "$@"
	' - "$JOBS" "$config" "$objects" "$@" > "$dir.log" 2>&1 ||
		echo "make failed: see $dir.log" > "$log"
	about_ours "$dir.log" >> "$log" || true
}

if [[ -z ${1:-} ]]; then
	full=$(cat "$HERE"/{vm,lint}.config)
	# make leaves sparse out if it is too old; or it says itself, of any file, what it cannot read.
	build gcc "$full" C=2 kernel/bpf/hashtab.o
	skip=$(grep -m1 -oE 'C=2 specified.*|error: .*' "$OUT/build/lint-gcc.log") ||
		build gcc "$full" C=2 $objects
	result "sparse"
	build gcc "$full" W=1 $objects
	result "W=1, gcc"
	build clang "$full" LLVM=-21 W=1 $objects
	result "W=1, clang"
	build rt "$full"$'\nCONFIG_PREEMPT_RT=y' $objects
	result "PREEMPT_RT"
	build i386 "$full" ARCH=i386 $objects
	result "i386"
	build riscv "$full" ARCH=riscv LLVM=-21 $objects
	result "riscv64, clang"
	build allmodconfig allmodconfig $objects
	result "allmodconfig"
	build none "" vmlinux
	result "allnoconfig, to the end"
	build bpf CONFIG_BPF_SYSCALL=y vmlinux
	result "allnoconfig and BPF_SYSCALL, to the end"
	if "$HERE/toolbox.sh" qemu-system-riscv opensbi > /dev/null; then
		"$HERE/kunit.sh" riscv > "$OUT/lint-riscv.log" 2>&1 || cp "$OUT/lint-riscv.log" "$log"
	else
		skip="qemu-system-riscv cannot be had"
	fi
	result "riscv64, KUnit in QEMU"
fi

mv "$OUT/lint.txt.new" "$OUT/lint.txt"
verdicts "$OUT/lint.txt"
