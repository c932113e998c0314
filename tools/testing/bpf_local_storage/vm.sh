#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# vm.sh KERNEL NAME LIMIT: boots out/build/KERNEL in QEMU, runs the script out/vm/NAME/job there
# (LIMIT seconds at most), leaves output and console log beside it. Fails if the guest did not
# come to its end; whether the kernel complained is for check_log of lib.sh to say.
# vm.sh KERNEL shell: an interactive shell. vm.sh KERNEL probe: only says kvm or tcg.
# SMP=, ICOUNT=1, PLUGIN=, CMDLINE=: see below.
. "$(dirname "$0")/lib.sh"
kernel=$1 name=$2 limit=${3:-0}
dir=$OUT/vm/$name
image=$OUT/build/$kernel/arch/x86/boot/bzImage
[[ -f $image ]] || die "there is no kernel in out/build/$kernel"
mkdir -p "$dir"

# Some machines offer a /dev/kvm whose guests never run: start one and see. The answer is
# kept, for the machine as it has been since its last boot.
probe() {
	local boot
	boot=$(cat /proc/sys/kernel/random/boot_id)
	if [[ $ACCEL != auto ]]; then
		echo "$ACCEL"
	elif [[ $(cut -d' ' -f1 "$OUT/accel" 2> /dev/null) == "$boot" ]]; then
		cut -d' ' -f2 "$OUT/accel"
	else
		accel=tcg
		if [[ -c /dev/kvm ]]; then
			qemu kvm 1 512M "bls.probe" -display none -serial file:/out/vm/$name/probe.log \
				20 < /dev/null > "$dir/probe.err" 2>&1 || true
			! grep -q "guest is up" "$dir/probe.log" 2> /dev/null || accel=kvm
		fi
		echo "$boot $accel" > "$OUT/accel"
		echo "$accel"
	fi
}

# qemu ACCEL CPUS MEMORY CMDLINE QEMU-ARGUMENTS... LIMIT
qemu() {
	local accel=$1 smp=$2 mem=$3 cmdline=$4
	shift 4
	# Not five-level page tables: an early interrupt, while the boot CPU's feature bits are being
	# read anew, makes KASAN take per-CPU data for wild memory.
	local limit=${*: -1} args=("${@:1:$#-1}") cpu=max,la57=off
	[[ $accel != kvm ]] || cpu=host,la57=off
	[[ $accel != tcg ]] || accel=tcg,thread=multi,tb-size=512
	# One guest instruction is one nanosecond: times that come out the same on every run.
	[[ -z ${ICOUNT:-} ]] || args+=(-icount "shift=0,sleep=off")
	[[ -z ${ICOUNT:-} ]] || accel=tcg,thread=single,tb-size=512
	[[ -z ${PLUGIN:-} ]] || args+=(-plugin "$PLUGIN")
	box "" "$OUT/build/$kernel" sh -ec '
		limit=$1 root=/tmp/initramfs
		shift
		mkdir -p $root/bin $root/dev
		cp /bin/busybox $root/bin
		cp /bls/guest-init $root/init
		chmod +x $root/init
		mknod $root/dev/console c 5 1
		(cd $root && find . | cpio --quiet -o -H newc) > /tmp/initrd
		[ $limit = 0 ] || limit="timeout -k 5 $limit"
		[ "$limit" != 0 ] || limit=
		mkdir -p /out/selftests
		exec $limit qemu-system-x86_64 -nodefaults -no-reboot -machine q35 \
			-kernel /build/arch/x86/boot/bzImage -initrd /tmp/initrd "$@"
	' - "$limit" -accel "$accel" -cpu $cpu -smp "$smp" -m "$mem" \
		-append "console=ttyS0 panic=-1 tsc=reliable $cmdline" \
		-virtfs "local,path=/root_fs,mount_tag=root,security_model=none,readonly=on" \
		-virtfs "local,path=/out/vm/$name,mount_tag=job,security_model=none" \
		-virtfs "local,path=/out/selftests,mount_tag=tests,security_model=none,readonly=on" \
		-device virtio-rng-pci "${args[@]}"
}

accel=$(probe)
[[ $name != probe ]] || { echo "$accel"; exit; }

cat > "$dir/start" << 'END'
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8
hostname guest
ip link set lo up
ulimit -l unlimited
if [ -f /job/job ]; then
	cd /tests
	bash /job/job > /job/output 2>&1
	echo $? > /job/status
	dmesg > /job/dmesg
else
	cd /root
	export TERM=$(sed -n 's/.*bls.term=\([^ ]*\).*/\1/p' /proc/cmdline)
	echo "$(uname -r): a shell with bpftool; /tests has the selftests; exit turns it off"
	setsid -c bash -i < /dev/ttyS0 > /dev/ttyS0 2>&1
fi
sync
busybox poweroff -f
END
if [[ $name == shell ]]; then
	rm -f "$dir/job"
	say "booting $kernel on $accel; Ctrl-A X ends QEMU"
	qemu "$accel" "${SMP:-2}" 2G "quiet bls.term=${TERM:-dumb}" -display none \
		-chardev stdio,id=c,mux=on,signal=off -serial chardev:c -mon c 0
	exit
fi
rm -f "$dir/output" "$dir/status" "$dir/console.log" "$dir/dmesg"
touch "$dir/output"
qemu "$accel" "${SMP:-2}" 4G "${CMDLINE:-}" -display none -monitor none \
	-serial file:/out/vm/$name/console.log "$limit" < /dev/null > "$dir/qemu.log" 2>&1 &
pid=$!
trap 'reap "$pid"' EXIT
tail -n +1 --pid=$pid -s 0.5 -F "$dir/output" 2> /dev/null |
	grep --line-buffered -E "${SHOW:-.}" | sed -u 's/^\(.\{100\}\).*/\1/' || true
status=0
wait $pid || status=$?
[[ $(cat "$dir/status" 2> /dev/null) != 0 ]] || exit 0
[[ ! -f $dir/status ]] || die "$kernel, $name: the job failed: see $dir/output"
[[ $status != 124 ]] || die "$kernel, $name: not done after $limit seconds: see $dir"
[[ -s $dir/console.log ]] || die "$kernel, $name: QEMU did not start: see $dir/qemu.log"
die "$kernel, $name: the guest ended early (status $status): see $dir/console.log"
