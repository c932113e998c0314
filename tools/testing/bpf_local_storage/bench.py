#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""bench.py OUT ACCEL HOST-CPU: the table of `make bench`, from out/bench/*/output."""
import csv
import glob
import re
import statistics
import subprocess
import sys

from results import MEASURED

MARK = 'measured: '
RATE = re.compile(r'^Summary: (?:creates|hits throughput)\s+([\d.]+)')
COST = re.compile(r'^Summary: cost ([\d.]+) ns/op, of it create ([\d.]+)')
ERRORS = re.compile(r'errors (\d+) create_errs (\d+)')


def read(path, data, info):
    """data[benchmark] gets [rate], and the errors of a creation"""
    name = None
    for line in open(path, errors='replace'):
        if line.startswith('=== '):
            name = re.sub(r'-[wd]\d+ |-p 1 |--', '', line[4:].strip())
        elif line.startswith('@failed'):
            data.setdefault(name, ([], []))[1].append('failed')
        elif line.startswith('@'):
            key, _, value = line[1:].partition(' ')
            info[key] = value.strip()
        elif m := MEASURED.match(line):
            data.setdefault(MARK + m[1], ([], []))[0].append(float(m[2]))
        elif m := RATE.match(line):
            data.setdefault(name, ([], []))[0].append(float(m[1]))
        elif m := COST.match(line):
            data.setdefault(name, ([], []))[0].append(float(m[1]))
            data.setdefault(name + ' create', ([], []))[0].append(float(m[2]))
        elif m := ERRORS.search(line):
            data.setdefault(name, ([], []))[1].append(int(m[1]) + int(m[2]))


def cell(rates):
    if not rates:
        return '-', ''
    mid = statistics.median(rates)
    return f'{mid:.3f}', f'{(max(rates) - min(rates)) / 2 / mid * 100:.0f}%' if mid else ''


def errs(values):
    return 'failed' if 'failed' in values else str(sum(values))


def label(name):
    if name.endswith(SCALING):
        return name, 'x'
    if name.startswith(MARK):
        return name.removeprefix(MARK), ''
    if name.startswith(('lookup, ', 'create, ', 'create + ')):
        return name, 'ns'
    if m := re.match(r'local-storage-create storage-type (\w+) batch-size (\d+)', name):
        return f'create {m[1]}, batches of {m[2]}', 'k/s'
    m = re.match(r'nr_maps (\d+) local-storage-cache-(\w+)-get', name)
    if not m:
        return name, ''
    return f'get {"sequential" if m[2] == "seq" else "interleaved"}, {m[1]} maps', 'M/s'


# What local-storage-cost measured: (row, its name, the name of the loop alone, to subtract)
C = 'local-storage-cost'
COSTS = [(f'lookup, {n} maps, {how}', f'op {op} owner-maps {n} {C}', f'op lookup empty {C}')
         for how, op in (('any flags', 'lookup'), ('flags a constant', 'lookup-const'))
         for n in (1, 16, 17, 24, 32, 100, 1000)]
COSTS += [(f'lookup, {n} maps, on a socket', f'op lookup-socket owner-maps {n} {C}',
           f'op lookup-socket empty {C}') for n in (1, 16, 17, 24, 32, 100, 1000)]
COSTS += [('create + delete, on a socket', f'-a op churn-socket no-clock {C}',
           f'-a op churn-socket empty no-clock {C}')]
COSTS += [('lookup, a map that is named', f'op lookup-named {C}', f'op lookup-named empty {C}')]
COSTS += [(f'{what}, {which}', f'op churn owner-maps {n} {C}{part}', f'op churn empty {C}{part}')
          for n, which in ((1, "an owner's only value"), (2, 'one of two values'))
          for what, part in (('create + delete', ''), ('create', ' create'))]


def costs(data):
    """moves what local-storage-cost measured from data to a table of its own"""
    raw = {k: data.pop(k) for k in list(data) if C in k}
    res = {}
    for row, key, loop in COSTS:
        if key in raw:
            less = raw.get(loop, ([],))[0]
            res[row] = [x - statistics.median(less) for x in raw[key][0] if less], raw[key][1]
    for what, op in (('create + delete', 'churn'), ('create + delete on sockets', 'churn-socket'),
                     ('the loop alone', 'churn empty'), ('the loop alone', 'churn-socket empty')):
        one, two = (raw.get(f'{cpus}-a op {op} no-clock {C}', ([], [])) for cpus in ('', '-p 2 '))
        if one[0] and two[0]:
            res[what + SCALING] = [2 * a / b for a, b in zip(one[0], two[0])], two[1]
    res |= {k: data.pop(k) for k in list(data) if k.startswith(MARK)}

    return res


SCALING = ', 2 CPUs over 1'


def table(lines, rows, title, stock, ours):
    lines += ['', title, f'{"":40}{"":>5}{"stock":>11}{"±":>5}{"ours":>11}{"±":>5}'
              f'{"ours/stock":>12}{"errors":>14}']
    failed = False
    for name in stock:
        what, unit = label(name)
        s, o = stock[name], ours.get(name, ([], []))
        diff = ''
        if s[0] and o[0] and statistics.median(s[0]):
            diff = f'{(statistics.median(o[0]) / statistics.median(s[0]) - 1) * 100:+.1f}%'
        err = f'{errs(s[1])} / {errs(o[1])}'
        failed |= 'failed' in err or not o[0]
        a, b = cell(s[0]), cell(o[0])
        lines.append(f'{what:40}{unit:>5}{a[0]:>11}{a[1]:>5}{b[0]:>11}{b[1]:>5}{diff:>12}{err:>14}')
        rows.append([title.split(':')[0], what, unit, *a, *b, diff, errs(s[1]), errs(o[1])])
    return failed


def median(cost, row):
    rates = cost.get(row, ([],))[0]
    return f'{statistics.median(rates):.1f}' if rates else '?'


def picture(out, unit, stock, ours, creations):
    """out/bench.svg and .png: lookup cost by number of maps, creation rates"""
    with open(f'{out}/bench/lookup.dat', 'w') as f:
        for n in 1, 16, 17, 24, 32, 100, 1000:
            row = f'lookup, {n} maps, flags a constant'
            if row in stock:
                print(n, median(stock, row), median(ours, row), file=f)
    with open(f'{out}/bench/create.dat', 'w') as f:
        for name, (a, b) in creations.items():
            print(f'"{name}" 100 {100 * b / a:.1f}', file=f)
    return subprocess.call(['gnuplot', '-e', f'unit = "{unit}"', '/bls/bench.gp'],
                           cwd=f'{out}/bench') != 0


def main():
    out, accel, cpu = sys.argv[1:4]
    lines, rows, info, failed = [], [], {}, False
    rounds = {}
    for mode in 'rate', 'native', 'count':
        for kernel in 'stock', 'ours':
            data = rounds[mode, kernel] = {}
            info[kernel] = {}
            for path in sorted(glob.glob(f'{out}/bench/{mode}-{kernel}-*/output')):
                read(path, data, info[kernel])
    cost = {key: costs(data) for key, data in rounds.items()}
    n = len(glob.glob(f'{out}/bench/rate-ours-*/output'))
    lines += [f'machine:     {cpu}', f'accelerator: {accel}, 2 CPUs, 4 GiB',
              f'stock:       Linux {info["stock"].get("kernel", "?")}',
              f'ours:        Linux {info["ours"].get("kernel", "?")}',
              'configs:     tools/testing/bpf_local_storage/vm.config (both; '
              'out/build/{stock,ours}/.config)']
    failed |= table(lines, rows, f'As the clock has it: median of {n} rounds, stock and ours in '
                    'turn, ± half the spread', rounds['rate', 'stock'], rounds['rate', 'ours'])
    failed |= table(lines, rows, 'One operation, by the clock: as above, the loop around it '
                    'subtracted', cost['rate', 'stock'], cost['rate', 'ours'])
    failed |= table(lines, rows, 'One operation, at native speed: on user-mode Linux, which has no '
                    'JIT', cost['native', 'stock'], cost['native', 'ours'])
    if rounds['count', 'stock']:
        failed |= table(lines, rows, 'As instructions have it: one CPU, one guest instruction is '
                        'one nanosecond (TCG -icount)',
                        rounds['count', 'stock'], rounds['count', 'ours'])
        failed |= table(lines, rows, 'One operation, in instructions',
                        cost['count', 'stock'], cost['count', 'ours'])
    mode, unit = ('count', 'instructions') if rounds['count', 'stock'] else ('rate', 'ns')
    creations = {}
    for name, (rates, _) in rounds[mode, 'stock'].items():
        other = rounds[mode, 'ours'].get(name, ([],))[0]
        if name.startswith('local-storage-create') and rates and other:
            creations[label(name)[0].removeprefix('create ').replace(' of', '')] = (
                statistics.median(rates), statistics.median(other))
    failed |= picture(out, unit, cost[mode, 'stock'], cost[mode, 'ours'], creations)
    print('\n'.join(lines), flush=True)
    with open(f'{out}/bench.csv', 'w', newline='') as f:
        writer = csv.writer(f)
        writer.writerow(['mode', 'benchmark', 'unit', 'stock', 'stock_spread', 'ours',
                         'ours_spread', 'difference', 'stock_errors', 'ours_errors'])
        writer.writerows(rows)
    return failed


sys.exit(main())
