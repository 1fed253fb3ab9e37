"""Files that are there whole or not at all."""
import os

import pytest
from xsisolate.dom0.linux.atomic_file import put_file, read_file
from xsisolate.errors import HostError


def names(folder):
    return sorted(os.path.relpath(str(path), str(folder)) for path in folder.rglob('*'))


def test_written_and_removed(tmp_path):
    path = str(tmp_path / 'folder/file')
    assert read_file(path) is None and not put_file(path, None) and names(tmp_path) == []
    assert put_file(path, 'one\n') and read_file(path) == 'one\n'
    assert os.stat(path).st_mode & 0o777 == 0o644
    before = os.stat(path).st_ino
    assert not put_file(path, 'one\n') and os.stat(path).st_ino == before
    assert put_file(path, 'other\n') and os.stat(path).st_ino != before
    assert names(tmp_path) == ['folder', 'folder/file']
    assert put_file(path, None) and names(tmp_path) == ['folder']


def test_a_large_one_that_says_the_same(tmp_path):
    """The members of a group may have 4 MB."""
    path = str(tmp_path / 'file')
    assert put_file(path, 'x' * (4 << 20)) and not put_file(path, 'x' * (4 << 20))


def test_nothing_half_written_is_inside(tmp_path, monkeypatch):
    """xenopsd reads every file of its folder, whatever the name."""
    path, seen = str(tmp_path / 'folder/file'), []
    monkeypatch.setattr(os, 'fsync', lambda number: seen.extend(names(tmp_path)))
    put_file(path, 'one')
    assert seen == ['folder', 'folder.file.new']


def test_what_cannot_be_written(tmp_path, monkeypatch):
    def refuse(*args):
        raise OSError(28, 'No space left on device')
    path = str(tmp_path / 'folder/file')
    put_file(path, 'one')
    monkeypatch.setattr(os, 'fsync', refuse)
    with pytest.raises(HostError, match='folder/file: cannot be written: No space'):
        put_file(path, 'other')
    assert read_file(path) == 'one' and names(tmp_path) == ['folder', 'folder/file']
    with pytest.raises(HostError, match='folder: cannot be read: Is a directory'):
        put_file(str(tmp_path / 'folder'), 'other')
