#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# selftests.sh KERNEL [KERNEL...]: builds the base's own selftests, unmodified, with ours beside
# them, once and by the types of the first kernel, which CO-RE fits to each: test_progs with the
# tests of tests.list and own.list, test_maps, bench. Then the selftests' modules for the other
# kernels named. All in out/selftests and out/build/*.
. "$(dirname "$0")/lib.sh"
check_vars
types=$1
shift
stock_source
dir=$OUT/selftests
mkdir -p "$dir"
lock "$dir.lock"
log=$OUT/selftests.log
own=$(cd "$REPO" && find tools/testing/selftests -type f)
id=$(echo "$SRC"; cd "$REPO"; cat "$HERE"/{selftests.sh,{tests,own}.list,{vm,debug}.config} $own \
	patches/* | sha256sum)
# bench has a list of what it can measure, which ours are added to.
own+=$(cd "$REPO" && sed -n 's,^+++ b/\(tools/testing/selftests/[^[:space:]]*\).*,\n\1,p' patches/*)
if [[ $(cat "$dir/.done" 2> /dev/null) != "$id" ]]; then
	"$HERE/tree.sh"
	# What make built stays, unless it is from another base.
	[[ $(cat "$dir/.base" 2> /dev/null) == "$SRC" ]] || find "$dir" -mindepth 1 -delete
	echo "$SRC" > "$dir/.base"
	echo "$own" > "$OUT/.selftests.own"
	say "selftests: building (log: $log)"
	box "$SRC" "$dir" bash -c '
	set -e
	jobs=$1 kernel=/out/build/$2
	# A scratch copy, without the tests that nobody asked for: they would take an hour.
	rsync -aL --exclude=/.done --exclude=/.base --exclude=/tools/testing/selftests/bpf/prog_tests/*.c \
		--include=/tools --include=/tools/testing --include=/tools/testing/selftests \
		--include=/tools/testing/selftests/bpf --include=/scripts \
		--include=/kernel --include=/kernel/bpf --include=/kernel/bpf/disasm.[ch] \
		--exclude=/kernel/* --exclude=/kernel/bpf/* \
		--include=/tools/testing/selftests/{*.mk,*.h} --exclude=/tools/testing/selftests/* \
		--exclude=/tools/testing/* --exclude=/*  /linux/ /build/
	mkdir -p /build/include
	ln -sfn $kernel/include/generated /build/include/generated
	cd /build/tools/testing/selftests/bpf
	rm -f prog_tests/*.c
	: > /build/.tests
	while read -r t source; do
		f=${source:-${t%%/*}}.c
		if [ $t = test_maps ] || cp -p /linux/tools/testing/selftests/bpf/prog_tests/$f prog_tests/; then
			echo $t >> /build/.tests
		fi
	done < <(grep -v "^#" /bls/tests.list)
	rsync -a --files-from=/out/.selftests.own /out/linux/ /build/
	# test_maps begins with hash and array maps, an hour under an emulator: on request only.
	rm -f map_tests/[!s]*.c
	sed -i "s/^\trun_all_tests();/\tif (getenv(\"ALL_MAPS\")) run_all_tests();/" test_maps.c
	# What those and bench include, and what these include in turn.
	grep -ohE "[a-zA-Z0-9_]+\.(l?skel\.h|bpf\.o)\"" prog_tests/*.c benchs/*.c *.c |
		sed "s/\..*/.c/" | sort -u > /tmp/progs
	(cd progs && grep -oh "#include \"[^\"]*\.c\"" $(ls $(cat /tmp/progs) 2> /dev/null) |
		cut -d\" -f2) >> /tmp/progs || true
	for p in progs/*.c; do
		grep -qx "${p#progs/}" /tmp/progs || rm $p
	done
	make="make -j$jobs CLANG=clang-21 LLVM_CONFIG=llvm-config-21 LLVM_STRIP=llvm-strip-21"
	make+=" VMLINUX_BTF=$kernel/vmlinux BPF_STRICT_BUILD=0 SKIP_DOCS=1 TEST_KMODS="
	make+=" LSKELS=map_ptr_kern.c LSKELS_SIGNED= LSKELS_EXTRA= LINKED_SKELS="
	# Which no test here uses, and which does not compile with the types of 7.2.
	make+=" LIBARENA_SKEL= LIBARENA_ASAN_SKEL="
	$make test_progs test_maps bench
	# make leaves out, without a word of failure, what does not compile.
	for p in test_progs test_maps bench $(ls prog_tests/*.c | sed "s,.*/\(.*\)c,\1test.o,"); do
		[ -e $p ] || { echo "error: $p was not built"; exit 1; }
	done
	' - "$JOBS" "$types" > "$log" 2>&1 || {
		grep -m5 -E 'error:|Error |\*\*\*' "$log" >&2 || tail -5 "$log" >&2
		die "the build of the selftests failed: see $log"
	}
	grep -v '^#' "$HERE/tests.list" | while read -r t _; do
		grep -qxF "$t" "$dir/.tests" || say "selftests: the base has no $t: left out"
	done
	echo "$id" > "$dir/.done"
	say "selftests: done"
fi

for name; do
	src=$OUT/linux
	[[ $name != stock* ]] || src=$SRC
	lock "$OUT/build/$name.lock"
	say "selftests: modules for $name"
	box "$src" "$OUT/build/$name" sh -ec '
		mkdir -p /build/kmods
		rsync -a --include="*.[ch]" --include=Makefile --exclude="*" \
			/linux/tools/testing/selftests/bpf/test_kmods/ /build/kmods/
		make -C /linux O=/build ARCH=x86_64 M=/build/kmods CC="ccache gcc" -j$1 modules
	' - "$JOBS" > "$OUT/build/$name.kmods.log" 2>&1 ||
		die "the selftests' modules for $name failed: see $OUT/build/$name.kmods.log"
done
