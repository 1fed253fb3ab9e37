"""Copies of DHCP messages for the daemon, which learns from them what servers lease to a VIF.

Only where a policy says so, and of DHCP only. A question is copied when its sender is known to be
the VIF, an answer when it has passed what decides where answers may come from. The frames
themselves go on as without a copy, and whether the daemon hears them makes no difference to them.

Questions are copied in a table of their own, COPY. The daemon silences a VIF there that asks too
much, for a while: else the switch, which keeps a hundred copies, would drop those of other VIFs.
"""
from xsisolate.openflow.flow import Flow, make_flow
from xsisolate.openflow.ownership import LISTENER, SILENCING
from xsisolate.pipeline.tables import (ACCEPT, COPY, DESTINATION, EGRESS, FANOUT, JUDGED, PASS,
                                       SETTLE, TO_ISOLATED, TO_LOCAL, TO_PERMISSIVE)
from xsisolate.pipeline.terms import (DHCP6_ANSWER, DHCP6_QUERY, DHCP_ANSWER, DHCP_QUERY,
                                      Attachment, goto, network_match, noted, notes, outputs,
                                      raised)
from xsisolate.policy.model import LEASED4, LEASED6, Mode, Source
from xsisolate.typing_compat import AbstractSet, Iterable, Iterator

LENGTH_MAX = 2048       # bytes of a frame; what is cut off says nothing
COPY_TO_DAEMON = 'controller(max_len=%d,id=%d)' % (LENGTH_MAX, LISTENER)
QUESTIONS = {LEASED4: DHCP_QUERY, LEASED6: DHCP6_QUERY}
ANSWERS = {LEASED4: DHCP_ANSWER, LEASED6: DHCP6_ANSWER}


def question_flows(settle: Flow, sources: AbstractSet[Source],
                   permissive: bool = False) -> Iterator[Flow]:
    """Yield the copies of what a VIF asks, beside the flow for all else that it sends.

    Of a permissive VIF, here and below, what is judged is copied, and not what passes.
    """
    for source in sorted(sources & QUESTIONS.keys()):
        yield make_flow(SETTLE, settle.priority + 10, [settle.match, QUESTIONS[source],
                                                       notes(JUDGED) if permissive else ''],
                        goto(COPY), settle.actions)


def copy_flow(network: int) -> Flow:
    """Return the copy of what VIFs of a network ask."""
    return make_flow(COPY, 10, [network_match(network)], COPY_TO_DAEMON)


def silencing_flow(network: int, mac: str) -> Flow:
    """Return the flow that has nothing copied of what a VIF asks."""
    return make_flow(COPY, 20, [network_match(network), 'dl_src=%s' % mac])._replace(
        cookie=SILENCING)


def answer_copy_flows(network: int, mac: str, mode: Mode, sources: AbstractSet[Source],
                      permissive: bool = False) -> Iterator[Flow]:
    """Yield the copies of what a VIF is answered."""
    for source in sorted(sources & ANSWERS.keys()):
        here = [network_match(network), 'dl_dst=%s' % mac, ANSWERS[source]]
        yield make_flow(ACCEPT, 30, [*here, notes(JUDGED) if permissive else ''], COPY_TO_DAEMON,
                        goto(PASS))
        if mode is Mode.LOCKED:     # it too hears trusted servers only
            yield make_flow(DESTINATION, 51, here, noted(TO_PERMISSIVE) if permissive else raised(
                TO_LOCAL, TO_ISOLATED), goto(EGRESS))


def aloud_copy_flow(network: int, links: Iterable[Attachment]) -> Flow:
    """Return the copy of what DHCP servers answer to all; isolated VIFs get theirs as always."""
    return make_flow(FANOUT, 20, [network_match(network), DHCP_ANSWER], COPY_TO_DAEMON,
                     *outputs(network, links))
