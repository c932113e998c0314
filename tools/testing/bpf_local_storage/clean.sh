#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# clean.sh: removes out/, and only it; nothing is ever mounted there but in namespaces of their
# own, yet a look costs nothing.
. "$(dirname "$0")/lib.sh"
[[ $(id -u) == 0 ]] || die "root is needed, as for making it: run it with sudo"
! grep -q " $OUT/" /proc/self/mounts || die "something is mounted below $OUT: unmount it first"
rm -rf --one-file-system "$OUT"
