#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Makes, in the cache and from Debian packages alone, the toolbox (a root file system with the
# compilers, QEMU and the base's source) and unpacks the base; prints nothing if both stand.
# The last line of its output is the path of the base. toolbox.sh PACKAGE...: those are put into
# the toolbox too, for what few users need, or a toolbox from before does not have.
. "$(dirname "$0")/lib.sh"
check_vars

# The compilers must be newer than Debian 12's: the toolbox is trixie on whatever host.
PACKAGES=gcc,make,flex,bison,bc,libelf-dev,libssl-dev,zlib1g-dev,libzstd-dev,libcap-dev
PACKAGES+=,dwarves,ccache,git,python3,kmod,rsync,cpio,xz-utils,perl,qemu-system-x86
PACKAGES+=,busybox-static,iproute2,iptables,iputils-ping,ethtool,procps,gawk,gnuplot-nox
PACKAGES+=,sparse,spin,binutils-dev,libc6-dev,linux-libc-dev,bpftool,util-linux,patch
PACKAGES+=,ca-certificates,openssl,python3-ply,python3-git,python3-sphinx,python3-yaml
NEWER="clang-21 llvm-21 lld-21"

# mirror: where this machine's own apt gets Debian from; nothing else is asked.
mirror() {
	apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Label: Debian' |
		grep -v security | head -1 || true
}

make_toolbox() {
	local uri p missing
	need_disk "$CACHE" 12
	command -v apt-get > /dev/null || die "Debian's apt-get is needed to make the toolbox"
	missing=$(for p in mmdebstrap patch:patch xz:xz-utils pkill:procps git:git; do
		command -v ${p%:*} > /dev/null || echo ${p#*:}
	done)
	if [[ -n $missing ]]; then
		say "installing" $missing >&2
		{ apt-get update && apt-get install -y --no-install-recommends $missing; } \
			> "$OUT/apt.log" 2>&1 || die "cannot install $missing: see $OUT/apt.log"
	fi
	uri=$(mirror)
	[[ -n $uri ]] || { apt-get update > "$OUT/apt.log" 2>&1 || true; uri=$(mirror); }
	uri=${uri%/}
	[[ -n $uri ]] || die "apt knows no Debian mirror: set up its sources, run apt-get update"
	for p in $NEWER "linux-source-$V"; do PACKAGES+=,$p/trixie-backports; done
	say "making the toolbox from Debian packages (1 to 3 minutes)" >&2
	rm -rf "$BOX.new"
	mmdebstrap --variant=minbase --aptopt='Acquire::Languages "none"' \
		--include="$PACKAGES" trixie "$BOX.new" "deb $uri trixie main" \
		"deb $uri trixie-backports main" > "$OUT/toolbox.log" 2>&1 || {
		! grep -q "locate package linux-source" "$OUT/toolbox.log" ||
			die "V=$V: Debian has no linux-source-$V (7.3 and 7.2 are known to work)"
		die "mmdebstrap failed: see $OUT/toolbox.log"
	}
	finish_toolbox "$BOX.new"
	mv "$BOX.new" "$BOX"
}

# Debian names LLVM's tools with their version; the selftests look for the bare names.
finish_toolbox() {
	local t
	mkdir -p "$1"/{linux,build,out,bls,ccache,root_fs}
	for t in clang clang++ ld.lld llc llvm-strip llvm-objcopy llvm-config llvm-ar llvm-nm \
			llvm-objdump llvm-readelf; do
		[[ ! -e $1/usr/bin/$t-21 ]] || ln -sf "$t-21" "$1/usr/bin/$t"
	done
}

in_root() { # as root of the toolbox, with the host's way out to the mirror
	unshare --mount --propagation private --pid --fork --kill-child sh -ec '
		mount -t proc proc "$0/proc"
		mount --bind /etc/resolv.conf "$0/etc/resolv.conf" 2> /dev/null || :
		chroot "$0" "$@"' "$BOX" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin \
		DEBIAN_FRONTEND=noninteractive ${http_proxy:+http_proxy="$http_proxy"} \
		${https_proxy:+https_proxy="$https_proxy"} "$@"
}

exec 9> "$CACHE/.lock"
flock -n 9 || { say "waiting for another make that fills $CACHE" >&2; flock 9; }
[[ -d $BOX ]] || make_toolbox
missing=$(for p; do chroot "$BOX" dpkg-query -s "$p" > /dev/null 2>&1 || echo "$p"; done)
if [[ -n $missing ]]; then
	say "fetching" $missing >&2
	in_root sh -c 'apt-get update && apt-get install -y --no-install-recommends "$@"' - $missing \
		> "$OUT/toolbox.log" 2>&1 9>&- || die "cannot fetch $missing: see $OUT/toolbox.log"
fi
if [[ -n $LINUX ]]; then
	echo "$LINUX"
	exit
fi
tar=$BOX/usr/src/linux-source-$V.tar.xz
if [[ ! -f $tar ]]; then
	say "fetching linux-source-$V" >&2
	in_root sh -c "apt-get update && apt-get install -y --no-install-recommends linux-source-$V" \
		> "$OUT/toolbox.log" 2>&1 9>&- || {
		! grep -q "locate package" "$OUT/toolbox.log" ||
			die "V=$V: Debian has no linux-source-$V (7.3 and 7.2 are known to work)"
		die "cannot fetch linux-source-$V: see $OUT/toolbox.log"
	}
fi
# The package's point release names the folder, so that a newer one is unpacked anew.
version=$(chroot "$BOX" dpkg-query -W -f '${Version}' "linux-source-$V" | sed 's/-.*//; s/~.*//')
base=$CACHE/base-$version
if [[ ! -d $base ]]; then
	say "unpacking Linux $version" >&2
	need_disk "$CACHE" 6
	rm -rf "$base.new"
	mkdir "$base.new"
	tar -xf "$tar" -C "$base.new" --strip-components=1
	mv "$base.new" "$base"
fi
echo "$base"
