"""A guest's root helps itself to another group; then the admin means it."""
from typing import List, NamedTuple

from demo.scene import BY_NAME, VMS, Scene
from sandbox.hooks import HookRun

USURPER, WANTED = 'red3', 'blue'
KEY = 'vm-data/xsisolate/groups'


class Coup(NamedTuple):
    """What was done, whom the VM reached then, and whom it should."""

    what: str
    reached: List[str]
    due: List[str]
    said: str = ''          # what the hook said

    @property
    def fine(self) -> bool:
        """Tell whether the VM reached whom it should."""
        return self.reached == self.due


def help_oneself(scene: Scene) -> List[Coup]:
    """Let a guest's root change its group and reboot; let the admin write the same."""
    scene.vms[USURPER].xenstore.write(KEY, WANTED)
    rebooted = scene.restart(USURPER)
    first = Coup("its root writes groups=%s into its vm-data, reboots" % WANTED,
                 reach(scene), [], reason(rebooted.runs))
    machine = BY_NAME[USURPER]
    rebooted.set_policy({**(machine.policy or {}), 'groups': WANTED})
    rebooted.set_locking('unlocked')        # so that a hook runs
    mates = [vm.name for vm in VMS if (vm.policy or {}).get('groups') == WANTED]
    return [first, Coup('the admin writes groups=%s, with the seal' % WANTED, reach(scene), mates)]


def reach(scene: Scene) -> List[str]:
    """Return the other VMs that answer the usurper."""
    names = {vm.ipv4: vm.name for vm in VMS if vm.name != USURPER}
    return sorted(names[address] for address in scene.vms[USURPER].ping_all(list(names), 0.5))


def reason(runs: List[HookRun]) -> str:
    """Return why the VIF is quarantined, as the hook's line says."""
    lines = [line for run in runs for line in run.stderr.splitlines() if ': quarantined ' in line]
    return lines[-1].partition(' reason=')[2].strip('"') if lines else ''
