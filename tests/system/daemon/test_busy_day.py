"""A day of 200 VIFs that are refused much, played: what the recorder keeps of it is bounded.

`make measure` has a look every 45 seconds, as on a host whose looks take long, and shows figures.
"""
import json
import os
import subprocess
from pathlib import Path
from statistics import median

import pytest
from sandbox.daemon import PATH
from sandbox.hooks import REPOSITORY
from sandbox.pythons import for_hooks

from support.busy_day import KINDS_MAX, VIFS
from xsisolate.dom0.run_files.refused import FILE
from xsisolate.planner.refusal_book import ALL_ROWS_MAX, ROWS_MAX

FILE_MAX = 4 << 20          # what is read of a file is 8 MiB
MEMORY_KIB, GROWN_KIB = 64 << 10, 6 << 10
FULL = 15                   # the hour in which it is full, and the recorder has begun anew


@pytest.mark.parametrize('step', [600, pytest.param(45, marks=pytest.mark.scale)])
def test_a_busy_day(tmp_path: Path, step: int) -> None:
    os.makedirs(os.path.dirname(str(tmp_path) + FILE))
    environ = {'PATH': PATH, 'LC_ALL': 'C', 'XSISOLATE_ROOT': str(tmp_path),
               'PYTHONPATH': ':'.join(os.path.join(REPOSITORY, name) for name in ('lib', 'tests'))}
    done = json.loads(subprocess.check_output(
        [for_hooks(), '-m', 'support.busy_day', str(step)], env=environ, cwd='/', timeout=500))
    hours = done['hours']
    assert len(hours) == 24
    for hour in hours:
        assert hour['rows'] <= ALL_ROWS_MAX and KINDS_MAX <= hour['most'] <= ROWS_MAX
        assert hour['quiet'] and hour['owners'] == VIFS       # nobody is pushed out
        assert hour['file'] < FILE_MAX and hour['memory'] < MEMORY_KIB
        assert hour['frames'] == hour['said']                 # whatever has become of the rows
    assert hours[-1]['memory'] - hours[FULL]['memory'] < GROWN_KIB
    assert done['gap'] and done['left'] == 0 and done['sums'] > VIFS
    print('\n%d looks: median %.0f ms, at most %.0f ms of CPU and file; %d rows, %d KiB in the file'
          ', %d lines of syslog; memory after 8, 16 and 24 hours: %s MiB' % (
              86400 // step, 1000 * median(hour['look'] for hour in hours[FULL:]),
              1000 * max(hour['longest'] for hour in hours), hours[-1]['rows'],
              max(hour['file'] for hour in hours) >> 10, hours[-1]['lines'],
              ', '.join('%.0f' % (hours[at]['memory'] / 1024) for at in (7, 15, 23))))
