"""The report in a real browser."""

import shutil

import pytest

playwright = pytest.importorskip("playwright.sync_api")
axe_playwright = pytest.importorskip("axe_playwright_python.sync_playwright")


@pytest.fixture(scope="module")
def browser():
    names = ("chromium", "chromium-browser", "google-chrome")
    path = next((found for name in names if (found := shutil.which(name))), None)
    if path is None:
        pytest.skip("no chromium is installed")
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def page(browser, report, request):
    width, scheme = request.param
    opened = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    requests, said = [], []
    opened.on("request", lambda one: requests.append(one.url))
    opened.on("console", lambda message: said.append(message.text))
    address = (report / "report.html").as_uri()
    opened.goto(address, wait_until="load")
    yield opened
    opened.close()
    assert [url for url in requests if not url.startswith("data:")] == [address]
    assert said == []


SHAPES = [(width, scheme) for width in (390, 1200) for scheme in ("light", "dark")]


@pytest.mark.slow
@pytest.mark.parametrize("page", SHAPES, indirect=True, ids=str)
def test_axe_finds_nothing_serious(page):
    found = axe_playwright.Axe().run(page).response["violations"]
    serious = [
        (one["id"], one["nodes"][0]["html"][:200])
        for one in found
        if one["impact"] in ("serious", "critical")
    ]
    assert serious == []


@pytest.mark.parametrize("page", SHAPES, indirect=True, ids=str)
def test_nothing_is_wider_than_the_page_and_each_picture_is_there(page):
    assert page.evaluate(
        "document.documentElement.scrollWidth <= document.documentElement.clientWidth"
    )
    broken = page.evaluate(
        "[...document.images].filter(one => !one.complete || !one.naturalWidth).map(one => one.alt)"
    )
    assert broken == []


@pytest.mark.parametrize("page", [(390, "light")], indirect=True, ids=str)
def test_a_wide_table_scrolls_with_the_keyboard(page):
    region = page.get_by_role("region", name="Model and baselines, with 95 % intervals")
    region.focus()
    assert region.evaluate(
        "one => one.scrollWidth > one.clientWidth && one === document.activeElement"
    )
    page.keyboard.press("ArrowRight")
    page.wait_for_function("one => one.scrollLeft > 0", arg=region.element_handle())


@pytest.mark.parametrize("page", [(703, "dark")], indirect=True, ids=str)
def test_nothing_is_cut_off_on_paper(page):
    """A4 with margins of 12 mm is 703 pixels wide, and white."""
    page.emulate_media(media="print")
    assert page.evaluate("document.documentElement.scrollWidth") == 703
    wide = (
        "[...document.querySelectorAll('.scroll')].filter(one => one.scrollWidth > "
        "one.clientWidth).map(one => one.ariaLabel)"
    )
    assert page.evaluate(wide) == []
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    drawn = page.evaluate(
        "[...document.querySelectorAll('picture img')].map(one => "
        "atob(one.currentSrc.split(',')[1]))"
    )
    assert all("#222222" in svg for svg in drawn)


@pytest.mark.parametrize("page", [(1200, "dark")], indirect=True, ids=str)
def test_curves_follow_the_page(page):
    dark = page.evaluate(
        "[...document.querySelectorAll('picture img')].map(one => "
        "atob(one.currentSrc.split(',')[1]))"
    )
    assert len(dark) == 4
    for svg in dark:
        assert "#e6e6e6" in svg
        assert "#222222" not in svg
