"""Xen Orchestra's own client is content with the fake hosts: what only we speak proves little.

`make setup` installs it from the npm registry as package-lock.json has it.
"""
import json
import os
import subprocess
from pathlib import Path

from sandbox.barepool import BarePool
from sandbox.hooks import REPOSITORY
from sandbox.xapidb import PASSWORD
from sandbox.xvastream import PIECE

from support.vm_mover import until
from support.xva_file import read_xva, xxh64

MODULES = os.path.join(REPOSITORY, '.cache', 'xo')
CLIENT = os.path.join(os.path.dirname(__file__), 'xo', 'client.mjs')


def test_it_logs_in_follows_events_exports_and_imports(alpha: BarePool, beta: BarePool,
                                                       tmp_path: Path) -> None:
    """Over a redirection on both sides; with its own way to send a body of unknown length."""
    assert os.path.isdir(MODULES + '/node_modules/xen-api'), 'run `make setup` first'
    for pool in (alpha, beta):
        pool.db.set('host', pool.hosts[1], address='%s:%d' % (pool.member(1), pool.port))
        pool.sends_to = '%s:%d' % (pool.member(1), pool.port)
    web = alpha.add_vm('web', (8 * PIECE, 3 * PIECE + 512), used=5)
    path = tmp_path / 'web.xva'
    done = subprocess.run(
        ['node', CLIENT, MODULES, 'https://' + alpha.address, 'https://' + beta.address, PASSWORD,
         web.uuid, str(path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding='utf-8',
        timeout=90)
    assert done.returncode == 0, done
    seen = json.loads(done.stdout.splitlines()[-1])
    assert set(seen['types']) >= {'VM', 'VIF', 'network', 'host', 'pool', 'SR', 'VDI', 'VBD'}
    assert seen['event'] == 'xo' and seen['imported'] == 'web'
    assert seen['broken'] == 'IMPORT_ERROR_PREMATURE_EOF' and seen['missing'] != 'no error'
    # what it has stored is an XVA, and what it has sent is the VM
    _, disks = read_xva(str(path))
    wanted = [content.all_sums() for content in alpha.contents(web.ref)]
    assert [{number: xxh64(piece) for number, piece in pieces.items()}
            for pieces in disks.values()] == wanted
    (ref,) = beta.db.objects['VM']
    assert [content.sums for content in beta.contents(ref)] == wanted
    until(lambda: not alpha.db.objects['task'] and not beta.db.objects['task'], 'tasks are left')
