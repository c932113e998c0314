#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""profile.py OUT: where the instructions go, from out/bench/profile-KERNEL-CASE/profile.

The counts are profile.c's. By the source file of each function, as the kernel's debug information
has it. Exit status 1 if one is missing.
"""
import bisect
import collections
import re
import subprocess
import sys

# What is shown as one. The lock's uncontended path is inlined, and counts where it is.
ONE_CPU = {'only': 'task, only value', 'two': 'task, one of two', 'socket': 'socket and value'}
TWO_CPUS = {'task': 'new task and value'}
GROUPS = [(r'bpf_(local|task|cgrp|inode|sk)_storage',
           'local storage, with its locks'),
          (r'mm/slub|mm/slab', 'allocator: slabs'),
          (r'mm/page_alloc|mm/vmstat', 'allocator: pages'),
          (r'^mm/|lib/maple_tree|arch/x86/mm', 'the rest of mm'),
          (r'arch/x86/lib/(memset|clear_page)', 'memset (each byte is an instruction)'),
          (r'kernel/bpf|net/bpf', 'the rest of BPF'),
          (r'kernel/rcu', 'RCU'),
          (r'^(net|fs|security)/', 'sockets, files, LSM'),
          (r'kernel/locking', 'other locks'),
          (r'kernel/sched|kernel/workqueue|kernel/kthread', 'scheduler and workqueues'),
          (r'kernel/time|arch/x86/kernel/(tsc|apic)|kernel/irq', 'clock and timers')]
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


def profile(out, kernel, case):
    """{group: instructions of an operation}"""
    build = f'{out}/build/{kernel}'
    known = functions(build)
    by_function, counts = collections.Counter(), collections.Counter()
    lines = open(f'{out}/bench/profile-{kernel}-{case}/profile').read().splitlines()
    for line in lines[1:]:
        address, n = int(line.split()[0], 16), int(line.split()[1])
        if address < 1 << 63:
            counts[USER] += n
        elif address > known[-1][0]:
            counts[PROGRAM] += n
        else:
            by_function[known[bisect.bisect(known, (address, '~')) - 1][0]] += n
    for address, path in files(build, list(by_function)).items():
        counts[group(path)] += by_function[address]
    return {name: n / int(lines[0]) for name, n in counts.items()}


def show(out, title, cases):
    found = [profile(out, k, case) for case in cases for k in ('stock', 'ours')]
    print(f'\n{title}')
    print(f'{"":36}' + ''.join(f'{case:>22}' for case in cases.values()))
    print(f'{"":36}' + f'{"stock":>13}{"ours":>9}' * len(cases))
    rows = sorted(set().union(*found), key=lambda g: -sum(f.get(g, 0) for f in found))
    for row in rows + ['all']:
        values = [sum(f.values()) if row == 'all' else f.get(row, 0) for f in found]
        print(f'{row:36}' + ''.join(f'{a:13.0f}{b:9.0f}'
                                    for a, b in zip(values[::2], values[1::2])))


def main():
    try:
        show(sys.argv[1], 'Where the instructions go, with the loop around', ONE_CPU)
        show(sys.argv[1], 'The same of two CPUs, which also tick, wait and idle meanwhile',
             TWO_CPUS)
    except OSError as err:
        print(f'no profile: {err}')
        return 1
    return 0


sys.exit(main())
