"""Hosts of a pool on which xsisolate is installed, and whose toolstack calls the stock hooks yet.

    install(pool.hosts)             # before the first VM starts
    pool.hosts[0].run('pool', 'activate')
    restart_toolstack(host)         # for each: which hooks does xenopsd's configuration name now?

The stock hooks are stand-ins, and so are systemd and udevd: units are remembered, none starts.
"""
import os
from typing import Sequence

from sandbox.active import shell
from sandbox.hooks import REPOSITORY
from sandbox.poolhost import PoolHost

STANDINS = os.path.join(REPOSITORY, 'tests', 'package', 'standin')
OURS, STOCK = '/usr/libexec/xsisolate', '/usr/libexec/xenopsd'
UNITS = '/usr/lib/systemd/system'
# Everything is covered that `activate` writes to: /etc is the host's own, with links to the
# machine's.
INSTALL = '''\
set -e
mkdir -p /usr/libexec /usr/local/sbin {units}
mount -t tmpfs xsisolate-lab /usr/libexec
mount -t tmpfs xsisolate-lab /usr/local/sbin
mount -t tmpfs xsisolate-lab {units}
rm -f /etc/udev /etc/systemd
mkdir -p {ours} {stock} /run/standin /etc/udev/rules.d /etc/systemd/system
touch {units}/xsisolate-hooks.service {units}/xsisolate-watch.service
ln -s {hooks}/vif {hooks}/setup-vif-rules {ours}
ln -s {standins}/vif {standins}/vif-real {standins}/setup-vif-rules {stock}
ln -s {standins}/systemctl /usr/local/sbin
printf '#!/bin/sh\\n' > /usr/local/sbin/udevadm
chmod 755 /usr/local/sbin/udevadm
printf 'setup-vif-rules={stock}/setup-vif-rules\\nvif-script={stock}/vif\\n' > /etc/xenopsd.conf
'''.format(units=UNITS, ours=OURS, stock=STOCK, standins=STANDINS,
           hooks=os.path.join(REPOSITORY, 'hooks'))


def install(hosts: Sequence[PoolHost]) -> None:
    """Install xsisolate on hosts; their toolstack calls the stock hooks."""
    for host in hosts:
        shell(host, INSTALL)
        restart_toolstack(host)


def restart_toolstack(host: PoolHost) -> None:
    """Have the toolstack call the hooks that xenopsd's configuration names."""
    rules, vif = shell(host, 'exec bash %s/xenopsd-xc --only-tell' % STANDINS).split()
    assert os.path.dirname(rules) == os.path.dirname(vif), (rules, vif)
    host.call('call_hooks', os.path.dirname(vif), os.path.dirname(vif) == STOCK)
