"""A root for commands that need no Dom0 around them."""
from pathlib import Path

import pytest


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put Dom0's files below a folder of the test's own."""
    folder = tmp_path / 'root'
    folder.mkdir()
    monkeypatch.setenv('XSISOLATE_ROOT', str(folder))
    return folder
