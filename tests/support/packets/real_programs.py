"""Real programs in guests: daemons that end with the test, and what they found out."""
import os
import shutil
import signal
import time
from contextlib import suppress
from typing import Any, Callable, List

from sandbox.host import Host
from sandbox.process import has_ended, wait_until

NETWORKD = '/lib/systemd/systemd-networkd'
# Program, and Debian's package.
PROGRAMS = {'radvd': 'radvd', 'dnsmasq': 'dnsmasq-base', 'dhclient': 'isc-dhcp-client',
            'iperf3': 'iperf3', 'keepalived': 'keepalived', 'ucarp': 'ucarp',
            'kea-dhcp4': 'kea-dhcp4-server', 'dhcpcd': 'dhcpcd-base', NETWORKD: 'systemd'}
FOLDER = '/run/xsisolate-stacks'        # the sandbox's own
PATH = '/usr/sbin:/usr/bin:/sbin:/bin'

# What dhclient calls instead of the script that would change this machine's /etc.
DHCLIENT_SCRIPT = '''#!/bin/sh
PATH=%s
echo "$reason $new_ip_address$new_ip6_address" >> %%s
case $reason in
BOUND|REBOOT) ip addr add "$new_ip_address/24" dev "$interface" ;;
BOUND6) ip addr add "$new_ip6_address/128" dev "$interface" ;;
esac
exit 0
''' % PATH

RADVD = '''
interface eth0 {
    AdvSendAdvert on;
    MinRtrAdvInterval 3;
    MaxRtrAdvInterval 4;
    AdvDefaultLifetime 1800;
    prefix %s { AdvOnLink on; AdvAutonomous on; };
};
'''

DNSMASQ = '''
port=0
no-ping
leasefile-ro
dhcp-authoritative
interface=eth0
bind-interfaces
log-dhcp
%s
'''


def need(*programs: str) -> None:
    """Fail, naming the package, unless programs are installed."""
    missing = [name for name in programs if not shutil.which(name, path=PATH)]
    assert not missing, 'not installed: %s: apt-get install %s' % (
        ', '.join(missing), ' '.join(PROGRAMS[name] for name in missing))


def write(name: str, text: str, mode: int = 0o644) -> str:
    """Write a file of the sandbox's own and return its path."""
    os.makedirs(FOLDER, exist_ok=True)
    path = '%s/%s' % (FOLDER, name)
    with open(path, 'w') as file:
        file.write(text)
    os.chmod(path, mode)
    return path


def read(path: str) -> str:
    """Return a file's text, empty if there is none yet."""
    try:
        with open(path) as file:
            return file.read()
    except FileNotFoundError:
        return ''


class Program:
    """A program that runs in a guest, in the foreground, until it is stopped."""

    def __init__(self, host: Host, name: str, *argv: str) -> None:
        if argv[0] in PROGRAMS:
            need(argv[0])
        self.log = write('%s-%s.log' % (host.name, name), '')
        code, out, err = host.run('/bin/sh', '-c', 'PATH=%s; log=$1; shift; '
                                  '"$@" >"$log" 2>&1 </dev/null & echo $!' % PATH,
                                  'sh', self.log, *argv)
        assert code == 0, err
        self.pid = int(out)

    def output(self) -> str:
        """Return what it has said so far."""
        return read(self.log)

    def stop(self) -> None:
        """End it, by its pid."""
        try:
            os.kill(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            return
        wait_until(lambda: has_ended(self.pid), 'the end of process %d' % self.pid)


def radvd(host: Host, prefix: str) -> Program:
    """Advertise a prefix as a router."""
    config = write(host.name + '-radvd.conf', RADVD % prefix)
    return Program(host, 'radvd', 'radvd', '-n', '-C', config, '-m', 'stderr',
                   '-p', '%s/%s-radvd.pid' % (FOLDER, host.name))


def dnsmasq(host: Host, *settings: str) -> Program:
    """Serve DHCP."""
    config = write(host.name + '-dnsmasq.conf', DNSMASQ % '\n'.join(settings))
    return Program(host, 'dnsmasq', 'dnsmasq', '-k', '--user=root', '--conf-file=' + config,
                   '--log-facility=-', '--pid-file=%s/%s-dnsmasq.pid' % (FOLDER, host.name))


KEA = '''{"Dhcp4": {
    "interfaces-config": {"interfaces": ["eth0"]},
    "lease-database": {"type": "memfile", "persist": false},
    "valid-lifetime": 120,
    "subnet4": [{"subnet": "10.9.0.0/24", "pools": [{"pool": "10.9.0.70 - 10.9.0.79"}],
                 "reservations": [{"hw-address": "%s", "ip-address": "%s"}]}],
    "loggers": [{"name": "kea-dhcp4", "severity": "INFO",
                 "output_options": [{"output": "stdout"}]}]}}
'''


def kea(host: Host, mac: str, address: str) -> Program:
    """Serve DHCP by another program, for one client."""
    need('kea-dhcp4')
    config = write(host.name + '-kea.conf', KEA % (mac, address))
    return Program(host, 'kea', 'env', 'KEA_PIDFILE_DIR=' + FOLDER, 'KEA_LOCKFILE_DIR=none',
                   'kea-dhcp4', '-c', config)


KEEPALIVED = '''
global_defs {
    script_user root
    vrrp_garp_master_delay 1
}
vrrp_instance one {
    state BACKUP
    interface eth0
    virtual_router_id 5
    priority %(priority)d
    advert_int 1
    %(more)s
    virtual_ipaddress { %(address)s }
}
'''


def keepalived(host: Host, priority: int, address: str, *more: str) -> Program:
    """Be a VRRP router of number 5."""
    config = write(host.name + '-keepalived.conf', KEEPALIVED % {
        'priority': priority, 'address': address, 'more': '\n    '.join(more)})
    pids = ['%s=%s/%s-%s.pid' % (option, FOLDER, host.name, option[2:]) for option in (
        '--pid', '--vrrp_pid', '--checkers_pid')]
    for option in pids:     # of one that was killed, whose number another process may have
        with suppress(FileNotFoundError):
            os.unlink(option.partition('=')[2])
    return Program(host, 'keepalived', 'keepalived', '-n', '-l', '-D', '-P', '-f', config, *pids)


UCARP = '''#!/bin/sh
PATH=%s
ip addr %%s "$2/24" dev "$1"
exit 0
''' % PATH


def ucarp(host: Host, skew: int, own: str, address: str) -> Program:
    """Be a CARP router of number 5."""
    up, down = (write('ucarp-%s.sh' % word, UCARP % word, 0o755) for word in ('add', 'del'))
    return Program(host, 'ucarp', 'ucarp', '-i', 'eth0', '-s', own, '-v', '5', '-p', 'secret', '-a',
                   address, '-u', up, '-d', down, '-k', str(skew), '-b', '1', '-P')


class Dhclient:
    """ISC's DHCP client on a guest's eth0."""

    def __init__(self, host: Host, version: int) -> None:
        need('dhclient')
        name = '%s-dhclient%d' % (host.name, version)
        self.events = write(name + '.events', '')
        self.leases = write(name + '.leases', '')
        script = write(name + '.sh', DHCLIENT_SCRIPT % self.events, 0o755)
        config = write(name + '.conf', 'timeout 20;\nretry 2;\ninitial-interval 1;\n'
                       'supersede dhcp-renewal-time 2;\n')
        self.program = Program(host, 'dhclient%d' % version, 'dhclient', '-%d' % version, '-d',
                               '-v', '-cf', config, '-sf', script, '-lf', self.leases, '-pf',
                               '%s/%s.pid' % (FOLDER, name), 'eth0')

    def wait_for(self, event: str, timeout: float = 12) -> str:
        """Wait for an event of the client's script; return the address it brought."""
        def found() -> List[str]:
            return [line for line in read(self.events).splitlines()
                    if line.split(' ')[0] == event]
        try:
            wait_until(found, event, timeout)
        except Exception as error:
            raise AssertionError('no %s: %s\n%s' % (event, read(self.events),
                                                    self.program.output())) from error
        return found()[0].split(' ')[1]


# Other clients, of both versions at once, each with folders, processes and host name of its own.
OTHER_CLIENT = """
mount -t tmpfs none /run
mount -t tmpfs none /var/lib
mkdir -p /var/lib/dhcpcd /run/dhcpcd /run/systemd/network /run/systemd/netif
chmod -R a+rX /run /var/lib
echo "$1" > /run/systemd/network/eth0.network
echo "$1" > /run/dhcpcd.conf
shift
exec "$@"
"""
DHCPCD_CONFIG = """
script /bin/true
duid ll
noarp
noipv6rs
ia_na 1
"""
NETWORKD_CONFIG = """
[Match]
Name=eth0
[Network]
DHCP=yes
IPv6AcceptRA=no
IPv6LinkLocalAddressGenerationMode=eui64
[DHCPv6]
WithoutRA=solicit
"""


def dhcpcd(host: Host) -> Program:
    """Ask for addresses as dhcpcd does."""
    need('dhcpcd')
    return _other_client(host, DHCPCD_CONFIG, 'chown -R dhcpcd /run/dhcpcd /var/lib/dhcpcd',
                         'dhcpcd -B -d -f /run/dhcpcd.conf eth0')


def networkd(host: Host) -> Program:
    """Ask for addresses as systemd-networkd does; without udev it wants /sys read-only."""
    need(NETWORKD)
    return _other_client(host, NETWORKD_CONFIG, 'chown -R systemd-network /run/systemd/netif; '
                         'mount -t sysfs -o ro sysfs /sys', NETWORKD)


def _other_client(host: Host, config: str, prepare: str, client: str) -> Program:
    name = client.partition(' ')[0].rpartition('/')[2]
    return Program(host, name, 'unshare', '-mupf', '--kill-child', 'sh', '-ec', OTHER_CLIENT, 'sh',
                   config, 'sh', '-ec', '%s; %s; true' % (prepare, client))    # it stays


def addresses(host: Host, *words: str) -> str:
    """Return what ip(8) says of eth0's IPv6 addresses."""
    code, out, err = host.run('ip', '-6', '-o', 'addr', 'show', 'dev', 'eth0', *words)
    assert code == 0, err
    return out


def within(seconds: float, true: Callable[[], Any]) -> bool:
    """Tell whether something becomes true in time."""
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


# A member's service that listens for a multicast, and another's word to it.
LISTEN = '''
import socket, struct, sys
family = socket.AF_INET6 if ':' in sys.argv[1] else socket.AF_INET
s = socket.socket(family, socket.SOCK_DGRAM)
s.bind(('', 5353))
group = socket.inet_pton(family, sys.argv[1])
if family == socket.AF_INET6:
    s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP,
                 group + struct.pack('@i', socket.if_nametoindex('eth0')))
else:
    s.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP,
                 group + socket.inet_aton(sys.argv[2]))
print('listening', flush=True)
while True:
    data, who = s.recvfrom(2000)
    print('heard', data.decode(), who[0], flush=True)
'''
SAY = '''
import socket, sys
family = socket.AF_INET6 if ':' in sys.argv[1] else socket.AF_INET
s = socket.socket(family, socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind((sys.argv[2], 5353))
if family == socket.AF_INET6:
    s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, socket.if_nametoindex('eth0'))
    s.sendto(sys.argv[3].encode(), (sys.argv[1], 5353, 0, socket.if_nametoindex('eth0')))
else:
    s.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(sys.argv[2]))
    s.sendto(sys.argv[3].encode(), (sys.argv[1], 5353))
'''
