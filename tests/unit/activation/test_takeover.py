"""What makes the hooks ours, and who does not know yet."""
import pytest

from xsisolate.activation.desired import (UDEV_FILE, UDEV_TEXT, Pending, desired_files,
                                          desired_rules, must_restart, switch)
from xsisolate.paths import OURS

STARTED, LATER = '17 400', '99 900'     # two xenopsds


def test_either_way_it_is_the_same_files() -> None:
    mine, nobodys = desired_files(True, 'ovs'), desired_files(False, 'ovs')
    assert mine.keys() == nobodys.keys() and len(mine) == 4
    assert all(mine.values()) and not any(nobodys.values())


def test_xenopsd_is_told_absolute_paths_of_both_scripts() -> None:
    """In both folders: which one it reads depends on its release."""
    texts = {text for path, text in desired_files(True, '').items() if '/xenopsd' in path}
    assert len(texts) == 1
    lines = [line for line in str(texts.pop()).splitlines() if not line.startswith('#')]
    assert lines == ['setup-vif-rules=%s/setup-vif-rules' % OURS, 'vif-script=%s/vif' % OURS]


def test_the_udev_file_sorts_after_the_stock_one() -> None:
    assert UDEV_FILE.rpartition('/')[2] > 'xen-backend.rules'
    rules = UDEV_TEXT.replace('\\\n', '').splitlines()[2:]
    assert len(rules) == 2 and all(' RUN="%s/vif ' % OURS in rule for rule in rules)


def test_keys() -> None:
    assert desired_rules(True) == '/usr/libexec/xsisolate/setup-vif-rules'
    assert desired_rules(False) == '/usr/libexec/xenopsd/setup-vif-rules'


@pytest.mark.parametrize('changes, waits', [
    ([(STARTED, True)], True), ([(STARTED, False)], True),
    ([(STARTED, True), (STARTED, False)], False),       # it has never noticed
    ([(STARTED, False), (STARTED, True)], False),
    ([(STARTED, True), (STARTED, False), (STARTED, True)], True),
    ([(STARTED, True), (LATER, False)], True),          # a restart in between: it has
    ([(STARTED, False), (LATER, True)], True),
    ([('', True)], False)])                             # none runs
def test_who_must_be_restarted(changes, waits) -> None:
    pending = Pending()
    for xenopsd, active in changes:
        pending = switch(pending, xenopsd, active)
        assert not pending[active]      # nobody waits for what is not so any more
    assert must_restart(pending, changes[-1][0]) is waits
    assert not must_restart(pending, '7 7') and not must_restart(pending, '')
