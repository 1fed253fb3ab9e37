"""`xsisolate seal`: the fingerprint of a VIF's policy, computed and compared."""
import argparse
import json
from typing import Any, Dict

from xsisolate.core.seal import SEAL_KEY, Sealing, explain, format_canonical, judge, make_seal
from xsisolate.dom0.xenstore import Xenstore
from xsisolate.errors import EXIT_DIFFERENT, EXIT_DONE, PolicyError
from xsisolate.gather import read_identity, read_policy, read_vm_uuid

EXAMPLES = '''
examples:
  xsisolate seal --local 5 0 --print      the seal of VIF vif5.0, as xenstore and metadata stand
  xsisolate seal --local 5 0 --check      does VIF.other_config carry it? exit code 4 if not
  xe vif-param-set uuid=VIF other-config:xsisolate-seal=$(xsisolate seal --local 5 0 --print)

Sealing says: what is in vm-data now is what I mean. Look at it first (--canonical).
'''


def add_parser(commands: Any) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        'seal', help='compute or check the seal of a VIF\'s policy', epilog=EXAMPLES,
        description='Compute, show or check the fingerprint that VIF.other_config:%s must carry '
        'for the policy in vm-data to count.' % SEAL_KEY,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--local', nargs=2, metavar=('DOMID', 'DEVID'), required=True, type=number,
                        help='a VIF of a domain that runs on this host, without asking XAPI')
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument('--print', action='store_true', help='print the seal')
    action.add_argument('--canonical', action='store_true',
                        help='print the text that the seal is the SHA-256 of')
    action.add_argument('--check', action='store_true',
                        help='compare it with the seal that the VIF carries')
    parser.add_argument('--json', action='store_true', help='print all of it as JSON')
    parser.set_defaults(run=run)


def number(text: str) -> int:
    """Return a domid or devid."""
    if not text.isdigit() or len(text) > 5:
        raise argparse.ArgumentTypeError('%.20r is no number of a domain or device' % text)
    return int(text)


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    domid, devid = arguments.local
    with Xenstore() as store:
        metadata, vif = read_identity(store, read_vm_uuid(store, domid), devid)
        policy = read_policy(store, domid, vif)
    seal = metadata.other_config.get(SEAL_KEY)
    state = judge(vif, seal, policy)
    if policy is None and not arguments.check:
        raise PolicyError('vm-data of domain %d (VM %s) has no policy for device %s: there is '
                          'nothing to seal' % (domid, vif.vm_uuid, vif.devid))
    record: Dict[str, Any] = {'vif': 'vif%d.%d' % (domid, devid), 'vm': vif.vm_uuid,
                              'carries': seal, 'state': state.name.lower()}
    if policy is not None:
        record.update(seal=make_seal(vif, policy), canonical=format_canonical(vif, policy))
    good = state in (Sealing.SEALED, Sealing.NONE)
    if arguments.json:
        print(json.dumps(record, indent=2, sort_keys=True))
    elif arguments.check:
        print('%s: %s' % (record['vif'], state.value if good
                          else explain(state, vif, seal, policy)))
    else:
        print(record['seal' if arguments.print else 'canonical'])
    return EXIT_DONE if good or not arguments.check else EXIT_DIFFERENT
