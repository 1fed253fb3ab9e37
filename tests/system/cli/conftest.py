"""A root for commands that need no Dom0 around them, and a Dom0 where much is refused."""
import os
from contextlib import suppress
from pathlib import Path

import pytest

from sandbox.dom0 import Sandbox

from support.refusing_town import CONFIG, Town
from xsisolate.dom0.run_files.refused import FILE


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put Dom0's files below a folder of the test's own."""
    folder = tmp_path / 'root'
    folder.mkdir()
    monkeypatch.setenv('XSISOLATE_ROOT', str(folder))
    return folder


@pytest.fixture(scope='module')
def refusing_town(host: Sandbox) -> Town:
    """VMs whose policies refuse much, on a switch that records it."""
    host.configure(CONFIG)
    return Town(host)


@pytest.fixture
def town(refusing_town: Town) -> Town:
    """The same with nothing recorded yet; modules about other towns have their own."""
    refusing_town.forget()
    with suppress(FileNotFoundError):
        os.unlink(FILE)
    return refusing_town
