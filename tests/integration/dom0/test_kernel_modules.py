"""Which modules a kernel has, by the lists that depmod writes."""
import os
from typing import Optional

import pytest
from xsisolate.dom0.linux.kernel_modules import has_module

DEP = 'kernel/net/netfilter/nf_conntrack.ko:\nkernel/net/nf_conntrack_tftp.ko.xz: kernel/a.ko\n'


@pytest.mark.parametrize('name, dep, builtin, found', [
    ('nf_conntrack_tftp', DEP, '', True), ('nf_conntrack_ftp', DEP, '', False),
    ('nf_conntrack_ftp', '', 'kernel/net/nf-conntrack-ftp.ko\n', True),
    ('a', DEP, '', False), ('nf_conntrack', DEP, None, None), ('x', None, '', None)])
def test_modules(tmp_path, monkeypatch, name: str, dep: Optional[str], builtin: Optional[str],
                 found: Optional[bool]) -> None:
    folder = tmp_path / 'lib' / 'modules' / os.uname().release
    folder.mkdir(parents=True)
    for text, file in ((dep, 'modules.dep'), (builtin, 'modules.builtin')):
        if text is not None:
            (folder / file).write_text(text)
    monkeypatch.setenv('XSISOLATE_ROOT', str(tmp_path))
    assert has_module(name) is found
