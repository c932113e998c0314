#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Reads what the test steps left in out/ and says what passed.

results.py OUT KERNEL...: the first kernel is stock, by which the others are judged. Every subtest
of the base that passes there must pass on ours; what fails or is skipped on both is listed and
counted as skipped, with the reason. Our own tests have to pass on ours; what they say of stock
is shown beside it. Exit status 1 if anything failed.
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
    return [m.groups() for m in (re.match(r'(\w+) .*: (ok|FAILED)', x) for x in lines) if m] \
        or [('model', 'did not run')]


def lint(path):
    """[(name, verdict)] of every check in lint.sh's list"""
    try:
        lines = open(path).read().splitlines()
    except OSError:
        lines = []
    return [tuple(x.split(': ', 1)) for x in lines] or [('lint', 'did not run')]


def main():
    out, kernels = sys.argv[1], sys.argv[2:]
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

    tables = [parse(f'{out}/vm/own-{k}/output') | parse(f'{out}/vm/no-lsm-{k}/output')
              for k in kernels]
    print()
    show('our own (passed/all)', tables, kernels)
    for kernel, table in zip(kernels[1:], tables[1:]):
        # What has subtests here, but on stock did not come to them, counts by these.
        ran = {t for t, s in table if s}
        for unit in sorted({u for u in tables[0] if u[1] or u[0] not in ran} | set(table), key=str):
            what, why = judge_own(table.get(unit))
            count[what] += 1
            if what != 'passed':
                notes.append((what, kernel, '/'.join(filter(None, unit)), why))
    values = [measured(f'{out}/vm/own-{k}/output') for k in kernels]
    print(f'\n{"measured by our own":50}' + ''.join(f'{k:>16}' for k in kernels))
    for what in dict.fromkeys(w for v in values[::-1] for w in v):
        print(f'{what:50}' + ''.join(f'{v.get(what, "-"):>16}' for v in values))
    print()

    # The kernel's own complaints: check_log of lib.sh has picked the lines.
    # Stock's are not ours to answer for.
    logs = {'kunit': f'{out}/kunit.complaints'}
    for kernel in kernels:
        for tests in 'tests', 'own', 'no-lsm':
            logs[f'{tests}, {kernel}'] = f'{out}/vm/{tests}-{kernel}/complaints'
    for name, path in logs.items():
        lines = open(path, errors='replace').read().splitlines() if os.path.exists(path) else ['?']
        print(f'kernel log, {name}: ' + (f'{len(lines)} complaints' if lines else 'clean'))
        for line in lines[:8]:
            print(f'    {line[:110]}')
        if not name.endswith(f', {kernels[0]}'):
            count['failed' if lines else 'passed'] += 1
            if lines:
                notes.append(('failed', name, 'kernel log', lines[0][:80]))

    for what in 'failed', 'skipped':
        these = [n for n in notes if n[0] == what]
        if these:
            print(f'\n{what}:')
        for _, run, name, why in these:
            print(f'  {run + ":":18} {name}: {why}')
    print(f'\nlogs: {os.environ.get("SHOWN_OUT", out)}')
    print('{passed} passed, {failed} failed, {skipped} skipped'.format(**count))
    return 1 if count['failed'] or not count['passed'] else 0


if __name__ == '__main__':
    sys.exit(main())
