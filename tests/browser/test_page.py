"""The matrix's page in a real browser: small, large, hostile, light, dark, by keyboard, narrow.

With KEEP_PAGES=FOLDER the pages and screenshots stay there for a look.
"""
import os
import shutil
from pathlib import Path
from typing import Any, Dict, Iterator, List, Tuple

import pytest

from support.inventories import HOSTILE, make_matrix, make_pool

from xsisolate.diagnostics.matrix_page import make_page

from support.chromium import Chrome, Image

PAGES: Dict[str, Dict[str, Any]] = {
    '8': {'count': 8}, '60': {'count': 60}, '500': {'count': 500},
    'hostile': {'count': 4, 'hostile': True}, 'lone': {'count': 500, 'lone': True},
    'none': {'count': 0}}
BLUE, DARK_BLUE = (0x00, 0x72, 0xb2), (0x56, 0xb4, 0xe9)
TEXT_BOXES = '''[...document.querySelectorAll('svg.grid text[text-anchor=end], svg.arcs text.row')]
.map(text => { const box = text.getBoundingClientRect(), down = window.scrollY;
return [text.closest('svg').className.baseVal,
box.left, box.top + down, box.right, box.bottom + down, text.textContent]; })'''
CONTRAST = '''(() => { const light = colour => { const [r, g, b] = colour.match(/[0-9.]+/g).map(
value => { value /= 255;
return value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4; });
return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
const ratio = (one, other) => { const [a, b] = [light(one), light(other)].sort((x, y) => y - x);
return (a + 0.05) / (b + 0.05); };
const paper = getComputedStyle(document.body).backgroundColor;
const style = query => getComputedStyle(document.querySelector(query));
return {ink: ratio(style('body').color, paper), link: ratio(style('nav a').color, paper),
small: ratio(style('small').color, paper), all: ratio(style('.mark.all').fill, paper),
some: ratio(style('.stripe').fill, paper), bad: ratio(style('.closed').stroke, paper)}; })()'''


@pytest.fixture(scope='module')
def chrome(namespaces: None) -> Iterator[Chrome]:
    """A browser in a namespace without any network."""
    browser = Chrome()
    yield browser
    browser.close()


@pytest.fixture(scope='module')
def pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with all pages."""
    folder = tmp_path_factory.mktemp('pages')
    for name, options in PAGES.items():
        page = make_page(make_matrix(**options), 'host-1')
        (folder / (name + '.html')).write_text(page, encoding='utf-8')
    (folder / 'pool.html').write_text(make_page(make_pool(4, 200), 'pool lab'), encoding='utf-8')
    yield folder
    if os.environ.get('KEEP_PAGES'):
        shutil.copytree(str(folder), os.path.join(os.environ['KEEP_PAGES'], 'pages'))


def show(chrome: Chrome, pages: Path, name: str, **more: Any) -> None:
    """Open a page; leave a screenshot beside it."""
    chrome.open(str(pages / (name + '.html')), **more)
    kind = ''.join('-%s%s' % option for option in sorted(more.items()))
    (pages / (name + kind + '.png')).write_bytes(chrome.screenshot())


@pytest.mark.parametrize('name', [*PAGES, 'pool'])
def test_nothing_is_asked_for_and_nothing_complains(chrome: Chrome, pages: Path,
                                                    name: str) -> None:
    show(chrome, pages, name)
    assert chrome.complaints() == []
    assert chrome.evaluate('document.scripts.length') == 0
    assert chrome.evaluate('performance.getEntriesByType("resource").length') == 0
    assert chrome.evaluate('document.compatMode') == 'CSS1Compat'
    assert chrome.evaluate('document.querySelectorAll("h1").length') == 1


def test_the_page_of_a_pool_has_the_vifs_of_all_hosts(chrome: Chrome, pages: Path) -> None:
    show(chrome, pages, 'pool')
    names = chrome.evaluate('[...document.querySelectorAll("details.vifs tbody tr")].map('
                            'row => row.cells[1].textContent.split(":")[0])')
    assert sorted(set(names)) == ['host-%d' % (at + 1) for at in range(4)] and len(names) == 200


@pytest.mark.parametrize('name', ['8', '60', '500', 'lone'])
def test_everybody_is_there(chrome: Chrome, pages: Path, name: str) -> None:
    """Without scripts, too: every VIF has its row, every set its own."""
    show(chrome, pages, name, script=False)
    count = PAGES[name]['count']
    matrix = make_matrix(**PAGES[name]).networks[0]
    assert chrome.evaluate('document.querySelectorAll("details.vifs tbody tr").length') == count
    assert chrome.evaluate('document.querySelectorAll("tr[id^=n0s]").length') == len(matrix.sets)
    arcs = sum(other > at for at, alike in enumerate(matrix.sets) for other, _ in alike.reaches)
    assert chrome.evaluate('document.querySelectorAll("svg.arcs .arc").length') == (
        0 if name == 'lone' else arcs)
    assert chrome.evaluate('document.querySelectorAll("svg.grid").length') == 1


def test_hostile_names_are_text(chrome: Chrome, pages: Path) -> None:
    show(chrome, pages, 'hostile')
    names: List[str] = chrome.evaluate(
        '[...document.querySelectorAll("details.vifs th bdi")].map(name => name.textContent)')
    assert '<script>alert(1)</script>' in names and r'\u202eevil\u202c' in names
    assert r'a\nb\x1b[2J\x00' in names and 'שלום עולם' in names and '"&\'<' in names
    assert not any(char in name for name in names for char in '\x1b\n\u202e\u200b\u2028')
    assert len(names) == 4 + len(HOSTILE)


def boxes(chrome: Chrome) -> Dict[str, List[Tuple[float, float, float, float, str]]]:
    """Return where labels of the pictures are, by picture, from the top down."""
    found: Dict[str, List[Tuple[float, float, float, float, str]]] = {}
    for picture, *box in chrome.evaluate(TEXT_BOXES):
        found.setdefault(picture, []).append(tuple(box))        # type: ignore[arg-type]
    return {picture: sorted(list(set(texts)), key=lambda box: box[1])
            for picture, texts in found.items()}


@pytest.mark.parametrize('name', ['8', '60', '500', 'hostile'])
def test_labels_can_be_read(chrome: Chrome, pages: Path, name: str) -> None:
    """None is over another, none is cut off at the left, letters are not too small."""
    show(chrome, pages, name)
    for picture, texts in boxes(chrome).items():
        assert texts and all(left >= 0 for left, *_ in texts), picture
        for one, following in zip(texts, texts[1:]):
            assert one[3] - following[1] < 6, (one, following)      # boxes have some air
        assert min(bottom - top for _, top, _, bottom, _ in texts) >= 9


@pytest.mark.parametrize('dark, colour, ground', [(False, BLUE, (255, 255, 255)),
                                                  (True, DARK_BLUE, (0x15, 0x18, 0x1c))])
def test_the_grid_is_painted(chrome: Chrome, pages: Path, dark: bool, colour: Tuple[int, ...],
                             ground: Tuple[int, ...]) -> None:
    """Cells of pairs that may talk are blue, the others are paper: looked at in the picture."""
    show(chrome, pages, '60', dark=dark)
    picture = Image(chrome.screenshot())
    left, top, side = chrome.evaluate(
        '(() => { const box = document.querySelector("svg.grid .paper").getBoundingClientRect(); '
        'return [box.left, box.top, box.width]; })()')
    matrix = make_matrix(60).networks[0]
    cell, seen = side / 60, {True: 0, False: 0}
    for at in range(60):
        for other in range(60):
            y = top + (at + 0.3) * cell
            if at == other or y >= picture.height:
                continue
            services = matrix.links[at].get(other)
            pixel = picture.at(left + (other + 0.7) * cell, y)
            if services and len(services) == 1:     # everything
                assert pixel == colour, (at, other, pixel)
            elif not services:
                assert pixel == ground, (at, other, pixel)
            seen[bool(services)] += 1
    assert min(seen.values()) > 500


@pytest.mark.parametrize('dark', [False, True])
def test_contrast(chrome: Chrome, pages: Path, dark: bool) -> None:
    """WCAG: 4.5 to 1 for text, 3 to 1 for what pictures are made of."""
    show(chrome, pages, '60', dark=dark)
    found = chrome.evaluate(CONTRAST)
    assert min(found['ink'], found['link'], found['small']) >= 4.5, found
    assert min(found['all'], found['some'], found['bad']) >= 3, found


def test_shapes_say_what_colours_say(chrome: Chrome, pages: Path) -> None:
    show(chrome, pages, '500')
    assert chrome.evaluate('getComputedStyle(document.querySelector(".cells.some")).fill'
                           ).startswith('url("#stripes")')
    assert chrome.evaluate('getComputedStyle(document.querySelector(".arc.some"))'
                           '.strokeDasharray') != 'none'
    assert chrome.evaluate('getComputedStyle(document.querySelector(".arc.all"))'
                           '.strokeDasharray') == 'none'


def test_by_keyboard(chrome: Chrome, pages: Path) -> None:
    """Tab leads to the skip link, the networks, the sets; Enter follows; focus is to be seen."""
    show(chrome, pages, '8')
    chrome.press('Tab', 9)
    assert chrome.evaluate('document.activeElement.className') == 'skip'
    assert chrome.evaluate('document.activeElement.getBoundingClientRect().left >= 0')
    chrome.press('Tab', 9)
    assert chrome.evaluate('document.activeElement.getAttribute("href")') == '#n0'
    assert chrome.evaluate('getComputedStyle(document.activeElement).outlineStyle') == 'solid'
    chrome.press('Tab', 9)
    assert chrome.evaluate('document.activeElement.closest("svg").className.baseVal') == 'arcs'
    chrome.press('Enter', 13)
    assert chrome.evaluate('location.hash') == '#n0s1'
    assert chrome.evaluate('getComputedStyle(document.querySelector("tr:target"))'
                           '.outlineStyle') == 'solid'


@pytest.mark.parametrize('name', ['8', '500', 'hostile'])
@pytest.mark.parametrize('width', [400, 1280])
def test_nothing_sticks_out(chrome: Chrome, pages: Path, name: str, width: int) -> None:
    """Wide tables and pictures scroll by themselves, the page does not."""
    show(chrome, pages, name, width=width)
    assert chrome.evaluate('document.documentElement.scrollWidth') <= width


def test_for_screen_readers(chrome: Chrome, pages: Path) -> None:
    """Pictures have names, headings have an order, tables have heads."""
    show(chrome, pages, '8')
    pictures = chrome.evaluate('[...document.querySelectorAll("svg[role=img]")].map(svg => '
                               'document.getElementById(svg.getAttribute("aria-labelledby"))'
                               '.textContent)')
    assert len(pictures) == 2 and all(pictures)
    levels = chrome.evaluate('[...document.querySelectorAll("h1,h2,h3")].map(h => +h.tagName[1])')
    assert levels[0] == 1 and all(b - a <= 1 for a, b in zip(levels, levels[1:]))
    assert chrome.evaluate('[...document.querySelectorAll("table")].every(table => '
                           'table.querySelector("thead th[scope=col]"))')
    assert chrome.evaluate('document.documentElement.lang') == 'en'
    assert chrome.evaluate('new Set([...document.querySelectorAll("[id]")].map(e => e.id)).size '
                           '=== document.querySelectorAll("[id]").length')
