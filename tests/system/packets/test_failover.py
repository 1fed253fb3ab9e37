"""Real VRRP and CARP: keepalived with and without virtual MAC addresses, and ucarp."""
import time
from typing import Callable, Dict, Iterator, List

import pytest
from sandbox.dom0 import Sandbox
from sandbox.vm import Vm
from support.packets.built_network import Net, network
from support.packets.real_programs import Program, keepalived, need, ucarp, within

CONFIG = '''
version: 1
unsealed: accept
networks:
  '*':
    subnets: [10.9.0.0/24, "fd00:9::/64"]
'''
VIRTUAL, VIRTUAL6 = '00:00:5e:00:01:05', '00:00:5e:00:02:05'
VIP, VIP6 = '10.9.0.1', 'fd00:9::1'
VIP_LL = 'fe80::5'      # RFC 5798 wants a link-local address first
SKEW = {'h1': 0, 'h2': 100}
PRIORITY = {'h1': 200, 'h2': 100}
OUTAGE_S = 5            # three advertisements are missed, then one more second


@pytest.fixture
def programs() -> Iterator[List[Program]]:
    """Programs that end with the test."""
    need('keepalived', 'ucarp')
    found: List[Program] = []
    yield found
    for program in found:
        program.stop()


def build(net: Net, mac: str) -> Dict[str, Vm]:
    """Start two load balancers, a client of theirs, and a stranger."""
    net.bridge('xenbr0')
    net.uplink('xenbr0', gateway=False)
    for number, name in enumerate(('h1', 'h2'), 11):
        policy = {'groups': 'red', 'vif/0/mac': mac} if mac else {'groups': 'red'}
        net.vm(name, number, policy, also=(VIP, '%s %s' % (VIP6, VIP_LL)))
    net.vm('r', 13, {'groups': 'red'})
    net.vm('c', 21, {'groups': 'blue'})
    return net.vms


def is_request(frame: bytes) -> bool:
    """Tell whether a frame is an echo request."""
    return (frame[12:14], frame[23:24], frame[34:35]) == (b'\x08\0', b'\x01', b'\x08') or (
        frame[12:14], frame[20:21], frame[54:55]) == (b'\x86\xdd', b'\x3a', b'\x80')


def play(vms: Dict[str, Vm], start: Callable[[str], Program], stop: Callable[[str], None],
         vip: str, programs: List[Program], mac: str) -> None:
    """Let the address go from the better one to the other and back; its client follows."""
    client, stranger = vms['r'], vms['c']
    running = {name: start(name) for name in ('h1', 'h2')}
    programs += running.values()

    def reached_by(seconds: float) -> float:
        """Return after how many seconds the client reaches the address."""
        began = time.monotonic()
        assert within(seconds, lambda: client.ping(vip, 0.2)), '\n'.join(
            one.output() for one in running.values())
        return time.monotonic() - began

    def is_at(name: str) -> bool:
        """Tell whether an echo request to the address gets to this one, and to no other."""
        for ear in ('h1', 'h2'):
            vms[ear].sniff('eth0')
        answered = client.ping(vip, 0.5)
        heard = {ear: {frame[:6].hex(':') for frame in vms[ear].sniffed('eth0', wait=0.1)
                       if is_request(frame)} for ear in ('h1', 'h2')}
        return answered and heard.pop(name) == {mac or vms[name].mac} and not any(heard.values())

    reached_by(8)
    assert within(8, lambda: is_at('h1'))
    running['h1'].stop()
    stop('h1')
    assert reached_by(8) < OUTAGE_S
    assert within(3, lambda: is_at('h2'))
    programs.append(start('h1'))
    assert within(8, lambda: is_at('h1'))
    assert not stranger.ping(vip, 0.2)


@pytest.mark.parametrize('version', [4, 6])
@pytest.mark.parametrize('mac', ['', VIRTUAL, 'vrrp'])
def test_keepalived(dom0: Sandbox, programs: List[Program], version: int, mac: str) -> None:
    """A client reaches the address on either, by the virtual MAC address where there is one."""
    vip, listed = ((VIP, mac) if version == 4 else (VIP6, mac.replace(VIRTUAL, VIRTUAL6)))
    virtual = VIRTUAL if version == 4 else VIRTUAL6
    address = VIP + '/24' if version == 4 else '%s/64 %s/64' % (VIP_LL, VIP6)
    with network(dom0, CONFIG) as net:
        vms = build(net, listed)

        def start(name: str) -> Program:
            return keepalived(vms[name], PRIORITY[name], address.replace(' ', '\n        '),
                              *['use_vmac'] * bool(mac))

        def stop(name: str) -> None:
            for device in ('vrrp.5', 'vrrp6.5') if mac else ():
                vms[name].run('/bin/ip', 'link', 'del', device)
            if not mac:
                for one in address.split():
                    vms[name].run('/bin/ip', 'addr', 'del', one, 'dev', 'eth0')
        play(vms, start, stop, vip, programs, virtual if mac else '')


def test_ucarp(dom0: Sandbox, programs: List[Program]) -> None:
    """Its advertisements come from the virtual MAC address, all else from its own."""
    with network(dom0, CONFIG) as net:
        vms = build(net, VIRTUAL)

        def start(name: str) -> Program:
            return ucarp(vms[name], SKEW[name], net.parties[name].ip, VIP)

        def stop(name: str) -> None:
            vms[name].run('/bin/ip', 'addr', 'del', VIP + '/24', 'dev', 'eth0')
        play(vms, start, stop, VIP, programs, '')
