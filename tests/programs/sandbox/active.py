"""Hosts of a pool on which xsisolate is active, as far as xenopsd's files and systemd say it."""
from typing import Sequence

from sandbox.poolhost import PoolHost

CONF = '/etc/xenopsd.conf'
SYSTEMCTL = '/usr/bin/systemctl'
SAYS = '''\
#!/bin/sh
[ -e /run/units.down ] && state=inactive || state=active
case $1 in
show) printf 'ActiveState=%s\\nUnitFileState=enabled\\n' "$state" ;;
--quiet) [ "$state" = active ] ;;
*) exit 1 ;;
esac
'''


def activate(hosts: Sequence[PoolHost]) -> None:
    """Have xenopsd's configuration name our hooks, and a stand-in of systemctl our units."""
    for host in hosts:
        shell(host, 'printf "setup-vif-rules=/usr/libexec/xsisolate/setup-vif-rules\\n'
              'vif-script=/usr/libexec/xsisolate/vif\\n" > %s' % CONF)
        if shell(host, 'grep -c units.down %s || :' % SYSTEMCTL).strip() in ('', '0'):
            done = host.execute(['sh', '-c', 'cat > /run/systemctl; chmod 755 /run/systemctl; '
                                 'mount --bind /run/systemctl %s' % SYSTEMCTL], SAYS)
            assert not done.returncode, done.stderr


def deactivate(host: PoolHost) -> None:
    """Have xenopsd's configuration name the stock hooks."""
    shell(host, 'rm -f %s' % CONF)


def shell(host: PoolHost, text: str) -> str:
    """Run a line of shell on a host; return what it prints."""
    done = host.execute(['sh', '-c', text])
    assert not done.returncode, done
    return done.stdout
