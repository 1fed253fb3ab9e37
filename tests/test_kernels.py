"""What `make test-kernel` takes for a self-test in which all was well."""
from pathlib import Path

import pytest

from xen import selftest

HOST = '''\
Open vSwitch   3.1.0
datapath       %s (the kernel's)
kernel         6.1.0-57-amd64
'''
KERNELS = HOST % 'system@ovs-system'
GOOD = 'Everything is as it should be. (85 s)'
BAD = 'NOT everything is as it should be: 2 of 30 differ. (85 s)'


@pytest.mark.parametrize('written, said', (
    (KERNELS + GOOD, GOOD),
    (KERNELS + BAD + '\nexit code 1', BAD),
    (KERNELS, 'it came to no end'),
    ('', 'it came to no end'),
    ('exit code 2', 'exit code 2'),
    (HOST % 'netdev@ovs-netdev' + GOOD, "not on the kernel's datapath"),
    (KERNELS + 'Traceback\nexit code 1', 'exit code 1')))
def test_verdict(tmp_path: Path, written: str, said: str) -> None:
    out = tmp_path / 'out'
    out.write_text(written)
    assert selftest.judge(str(out), 'bookworm', 1.0).said == said


def test_a_run_that_wrote_nothing_has_the_name_of_its_release(tmp_path: Path) -> None:
    row = selftest.judge(str(tmp_path / 'out'), 'bullseye/trixie', 1.0)
    assert row == ('bullseye/trixie', '', 'it came to no end', 1.0)
