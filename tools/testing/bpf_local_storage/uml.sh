#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# uml.sh KERNEL NAME LIMIT: as vm.sh, on the user-mode kernel out/build/KERNEL-uml: at native speed,
# without a JIT and tracing. The selftests are in /linux.
. "$(dirname "$0")/lib.sh"
kernel=$1 name=$2 limit=$3
dir=$OUT/vm/$name
[[ -x $OUT/build/$kernel-uml/linux ]] || die "there is no kernel in out/build/$kernel-uml"
cat > "$dir/start" << 'END'
#!/bin/sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t tmpfs tmpfs /run
ip link set lo up
dir=$(sed -n 's/.*bls.dir=\([^ ]*\).*/\1/p' /proc/cmdline)
bash "$dir/job" > "$dir/output" 2>&1
echo $? > "$dir/status"
busybox poweroff -f
END
chmod +x "$dir/start"
rm -f "$dir"/{output,status}
touch "$dir/output"
# The guest's root is the toolbox as the host shows it, read-only; its job writes to /out.
box "$OUT/selftests" "$OUT/build/$kernel-uml" sh -c '
	exec timeout -k 5 "$1" /build/linux mem=1G ncpus=2 seccomp=on root=/dev/root \
		rootfstype=hostfs rootflags=/ rw "init=/out/vm/$2/start" "bls.dir=/out/vm/$2" con=null \
		con0=null,fd:1' - "$limit" "$name" < /dev/null > "$dir/console.log" 2>&1 &
pid=$!
trap 'reap "$pid"' EXIT
tail -n +1 --pid=$pid -s 0.5 -F "$dir/output" 2> /dev/null |
	grep --line-buffered -E "${SHOW:-.}" | sed -u 's/^\(.\{100\}\).*/\1/' || true
wait $pid || true
[[ $(cat "$dir/status" 2> /dev/null) == 0 ]] ||
	die "$kernel-uml, $name: the guest ended early, or the job failed: see $dir"
