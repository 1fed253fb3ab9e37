"""What is not well in a pool: hosts that do not answer, and hosts that differ from the others."""
from collections import Counter
from typing import Iterator, List, NamedTuple, Optional, Sequence

from xsisolate.admin.host_overview import HostOverview
from xsisolate.admin.pool_call import DOWN, NONSENSE, OLDER, PLUGIN_MISSING, HostAnswer
from xsisolate.diagnostics.finding import Finding, problem, warning
from xsisolate.errors import EXIT_DIFFERENT
from xsisolate.policy.address import quoted
from xsisolate.policy.xapi_records import XapiVm

ACTIVE, LOCAL = 'active', 'local'
DIGITS = 12             # of a digest
VMS_SHOWN = 20


class Common(NamedTuple):
    """What most hosts have."""

    version: str
    digest: str             # of xsisolate.yaml: the pool's in XAPI, if there is one
    in_xapi: bool = False


def find_common(answers: Sequence[HostAnswer]) -> Optional[Common]:
    """Return what most hosts have, of equally many what the first has: the master comes first."""
    told: List[HostOverview] = [answer.reply for answer in answers if not answer.error]
    if not told:
        return None
    wanted = [one.wanted for one in told if one.wanted]
    return Common(_most([one.version for one in told]),
                  _most(wanted or [one.digest for one in told]), bool(wanted))


def _most(values: Sequence[str]) -> str:
    counts = Counter(values)
    return max(values, key=lambda value: counts[value])


def examine_hosts(answers: Sequence[HostAnswer]) -> Iterator[Finding]:
    """Yield what is wrong with hosts: those that say nothing first, then those that differ."""
    for answer in answers:
        if answer.error:
            yield explain_silence(answer)
    common = find_common(answers)
    for answer in answers:
        if common and not answer.error:
            yield from _examine(answer.host.name, answer.reply, common)


def is_unprotected(answer: HostAnswer) -> bool:
    """Tell whether a host runs, and xsisolate does not work on it."""
    return answer.code == PLUGIN_MISSING or not (answer.error or answer.reply.active)


def examine_vms(answers: Sequence[HostAnswer], vms: Sequence[XapiVm]) -> Iterator[Finding]:
    """Yield the sealed VMs that run where no policy is kept."""
    for answer in filter(is_unprotected, answers):
        found = ['%s (%s)' % (quoted(vm.name), vm.uuid) for vm in vms
                 if vm.host == answer.host.ref and any(vif.seal for vif in vm.vifs)]
        if found:
            yield problem('host ' + answer.host.name, 'NOT PROTECTED: %d sealed VMs: %s%s' % (
                len(found), ', '.join(found[:VMS_SHOWN]), ', ...' * (len(found) > VMS_SHOWN)),
                'a host with xsisolate', 'migrate or stop them until xsisolate is active there')


def explain_silence(answer: HostAnswer) -> Finding:
    """Return why a host's plugin does not answer, and what to do."""
    name, code = 'host ' + answer.host.name, answer.code
    if code == PLUGIN_MISSING:
        return problem(name, 'has no xsisolate: no VM is protected on it', 'xsisolate, active',
                       'install it there (docs/install.md), then xsisolate activate; an upgrade by '
                       'the installer removes it')
    if code == OLDER:
        return problem(name, 'has an older xsisolate, which does not know this question',
                       'the release of the other hosts', 'upgrade the package there')
    if code in DOWN:
        return problem(name, 'is down: ' + answer.error, 'a host that runs',
                       'start it, or forget it (xe host-forget) if it is gone for good')
    if code == NONSENSE:
        return problem(name, answer.error, 'an answer as of this release', 'install the same '
                       'release on all hosts (xsisolate pool status); else see whether the '
                       'plugin is ours (rpm -V xsisolate)')
    return problem(name, answer.error, 'an answer of its plugin', 'run xsisolate doctor on it; '
                   'see whether xapi runs there (systemctl status xapi)')


def _examine(host: str, found: HostOverview, common: Common) -> Iterator[Finding]:
    what = 'host ' + host
    if not found.active:
        yield problem(what, 'xsisolate is installed and not active: its VMs run on the stock hooks',
                      'hooks of xsisolate', 'xsisolate activate on that host')
    elif found.daemon != ACTIVE:
        yield problem(what, 'xsisolate-watch.service is %s' % found.daemon, ACTIVE,
                      'systemctl start xsisolate-watch on that host')
    if found.version != common.version:
        yield problem(what, 'xsisolate %s' % found.version, '%s, as most hosts have'
                      % common.version, 'install the same release on all hosts', EXIT_DIFFERENT)
    if found.digest != common.digest:
        yield problem(what, 'xsisolate.yaml is %s%s' % (
            name_digest(found.digest), ' and says local: true' if found.source == LOCAL else ''),
                      name_digest(common.digest) + (', the pool\'s in XAPI' if common.in_xapi
                                                    else ', as on most hosts'),
                      _how_to_agree(found, common), EXIT_DIFFERENT)
    for text in found.warnings:
        yield problem(what, text, 'nothing to say', 'xsisolate doctor on that host',
                      found.code) if found.code else warning(what, text, 'nothing to say',
                                                             'xsisolate doctor on that host')


def _how_to_agree(found: HostOverview, common: Common) -> str:
    if found.source == LOCAL:
        return 'take local: true out of the file if the host should have the pool\'s configuration'
    if common.in_xapi:
        return ('see why (xsisolate pool doctor): its daemon takes the pool\'s configuration as '
                'soon as it reaches XAPI')
    return 'push one for all (xsisolate pool config push), or compare the files of both hosts'


def name_digest(digest: str) -> str:
    """Return a digest as people can compare it."""
    return digest[:DIGITS] or 'not there'
