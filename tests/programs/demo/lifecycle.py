"""A VM restarts, and crashes: the flows follow it, and none is left behind."""
from typing import List, NamedTuple, Optional

from demo.scene import BRIDGE, BY_NAME, Scene
from sandbox.process import LabError, wait_until
from xsisolate.openflow.ownership import OWNER, OWNER_MASK
from xsisolate.planner.cookie import Kind, parse_key

PATIENT, MATE, BYSTANDER = 'red2', 'red1', 'blue3'


class Step(NamedTuple):
    """What happened, how many flows are ours then, how many of them a dead domain's."""

    what: str
    flows: int
    stale: int
    fine: bool


def restart_and_crash(scene: Scene) -> List[Step]:
    """Restart a VM, let it crash, run another VM's hook, start it again."""
    first = scene.vms[PATIENT].domid
    steps = [look(scene, 'all eight VMs run; %s is domain %d' % (PATIENT, first))]
    usual = steps[0].flows
    second = scene.restart(PATIENT)
    steps.append(talked(scene, usual, first, '%s restarted: domain %d now'
                        % (PATIENT, second.domid)))
    second.crash()
    steps.append(look(scene, '%s crashed: device gone, no hook ran' % PATIENT, second.domid,
                      may_be_stale=True))
    scene.vms[BYSTANDER].set_locking('unlocked')
    steps.append(look(scene, 'the next hook, of %s in the other group' % BYSTANDER,
                      second.domid))
    third = scene.start_again(second)
    steps.append(talked(scene, usual, second.domid, '%s started again: domain %d'
                        % (PATIENT, third.domid)))
    return steps


def look(scene: Scene, what: str, dead: Optional[int] = None,
         may_be_stale: bool = False) -> Step:
    """Count our flows, and those of a domain that is dead."""
    cookies = [cookie for cookie in read_cookies(scene)
               if cookie & OWNER_MASK == OWNER]
    stale = sum(domain_of(cookie) == dead for cookie in cookies) if dead else 0
    return Step(what, len(cookies), stale, may_be_stale or not stale)


def talked(scene: Scene, usual: int, dead: int, what: str) -> Step:
    """Let the VM speak, for the switch learns from that, and expect the usual number."""
    scene.vms[PATIENT].ping(BY_NAME[MATE].ipv4)
    try:
        wait_until(lambda: look(scene, '').flows == usual, '%d flows' % usual, timeout=1)
    except LabError:
        pass        # the number is shown as it is, and is wrong
    step = look(scene, what, dead)
    return step._replace(fine=step.fine and step.flows == usual)


def read_cookies(scene: Scene) -> List[int]:
    """Return the cookie of every flow on the bridge."""
    flows = scene.dom0.ovs.dump_flows(BRIDGE)
    fields = [flow.split(',')[0] for flow in flows]
    return [int(field.split('=')[1], 16) for field in fields if field.startswith('cookie=')]


def domain_of(cookie: int) -> Optional[int]:
    """Return the domain whose port a flow serves, None for other flows."""
    key = parse_key(cookie & 0xffffffff)
    return key.id >> 9 if key.kind == Kind.PORT else None
