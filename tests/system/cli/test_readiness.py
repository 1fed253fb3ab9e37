"""What speaks against `activate`: each reason said once."""
from pathlib import Path
from typing import List

import pytest
from xsisolate.activation import preconditions

pytestmark = pytest.mark.any_python


def complaints(monkeypatch: pytest.MonkeyPatch) -> List[str]:
    """Return what is said of our hooks."""
    monkeypatch.setattr(preconditions, '_strangers', lambda: iter(()))
    return list(preconditions.against_activating())


def test_hooks_that_are_not_installed_are_named_once(monkeypatch: pytest.MonkeyPatch,
                                                     tmp_path: Path) -> None:
    """Without the package its path was said three times a hook, and the package not at all."""
    monkeypatch.setattr(preconditions, 'OURS', str(tmp_path / 'ours'))
    said, = complaints(monkeypatch)
    assert said == ('%s has no setup-vif-rules and no vif: install the package xsisolate on this '
                    'host' % (tmp_path / 'ours'))


def test_a_hook_that_cannot_be_started_is_named_once(monkeypatch: pytest.MonkeyPatch,
                                                     tmp_path: Path) -> None:
    monkeypatch.setattr(preconditions, 'OURS', str(tmp_path))
    for name in ('setup-vif-rules', 'vif'):
        (tmp_path / name).write_text('#!/nowhere/python3\n')
        (tmp_path / name).chmod(0o755)
    said = complaints(monkeypatch)
    assert len(said) == 2 and all(line.count(str(tmp_path)) == 1 for line in said), said
