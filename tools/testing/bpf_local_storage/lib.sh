# SPDX-License-Identifier: GPL-2.0
# Shared by the scripts beside it; sourced by bash, run from the Makefile at the top.
# shellcheck shell=bash disable=SC2034

set -euo pipefail
# The kernel's build has a V and make flags of its own.
unset MAKEFLAGS MFLAGS MAKEOVERRIDES MAKELEVEL

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
REPO=$(cd "$HERE/../../.." && pwd)
OUT=$REPO/out
: "${V:=7.3}" "${ACCEL:=auto}" "${JOBS:=$(nproc)}" "${STOCK:=}" "${DEBUG:=}" "${LINUX:=}"
: "${ROUNDS:=3}"
: "${CACHE:=${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/bpf-local-storage}"
BOX=$CACHE/toolbox
START=${START:-$(date +%s)}
export V ACCEL JOBS STOCK DEBUG LINUX ROUNDS CACHE START

die() { echo "error: $*" >&2; exit 1; }
say() { printf '[%3d:%02d] %s\n' $((($(date +%s) - START) / 60)) \
	$((($(date +%s) - START) % 60)) "$*"; }

# One line for whatever cannot work, before anything is begun.
check_vars() {
	[[ $V =~ ^[0-9]+\.[0-9]+$ ]] || die "V=$V: give a kernel series such as V=7.3"
	[[ $ACCEL =~ ^(auto|kvm|tcg)$ ]] || die "ACCEL=$ACCEL: give auto, kvm or tcg"
	[[ $JOBS =~ ^[1-9][0-9]*$ ]] || die "JOBS=$JOBS: give a number of jobs, 1 or more"
	[[ $STOCK =~ ^[01]?$ ]] || die "STOCK=$STOCK: give STOCK=1 or leave it out"
	[[ $DEBUG =~ ^[01]?$ ]] || die "DEBUG=$DEBUG: give DEBUG=1 or leave it out"
	[[ $CACHE == /* ]] || die "CACHE=$CACHE: give an absolute path"
	[[ $CACHE != *[[:space:]:,]* && $REPO != *[[:space:]:,]* ]] ||
		die "the paths of the cache and of the clone must hold no space, colon or comma"
	[[ $STOCK != 0 ]] || STOCK=
	[[ $DEBUG != 0 ]] || DEBUG=
	[[ $(uname -m) == x86_64 ]] || die "an x86-64 machine is needed"
	[[ $(id -u) == 0 ]] || die "root is needed (mounts and chroot): run it with sudo"
	[[ $ROUNDS =~ ^[1-9][0-9]?$ ]] || die "ROUNDS=$ROUNDS: give a number from 1 to 99"
	[[ -z $LINUX ]] || { check_tree "$LINUX" "LINUX=$LINUX"; LINUX=$(cd "$LINUX" && pwd); }
	mkdir -p "$OUT" "$CACHE" || die "cannot make $OUT and $CACHE"
}

# check_tree DIR VARIABLE: is it one that ours can be laid over? The variable says where it is from.
check_tree() {
	[[ -f $1/Makefile && -f $1/kernel/bpf/bpf_local_storage.c ]] ||
		die "$2: not a Linux source tree"
	[[ -f $1/kernel/bpf/rqspinlock.c ]] &&
		grep -q bpf_selem_unlink_nofail "$1/kernel/bpf/bpf_local_storage.c" ||
		die "$2: too old, a tree with bpf_selem_unlink_nofail() is needed" \
		    "(Linux 7.2 or newer)"
}

# need_disk DIR GIB: a build that dies on a full disk half an hour on helps nobody.
need_disk() {
	local have
	# What is there already, of a run that was interrupted, is not needed again.
	have=$({ df -Pk "$1" | awk 'END { print $4 }'; du -sk "$1" 2> /dev/null; } |
		awk '{ kib += $1 } END { print int(kib / 1048576) }')
	[[ $have -ge $2 ]] || die "$1: $2 GiB of disk are needed, there are $have"
}

# lock NAME: held until this script ends; two makes at once take turns at one thing.
lock() {
	local fd
	exec {fd}>"$1"
	flock -n "$fd" && return
	say "waiting for another make that holds $1"
	flock "$fd"
}

# box [-i] SRC BUILD command...: runs a command in the toolbox, in a mount namespace of its
# own. Sources and build always stand at /linux and /build, so that ccache knows both kernels'
# files as the same, and no path of this machine gets into a kernel.
box() {
	local src=$1 build=$2
	shift 2
	env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TERM="${TERM:-dumb}" LC_ALL=C.UTF-8 \
		BOX="$BOX" SRC="$src" BUILD="$build" OUT="$OUT" REPO="$REPO" CC_DIR="$CACHE/ccache" \
		unshare --mount --propagation private --pid --fork --kill-child \
		sh -ec '
		bind() { mount --bind "$1" "$BOX/$2"; }
		mount -t proc proc "$BOX/proc"
		mount --rbind /dev "$BOX/dev"
		mount -t tmpfs -o mode=1777 tmpfs "$BOX/tmp"
		mount -t tmpfs -o mode=1777 tmpfs "$BOX/dev/shm"
		# What the guest sees of the toolbox: nothing of what is mounted below.
		bind "$BOX" root_fs
		mount -o remount,ro,bind "$BOX/root_fs"
		[ -z "$SRC" ] || bind "$SRC" linux
		[ -z "$BUILD" ] || bind "$BUILD" build
		bind "$OUT" out
		bind "$REPO/tools/testing/bpf_local_storage" bls
		mkdir -p "$CC_DIR"
		bind "$CC_DIR" ccache
		unset SRC BUILD OUT REPO CC_DIR
		# Depend mode: no second run of the preprocessor for what is not cached yet.
		export CCACHE_DIR=/ccache CCACHE_MAXSIZE=10G CCACHE_DEPEND=1 KBUILD_BUILD_USER=bpf \
			KBUILD_BUILD_HOST=local-storage TMPDIR=/tmp \
			KBUILD_BUILD_TIMESTAMP="Thu Jan  1 00:00:00 UTC 1970"
		chroot "$BOX" "$@"' box "$@"
}

# reap PID: ends what `box ... &` started. unshare takes no gentler signal; all that runs in
# its pid namespace goes with it.
reap() { pkill -KILL -P "$1" || true; }

# The unmodified source: the unpacked base, or the copy of an own tree that tree.sh keeps.
stock_source() {
	SRC=$("$HERE/toolbox.sh")
	[[ -z $LINUX ]] || { "$HERE/tree.sh"; SRC=$OUT/base; }
}

# rounds SET KERNEL...: what round() keeps in out/SET is of these kernels and programs, or is
# removed. Sets accel.
rounds() {
	local set=$1 kernel id
	shift
	accel=$("$HERE/vm.sh" "$1" probe)
	say "accelerator: $accel"
	lock "$OUT/$set.lock"
	id=$(echo "$accel"; cat "$HERE"/{"$set".sh,job-"$set".sh,guest-init,vm.sh,profile.c} \
		"$OUT/selftests/.done" \
		$(for kernel; do
			ls "$OUT/build/$kernel"/{linux,arch/x86/boot/bzImage} 2> /dev/null
		done) | sha256sum)
	[[ $(cat "$OUT/$set/id" 2> /dev/null) != "$id" ]] || return 0
	rm -rf "$OUT/$set" "$OUT/vm/$set"
	mkdir -p "$OUT/$set"
	echo "$id" > "$OUT/$set/id"
}

# round SET MODE-KERNEL-ROUND WHAT: a boot that does every measurement of job-SET.sh once, with the
# variables WHAT; of user-mode Linux, if MODE is native. A round that is done is kept.
round() {
	local kernel=${2%-*} dir=$OUT/vm/$1 vm=vm
	[[ $2 != native-* ]] || vm=uml
	[[ ! -d $OUT/$1/$2 ]] || { say "round $2: kept"; return; }
	rm -rf "$dir"
	mkdir -p "$dir"
	{ echo "LIMIT=200 $3"; cat "$HERE/job-$1.sh"; } > "$dir/job"
	say "round $2"
	SHOW='^=== [^e]|^Summary|measured: ' "$HERE/$vm.sh" "${kernel#*-}" "$1" 2400
	check_log "$dir/console.log" > "$dir/complaints"
	[[ ! -s $dir/complaints ]] || say "the kernel complained: $(head -1 "$dir/complaints")"
	mv "$dir" "$OUT/$1/$2"
}

# tables NAME command...: shows what it prints and keeps it as out/NAME.txt, which the series takes
# its figures from, if it succeeds; else as out/NAME.failed.txt
tables() {
	local name=$1
	shift
	rm -f "$OUT/$name".{,failed.}txt
	"$@" | tee "$OUT/$name.failed.txt" || return
	mv "$OUT/$name".{failed.,}txt
}

# verdicts FILE: what its lines, "<name>: ok", "FAILED" or "skipped (<reason>)", come to
verdicts() {
	awk '/: ok$/ { ok++ } /: FAILED$/ { bad++ } /: skipped \(.*\)$/ { skipped++ }
		END {
			printf "%d passed, %d failed, %d skipped\n", ok, bad, skipped
			exit !ok || bad
		}' "$1"
}

# apply DIR PATCH: a point release, or an own tree, may have moved what stands around a change.
apply() {
	local fuzz
	for fuzz in 0 2; do
		patch -s -f -p1 -F$fuzz --dry-run -d "$1" < "$2" > "$OUT/patch.log" || continue
		[[ $fuzz == 0 ]] || say "note: $2 applies, but not exactly: look at it in out/linux"
		patch -s -f -p1 -F$fuzz --no-backup-if-mismatch -d "$1" < "$2"
		return
	done
	return 1
}

# checkpatch SRC DIR FILE...: says what is wrong with files or patches in DIR, by SRC's script.
# RCU_TASKS_TRACE says itself that BPF may use it: it does not know that this is BPF. That there is
# documentation of a __setup(), and an entry in MAINTAINERS, it can only see in the same patch;
# bench declares what it runs as extern; ENOTSUPP is what bpf(2) gives. BPF programs have volatile
# constants, and pointers with tags; tests say in words what they test.
checkpatch() {
	local src=$1 dir=$2
	shift 2
	box "$src" "$dir" sh -c '
		cd /linux
		for f in "$@"; do
			kind=--file
			ignore=FILE_PATH_CHANGES,RCU_TASKS_TRACE,UNDOCUMENTED_SETUP,AVOID_EXTERNS,ENOTSUPP
			case $f in *.patch) kind=--patch ;; esac
			case $f in
			patches/*)	ignore=$ignore,COMMIT_MESSAGE,MISSING_SIGN_OFF,EMAIL_SUBJECT ;;
			*selftests*)	ignore=$ignore,VOLATILE,EMBEDDED_FUNCTION_NAME,SPACING
					ignore=$ignore,PREFER_DEFINED_ATTRIBUTE_MACRO,MACRO_ARG_REUSE
					# __load_if_JITed() and the like before a function
					ignore=$ignore,FUNCTION_WITHOUT_ARGS,CAMELCASE,MACRO_ARG_PRECEDENCE ;;
			esac
			perl scripts/checkpatch.pl --strict --no-summary --terse --show-types \
				--ignore $ignore $kind "/build/$f"
		done 2>&1 | sed "s,^/build/,,"' checkpatch "$@"
}

# check_log FILE: the lines with which a kernel complains, none if all is well.
check_log() {
	grep -aE 'WARNING: |BUG: |BUG |KASAN|UBSAN|INFO: |ODEBUG|refcount_t:|Oops|Kernel panic' "$1" |
		grep -avE 'lockdep is (enabled|turned)|INFO: lockdep' || true
	grep -aE 'suspicious RCU|possible (recursive|circular)|inconsistent lock state' "$1" || true
	grep -aE 'nvalid wait context|general protection|blocked for more than' "$1" || true
	grep -aE 'detected stall|self-detected|soft lockup|hogged CPU|list_(add|del) corr' "$1" || true
}
