"""VMs in a flood on a host of their own, what may happen to them, and what must be true."""
import io
import os
import time
from contextlib import redirect_stderr, redirect_stdout
from typing import Any, Dict, NamedTuple, Optional
from unittest import mock

from sandbox.hooks import Call
from sandbox.dom0 import Sandbox
from sandbox.vm import Vm

from support.flooded_vms import FREE, ISOLATED, LOCKED, Rights, FloodedVms, policy_of

from xsisolate import cli
from xsisolate.hooks import entry as product

CONFIG = '''\
version: 1
grace: 0
networks:
  "*":
    subnets: [10.9.0.0/24, "fd00:9::/64"]
'''
BRIDGES = ('xenbr0', 'xenbr1')
RED, BLUE = (Rights(ISOLATED, frozenset({group})) for group in ('red', 'blue'))
NEIGHBOURS = (('red1', 11, RED), ('red2', 12, RED), ('blue1', 21, BLUE),
              ('locked', 41, Rights(LOCKED)), ('free', 51, Rights(FREE)))
SUBJECT = 13            # the number of the VM that a test is about
TALK_S = 5.0            # so long everybody has to be heard where he may be


class Outcome(NamedTuple):
    """What came of a command."""

    code: int
    out: str
    err: str


def command(*arguments: str) -> Outcome:
    """Run `xsisolate ...` in this process, which saves the start of another."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        try:
            code = cli.main(list(arguments))
        except SystemExit as usage:         # argparse
            raise AssertionError(err.getvalue()) from usage
    assert 'Traceback' not in err.getvalue(), err.getvalue()
    return Outcome(code, out.getvalue(), err.getvalue())


def run_here(call: Call) -> int:
    """Run a hook in this process: for what only sets the scene."""
    err = io.StringIO()
    with mock.patch.dict(os.environ, call.environment, clear=True), redirect_stderr(err):
        code = product.main(['/hooks/' + call.hook, *call.args])
    assert code == 0, err.getvalue()
    return code


class FloodedHost:
    """The town, and what a test does to it."""

    def __init__(self, host: Sandbox, town: FloodedVms) -> None:
        self.host = host
        self.town = town

    def begin(self, rights: Rights, number: int = SUBJECT, name: str = 'subject',
              shout: bool = True, **more: Any) -> Vm:
        """Start a VM whose VIF is cabled, and no hook has run; it shouts at once."""
        policy = policy_of(number, rights)
        vm = self.host.start_vm(name, rights.bridge, ipv4='10.9.0.%d/24' % number,
                                ipv6='fd00:9::%d/64' % number, policy=policy, plug=False, **more)
        vm.cable(0)
        self.town.settle(vm, number, rights, shout=shout)
        return vm

    def online(self, vm: Vm) -> Call:
        """Return udev's call for a VIF that comes."""
        return self.host.hooks.udev_vif('online', vm.domid, 0)

    def remove(self, vm: Vm) -> Call:
        """Return udev's call for a VIF that has gone."""
        return self.host.hooks.udev_vif('remove', vm.domid, 0)

    def refresh(self, vm: Vm) -> Call:
        """Return xenopsd's call for a VIF whose settings have changed."""
        return self.host.hooks.locking_changed(vm.domain, vm.vifs[0])[0]

    def regroup(self, vm: Vm, number: int, rights: Rights) -> None:
        """Write another policy, sealed; no hook runs."""
        self.town.change(vm.name, rights)
        vm.set_policy(self.policy(number, rights))

    def end(self, *vms: Vm) -> None:
        """Let VMs go, whatever state their VIFs are in."""
        before = dict(self.town.residents)
        self.town.leave(*(vm.name for vm in vms))
        for vm in vms:
            vm.cut(0)
            run_here(self.remove(vm))
            self.host.toolstack.remove_vif(vm.domain, vm.vifs[0])
            vm.plugged = []
            vm.shutdown()
        self.nothing_forbidden(before)

    def policy(self, number: int, rights: Rights) -> Dict[str, str]:
        """Return what vm-data says below xsisolate/ for rights."""
        return policy_of(number, rights) or {}

    def wait_for_switch(self) -> None:
        """Wait until ovs-vswitchd has found its database again."""
        self.host.ovs.vsctl('--timeout=20', 'set', 'Open_vSwitch', '.', 'external_ids:back=yes')

    def host_config(self) -> str:
        """Return the configuration file."""
        with open('/etc/xsisolate/xsisolate.yaml', encoding='utf-8') as file:
            return file.read()

    # --- what must be true ---------------------------------------------------------------------

    def nothing_forbidden(self, left: Optional[Dict[str, Any]] = None, after: str = '') -> None:
        """Fail if a single frame was heard that nobody may have heard; `after`: since when."""
        wrong = self.town.forbidden(left or {})
        assert not wrong, '\n'.join([after] * bool(after) + wrong)

    def as_desired(self) -> None:
        """Fail unless the switch carries exactly what it should."""
        done = command('sync', '--dry-run')
        assert done.code == 0, done.out + done.err

    def synced(self) -> None:
        """Run one sync, after which nothing is left to do."""
        done = command('sync')
        assert done.code == 0, done.out + done.err
        self.as_desired()

    def all_talk(self) -> None:
        """Fail unless everybody is heard where he may be, and nowhere else."""
        self.host.ovs.settle()
        deadline, silent = time.monotonic() + TALK_S, ['everybody']
        report: Dict[Any, Any] = {}
        self.nothing_forbidden()
        while silent and time.monotonic() < deadline:
            time.sleep(0.1)
            report.update(self.town.flood.report())
            silent = self.town.silent(report)
        assert not silent, silent


def subject(scene: FloodedHost) -> Vm:
    """Return the VM that it is about."""
    return scene.town.residents['subject'].vm


def plugged(scene: FloodedHost) -> Vm:
    """Begin a VM, and plug it without harm."""
    vm = scene.begin(RED)
    run_here(scene.online(vm))
    return vm


def moved(scene: FloodedHost) -> Call:
    """Move a VM to the other bridge, or back."""
    vm = subject(scene) if 'subject' in scene.town.residents else plugged(scene)
    here = scene.town.rights('subject')
    there = here._replace(bridge='xenbr1' if here.bridge == 'xenbr0' else 'xenbr0')
    scene.town.change('subject', there)
    vm.set_vif(bridge=there.bridge, network_uuid=scene.host.network_uuid(there.bridge))
    return scene.host.hooks.moved(vm.domain, vm.vifs[0])[0]
