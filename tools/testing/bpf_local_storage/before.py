#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""before.py OUT ROUNDS KERNEL...: the table of `make before`, from out/before/*/output.

Medians of the rounds. Exit status 1 if a kernel has not given a figure in each.
"""
import collections
import re
import statistics
import sys

from results import MEASURED

RATE = re.compile(r'^Summary: creates\s+([\d.]+)')
WHAT = [f'{kind}, NULL/EBUSY/EAGAIN/other of' for kind in ('task', 'cgroup', 'inode', 'socket')]
WHAT += ['creations that fail in a race, of', 'create socket, batches of 32, k/s',
         'create task, batches of 32, k/s']


def read(path, found):
    """found[what] gets a list of this round's numbers; the kernel's name"""
    kernel, what = '?', None
    for line in open(path, errors='replace'):
        if line.startswith('@kernel '):
            kernel = line.split()[1].split('-')[0]
        elif line.startswith('=== '):
            what = line[4:].strip()
        elif m := RATE.match(line):
            found[what].append([float(m[1])])
        elif m := MEASURED.match(line):
            found[m[1]].append([int(x) for x in m[2].split('/')])
    return kernel


def cell(rounds):
    """the median of each number, and the spread where there is but one"""
    middle = '/'.join(f'{statistics.median(column):g}' for column in zip(*rounds))
    if len(rounds[0]) > 1:
        return middle
    return f'{middle} ± {(max(rounds)[0] - min(rounds)[0]) / 2:.3g}'


def main():
    out, nr_rounds, kernels = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
    found, titles, missing = {}, [], False
    for k in kernels:
        found[k] = collections.defaultdict(list)
        paths = [f'{out}/before/all-{k}-{i + 1}/output' for i in range(nr_rounds)]
        titles.append(f'{k}: {", ".join({read(p, found[k]) for p in paths})}')
    print(f'\n{f"medians of {nr_rounds} rounds, 2 CPUs":48}' + ''.join(f'{t:>22}' for t in titles))
    for what in WHAT:
        name = max((w for f in found.values() for w in f if w.startswith(what)), default=what)
        row = f'{name:48}'
        for f in found.values():
            missing |= len(f[name]) != nr_rounds
            row += f'{cell(f[name]) if f[name] else "-":>22}'
        print(row)
    print('\n6.12 differs from the others in much more than local storage.')
    if missing:
        print('Figures are missing: see the output of each round in out/before')
    return missing


if __name__ == '__main__':
    sys.exit(main())
