"""The built site as a reader's browser sees it: quiet, self-contained, and never too wide."""

from __future__ import annotations

import functools
import http.server
import itertools
import json
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from companion.lab.papers import papers

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
exceptions = pytest.importorskip("selenium.common.exceptions")
support = pytest.importorskip("selenium.webdriver.support.ui")

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
CHROMEDRIVER = shutil.which("chromedriver")

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.xdist_group("site"),
    pytest.mark.skipif(
        CHROMIUM is None or CHROMEDRIVER is None,
        reason="needs chromium and chromedriver on the PATH",
    ),
]

MODES = ("light", "dark")
WIDTHS = (1280, 360)
HOST = "127.0.0.1"

# Keeps the browser itself from calling home, so that every request seen is the page's.
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)

# Whether the page is loaded and does not lead on to another.
IS_HERE = """
return document.readyState === "complete"
  && document.querySelector('meta[http-equiv="refresh"]') === null;
"""

# Answers once fonts are loaded and, where the page has formulas, MathJax has set them.
WAIT_UNTIL_SET = """
const done = arguments[0];
(async () => {
  const hasMath = document.querySelector(".math") !== null;
  while (hasMath && !window.MathJax?.startup?.promise) {
    await new Promise((later) => setTimeout(later, 10));
  }
  if (hasMath) await window.MathJax.startup.promise;
  await document.fonts.ready;
  done(true);
})();
"""

# Presses the theme's own button until the page is in the mode; there are three, with the system's.
CHOOSE = """
const [root, button] = [document.documentElement, document.querySelector(".theme-switch-button")];
for (let pressed = 0; pressed < 3 && root.dataset.mode !== arguments[0]; pressed++) button.click();
return root.dataset.theme;
"""

# Formulas left as TeX, formulas that MathJax could not read, pictures without content.
FLAWS = """
const flaws = [];
for (const math of document.querySelectorAll(".math")) {
  if (!math.querySelector("mjx-container")) flaws.push("not set: " + math.textContent);
}
for (const error of document.querySelectorAll("mjx-merror")) {
  flaws.push("not understood: " + error.textContent);
}
for (const image of document.images) {
  if (image.complete && image.naturalWidth === 0) flaws.push("no picture: " + image.src);
}
return flaws;
"""

# What makes the page scroll sideways, and what sticks out on the right without a scrolling
# box of its own and so cannot be reached at all.
TOO_WIDE = """
const root = document.documentElement;
const edge = root.clientWidth;
const faults = [];
if (window.innerWidth !== arguments[0]) faults.push("the window is " + window.innerWidth);
if (root.scrollWidth > edge) faults.push("the page is " + root.scrollWidth);
const scrolls = (box) => ["auto", "scroll"].includes(getComputedStyle(box).overflowX);
// Of what a formula is made of the outermost part is enough; most of a page is such parts.
for (const element of document.querySelectorAll("article *:not(mjx-container > * *)")) {
  const box = element.getBoundingClientRect();
  if (box.width === 0 || box.right <= edge + 1 || !element.checkVisibility()) continue;
  if (element.matches("mjx-assistive-mml")) continue;
  let parent = element.parentElement;
  while (parent.tagName !== "ARTICLE" && !scrolls(parent)) parent = parent.parentElement;
  if (parent.tagName === "ARTICLE") {
    faults.push(element.tagName + "." + element.className + " ends at " + box.right);
  }
}
return faults.slice(0, 5);
"""

# Boxes that hold more than they show and whose edge does not say so; boxes that fade with nothing
# behind; and code that does not fit the column where the screen is wide.
CUT = """
const wide = window.innerWidth >= 1280;
const faults = [];
for (const box of document.querySelectorAll("article *:not(mjx-container *)")) {
  if (box.clientWidth === 0 || !box.checkVisibility()) continue;
  const style = getComputedStyle(box);
  if (style.overflowX === "visible") continue;
  const fades = style.maskImage !== "none" && style.getPropertyValue("--fade-end") !== "0px";
  const cut = box.scrollWidth > box.clientWidth + 1;
  const what = box.tagName + "." + box.className + ": " + box.textContent.trim().slice(0, 40);
  if (cut && !fades) faults.push("cut without a cue: " + what);
  if (cut && wide && box.tagName === "PRE") faults.push("code is cut: " + what);
  if (fades && box.scrollWidth <= box.clientWidth) faults.push("fades though whole: " + what);
}
return faults.slice(0, 5);
"""


class _QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: pytest's report is the only output wanted."""


@pytest.fixture(scope="module")
def address(built_site: Path) -> Iterator[str]:
    """The address at which the built site is served while this module's tests run."""
    handler = functools.partial(_QuietHandler, directory=str(built_site))
    with http.server.ThreadingHTTPServer((HOST, 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://{HOST}:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """One headless browser with a fresh profile, recording its console and its requests."""
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(CHROMEDRIVER))
    driver.set_script_timeout(20)
    # A new browser's first tab asks for parts of itself: leave it, and forget that it did.
    driver.get("about:blank")
    requests(driver)
    yield driver
    driver.quit()


def pages(site: Path) -> list[str]:
    """The paths inside the site of all its pages; copies kept for download are none."""
    found = (path.relative_to(site) for path in site.rglob("*.html"))
    return sorted(path.as_posix() for path in found if path.parts[0] not in {"_sources", "_static"})


def visit(browser: Any, url: str) -> None:
    """Open a page and wait until its formulas and letters stand where they will stay."""
    browser.get(url)
    # The front door leads on, and a script that is running on it then would never answer.
    support.WebDriverWait(browser, 20, ignored_exceptions=[exceptions.WebDriverException]).until(
        lambda driver: driver.execute_script(IS_HERE)
    )
    browser.execute_async_script(WAIT_UNTIL_SET)


def set_width(browser: Any, width: int) -> None:
    """Make the page this wide; a headless window alone stops shrinking at 500 pixels."""
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False},
    )


def wait_for_frames(browser: Any) -> None:
    """Until what has changed is drawn: edges fade a frame later."""
    browser.execute_async_script(
        "const done = arguments[0];"
        "requestAnimationFrame(() => requestAnimationFrame(() => requestAnimationFrame(done)));"
    )


def complaints(browser: Any) -> list[str]:
    """The errors on the console since it was last asked; asking empties it."""
    return [entry["message"] for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]


def requests(browser: Any) -> list[str]:
    """The addresses asked for over a network or from a disk since last asked."""
    messages = (json.loads(entry["message"])["message"] for entry in browser.get_log("performance"))
    urls = (
        message["params"]["request"]["url"]
        for message in messages
        if message["method"] == "Network.requestWillBeSent"
    )
    return [url for url in urls if urlsplit(url).scheme not in {"data", "blob"}]


def test_every_page_is_quiet_complete_and_narrow_enough(
    browser: Any, address: str, built_site: Path
) -> None:
    """Each is loaded in the mode that the last was left in, and measured in both."""
    set_width(browser, WIDTHS[0])
    visit(browser, f"{address}/index.html")
    browser.execute_script(CHOOSE, MODES[0])
    faults: dict[str, list[str]] = {}
    seen: list[str] = []
    for number, page in enumerate(pages(built_site)):
        modes = MODES if number % 2 == 0 else MODES[::-1]
        set_width(browser, WIDTHS[0])
        visit(browser, f"{address}/{page}")
        found = browser.execute_script(FLAWS)
        theme = browser.execute_script("return document.documentElement.dataset.theme")
        if theme != modes[0]:
            found.append(f"opens in the mode {theme}, and {modes[0]} was chosen")
        for mode, width in itertools.product(modes, WIDTHS):
            theme = browser.execute_script(CHOOSE, mode)
            set_width(browser, width)
            wait_for_frames(browser)
            too_wide = browser.execute_script(TOO_WIDE, width)
            cut = browser.execute_script(CUT)
            where = f"in the mode {theme} at {width} pixels"
            found += [f"{where}: {fault}" for fault in (*too_wide, *cut)]
            if theme != mode:
                found.append(f"cannot be shown in the mode {mode}")
        found += complaints(browser)
        asked = requests(browser)
        seen += asked
        found += [f"asks for {url}" for url in asked if urlsplit(url).hostname != HOST]
        if found:
            faults[page] = found
    assert seen, "the browser recorded no request at all, so this test saw nothing"
    assert not faults


def test_what_is_cut_is_seen_to_be_cut(browser: Any, address: str, built_site: Path) -> None:
    """The measure sees a page whose edges do not fade, and a box that fades for nothing."""
    set_width(browser, min(WIDTHS))
    with_code = next(
        page
        for page in pages(built_site)
        if "<pre>" in (built_site / page).read_text(encoding="utf-8")
    )
    visit(browser, f"{address}/{with_code}")
    browser.execute_script("document.querySelectorAll('details').forEach(it => it.open = true)")
    wait_for_frames(browser)
    assert browser.execute_script(CUT) == []
    for style, fault in (
        ("* { animation: none !important; }", "cut without a cue: PRE"),
        (".bd-article h1 { --fade-end: 2rem; mask: none; overflow: auto; }", ""),
        (".bd-article h1 { --fade-end: 2rem; mask: linear-gradient(red); overflow: auto; }", "H1"),
    ):
        browser.execute_script(
            "document.querySelector('#style-of-the-test')?.remove();"
            "const style = document.createElement('style'); style.id = 'style-of-the-test';"
            "style.textContent = arguments[0]; document.head.append(style);",
            style,
        )
        wait_for_frames(browser)
        told = " ".join(browser.execute_script(CUT))
        assert fault in told
        assert bool(told) == bool(fault)


def test_what_is_too_wide_is_seen_to_be_too_wide(
    browser: Any, address: str, built_site: Path
) -> None:
    """The measure sees a formula, and a heading, that stick out of a phone's page."""
    width = min(WIDTHS)
    set_width(browser, width)
    with_math = next(
        page
        for page in pages(built_site)
        if 'class="math' in (built_site / page).read_text(encoding="utf-8")
    )
    visit(browser, f"{address}/{with_math}")
    assert browser.execute_script(TOO_WIDE, width) == []
    for wide, fault in (("article h1", "H1"), ("mjx-container > mjx-math", "MJX-MATH")):
        browser.execute_script(
            "for (const each of document.querySelectorAll('article, article *')) {"
            "each.style.overflow = 'visible'; }"
            "for (const each of document.querySelectorAll(arguments[0])) {"
            "each.style.display = 'inline-block'; each.style.minWidth = '500px'; }",
            wide,
        )
        wait_for_frames(browser)
        assert fault in " ".join(browser.execute_script(TOO_WIDE, width))
        visit(browser, f"{address}/{with_math}")


def test_phones_and_only_they_get_the_narrow_forms(
    browser: Any, address: str, built_site: Path
) -> None:
    with_figure = next(
        page
        for page in pages(built_site)
        if "<picture" in (built_site / page).read_text(encoding="utf-8")
    )
    for width in WIDTHS:
        set_width(browser, width)
        visit(browser, f"{address}/{with_figure}")
        shown = browser.execute_script(
            "return [...document.querySelectorAll('img.companion-figure')].map(i => i.currentSrc)"
        )
        assert shown
        assert {url.endswith("-narrow.svg") for url in shown} == {width == min(WIDTHS)}


def test_a_count_leads_to_the_claims_that_it_counts(
    browser: Any, address: str, built_site: Path
) -> None:
    set_width(browser, max(WIDTHS))
    visit(browser, f"{address}/book/index.html")
    links = browser.execute_script(
        "return [...document.querySelectorAll('.counts a')].map("
        "(link) => [link.href, Number(link.querySelector('.count').textContent)])"
    )
    assert len(links) >= 3
    rows = json.loads((built_site / "claims.json").read_text(encoding="utf-8"))
    ours = sum(papers()[row["paper"]].ours for row in rows)
    shown = (
        "return [...document.querySelectorAll('table.ledger')].flatMap((table) => "
        "[...table.querySelectorAll('tbody tr')]).filter((row) => row.checkVisibility()).length"
    )
    for link, count in links:
        visit(browser, link)
        # Only the whole ledger shows what the package promises itself, too.
        own = ours if link.endswith("#all-claims") else 0
        assert browser.execute_script(shown) == count + own, link


def test_the_site_works_from_a_disk(browser: Any, built_site: Path) -> None:
    with_math = next(
        page
        for page in pages(built_site)
        if 'class="math' in (built_site / page).read_text(encoding="utf-8")
    )
    requests(browser)
    complaints(browser)
    for page in ("index.html", with_math):
        visit(browser, (built_site / page).as_uri())
    assert browser.execute_script("return document.querySelector('mjx-container') !== null")
    assert browser.execute_script(FLAWS) == []
    assert complaints(browser) == []
    assert {urlsplit(url).scheme for url in requests(browser)} == {"file"}
