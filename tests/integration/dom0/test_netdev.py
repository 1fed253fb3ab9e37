"""Netdevs of VIFs, on real ones."""
import re

import pytest
from sandbox.process import ip, run
from xsisolate.dom0.linux import netdev
from xsisolate.errors import HostError

MAC = 'fe:ff:ff:ff:ff:ff'
DEV = 'vif7.0'


@pytest.fixture(autouse=True)
def device(namespaces):
    """Have a device that does all that Dom0 should not do on a VIF."""
    ip(['link add %s type veth peer name peer7' % DEV])
    with open('/proc/sys/net/ipv6/conf/%s/disable_ipv6' % DEV, 'w') as switch:
        switch.write('0')
    ip(['link set %s up' % DEV, 'link set peer7 up'])
    yield
    ip(['link del ' + DEV])


def show(*what):
    """Return what ip(8) shows of the device."""
    return run(['ip'] + list(what) + ['show', 'dev', DEV])


def test_exists():
    assert netdev.exists(DEV)
    assert netdev.exists('vif7.1') is False
    assert netdev.exists('tap7.0') is False


def test_ifindex():
    assert show('link').startswith('%d:' % netdev.ifindex(DEV))


def test_down_and_up():
    netdev.set_down(DEV)
    netdev.set_down(DEV)
    assert not netdev.is_up(DEV) and ',UP' not in show('link')
    netdev.set_up(DEV)
    netdev.set_up(DEV)
    assert netdev.is_up(DEV) and ',UP' in show('link')


def test_prepare_leaves_a_mere_wire():
    ip(['addr add 192.0.2.%d/24 dev %s' % (n, DEV) for n in range(1, 5)]
       + ['addr add 198.51.100.1/32 dev ' + DEV, 'addr add 2001:db8::1/64 dev ' + DEV])
    netdev.prepare(DEV, MAC, 1496)
    assert show('addr').count('inet') == 0
    link = show('link')
    assert 'NOARP' in link and 'MULTICAST' not in link and ',UP' not in link
    assert 'link/ether %s' % MAC in link and 'mtu 1496' in link


def test_no_ipv6_address_comes_with_the_link():
    netdev.prepare(DEV, MAC, 1500)
    netdev.set_up(DEV)
    assert show('addr').count('inet') == 0


def test_prepare_twice():
    netdev.prepare(DEV, MAC, 1500)
    before = show('addr')
    netdev.prepare(DEV, MAC, 1500)
    assert show('addr') == before


def test_other_devices_are_left_alone():
    before = run(['ip', 'addr', 'show', 'dev', 'lo'])
    netdev.prepare(DEV, MAC, 1500)
    assert run(['ip', 'addr', 'show', 'dev', 'lo']) == before


@pytest.mark.parametrize('mtu', [68, 1500, 9000])
def test_mtu(mtu):
    netdev.set_mtu(DEV, mtu)
    assert 'mtu %d ' % mtu in show('link')


@pytest.mark.parametrize('mtu', [-1, 10, 1 << 20, 1 << 40])
def test_mtu_that_cannot_be(mtu):
    with pytest.raises(HostError, match='%s: cannot set MTU' % DEV):
        netdev.set_mtu(DEV, mtu)


def offloads():
    """Return the names of what is on."""
    return set(re.findall(r'^(\S+): on', run(['ethtool', '-k', DEV]), re.M))


def test_ethtool():
    netdev.ethtool(DEV, {'tx': 'off', 'rx': 'off', 'sg': 'off', 'tso': 'off', 'gso': 'off'})
    off = {'rx-checksumming', 'tx-checksumming', 'scatter-gather', 'tcp-segmentation-offload',
           'generic-segmentation-offload'}
    assert not off & offloads()
    netdev.ethtool(DEV, {'rx': 'on', 'sg': 'on'})
    assert {'rx-checksumming', 'scatter-gather'} <= offloads()


def test_ethtool_nothing_to_do(monkeypatch):
    monkeypatch.setattr(netdev, 'ETHTOOL', '/no/such/program')
    netdev.ethtool(DEV, {})


@pytest.mark.parametrize('wrong', [{'lro': 'off'}, {'tx': 'maybe'}, {'-s': 'off'}, {'tx': ''}])
def test_ethtool_wrong_setting_does_not_lose_the_others(wrong):
    with pytest.raises(HostError, match='%s: .*%s=.*: not an offload' % (DEV, list(wrong)[0])):
        netdev.ethtool(DEV, dict({'rx': 'off', 'gso': 'off'}, **wrong))
    assert not {'rx-checksumming', 'generic-segmentation-offload'} & offloads()


def test_ethtool_refused_setting_does_not_lose_the_others(monkeypatch, tmp_path):
    """A stand-in refuses ufo as old kernels do: at once, with nothing done."""
    program = tmp_path / 'ethtool'
    program.write_text('#!/bin/sh\ncase "$*" in *ufo*) echo no ufo >&2; exit 1;; esac\n'
                       'exec /usr/sbin/ethtool "$@"\n')
    program.chmod(0o755)
    monkeypatch.setattr(netdev, 'ETHTOOL', str(program))
    with pytest.raises(HostError, match='no ufo'):
        netdev.ethtool(DEV, {'gso': 'off', 'rx': 'off', 'ufo': 'off'})
    assert not {'rx-checksumming', 'generic-segmentation-offload'} & offloads()


@pytest.mark.parametrize('call', [
    lambda dev: netdev.ifindex(dev), lambda dev: netdev.is_up(dev),
    lambda dev: netdev.set_up(dev), lambda dev: netdev.set_down(dev),
    lambda dev: netdev.set_mtu(dev, 1500), lambda dev: netdev.prepare(dev, MAC, 1500),
    lambda dev: netdev.ethtool(dev, {'tx': 'off'}),
])
def test_missing_device_is_named(call):
    with pytest.raises(HostError, match=r'vif8\.0.*No such device'):
        call('vif8.0')


@pytest.mark.parametrize('dev', ['lo', 'eth0', '', 'vif1', 'vif1.0\n', 'vif1.0/..', '../vif1.0',
                                 'vif\u0661.0', 'vif99999.999999', '-K', 'tap1.0x'])
def test_other_names_are_refused(dev):
    for call in (netdev.exists, netdev.set_down, lambda d: netdev.ethtool(d, {'tx': 'off'}),
                 lambda d: netdev.prepare(d, MAC, 1500)):
        with pytest.raises(HostError, match='not a VIF device'):
            call(dev)


def test_address_that_is_none():
    with pytest.raises(HostError, match='not a MAC'):
        netdev.prepare(DEV, 'fe:ff', 1500)
    assert netdev.is_up(DEV)
