"""The report in a real browser, wide and narrow: it fits, its table sorts and searches by keyboard."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from mla_jax.report.write import write_report
from tests.support import chromium
from tests.support.untrained import EVIL, K, make_runs

pytestmark = pytest.mark.slow

WIDTHS = (1280, 390)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if chromium.find() is None:
        pytest.skip("no Chromium is found; install one, or name it with MLA_CHROMIUM")
    folder = make_runs(tmp_path_factory.mktemp("runs"), trained=True)
    write_report([folder / "multi", folder / "single"], folder / "report.html")
    return folder / "report.html"


@pytest.fixture(scope="module")
def page(file: Path) -> Iterator[chromium.Page]:
    program = chromium.find()
    assert program
    with chromium.browser(program) as page:
        yield page


@pytest.mark.parametrize("width", WIDTHS)
def test_what_is_cut_says_that_it_scrolls(page: chromium.Page, file: Path, width: int) -> None:
    page.open(file, width)
    cut = "Array.from(document.querySelectorAll('.wide'), (e) => e.scrollWidth > e.clientWidth)"
    told = "Array.from(document.querySelectorAll('.wide'), (e) => !e.nextElementSibling.hidden)"
    assert page.run(f"JSON.stringify({cut}) === JSON.stringify({told})")
    assert page.run(f"{cut}.some(Boolean)") == (width == 390)
    assert page.run("document.body.getBoundingClientRect().right") > 0.8 * width


def column(page: chromium.Page, number: int) -> list[str]:
    """The texts of a column's cells in the rows that are shown."""
    rows = json.loads(
        page.run(
            "JSON.stringify(Array.from(document.querySelectorAll('#class-table tbody tr'), (row) => "
            f"[row.cells[{number}].textContent, row.hidden]))"
        )
    )
    return [text for text, hidden in rows if not hidden]


def tab_to(page: chromium.Page, what: str) -> None:
    """Presses Tab until the focus is on an element that this expression, of `e`, is true of."""
    for _ in range(80):
        page.press("Tab")
        if page.run(f"((e) => {what})(document.activeElement)"):
            return
    raise AssertionError(f"Tab never comes to {what}")


@pytest.mark.parametrize("width", WIDTHS)
def test_it_fits_the_window_and_loads_nothing(
    page: chromium.Page, file: Path, tmp_path: Path, width: int
) -> None:
    page.open(file, width)
    assert page.run("document.documentElement.scrollWidth") == width
    # What is wider scrolls inside of a region that the keyboard can reach.
    beyond = page.run(
        "Array.from(document.querySelectorAll('main *')).filter((e) => !e.closest('.wide') && "
        f"!e.closest('details') && e.getBoundingClientRect().right > {width} + 1)"
        ".map((e) => e.tagName).join()"
    )
    assert beyond == ""
    assert page.run("Array.from(document.querySelectorAll('.wide')).every((e) => e.tabIndex === 0)")
    assert page.run("Array.from(document.images).every((i) => i.naturalWidth > 100)")
    smallest = page.run(
        "Math.min(...Array.from(document.querySelectorAll('body *:not(script)')).map((e) => "
        "parseFloat(getComputedStyle(e).fontSize)))"
    )
    assert smallest >= 11
    asked = [e["request"]["url"] for name, e in page.events if name == "Network.requestWillBeSent"]
    assert [url for url in asked if not url.startswith("data:image/svg+xml;")] == [file.as_uri()]
    bad = ("Log.entryAdded", "Runtime.exceptionThrown", "Runtime.consoleAPICalled")
    assert [event for event in page.events if event[0] in bad] == []
    page.screenshot(tmp_path / "page.png", width)
    assert (tmp_path / "page.png").stat().st_size > 50_000


@pytest.mark.parametrize("width", WIDTHS)
def test_the_table_sorts_by_keyboard(page: chromium.Page, file: Path, width: int) -> None:
    page.open(file, width)
    precision = column(page, 4)
    assert precision == sorted(precision, reverse=True)
    tab_to(page, "e.tagName === 'BUTTON' && e.textContent === 'class'")
    page.press("Enter")
    names = page.run(
        "JSON.stringify(Array.from(document.querySelectorAll('#class-table tbody th'), (e) => e.textContent))"
    )
    shown = json.loads(names)
    assert page.run(
        f"JSON.stringify({names}.toSorted((a, b) => a.toLowerCase().localeCompare(b.toLowerCase())))"
    ) == json.dumps(shown, ensure_ascii=False, separators=(",", ":"))
    assert page.run("document.activeElement.parentElement.ariaSort") == "ascending"
    page.press(" ")
    assert column(page, 1) == shown[::-1]
    assert page.run("document.activeElement.parentElement.ariaSort") == "descending"
    assert page.run("document.querySelectorAll('th[aria-sort]').length") == 1
    page.press("Tab")  # training clips: the most come first
    page.press("Enter")
    clips = [int(text.replace(",", "")) for text in column(page, 2)]
    assert clips == sorted(clips, reverse=True)
    page.press("Enter")
    assert [int(text.replace(",", "")) for text in column(page, 2)] == sorted(clips)


def test_what_is_missing_stays_last_whichever_way_it_is_sorted(
    page: chromium.Page, file: Path
) -> None:
    page.open(file, 1280)
    page.run(
        "document.querySelectorAll('#class-table tbody tr')[2].cells[4].dataset.v = '', "
        "document.querySelectorAll('#class-table tbody tr')[2].cells[4].textContent = '-'"
    )
    for _ in range(2):
        page.run("document.querySelectorAll('#class-table thead button')[4].click()")
        assert column(page, 4)[-1] == "-"


def test_the_search_works_by_keyboard_and_takes_nothing_for_html(
    page: chromium.Page, file: Path
) -> None:
    page.open(file, 390)
    tab_to(page, "e.id === 'search'")
    page.type("SOUND 3")
    assert [name.split(" (")[0] for name in column(page, 1)] == ["Sound 3"]
    assert page.run("document.getElementById('found').textContent") == f"1 of {K} classes"
    page.run("document.activeElement.value = ''")
    page.type("<script> alert")
    (name,) = column(page, 1)
    assert name.startswith(EVIL)
    page.type("zzz")
    assert column(page, 1) == []
    assert page.run("document.getElementById('found').textContent") == f"0 of {K} classes"


def test_a_reader_hears_names_roles_and_the_state_of_sorting(
    page: chromium.Page, file: Path
) -> None:
    page.open(file, 1280)
    nodes = page.send("Accessibility.getFullAXTree")["nodes"]
    heard = [
        (n["role"]["value"], n.get("name", {}).get("value", "")) for n in nodes if not n["ignored"]
    ]
    assert ("searchbox", "Find a class") in heard
    assert ("button", "class") in heard
    assert any(role == "table" and name.startswith("Every class") for role, name in heard)
    assert all(name for role, name in heard if role in ("image", "button", "region", "link"))
    roles = [role for role, _ in heard]
    assert roles.count("main") == roles.count("banner") == 1
    assert ("heading", "What was trained on what") in heard


@pytest.mark.parametrize("width", WIDTHS)
def test_pointing_at_a_cell_says_what_it_is(page: chromium.Page, file: Path, width: int) -> None:
    page.open(file, width)
    where = "document.querySelector('.map rect:nth-of-type(2)')"
    page.run(f"{where}.scrollIntoView({{block: 'center'}})")
    middle = "((b) => JSON.stringify([b.x + b.width / 2, b.y + b.height / 2]))"
    x, y = json.loads(page.run(f"{middle}({where}.getBoundingClientRect())"))
    page.send("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
    said = page.run("document.querySelector('.said').textContent")
    assert said == page.run(f"{where}.querySelector('title').textContent")
    assert said.startswith("1 to 2 s, ")
    # A map needs no scrolling, on a phone too: the cells of all runs lie below each other.
    assert page.run(
        "Array.from(document.querySelectorAll('#examples .map'), (e) => e.parentElement)"
        ".every((e) => e.scrollWidth <= e.clientWidth)"
    )


def test_in_the_dark_text_and_pictures_stay_readable(page: chromium.Page, file: Path) -> None:
    def lightness(what: str, of: str) -> float:
        colour = page.run(f"getComputedStyle(document.querySelector('{what}')).{of}")
        return sum(map(int, re.findall(r"\d+", colour)[:3])) / 765

    for scheme, is_dark in (("light", False), ("dark", True)):
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        page.send("Emulation.setEmulatedMedia", features=features)
        page.open(file, 1280)
        for what in ("p", "figcaption", "td", "thead th button", "nav a"):
            difference = lightness(what, "color") - lightness("body", "backgroundColor")
            assert (difference if is_dark else -difference) > 0.45, (scheme, what)
        assert lightness("img", "backgroundColor") == 1
    page.send("Emulation.setEmulatedMedia", features=[])


def test_it_stands_there_whole_without_scripts(page: chromium.Page, file: Path) -> None:
    page.send("Emulation.setScriptExecutionDisabled", value=True)
    try:
        page.load(file)
        tree = page.send("DOM.getDocument", depth=0)["root"]["nodeId"]
        rows = page.send("DOM.querySelectorAll", nodeId=tree, selector="#class-table tbody tr")
        assert len(rows["nodeIds"]) == K
        hidden = page.send("DOM.querySelector", nodeId=tree, selector="p.search[hidden]")
        assert hidden["nodeId"]
    finally:
        page.send("Emulation.setScriptExecutionDisabled", value=False)
