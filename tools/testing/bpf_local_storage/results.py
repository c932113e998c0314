#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Reads what the test steps left in out/ and says what passed.

results.py OUT RUN...: the first run is the stock kernel, by which the others are judged. Every
subtest that passes there must pass on ours; what fails or is skipped on both is listed and
counted as skipped, with the reason. Exit status 1 if anything failed.
"""
import fnmatch
import json
import os
import re
import sys

LINE = re.compile(r'^#\d+(?:/\d+)?\s+(\S+?)(?:/(.*))?:(OK|FAIL|SKIP)(.*)$')


def parse(path):
    """{(test, subtest or None): status} and {asked test: exit status}"""
    units, asked, cur = {}, {}, None
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
    return [m.groups() for m in (re.match(r'(\w+) .*: (ok|FAILED)', x) for x in lines) if m] \
        or [('model', 'did not run')]


def main():
    out, runs = sys.argv[1], sys.argv[2:]
    count = {'passed': 0, 'failed': 0, 'skipped': 0}
    notes = []

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

    tables = [parse(f'{out}/vm/tests-{r}/output') for r in runs]
    stock = tables[0]
    names = sorted({t for table in tables for t, _ in table})
    print(f'{"selftest (passed/all)":36}' + ''.join(f'{r:>14}' for r in runs))
    for test in names:
        row = f'{test:36}'
        for table in tables:
            subs = [v for (t, _), v in table.items() if t == test]
            row += f'{subs.count("OK")}/{len(subs)}'.rjust(14)
        print(row)
    row = f'{"all":36}'
    for table in tables:
        row += f'{list(table.values()).count("OK")}/{len(table)}'.rjust(14)
    print(row)

    for run, table in zip(runs[1:], tables[1:]):
        for unit in sorted(set(stock) | set(table), key=str):
            what, why = judge(stock.get(unit), table.get(unit))
            count[what] += 1
            if what != 'passed':
                notes.append((what, run, '/'.join(filter(None, unit)), why))

    # The kernel's own complaints: check_log of lib.sh has picked the lines.
    for run in ['kunit'] + runs:
        path = f'{out}/vm/tests-{run}/complaints' if run in runs else f'{out}/kunit.complaints'
        lines = open(path, errors='replace').read().splitlines() if os.path.exists(path) else ['?']
        print(f'kernel log, {run}: ' + (f'{len(lines)} complaints' if lines else 'clean'))
        for line in lines[:8]:
            print(f'    {line[:110]}')
        if run != runs[0]:
            count['failed' if lines else 'passed'] += 1
            if lines:
                notes.append(('failed', run, 'kernel log', lines[0][:80]))

    for what in 'failed', 'skipped':
        these = [n for n in notes if n[0] == what]
        if these:
            print(f'\n{what}:')
        for _, run, name, why in these:
            print(f'  {run + ":":12} {name}: {why}')
    print(f'\nlogs: {os.environ.get("SHOWN_OUT", out)}')
    print('{passed} passed, {failed} failed, {skipped} skipped'.format(**count))
    return 1 if count['failed'] or not count['passed'] else 0


sys.exit(main())
