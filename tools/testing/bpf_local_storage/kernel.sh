#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# kernel.sh vm|uml: builds the kernel of one kind, ours or with STOCK=1 the unmodified base's, in
# out/build/{ours,stock}[-debug|-uml]. make decides what there is to do. With FAIL=1 beside STOCK=1
# and DEBUG=1 the base can refuse its local storage's locks too: stock-fail-debug, for soak.sh.
# NAME= gives the unmodified base of another series a name of its own, for before.sh.
. "$(dirname "$0")/lib.sh"
check_vars
kind=$1
need_disk "$OUT" 5
stock_source
base=$SRC
kconfig=
if [[ -n $STOCK ]]; then
	name=${NAME:-stock}
	src=$base
	# With our option beside its own, which no code there asks for, the base has the very
	# config of ours, and ccache what it compiled for the one when it comes to the other.
	[[ -z $DEBUG ]] || { "$HERE/tree.sh"; kconfig=kernel/bpf/Kconfig; }
	if [[ -n ${FAIL:-} ]]; then
		name+=-fail
		src=$OUT/stock-fail
		id=$(echo "$base"; cat "$HERE/stock-fail-locks.patch")
		[[ $(cat "$src.id" 2> /dev/null) == "$id" ]] || {
			rm -rf "$src"
			cp -a --reflink=auto "$base" "$src"
			patch -s -p1 -d "$src" < "$HERE/stock-fail-locks.patch"
			echo "$id" > "$src.id"
		}
	fi
else
	name=ours
	"$HERE/tree.sh"
	src=$OUT/linux
fi
version=-bpf-local-storage-$name
case $kind in
uml)	arch=um target=linux name+=-uml frags=uml.config ;;
vm)	arch=x86_64 target=bzImage frags=vm.config
	[[ -z $DEBUG ]] || { name+=-debug frags+=" debug.config"; } ;;
esac
# The base's local storage gets memory from kmalloc_nolock() alone, which on user-mode Linux has none:
# only for want of this, which is about cmpxchg16b. As of here it can be measured, too.
cppflags=
[[ $kind != uml || -z $STOCK ]] || cppflags=-DCONFIG_HAVE_ALIGNED_STRUCT_PAGE=1
build=$OUT/build/$name
mkdir -p "$build"
lock "$build.lock"

# Objects of another base may be newer than this one's sources: begin anew, ccache helps.
if [[ $(cat "$build.base" 2> /dev/null) != "$base" ]]; then
	rm -rf "$build"
	mkdir -p "$build"
	echo "$base" > "$build.base"
fi

log=$OUT/build/$name.log
say "kernel $name: building (log: $log)"
box "$src" "$build" bash -c '
	set -e
	cd /linux
	arch=$1 target=$2 version=$3 frags=$4 jobs=$5 kconfig=$6 cppflags=$7
	[ -z "$kconfig" ] || mount --bind /out/linux/$kconfig /linux/$kconfig
	cd /bls
	cat $frags > /tmp/fragment
	cd /linux
	make="make -s O=/build ARCH=$arch"
	if ! cmp -s /tmp/fragment /build/.fragment; then
		$make CC="ccache gcc" HOSTCC="ccache gcc" KCONFIG_ALLCONFIG=/tmp/fragment allnoconfig
		cp /tmp/fragment /build/.fragment
	fi
	targets=$target
	[ $target = linux ] || targets="$target modules"
	# Not as CONFIG_LOCALVERSION: every file would differ between the two kernels by it.
	make O=/build ARCH=$arch CC="ccache gcc" HOSTCC="ccache gcc" -j$jobs \
		LOCALVERSION=$version KCPPFLAGS=$cppflags $targets
' - $arch $target "$version" "$frags" "$JOBS" "$kconfig" "$cppflags" > "$log" 2>&1 &
pid=$!
trap 'reap "$pid"' EXIT
# What is being compiled, every so often: these are long minutes.
while kill -0 $pid 2> /dev/null; do
	for _ in $(seq 60); do
		sleep 0.5
		kill -0 $pid 2> /dev/null || break
	done
	kill -0 $pid 2> /dev/null && say "kernel $name: $(grep -c '^  [A-Z]' "$log" || true)" \
		"steps, $(tail -1 "$log" | cut -c1-70)"
done
trap - EXIT
wait $pid || {
	grep -m5 -E 'error:|Error |\*\*\*' "$log" >&2 || tail -5 "$log" >&2
	die "the build of $name failed: see $log"
}
say "kernel $name: done"
