#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Reads what the test steps left in out/ and says what passed.

results.py OUT STOCK OURS...: by the first kernel the others are judged. Every subtest of the base
that passes there must pass on ours; what fails or is skipped on both is listed and counted as
skipped, with the reason. Our own tests have to pass on ours. Exit status 1 if anything failed.

results.py OUT: our own tests on stock and on ours, as `make bench` ran them.
"""
import fnmatch
import json
import os
import re
import sys

# What a test of ours reports: "measured: <what>: <value>"
MEASURED = re.compile(r'^(?:\[[^]]*\] )?measured: (.*): (.*)$')
LINE = re.compile(r'^#\d+(?:/\d+)?\s+(\S+?)(?:/(.*))?:(OK|FAIL|SKIP)(.*)$')


def parse(path):
    """{(test, subtest or None): status} of all that was to run"""
    units, cur = {}, None
    asked = dict.fromkeys(open(path.replace('/output', '/tests.list')).read().split())
    for line in open(path, errors='replace'):
        line = line.rstrip('\n')
        if line.startswith('=== exit '):
            asked[cur] = int(line.split()[2])
        elif line.startswith('=== '):
            cur = line[4:]
            if cur != 'end':
                asked[cur] = None
        elif m := LINE.match(line):
            # A failing test prints its lines again at the end, in the error summary.
            units.setdefault((m[1], m[2]), m[3])
    # A test that has subtests counts by them; only its own failure is a unit beside.
    for test in {t for t, s in units if s}:
        subs = [v for (t, s), v in units.items() if t == test and s]
        if units.get((test, None)) != 'FAIL' or 'FAIL' in subs:
            units.pop((test, None), None)
    for test, status in asked.items():
        if test == 'test_maps':
            units[('test_maps', None)] = 'OK' if status == 0 else 'FAIL'
        elif not any(fnmatch.fnmatch(f'{t}/{s}' if s and '/' in test else t, test)
                     for t, s in units):
            units[(test, None)] = 'no result'
        elif status not in (0, 1):
            units[(test, f'exit status {status}')] = 'FAIL'
    return units


def judge(stock, ours):
    """(status, reason) as one kernel's result counts"""
    if ours == 'OK':
        return 'passed', ''
    if ours == stock != 'no result':
        return 'skipped', 'fails on stock too' if ours == 'FAIL' else 'skipped on stock too'
    return 'failed', f'{ours or "did not run"}, on stock: {stock or "did not run"}'


def judge_own(ours):
    if ours in ('OK', 'SKIP'):
        return ('passed', '') if ours == 'OK' else ('skipped', 'see the output for the reason')
    return 'failed', ours or 'did not run'


def measured(path):
    return dict(m.groups() for m in map(MEASURED.match, open(path, errors='replace')) if m)


def show(title, tables, kernels):
    """The table of what passed where"""
    names = sorted({t for table in tables for t, _ in table})
    print(f'{title:36}' + ''.join(f'{k:>14}' for k in kernels))
    for test in names + ['all']:
        row = f'{test:36}'
        for table in tables:
            subs = [v for (t, _), v in table.items() if test in (t, 'all')]
            row += f'{subs.count("OK")}/{len(subs)}'.rjust(14)
        print(row)


def kunit(path):
    """[(name, status)] of every case in kunit.py's JSON"""
    res = []

    def walk(group, where):
        name = f'{where}{group["name"]}'
        for case in group.get('test_cases', []):
            res.append((f'{name}.{case["name"]}', case['status']))
        for sub in group.get('sub_groups', []):
            walk(sub, f'{name}.' if where or group.get('name') else '')
    try:
        walk(json.load(open(path)), '')
    except (OSError, ValueError):
        return [('kunit', 'ERROR')]
    return res or [('kunit', 'no tests')]


def model(path):
    """[(name, status)] of every run of the model"""
    try:
        lines = open(path).read().splitlines()
    except OSError:
        lines = []
    runs = [m.groups() for m in (re.match(r'(\w+) .*: (ok|FAILED)', x) for x in lines) if m]
    return runs if runs and lines[-1].startswith('model: ') else runs + [('model', 'did not end')]


def lint(path):
    """[(name, verdict)] of every check in lint.sh's list"""
    try:
        lines = open(path).read().splitlines()
    except OSError:
        lines = []
    return [tuple(x.split(': ', 1)) for x in lines] or [('lint', 'did not run')]


def own(out, kernels, count, notes):
    """Our own tests on @kernels: what passed, what they measured. Those on stock only show."""
    tables = [parse(f'{out}/vm/own-{k}/output') | parse(f'{out}/vm/no-lsm-{k}/output')
              for k in kernels]
    show('our own (passed/all)', tables, kernels)
    for kernel, table in zip(kernels, tables):
        if kernel.startswith('stock'):
            continue
        for unit in sorted(table, key=str):
            what, why = judge_own(table[unit])
            count[what] += 1
            if what != 'passed':
                notes.append((what, kernel, '/'.join(filter(None, unit)), why))
    values = [measured(f'{out}/vm/own-{k}/output') for k in kernels]
    print(f'\n{"measured by our own":50}' + ''.join(f'{k:>16}' for k in kernels))
    for what in dict.fromkeys(w for v in values[::-1] for w in v):
        print(f'{what:50}' + ''.join(f'{v.get(what, "-"):>16}' for v in values))


def complaints(path, name):
    """Shows what check_log of lib.sh picked from a kernel's log; how many lines there are"""
    lines = open(path, errors='replace').read().splitlines() if os.path.exists(path) else ['?']
    print(f'kernel log, {name}: ' + (f'{len(lines)} complaints' if lines else 'clean'))
    for line in lines[:8]:
        print(f'    {line[:110]}')
    return len(lines)


def logs(out, kernels, lists, count, notes):
    """The kernels' own complaints. Stock's are not ours to answer for."""
    for kernel in kernels:
        for tests in lists:
            bad = complaints(f'{out}/vm/{tests}-{kernel}/complaints', f'{tests}, {kernel}')
            if not kernel.startswith('stock'):
                count['failed' if bad else 'passed'] += 1
                if bad:
                    notes.append(('failed', kernel, f'kernel log, {tests}', 'see above'))


def tell(count, notes, shown):
    """What failed, what was skipped and why, and the last line"""
    for what in 'failed', 'skipped':
        these = [n for n in notes if n[0] == what]
        if these:
            print(f'\n{what}:')
        for _, run, name, why in these:
            print(f'  {run + ":":18} {name}: {why}')
    print(f'\nlogs: {shown}')
    print('{passed} passed, {failed} failed, {skipped} skipped'.format(**count))
    return 1 if count['failed'] or not count['passed'] else 0


def main():
    out, kernels = sys.argv[1], sys.argv[2:]
    shown = os.environ.get('SHOWN_OUT', out)
    count = {'passed': 0, 'failed': 0, 'skipped': 0}
    notes = []
    if not kernels:
        kernels = ['stock', 'ours']
        own(out, kernels, count, notes)
        print()
        logs(out, kernels, ['own', 'no-lsm'], count, notes)
        return tell(count, notes, shown)

    cases = kunit(f'{out}/kunit.json')
    for name, status in cases:
        what = {'PASS': 'passed', 'SKIP': 'skipped'}.get(status, 'failed')
        count[what] += 1
        if what != 'passed':
            notes.append((what, 'KUnit', name, status))
    good = sum(s == 'PASS' for _, s in cases)
    print(f'\nKUnit on user-mode Linux: {good} of {len(cases)} cases pass\n')

    runs_of_model = model(f'{out}/model.txt')
    for name, status in runs_of_model:
        count['passed' if status == 'ok' else 'failed'] += 1
        if status != 'ok':
            notes.append(('failed', 'model', name, status))
    good = sum(s == 'ok' for _, s in runs_of_model)
    print(f'model of who frees what: {good} of {len(runs_of_model)} runs as expected\n')

    checks = lint(f'{out}/lint.txt')
    for name, verdict in checks:
        what = {'ok': 'passed', 'skipped': 'skipped'}.get(verdict.split()[0], 'failed')
        count[what] += 1
        if what != 'passed':
            notes.append((what, 'lint', name, verdict))
    good = sum(v == 'ok' for _, v in checks)
    print(f'lint: {good} of {len(checks)} quick checks pass\n')

    tables = [parse(f'{out}/vm/tests-{k}/output') for k in kernels]
    show('selftest (passed/all)', tables, kernels)
    for kernel, table in zip(kernels[1:], tables[1:]):
        for unit in sorted(set(tables[0]) | set(table), key=str):
            what, why = judge(tables[0].get(unit), table.get(unit))
            count[what] += 1
            if what != 'passed':
                notes.append((what, kernel, '/'.join(filter(None, unit)), why))

    print()
    own(out, kernels[1:], count, notes)
    print()
    if complaints(f'{out}/kunit.complaints', 'KUnit'):
        count['failed'] += 1
        notes.append(('failed', 'KUnit', 'kernel log', 'see above'))
    else:
        count['passed'] += 1
    logs(out, kernels[:1], ['tests'], count, notes)
    logs(out, kernels[1:], ['tests', 'own', 'no-lsm'], count, notes)

    return tell(count, notes, shown)


if __name__ == '__main__':
    sys.exit(main())
