"""ACCEPT, REPLY: how TCP begins, and what belongs to a connection.

Whoever may begin may send any datagram. Of TCP only a SYN begins: all else must belong to a
connection that is known, or who has lost his right to begin could have the other end take it up
again. A live migration takes a connection to a switch that has not seen it begin. So for a while
after a VIF's first frame here its connections are taken up in the middle: RESUMED has flows for it
that the switch has learned and forgets by itself.
"""
from xsisolate.openflow.flow import Flow, make_flow
from xsisolate.pipeline.refusals import Reason, because
from xsisolate.pipeline.tables import (ACCEPT, ARRIVED, COMMIT, ESTABLISHED, ISOLATED_DROP, PASS,
                                       PLAIN, REPLY, REPLY_ONLY, REQUEST, RESUMED)
from xsisolate.pipeline.terms import flags, goto, network_match, raised
from xsisolate.typing_compat import Iterator

ZONE = 'zone=NXM_NX_REG13[0..15]'
SYN = 'tcp_flags=-fin+syn-rst-ack'      # begins a connection
MIDSTREAM = 'tcp_flags=-syn-rst+ack'    # of one that has begun
# Seconds after a VIF's first frame behind a migration in which its connections are taken up: by
# whichever end speaks first, and then only by the one that may begin. That is longer than guests
# wait before they ask whether an idle connection is alive (two hours).
BY_EITHER_S, BY_CLIENT_S = 60, 7500


def connection_lookup_flows() -> Iterator[Flow]:
    """Yield which segments are looked up, and by which flag one that is known to none is known.

    No fragment is: the kernel would put it together in a queue that other bridges share, where a
    tenant with the same addresses could put his own beginning before another's end.
    """
    for family in ('ip', 'ipv6'):
        for bit in (COMMIT, ESTABLISHED):
            yield make_flow(ACCEPT, 40, [flags(bit), family, 'nw_frag=yes'],
                            because(Reason.PIECES, ISOLATED_DROP))
    for tcp in ('tcp', 'tcp6'):
        yield make_flow(ACCEPT, 11, [flags(COMMIT), tcp], 'ct(table=%d,%s)' % (REPLY, ZONE))
        yield make_flow(REPLY, 5, ['ct_state=+new-rel+trk', tcp, MIDSTREAM,
                                   flags(off=[REPLY_ONLY])], raised(REPLY_ONLY), goto(RESUMED),
                        goto(REPLY))
    # Not remembered: the answer of the end that may begin will be.
    yield make_flow(REPLY, 6, [flags(ESTABLISHED, REPLY_ONLY, PLAIN)], 'ct_clear', goto(PASS))


def connection_flows(remember: str, asked_here: str) -> Iterator[Flow]:
    """Yield how a connection begins, and what belongs to it: segments and ICMP errors.

    `remember` is the action that does so, `asked_here` the match for what was begun on this bridge.
    """
    for tcp, icmp in (('tcp', 'icmp'), ('tcp6', 'icmp6')):
        yield make_flow(ACCEPT, 12, [flags(COMMIT), tcp, SYN], remember, goto(PASS))
        yield make_flow(REPLY, 10, ['ct_state=+est-rpl+trk', asked_here,
                                    flags(COMMIT, off=[ESTABLISHED]), tcp], 'ct_clear', goto(PASS))
        yield make_flow(REPLY, 10, ['ct_state=-new+rel+trk', asked_here, icmp], 'ct_clear',
                        goto(PASS))
        yield make_flow(REPLY, 6, [flags(COMMIT, REPLY_ONLY, REQUEST, off=[ESTABLISHED]), tcp],
                        remember, 'ct_clear', goto(PASS))


def arrival_flow(ofport: int, network: int, cookie: int) -> Flow:
    """Return the flow that learns, from the first frame of a VIF that has arrived, how long.

    It learns so once: a flow that is learned again begins its time anew.
    """
    once = ('learn(table=%d,priority=200,cookie=0x%x,NXM_NX_REG13[],NXM_OF_IN_PORT[])'
            % (ARRIVED, cookie))
    learned = ['learn(table=%d,hard_timeout=%d,priority=%d,cookie=0x%x,NXM_NX_REG13[],%s,%s)'
               % (RESUMED, seconds, priority, cookie, side, raised(*bits))
               for seconds, priority, bits in _TIMES for side in _SIDES]
    return make_flow(ARRIVED, 100, ['in_port=%d' % ofport, network_match(network)], once, *learned)


_TIMES = ((BY_EITHER_S, 100, (PLAIN, REQUEST)), (BY_CLIENT_S, 50, (REQUEST,)))
_SIDES = ('NXM_OF_ETH_SRC[]', 'NXM_OF_ETH_DST[]=NXM_OF_ETH_SRC[]')


def resumed_flows(network: int, mac: str, ofport: int) -> Iterator[Flow]:
    """Yield what arrival_flow learns, as the switch reads it back."""
    where = network_match(network)
    yield make_flow(ARRIVED, 200, ['in_port=%d' % ofport, where])
    for _, priority, bits in _TIMES:
        for side in ('dl_src', 'dl_dst'):
            yield make_flow(RESUMED, priority, [where, '%s=%s' % (side, mac)], raised(*bits))
