"""`xsisolate set` and `unset`: a policy, written through XAPI with its seal, applied at once."""
import argparse
import sys
from typing import TYPE_CHECKING, Any, Callable, Dict, List, Optional

from xsisolate.cli.command import text_of
from xsisolate.errors import UsageError

if TYPE_CHECKING:       # TLS and XML cost 60 ms
    from xsisolate.admin.vm_lookup import Selection
    from xsisolate.dom0.xapi.session import Xapi

OPTIONS = (
    ('mode', 'M', 'unlocked, locked, isolated or disabled'),
    ('permissive', 'yes|no', 'yes: what its policy refuses is recorded and passes; no: it is '
                             'refused, whatever xsisolate.yaml says of its network'),
    ('groups', 'G', 'isolation groups, as in "red, backup"; "" means none'),
    ('ipv4', 'A', 'the VIF\'s own IPv4 addresses or CIDRs; dhcp: what trusted servers lease to it; '
                  'any: all of them, for a router'),
    ('ipv6', 'A', 'the VIF\'s own IPv6 addresses or CIDRs; dhcp; slaac: those of its MAC address '
                  'in the network\'s subnets; any'),
    ('shared', 'A', 'own addresses that other members of its groups list as shared, too, as '
                    'VRRP does'),
    ('mac', 'M', 'additional MAC addresses, as those of CARP and VRRP; vrrp: all of them'),
    ('roles', 'R', 'what the VIF is for its network: gateway, dhcp, router'),
    ('allow', 'P', 'peers: addresses, CIDRs, external; each may carry a service, and who may '
                   'begin: tcp/5432@10.0.0.7, out:tcp/443@external, in:10.0.0.9'))

EXAMPLES = '''
examples:
  xsisolate set web1 --groups red --allow external --ipv4 10.9.0.11 --ipv6 fd00:9::11
  xsisolate set web1 --allow "tcp/443@external udp/53@10.9.0.53"
  xsisolate set web1 --allow "out:external in:tcp/443@external"      only it begins, but for 443
  xsisolate set web1/1 --mode disabled            its second VIF only
  xsisolate set web1 --permissive yes             what it refuses is recorded, and passes
  xsisolate set web1 --allow "" --dry-run         show what would be written; exit code 4
  xsisolate set web1 --replace --groups blue      whatever is there now, this is the policy
  xsisolate set web-template --template --portable --groups red      every VM made of it has it

What is not named stays as it is, if its seal proves that an admin wrote it. A guest may have
written what is not sealed: then set refuses, and --replace begins anew. A portable seal fits every
copy of the VM (clone, VM from a template, restore, import); who may copy it, gives its policy on.
'''

UNSET_EXAMPLES = '''
examples:
  xsisolate unset web1 --allow        no allow list any more; what is left counts
  xsisolate unset web1                no policy at all: XAPI's own locking mode counts
'''


def add_parser(commands: Any) -> None:
    """Add both commands to the command line."""
    from xsisolate.cli.connection import NOTE, add_options
    setting = commands.add_parser(
        'set', help='write a VM\'s policy and its seal, and have its host apply it',
        epilog=EXAMPLES + NOTE, description='Write policy and seal of a VM\'s VIFs through XAPI, '
        'have the host where it runs apply them, and look whether it has.')
    removing = commands.add_parser(
        'unset', help='take a VM\'s policy away, or some of its keys',
        epilog=UNSET_EXAMPLES + NOTE, description='Take keys out of a VM\'s policy, or all of it '
        'with its seal.')
    for parser in (setting, removing):
        parser.add_argument('vm', metavar='VM[/DEVID]',
                            help='uuid or name of a VM; with /DEVID one of its VIFs')
    for name, metavar, text in OPTIONS:
        setting.add_argument('--' + name, metavar=metavar, help=text)
        removing.add_argument('--' + name, action='store_true', help='take out ' + name)
    setting.add_argument('--replace', action='store_true',
                         help='forget what the policy was: only what is named counts')
    kind = setting.add_mutually_exclusive_group()
    kind.add_argument('--portable', dest='portable', action='store_true', default=None,
                      help='a seal that fits every copy of the VM, too')
    kind.add_argument('--bound', dest='portable', action='store_false', default=None,
                      help='a seal for this VM and MAC address alone: the default, and what '
                      '--replace begins with')
    setting.add_argument('--anyway', action='store_true', help='write a policy although no flow '
                         'can enforce it (SR-IOV, a Linux bridge)')
    for parser in (setting, removing):
        parser.add_argument('--template', action='store_true', help='VM is a template or a '
                            'snapshot, by uuid or name')
        add_writing(parser)
        add_options(parser)
    setting.set_defaults(run=run_set)
    removing.set_defaults(run=run_unset)


def add_writing(parser: argparse.ArgumentParser) -> None:
    """Add the options of commands that write."""
    parser.add_argument('--dry-run', action='store_true',
                        help='write nothing; show what would be; exit code 4 if anything would')
    parser.add_argument('--no-refresh', action='store_true',
                        help='do not ask the host to apply it (a role other than pool-admin may '
                        'not); its daemon does so by itself')
    parser.add_argument('--json', action='store_true', help='print the outcome as JSON')


def run_set(arguments: argparse.Namespace) -> int:
    """Run `set`."""
    words = {name: text_of(getattr(arguments, name)) for name, _, _ in OPTIONS
             if getattr(arguments, name) is not None}
    if not words and (arguments.replace or arguments.portable is None):
        raise UsageError('set: nothing to set: name --mode, --permissive, --groups, --ipv4, '
                         '--ipv6, --shared, --mac, --roles or --allow, or --portable or --bound '
                         'without --replace')
    kind = False if arguments.replace and arguments.portable is None else arguments.portable
    return change_policies(arguments, words, [], arguments.replace, kind, arguments.anyway)


def warn_of_cuts(allow: str, last_word: str) -> None:
    """Name the entries that open more than their writer may have meant."""
    from xsisolate.cli.output import say
    for entry in perhaps_cut(allow, last_word):
        colon = entry.rfind(':') + 1 if entry.startswith(('in:', 'out:')) else 0
        direction, where = entry[:colon], entry[colon:]
        say('xsisolate: --allow: %s has no service, so it admits every protocol and port; if you '
            'wrote ;SERVICE behind it, the shell has cut that off: write %sSERVICE@%s, such as '
            '%stcp/443@%s' % (entry, direction, where, direction, where), file=sys.stderr)


def perhaps_cut(allow: str, last_word: str) -> List[str]:
    """Return the entries that may be what a shell has left of `external;tcp/443`.

    What is left ends the command line, and had no quotes around it: it has no blank.
    `external` and `in:external` are named wherever they stand, for they open the most.
    """
    from xsisolate.policy.vmdata_parser import EXTERNAL, SEPARATORS
    widest = (EXTERNAL, 'in:' + EXTERNAL)
    entries = [entry for entry in SEPARATORS.split(allow) if entry]
    bare = last_word.endswith(allow) and len(allow.split()) == 1
    last = entries[-1:] if bare else []
    return [entry for entry in dict.fromkeys(entries)
            if (entry in widest or entry in last) and '@' not in entry and ';' not in entry]


def run_unset(arguments: argparse.Namespace) -> int:
    """Run `unset`."""
    names = [name for name, _, _ in OPTIONS if getattr(arguments, name)]
    return change_policies(arguments, {}, names, not names)


def change_policies(arguments: argparse.Namespace, words: Dict[str, str], removed: List[str],
                    anew: bool, portable: Optional[bool] = None, anyway: bool = True,
                    tell: 'Callable[[Xapi, Selection], None]' = lambda xapi, target: None) -> int:
    """Change the policies of a VM's VIFs; `tell` says something before anything is written."""
    from xsisolate.admin.policy_change import plan_policies
    from xsisolate.admin.protection import check_protected
    from xsisolate.admin.vm_lookup import find_target
    from xsisolate.admin.write import PolicyWriter, make_report
    from xsisolate.cli import change_report
    from xsisolate.cli.connection import now, opener
    from xsisolate.cli.output import say, say_json
    connect, moment, quiet = opener(arguments), now(), arguments.json
    with connect() as xapi:
        target = find_target(xapi, text_of(arguments.vm), arguments.template)
        policies = decide(target, words, removed, anew)
        if not anyway:
            check_protected(target.vm, target.vifs)
        warn_of_cuts(words.get('allow', ''), text_of(arguments.last_word))
        if not quiet and not arguments.dry_run:
            say('%s:' % change_report.name_of(target.vm))
        tell(xapi, target)
        kinds = {} if portable is None else {vif.devid: portable for vif in target.vifs}
        change = plan_policies(target.vm, policies, moment, portable=kinds)
        if arguments.dry_run:
            report = make_report(change, change.steps)
        else:
            report = PolicyWriter(xapi, connect, moment, not arguments.no_refresh,
                                  (lambda step: None) if quiet else change_report.show_step
                                  ).write(change)
    if arguments.json:
        say_json(change_report.describe(report, arguments.dry_run))
    else:
        change_report.show(report, arguments.dry_run)
    return change_report.exit_code(report, arguments.dry_run)


def decide(target: Any, words: Dict[str, str], removed: List[str], anew: bool) -> Any:
    """Return the policies of all VIFs of a VM, as they shall be."""
    from xsisolate.admin.vm_lookup import need_vifs, proven_policies
    from xsisolate.policy.model import VifPolicy
    from xsisolate.policy.vmdata_writer import parse_words, replace_keys
    need_vifs(target)
    if len(target.vifs) > 1 and {'ipv4', 'ipv6', 'shared', 'mac', 'roles'} & words.keys():
        raise UsageError('VM %s has %d VIFs, and addresses and roles belong to one: say which, as '
                         'in %s/%s'
                         % (target.vm.uuid, len(target.vifs), target.vm.uuid,
                            target.vifs[0].devid))
    policies = proven_policies(target.vm, target.vifs if anew else ())
    if not words and not removed and not anew:
        _need_policies(target, policies)
    for vif in target.vifs:
        changes = parse_words(words, vif.devid) if words else VifPolicy()
        before = policies.get(vif.devid) or VifPolicy()
        after: Optional[VifPolicy] = replace_keys(before, changes, [*words, *removed])
        if anew and not words or after == VifPolicy():
            after = None
        policies[vif.devid] = after
    return policies


def _need_policies(target: Any, policies: Any) -> None:
    """Raise UsageError where another seal is asked for, and there is no policy to be sealed."""
    bare = [vif.devid for vif in target.vifs if policies[vif.devid] is None]
    if bare:
        raise UsageError('VM %s device %s has no policy that a seal could be for: name --groups, '
                         '--mode or another key' % (target.vm.uuid, ', '.join(bare)))
