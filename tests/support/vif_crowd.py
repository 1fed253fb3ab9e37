"""Many VIFs without guests: nodes in xenstore, metadata, netdevs and ports, but no namespaces."""
from contextlib import contextmanager
from typing import Callable, Dict, Iterator, List

from sandbox import seals
from sandbox.metadata import VifRecord
from sandbox.metadata import remove as forget_metadata
from sandbox.process import ip
from sandbox.dom0 import SEAL, Sandbox
from sandbox.toolstack import Domain
from sandbox.vm import policy_keys

FIRST = 700             # the first domain id
GROUPS = 8              # so many groups share the VIFs between them


def policy_of(number: int) -> Dict[str, str]:
    """Return the policy of a VIF of the crowd."""
    place = 100 + number
    return {'groups': 'group%d' % (number % GROUPS), 'allow': 'external',
            'vif/0/ipv4': '10.9.%d.%d' % (place >> 8, place & 0xff),
            'vif/0/ipv6': 'fd00:9::%x' % place}


@contextmanager
def crowded(host: Sandbox, count: int,
            policy_of: Callable[[int], Dict[str, str]] = policy_of) -> Iterator[List[str]]:
    """Have so many sealed VIFs on the first bridge, not yet programmed; yields their netdevs."""
    domains = [Domain(FIRST + number, '00000000-0000-4000-8000-%012x' % number, 'crowd%d' % number)
               for number in range(count)]
    netdevs = ['vif%d.0' % domain.domid for domain in domains]
    ip([line for netdev in netdevs
        for line in ('link add %s type veth peer name far%s' % (netdev, netdev[3:]),
                     'link set %s up' % netdev)])
    for number, domain in enumerate(domains):
        vif = VifRecord(0, '02:00:00:00:70:%02x' % number, 'xenbr0', domain.uuid,
                        host.network_uuid('xenbr0'))
        policy = policy_of(number)
        vif = vif._replace(other_config={SEAL: seals.seal(domain.uuid, vif, policy)})
        host.toolstack.create(domain, policy_keys(policy))
        host.toolstack.add_vif(domain, vif)
    words: List[str] = []
    for netdev in netdevs:
        words += ['--', 'add-port', 'xenbr0', netdev]
    host.ovs.vsctl(*words[1:])
    yield netdevs
    words = []
    for netdev in netdevs:
        words += ['--', 'del-port', 'xenbr0', netdev]
    host.ovs.vsctl(*words[1:])
    ip(['link del ' + netdev for netdev in netdevs])
    for domain in domains:
        home = '/local/domain/%d' % domain.domid
        for path in (home, '/vm/' + domain.uuid, '/xapi/' + domain.uuid,
                     '/local/domain/0/backend/vif/%d' % domain.domid):
            host.store.rm(path)
        forget_metadata(domain.uuid, [0])
