"""`xsisolate seal VM`: what is in XAPI's vm-data, shown, asked about, and sealed."""
import argparse
import sys
from typing import Any, Dict, List, NamedTuple, Optional

from xsisolate.cli.change_report import (describe, exit_code, name_of, show_step, show_vif,
                                          warnings)
from xsisolate.cli.command import text_of
from xsisolate.cli.connection import now, opener
from xsisolate.cli.output import Cell, Progress, printable, say, say_json, table
from xsisolate.errors import (EXIT_DIFFERENT, EXIT_DONE, EXIT_POLICY, HostError, UsageError,
                              XsisolateError, worst_exit_code)
from xsisolate.policy.model import VifPolicy
from xsisolate.policy.seal import (Sealing, explain, format_canonical, format_policy, is_portable,
                                   make_seal, state_text, state_word)
from xsisolate.policy.unprotected import NOT_PROTECTED
from xsisolate.policy.vmdata_writer import as_words
from xsisolate.policy.xapi_records import XapiVif, XapiVm, identify, judge_vif

GOOD = (Sealing.SEALED, Sealing.NONE)


class VifSeal(NamedTuple):
    """A VIF, and how its policy and seal go together."""

    vm: XapiVm
    vif: XapiVif
    state: Sealing
    policy: Optional[VifPolicy]
    error: str                  # why vm-data has no valid policy
    wants_portable: bool = False
    original: Optional[XapiVm] = None   # whose seal proves its policy, though it is not its own

    @property
    def is_doubtful(self) -> bool:
        """Tell whether a seal says that its policy was another, and none that it is a copy's."""
        return self.state in (Sealing.CHANGED, Sealing.UNREADABLE, Sealing.VERSION) and (
            self.original is None)

    @property
    def portable(self) -> bool:
        """Tell whether it is to have a portable seal; a proven one stays what it is."""
        return self.wants_portable or (self.state is Sealing.SEALED and is_portable(self.vif.seal))

    @property
    def is_good(self) -> bool:
        """Tell whether there is nothing to be sealed."""
        return self.state is Sealing.NONE or (
            self.state is Sealing.SEALED and self.portable is is_portable(self.vif.seal))

    @property
    def word(self) -> str:
        """How its policy and seal go together, in a word."""
        return state_word(self.state, self.vif.seal)

    @property
    def seal(self) -> Optional[str]:
        """The seal that its policy needs."""
        return make_seal(identify(self.vm, self.vif), self.policy,
                         self.portable) if self.policy else None

    @property
    def canonical(self) -> str:
        """What that seal is the SHA-256 of."""
        return format_canonical(identify(self.vm, self.vif), self.policy or VifPolicy(),
                                self.portable)

    @property
    def complaint(self) -> str:
        """What is wrong, for an admin's eyes."""
        return self.error or explain(self.state, identify(self.vm, self.vif), self.vif.seal,
                                     self.policy)

    def describe(self) -> Dict[str, Any]:
        """Return it as JSON has it."""
        return {'vm': self.vm.uuid, 'name': self.vm.name, 'device': self.vif.devid,
                'carries': self.vif.seal, 'seal': self.seal, 'state': self.word,
                'portable': self.portable, 'not_protected': self.vif.unprotected or None,
                'policy': format_policy(self.policy) if self.policy else None,
                'error': None if self.state in GOOD else self.complaint}


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    connect = opener(arguments)
    with connect() as xapi:
        found = look(xapi, arguments)
        if arguments.check:
            return check(found, arguments.json)
        if arguments.print or arguments.canonical:
            return show_texts(found, arguments)
        open_ones = [one for one in found if not one.is_good]
        if arguments.dry_run:
            return preview(open_ones, arguments.json, arguments.anyway)
        return seal(xapi, connect, open_ones, arguments)


def look(xapi: Any, arguments: argparse.Namespace) -> List[VifSeal]:
    """Return the VIFs that the command is about."""
    from xsisolate.admin.proof import find_original
    from xsisolate.admin.vm_lookup import find_target, need_vifs, read_all
    if arguments.all:
        vms = read_all(xapi, arguments.template)
        others = vms + read_all(xapi, not arguments.template)
        pairs = [(vm, vif) for vm in vms for vif in vm.vifs]
    else:
        target = find_target(xapi, text_of(arguments.vm), arguments.template)
        need_vifs(target)
        others = []
        pairs = [(target.vm, vif) for vif in target.vifs]
    found = []
    with Progress('reading policies', len(pairs)) as progress:
        for vm, vif in pairs:
            state, policy, error = judge_vif(vm, vif)
            found.append(VifSeal(vm, vif, state, policy, error, arguments.portable,
                                 find_original(vm, vif, policy, others)
                                 if state is Sealing.CHANGED else None))
            progress.step(vm.name)
    return [one for one in found if one.state is not Sealing.NONE
            or one.vif.unprotected] if arguments.all else found


def check(found: List[VifSeal], as_json: bool) -> int:
    """Say which VIFs carry the seal of their policy."""
    if as_json:
        say_json([one.describe() for one in found])
    else:
        say(*table(('VM', 'VIF', 'SEAL', 'POLICY'), [
            [name_of(one.vm), one.vif.devid, *check_cells(one)] for one in found]))
    return EXIT_DONE if all(one.state in GOOD and (
        one.state is Sealing.NONE or not one.vif.unprotected) for one in found) else EXIT_DIFFERENT


def check_cells(one: VifSeal) -> List[Any]:
    """Return what is to be said of a VIF's seal and policy."""
    good = one.state in GOOD
    text = as_words(one.policy) if good else printable(one.complaint)
    if one.vif.unprotected:
        return [Cell(NOT_PROTECTED, 'bad'), '%s; its policy (%s): %s' % (
            printable(one.vif.unprotected), one.word, text)]
    return [Cell(one.word, 'good' if good else 'bad'), text]


def show_texts(found: List[VifSeal], arguments: argparse.Namespace) -> int:
    """Print seals, or what they are made of."""
    code = EXIT_DONE
    if arguments.json:
        say_json([one.describe() for one in found])
    for one in found:
        if one.policy is None:
            code = EXIT_POLICY if one.error or len(found) == 1 else code
            complain(one, one.complaint if one.state is not Sealing.NONE
                     else 'there is no policy in vm-data: there is nothing to seal')
        elif not arguments.json:
            text = one.seal if arguments.print else one.canonical
            say(str(text) if len(found) == 1 else '%s %s %s' % (one.vm.uuid, one.vif.devid, text))
    return code


def preview(found: List[VifSeal], as_json: bool, anyway: bool) -> int:
    """Show what would be sealed."""
    if as_json:
        say_json([one.describe() for one in found])
    else:
        for one in found:
            if one.policy is None:
                complain(one, one.complaint)
            elif one.vif.unprotected and not anyway:
                complain(one, unprotected(one))
            else:
                say(*question(one))
        if not found:
            say('nothing to seal')
    if any(one.policy is None or (one.vif.unprotected and not anyway) for one in found):
        return EXIT_POLICY
    return EXIT_DIFFERENT if found else EXIT_DONE


def seal(xapi: Any, connect: Any, found: List[VifSeal], arguments: argparse.Namespace) -> int:
    """Ask about each VIF whose policy is not sealed, and seal it."""
    if not found:
        say_json([]) if arguments.json else say('nothing to seal')
        return EXIT_DONE
    if not arguments.yes and (arguments.json or not sys.stdin.isatty()):
        raise UsageError('seal: without a terminal, or with --json, this command cannot ask: look '
                         'at the policy with --canonical, then add --yes')
    codes, done = set(), []
    chosen: Dict[str, List[VifSeal]] = {}
    for one in found:
        if one.policy is None:
            complain(one, one.complaint)
            codes.add(EXIT_POLICY)
        elif one.vif.unprotected and not arguments.anyway:
            complain(one, unprotected(one))
            codes.add(EXIT_POLICY)
        elif arguments.yes and arguments.all and one.is_doubtful:
            complain(one, 'not sealed, because %s. In vm-data is now: %s. If an admin meant that, '
                     'name the VM: xsisolate seal %s' % (state_text(one.state, one.vif.seal),
                                                         as_words(one.policy), one.vm.uuid))
            codes.add(EXIT_POLICY)
        elif arguments.yes or ask(one):
            chosen.setdefault(one.vm.ref, []).append(one)
        else:
            codes.add(EXIT_DIFFERENT)
    with Progress('sealing', len(chosen)) as progress:
        for vifs in chosen.values():
            try:
                done.append(seal_vm(xapi, connect, vifs, arguments))
                codes.add(exit_code(done[-1], False))
            except XsisolateError as error:
                complain(vifs[0], str(error))
                codes.add(error.exit_code)
            progress.step(vifs[0].vm.name)
    if arguments.json:
        say_json([describe(one, False) for one in done])
    return worst_exit_code(codes)


def seal_vm(xapi: Any, connect: Any, vifs: List[VifSeal], arguments: argparse.Namespace) -> Any:
    """Seal VIFs of one VM, with the policies that were shown."""
    from xsisolate.admin.policy_change import plan_seals
    from xsisolate.admin.write import PolicyWriter
    vm, moment = vifs[0].vm, now()
    report = (lambda step: None) if arguments.json else show_step
    if not arguments.json:
        say('%s:' % name_of(vm))
    change = plan_seals(vm, {one.vif.devid: one.policy for one in vifs}, moment,
                        {one.vif.devid: one.portable for one in vifs})
    done = PolicyWriter(xapi, connect, moment, not arguments.no_refresh, report).write(change)
    if not arguments.json:
        say(*('  ' + show_vif(vif).text for vif in done.vifs),
            *('! ' + warning for warning in warnings(done)))
    return done


def question(one: VifSeal) -> List[str]:
    """Return what an admin must know before sealing."""
    assert one.policy
    return ['%s device %s: %s' % (name_of(one.vm), one.vif.devid,
                                  state_text(one.state, one.vif.seal)),
            '  the policy: ' + as_words(one.policy),
            *(['  it is that of %s, whose seal proves it' % name_of(one.original)]
              if one.original else []),
            *['  the seal will fit every copy of the VM, too'] * one.portable,
            *['  %s: %s' % (NOT_PROTECTED, one.vif.unprotected)] * bool(one.vif.unprotected)]


def unprotected(one: VifSeal) -> str:
    """Return why sealing a VIF's policy would promise what nothing enforces."""
    return '%s: %s. It was not sealed: --anyway seals it all the same' % (
        NOT_PROTECTED, one.vif.unprotected)


def ask(one: VifSeal) -> bool:
    """Show a policy, and ask whether an admin has meant it."""
    say(*question(one))
    try:
        return input('  seal it? [y/N] ').strip().lower() in ('y', 'yes')
    except EOFError:
        raise HostError('seal: input ended without an answer: nothing more was sealed') from None


def complain(one: VifSeal, text: str) -> None:
    """Say what is wrong with a VIF."""
    say('xsisolate: %s device %s: %s' % (name_of(one.vm), one.vif.devid, text), file=sys.stderr)
