#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""profile.py OUT COUNT: where the instructions go, from out/bench/profile-KERNEL-MAPS/profile.

The counts are profile.c's, over COUNT operations. By the source file of each function, as the
kernel's debug information has it. Exit status 1 if one is missing.
"""
import bisect
import collections
import re
import subprocess
import sys

# What is shown as one. The lock's uncontended path is inlined, and counts where it is.
GROUPS = [(r'kernel/bpf/bpf_(local|task)_storage|include/linux/bpf_local_storage',
           'local storage, with its locks'),
          (r'mm/slub|mm/slab', 'allocator: slabs'),
          (r'mm/page_alloc|mm/vmstat', 'allocator: pages'),
          (r'arch/x86/lib/(memset|clear_page)', 'memset (each byte is an instruction)'),
          (r'kernel/bpf|net/bpf', 'the rest of BPF'),
          (r'kernel/rcu', 'RCU'),
          (r'kernel/locking', 'other locks'),
          (r'kernel/sched|kernel/workqueue|kernel/kthread', 'scheduler and workqueues'),
          (r'kernel/time|arch/x86/kernel/(tsc|apic)|kernel/irq', 'clock, as the loop reads it')]
PROGRAM, USER, REST = 'the program itself', 'user space', 'the rest'


def functions(build):
    """[(address, name)] of the kernel's functions, sorted"""
    lines = map(str.split, open(f'{build}/System.map'))
    return sorted((int(address, 16), name) for address, kind, name in lines if kind in 'tTwW')


def files(build, addresses):
    """{address: source file}"""
    text = subprocess.run(['addr2line', '-e', f'{build}/vmlinux'], text=True, check=True,
                          input='\n'.join(map(hex, addresses)), stdout=subprocess.PIPE).stdout
    return dict(zip(addresses, (f.split(':')[0].removeprefix('/linux/')
                                for f in text.splitlines())))


def group(path):
    return next((name for pattern, name in GROUPS if re.search(pattern, path)), REST)


def profile(out, kernel, maps):
    """{group: instructions}"""
    build = f'{out}/build/{kernel}'
    known = functions(build)
    by_function, counts = collections.Counter(), collections.Counter()
    for line in open(f'{out}/bench/profile-{kernel}-{maps}/profile'):
        address, n = int(line.split()[0], 16), int(line.split()[1])
        if address < 1 << 63:
            counts[USER] += n
        elif address > known[-1][0]:
            counts[PROGRAM] += n
        else:
            by_function[known[bisect.bisect(known, (address, '~')) - 1][0]] += n
    for address, path in files(build, list(by_function)).items():
        counts[group(path)] += by_function[address]
    return counts


def main():
    out, ops = sys.argv[1], int(sys.argv[2])
    columns = [(kernel, maps) for maps in (1, 2) for kernel in ('stock', 'ours')]
    try:
        found = [profile(out, k, m) for k, m in columns]
    except OSError as err:
        print(f'no profile: {err}')
        return 1
    print(f'\nWhere the instructions of create + delete go, {ops} of them counted one by one, with '
          'the loop around\n'
          f'{"":40}{"an owner" + chr(39) + "s only value":>22}{"one of two values":>22}\n'
          f'{"":40}' + ''.join(f'{k:>11}' for k, _ in columns))
    rows = sorted(set().union(*found), key=lambda g: -sum(f[g] for f in found))
    for row in rows + ['all']:
        print(f'{row:40}' + ''.join(
            f'{(f.total() if row == "all" else f[row]) / ops:11.1f}' for f in found))
    return 0


sys.exit(main())
