"""The matrix as one page: nothing from the network, no script; light, dark, for any reader."""
import html
import unicodedata
from time import gmtime, strftime
from typing import Dict, Iterable, Iterator, List, Mapping, Optional, Sequence, Set, Tuple

from xsisolate.diagnostics.inventory import VifView
from xsisolate.diagnostics.matrix import Matrix, NetworkMatrix, title, words
from xsisolate.diagnostics.matrix_style import STYLE
from xsisolate.diagnostics.matrix_svg import (ARCS_MAX, anchor, count_kinds, draw_arcs, draw_grid,
                                              set_title, shorten)
from xsisolate.diagnostics.permissive import mode_words, say_would_be
from xsisolate.policy.address import LINK_LOCAL, contains, format_prefix
from xsisolate.policy.model import Group
from xsisolate.policy.reachability import Alike, Services
from xsisolate.policy.seal import format_peer
from xsisolate.policy.service import format_rule

HARMFUL = ('Cc', 'Cf', 'Cs', 'Co', 'Cn', 'Zl', 'Zp')
LISTED = 12                 # of a set's members and peers, so many without a click
NAME_LIMIT = 120


def escape(text: str) -> str:
    """Return any text for HTML: nothing in it is markup, a control or a direction."""
    plain = ''.join(char.encode('unicode_escape').decode('ascii')
                    if unicodedata.category(char) in HARMFUL else char for char in text)
    return html.escape(plain)


def name(text: str) -> str:
    """Return a name that others chose, kept to itself whatever its direction."""
    return '<bdi>%s</bdi>' % escape(shorten(text, NAME_LIMIT))


def make_page(matrix: Matrix, host: str) -> str:
    """Return the whole page."""
    count = len({view.name for network in matrix.networks for view in network.views})
    parts = ['<!DOCTYPE html>', '<html lang="en"><head><meta charset="utf-8">',
             '<meta name="viewport" content="width=device-width">',
             '<meta name="color-scheme" content="light dark">',
             '<title>Who may reach whom on %s</title>' % escape(host),
             '<style>%s</style></head><body>' % STYLE,
             '<a class="skip" href="#main">To the content</a>',
             '<header><h1>Who may reach whom on %s</h1>' % name(host),
             '<p>%d VIF%s on %d network%s, as their policies stood at %s. Two VIFs may talk when '
             'each one\'s policy admits the other, over one IP version at least; an unmanaged one '
             'counts by the addresses that its guest says it has.</p>' % (
                 count, 's' * (count != 1), len(matrix.networks),
                 's' * (len(matrix.networks) != 1), strftime('%Y-%m-%d %H:%M UTC', gmtime()))]
    parts += ['<p class="warning"><strong>Warning:</strong> %s</p>' % escape(text)
              for text in matrix.warnings]
    parts += _contents(matrix)
    parts += [STRIPES, '</header><main id="main">']
    for number, network in enumerate(matrix.networks):
        parts += _network(network, number)
    parts += _homeless(matrix.homeless)
    parts += _groups(matrix)
    return '\n'.join(parts + ['</main></body></html>', ''])


def _contents(matrix: Matrix) -> Iterator[str]:
    yield '<nav aria-label="Networks"><ul>'
    for number, network in enumerate(matrix.networks):
        yield '<li><a href="#n%d">%s</a> (%d VIFs)</li>' % (
            number, escape(network.place.name), len(network.views))
    yield '</ul></nav>'


def _network(network: NetworkMatrix, number: int) -> Iterator[str]:
    counts = count_kinds(network)
    yield '<section aria-labelledby="n%d"><h2 id="n%d">Network %s</h2>' % (
        number, number, escape(network.place.name))
    yield ('<p>%d VIFs in %d sets whose members may say the same to the same. Of %d pairs %d may '
           'say everything, %d some things, %d nothing.</p>' % (
               len(network.views), len(network.sets), sum(counts.values()), counts['all'],
               counts['some'], counts['none']))
    passed = sum(other < at for at, row in enumerate(network.would) for other in row)
    if passed:
        yield ('<p class="warning">Of %d pairs more passes than policies say, because a VIF is '
               'permissive: they are dotted.</p>' % passed)
    yield LEGEND
    if len(network.sets) <= ARCS_MAX:
        yield '<h3>Sets</h3><figure>%s</figure>' % draw_arcs(network, number, escape)
    else:
        yield '<p>More than %d sets are too many to draw as a list with arcs.</p>' % ARCS_MAX
    yield '<h3>Every pair</h3><figure>%s</figure>' % draw_grid(network, number, escape)
    yield from _counted(network, network.refused, 'Refused in the last hour')
    yield from _counted(network, network.passed, 'Passed in the last hour, and would be refused')
    yield from _sets(network, number)
    yield from _vifs(network, number)
    yield '</section>'


LEGEND = '''<ul class="legend">
<li><svg width="14" height="14" aria-hidden="true"><rect class="mark all" x="1" y="1" width="11"
 height="11"/></svg> may say everything</li>
<li><svg width="14" height="14" aria-hidden="true"><rect class="mark some" x="1" y="1" width="11"
 height="11"/></svg> some services only</li>
<li><svg width="14" height="14" aria-hidden="true"><rect class="mark none" x="1" y="1" width="11"
 height="11"/></svg> nothing</li>
<li><svg width="14" height="14" aria-hidden="true"><path class="closed" d="M2 2l10 10m0 -10l-10 10"
/></svg> closed: nothing enters or leaves</li>
<li><svg width="14" height="14" aria-hidden="true"><circle class="refused" cx="7" cy="7" r="4"
/></svg> refused something in the last hour</li>
<li><svg width="14" height="14" aria-hidden="true"><rect class="mark all would" x="1" y="1"
 width="11" height="11"/><rect class="cells would" x="1" y="1" width="11" height="11"/></svg> passes
 and would be refused: a VIF is permissive</li>
</ul>'''
STRIPES = '''<svg class="defs" width="0" height="0" aria-hidden="true"><defs><pattern id="stripes"
 width="5" height="5" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">
<rect width="5" height="5" class="stripe-paper"/><rect width="2.5" height="5" class="stripe"/>
</pattern><pattern id="dots" width="5" height="5" patternUnits="userSpaceOnUse">
<circle cx="2.5" cy="2.5" r="1.4" class="dot"/></pattern></defs></svg>'''


def _counted(network: NetworkMatrix, counts: Sequence[Mapping[int, int]],
             heading: str) -> Iterator[str]:
    """Yield the pairs that were refused something, or would be, those with most first."""
    pairs = sorted(((-frames, at, other) for at, others in enumerate(counts)
                    for other, frames in others.items()))
    if not pairs:
        return
    names = [name(view.vm_name or view.name) for view in network.views]
    yield '<h3>%s</h3><p>%s</p>' % (heading, _fold([
        '%s to %s: %d' % (names[at], names[other], -frames) for frames, at, other in pairs]))


def _heads(*titles: str) -> str:
    return ''.join('<th scope="col">%s</th>' % text for text in titles)


def _sets(network: NetworkMatrix, number: int) -> Iterator[str]:
    yield '<h3>Who may reach whom</h3><div class="wide"><table><thead><tr>'
    yield _heads('Set', 'What', 'Members', 'Among each other', 'May reach', 'Outside')
    yield '</tr></thead><tbody>'
    for at, alike in enumerate(network.sets):
        first, among = alike.members[0], dict(alike.reaches).get(at, frozenset())
        yield '<tr id="%s"><th scope="row">%d</th><td>%s<br><small>%s</small></td>' % (
            anchor(number, at), at + 1, escape(title(network, alike)),
            mode_words(network.views[first].vif.policy))
        yield '<td>%s</td><td>%s</td>' % (
            _fold([name(network.views[member].vm_name or network.views[member].name)
                   for member in alike.members]),
            _said(among, dict(alike.would).get(at)) if len(alike.members) > 1 else '\u2013')
        yield '<td>%s</td><td>%s</td></tr>' % (
            _peers(network, number, at, alike), _said(network.outside[first],
                                                      network.less_outside(first)))
    yield '</tbody></table></div>'


def _peers(network: NetworkMatrix, number: int, at: int, alike: Alike) -> str:
    """Return the other sets that a set may reach, those with the same services together."""
    by_services: List[Tuple[str, List[str]]] = []
    would = dict(alike.would)
    for other, services in alike.reaches:
        if other == at:
            continue
        link = '<a href="#%s" title="%s">%d</a>' % (
            anchor(number, other), escape(set_title(network, other)), other + 1)
        said = _said(services, would.get(other))
        for known, links in by_services:
            if known == said:
                links.append(link)
                break
        else:
            by_services.append((said, [link]))
    return '<br>'.join('%s: %s' % (_fold(links), said) for said, links in by_services) or 'none'


def _said(services: Services, would: Optional[Services] = None) -> str:
    if would is not None:
        return '%s <span class="would">(would be %s)</span>' % (_said(services), _said(would))
    if not services:
        return 'nothing'
    return '<span class="%s">%s</span>' % (
        'some' if words(services) != ['everything'] else 'all', escape(', '.join(words(services))))


def _fold(items: Sequence[str]) -> str:
    """Return a list, its tail behind a click if it is long."""
    if len(items) <= LISTED + 1:
        return ', '.join(items)
    return '%s <details><summary>and %d more</summary>%s</details>' % (
        ', '.join(items[:LISTED]), len(items) - LISTED, ', '.join(items[LISTED:]))


def _vifs(network: NetworkMatrix, number: int) -> Iterator[str]:
    home = {member: at for at, alike in enumerate(network.sets) for member in alike.members}
    yield '<details class="vifs"%s><summary>The %d VIFs</summary><div class="wide"><table>' % (
        ' open' * (len(network.views) <= 60), len(network.views))
    yield '<thead><tr>%s</tr></thead><tbody>' % _heads(
        'VM', 'VIF', 'Set', 'Mode', 'Groups', 'Allow', 'Addresses', 'Seal', 'Spoofed', 'Isolated')
    for at, view in enumerate(network.views):
        yield _vif(view, number, home[at])
    yield '</tbody></table></div></details>'


def _vif(view: VifView, number: int, at: int) -> str:
    policy = view.vif.policy
    cells = [view.name, '<a href="#%s">%d</a>' % (anchor(number, at), at + 1), mode_words(policy),
             escape(', '.join(sorted(policy.groups))),
             _fold([escape(format_peer(peer)) for peer in sorted(policy.allow, key=format_peer)]),
             _fold([format_prefix(own) for own in sorted(policy.addresses)
                    if not contains(LINK_LOCAL, own)]), view.seal]
    cells += [str(number) for number in view.drops] if view.drops else ['', '']
    errors = ''.join('<br><em class="error">%s</em>' % escape(text)
                     for text in (view.error, say_would_be(policy)) if text)
    return '<tr><th scope="row">%s%s</th>%s</tr>' % (
        name(view.vm_name or view.vif.vm_uuid), errors,
        ''.join('<td>%s</td>' % cell for cell in cells))


def _homeless(views: Sequence[VifView]) -> Iterator[str]:
    if views:
        yield '<section><h2>On no network</h2><ul>'
        yield from ('<li>%s %s: %s</li>' % (view.name, name(view.vm_name), escape(view.error))
                    for view in views)
        yield '</ul></section>'


def _groups(matrix: Matrix) -> Iterator[str]:
    elsewhere: Dict[str, Set[str]] = {}
    for network in matrix.networks:
        for group, members in network.place.members.items():
            elsewhere.setdefault(group, set()).update(
                format_prefix(address) for member in members for address in member.addresses)
    names = sorted(matrix.groups.keys() | elsewhere.keys())
    if not names:
        return
    yield '<section><h2>Groups</h2><div class="wide"><table><thead><tr>'
    yield _heads('Group', 'Members may say', 'Reaches', 'Members on other hosts',
                 'Addresses outside the pool', 'Only these VMs')
    yield '</tr></thead><tbody>'
    for group in names:
        facts = matrix.groups.get(group, Group())
        yield '<tr><th scope="row">%s</th>%s</tr>' % (escape(group), ''.join(
            '<td>%s</td>' % cell for cell in _group_cells(facts, elsewhere.get(group, ()))))
    yield '</tbody></table></div></section>'


def _group_cells(facts: Group, elsewhere: Iterable[str]) -> Iterator[str]:
    yield 'everything' if facts.rules is None else escape(
        ', '.join(sorted(map(format_rule, facts.rules)))) or 'nothing'
    yield escape(', '.join(sorted(facts.reach)))
    yield _fold(sorted(elsewhere))
    yield _fold(sorted(map(format_prefix, facts.addresses)))
    yield 'any' if facts.vms is None else _fold(sorted(facts.vms)) or 'none'
