#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""soak.py OUT STOCK OURS: what the load of soak.sh left behind on the two kernels, side by side,
and what else soak.sh ran. Only what is ours can fail. Exit status 1 if anything did.
"""
import os
import re
import sys

from results import judge_own, kunit, model, parse

LEFT = re.compile(r'^(?:\[[^]]*\] )?left: (-?\d+) (.*)$')
OURS = re.compile(r'bpf_local_storage|bpf_selem|bpf_(sk|task|cgrp|inode)_storage')
SIZE = re.compile(r'^@ kmalloc.*-(\d+)(k?)$')


def lines(path):
    try:
        return open(path, errors='replace').read().splitlines()
    except OSError:
        return None


def leaks(path):
    """(objects, bytes) of kmemleak's report with local storage in the backtrace"""
    text = lines(path)
    if text is None:
        return None
    reports = ('\n' + '\n'.join(text)).split('\nunreferenced object ')[1:]
    sizes = [int(re.search(r'\(size (\d+)\)', r)[1]) for r in reports if OURS.search(r)]
    return len(sizes), sum(sizes)


def allocated(path):
    """(objects, bytes) that local storage allocated and that are still there"""
    text = lines(path)
    if text is None:
        return None
    objects = total = size = count = 0
    for line in text:
        if m := SIZE.match(line):
            size = int(m[1]) * (1024 if m[2] else 1)
        elif m := re.match(r'^ *(\d+) \S', line):
            count = int(m[1])
        # Its own line or a frame below: each allocation counts once.
        if count and OURS.search(line):
            objects, total, count = objects + count, total + count * size, 0
    return objects, total


def figures(out, kernel):
    """{what: number or None} of one kernel"""
    res, where = {}, f'{out}/vm/soak-{kernel}'
    for m in map(LEFT.match, lines(f'{where}/output') or []):
        if m:
            res[m[2]] = res.get(m[2], 0) + int(m[1])
    for what, pair in ('allocated and never freed', allocated(f'{where}/allocated')), \
                      ('without a reference (kmemleak)', leaks(f'{where}/kmemleak')):
        res[f'objects {what}'], res[f'bytes {what}'] = pair or (None, None)
    log = lines(f'{where}/complaints')
    res["lines of complaint in the kernel's log"] = None if log is None else len(log)
    return res


def main():
    out, kernels = sys.argv[1], sys.argv[2:]
    ours = kernels[-1]
    count = {'passed': 0, 'failed': 0, 'skipped': 0}
    notes = []

    def judge(what, name, why=''):
        count[what] += 1
        if what != 'passed':
            notes.append(f'{what}: {name}: {why}')

    both = [figures(out, k) for k in kernels]
    units = [parse(f'{out}/vm/soak-{k}/output') for k in kernels]
    print(f'\n{"load, then all closed":44}' + ''.join(f'{k:>20}' for k in kernels))
    print(f'{"subtests passed/all":44}' + ''.join(
        f'{sum(v == "OK" for v in u.values())}/{len(u)}'.rjust(20) for u in units))
    for what in dict.fromkeys(w for f in both[::-1] for w in f):
        print(f'{what:44}' + ''.join(
            ('-' if f.get(what) is None else str(f[what])).rjust(20) for f in both))
    for kernel in kernels:
        for line in (lines(f'{out}/vm/soak-{kernel}/complaints') or [])[:8]:
            print(f'    {kernel}: {line[:100]}')

    for unit, status in sorted(units[-1].items(), key=str):
        judge(*judge_own(status)[:1], '/'.join(filter(None, unit)), status)
    for what, value in both[-1].items():
        judge('failed' if value is None or value else 'passed', f'{ours}: {what}', value)

    for title, cases in ('model', model(f'{out}/model.txt')), ('KUnit', kunit(f'{out}/kunit.json')):
        good = {'ok', 'PASS'}
        print(f'\n{title}: {sum(s in good for _, s in cases)} of {len(cases)}')
        for name, status in cases:
            judge('passed' if status in good else 'skipped' if status == 'SKIP' else 'failed',
                  f'{title}: {name}', status)
    log = lines(f'{out}/kunit.complaints')
    judge('failed' if log is None or log else 'passed', "KUnit: kernel's log", log)

    print('\n' + '\n'.join(notes) + f'\nlogs: {os.environ.get("SHOWN_OUT", out)}')
    print('{passed} passed, {failed} failed, {skipped} skipped'.format(**count))
    return 1 if count['failed'] or not count['passed'] else 0


sys.exit(main())
