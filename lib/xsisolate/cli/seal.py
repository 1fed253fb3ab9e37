"""`xsisolate seal`: the fingerprint of a VIF's policy, computed, compared and written."""
import argparse
import json
from typing import Any, Dict

from xsisolate.cli import seal_pool
from xsisolate.cli.connection import NOTE, add_options
from xsisolate.dataplane.vif_facts import read_identity, read_policy, read_vm_uuid
from xsisolate.dom0.xen.xenstore import Xenstore
from xsisolate.errors import EXIT_DIFFERENT, EXIT_DONE, PolicyError, UsageError
from xsisolate.policy.seal import (SEAL_KEY, Sealing, explain, format_canonical, is_portable, judge,
                                   make_seal, state_text, state_word)
from xsisolate.vif_id import VifId

EXAMPLES = '''
examples:
  xsisolate seal web1                     show what is in its vm-data, ask, and seal it
  xsisolate seal web1/1 --print           the seal of its second VIF; nothing is written
  xsisolate seal --all --check            does every VIF carry the seal of its policy? 4 if not
  xsisolate seal web-template --template --portable    for it and every VM that is made of it
  xsisolate seal web2 --from UUID         web2 is a copy of the VM UUID, and has its very policy
  xsisolate seal --local 5 0 --print      the seal of VIF vif5.0, without asking XAPI
  xe vif-param-set uuid=VIF other-config:xsisolate-seal=$(xsisolate seal --local 5 0 --print)

Sealing says: what is in vm-data now is what I mean. A guest's root may have written it: look at it
first (--canonical). What is sealed is what was shown, whatever the guest does meanwhile.
--all --yes seals what carries no seal, and copies whose originals' seals prove their policies. A
policy that is not the one that was sealed is shown, and left to `xsisolate seal VM`.
'''


def add_parser(commands: Any) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        'seal', help='seal a VM\'s policy, or check its seal', epilog=EXAMPLES + NOTE,
        description='Compute, check or write the fingerprint that VIF.other_config:%s must carry '
        'for the policy in vm-data to count.' % SEAL_KEY)
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument('vm', metavar='VM[/DEVID]', nargs='?',
                       help='uuid or name of a VM; with /DEVID one of its VIFs')
    which.add_argument('--all', action='store_true', help='every VM of the pool')
    which.add_argument('--local', nargs=2, metavar=('DOMID', 'DEVID'), type=number,
                       help='a VIF of a domain that runs on this host, without asking XAPI; with '
                            '--print, --canonical or --check')
    action = parser.add_mutually_exclusive_group()
    action.add_argument('--print', action='store_true', help='print the seal')
    action.add_argument('--canonical', action='store_true',
                        help='print the text that the seal is the SHA-256 of')
    action.add_argument('--check', action='store_true',
                        help='compare it with the seal that the VIF carries; exit code 4 if it is '
                             'another')
    action.add_argument('--yes', action='store_true', help='seal without asking')
    parser.add_argument('--from', dest='proof', metavar='UUID',
                        help='seal the copy VM without a question if its policy is proven to be '
                             'the one that was sealed for this VM or template')
    parser.add_argument('--portable', action='store_true',
                        help='a seal that fits every copy of the VM, too; what carries a proven '
                             'portable seal keeps it without this option')
    parser.add_argument('--template', action='store_true',
                        help='VM is a template or a snapshot, by uuid or name; with --all every '
                             'one of them')
    parser.add_argument('--anyway', action='store_true', help='seal a policy although no flow can '
                        'enforce it (SR-IOV, a Linux bridge)')
    parser.add_argument('--dry-run', action='store_true',
                        help='show what would be sealed; exit code 4 if anything would')
    parser.add_argument('--no-refresh', action='store_true',
                        help='do not ask the host to apply it; its daemon does so by itself')
    parser.add_argument('--json', action='store_true', help='print all of it as JSON')
    add_options(parser)
    parser.set_defaults(run=run)


def number(text: str) -> int:
    """Return a domid or devid."""
    if not text.isdigit() or len(text) > 5:
        raise argparse.ArgumentTypeError('%.20r is not the number of a domain or device' % text)
    return int(text)


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    if arguments.check and arguments.portable:
        raise UsageError('seal --check looks at the seal that a VIF carries: leave out --portable')
    if arguments.all and arguments.portable and not arguments.template:
        raise UsageError('seal --portable: name the VM whose policy its copies shall have: --all '
                         'would give every VM\'s policy to its copies')
    if arguments.proof is not None:
        if not arguments.vm:
            raise UsageError('seal --from: name one VM, the copy')
        from xsisolate.cli import seal_from
        return seal_from.run(arguments)
    if arguments.local is None:
        return seal_pool.run(arguments)
    if not (arguments.print or arguments.canonical or arguments.check):
        raise UsageError('seal --local: add --print, --canonical or --check; to write a seal '
                         'through XAPI run xsisolate seal VM')
    for name in ('dry_run', 'no_refresh', 'host', 'template', 'anyway'):
        if getattr(arguments, name):
            raise UsageError('seal --local neither asks XAPI nor writes: leave out --%s'
                             % name.replace('_', '-'))
    return run_local(arguments)


def run_local(arguments: argparse.Namespace) -> int:
    """Run the command for a VIF of this host, from xenstore and metadata."""
    vif_id = VifId(*arguments.local)
    with Xenstore() as store:
        metadata, vif, _ = read_identity(store, read_vm_uuid(store, vif_id.domid), vif_id.devid)
        policy = read_policy(store, vif_id.domid, vif)
    seal = metadata.other_config.get(SEAL_KEY)
    state = judge(vif, seal, policy)
    if policy is None and not arguments.check:
        raise PolicyError('vm-data of domain %d (VM %s) has no policy for device %s: there is '
                          'nothing to seal' % (vif_id.domid, vif.vm_uuid, vif.devid))
    record: Dict[str, Any] = {'vif': vif_id.vif, 'vm': vif.vm_uuid,
                              'carries': seal, 'state': state_word(state, seal)}
    if policy is not None:
        portable = arguments.portable or state is Sealing.SEALED and is_portable(seal)
        record.update(seal=make_seal(vif, policy, portable),
                      canonical=format_canonical(vif, policy, portable))
    good = state in (Sealing.SEALED, Sealing.NONE)
    if arguments.json:
        print(json.dumps(record, indent=2, sort_keys=True))
    elif arguments.check:
        print('%s: %s' % (record['vif'], state_text(state, seal) if good
                          else explain(state, vif, seal, policy)))
    else:
        print(record['seal' if arguments.print else 'canonical'])
    return EXIT_DONE if good or not arguments.check else EXIT_DIFFERENT
