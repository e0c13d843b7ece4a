"""The page in a real browser."""

import urllib.error
import urllib.request

import pytest
from PIL import Image

import ctl_keras as ctl
from ctl_keras.web.scenes import cut, look_around, open_picture
from tests.web.conftest import STRANGE

pytest.importorskip("gradio")
api = pytest.importorskip("playwright.sync_api")
expect, TooLate = api.expect, api.TimeoutError

from tests.web.visitor import EDGES, Visitor  # noqa: E402 (needs Playwright)

pytestmark = pytest.mark.slow


@pytest.fixture
def visit(browser, address, page_log):
    """`visit(**context)`: opens the page for one more visitor; afterwards nothing may have gone
    wrong behind it."""
    visitors = []

    def come(**context):
        visitors.append(Visitor(browser, address, **context))
        return visitors[-1]

    yield come
    for visitor in visitors:
        assert visitor.errors == []
        assert "Traceback" not in visitor.page.content()
        visitor.leave()
    assert "Traceback" not in page_log.read_text()


@pytest.fixture(scope="module")
def recommender(exported, shop):
    return ctl.Recommender(exported, shop)


@pytest.fixture(scope="module")
def expected(recommender, tmp_path_factory):
    """The oracle: ids of what the recommender finds for what is left of a scene."""

    def ids(scene, category, k, where=None, box=None):
        path = tmp_path_factory.mktemp("seen") / "seen.png"
        cut(open_picture(scene), look_around(box)).save(path)
        return [row["id"] for row in recommender.recommend(path, [category], k, where)[category]]

    return ids


def test_each_control(visit, scenes, expected):
    visitor = visit()
    page = visitor.page
    visitor.bring(scenes[0])
    visitor.see("The model sees the whole scene.")
    expect(page.locator("#left")).to_be_hidden()
    visitor.choose("Shoes", "Pants")
    visitor.find(4)
    assert visitor.ids() == expected(scenes[0], "Shoes", 4)

    page.get_by_label("Hide a product of the scene").check()
    box = (20, 60, 70, 95)
    for edge, percent in zip(EDGES, box, strict=True):
        page.locator(f"#{edge} input[type=number]").fill(str(percent))
        page.keyboard.press("Tab")
    visitor.see("The model sees the strip above the box: 60% of the scene.")
    expect(page.get_by_alt_text("The part of the scene that the model sees")).to_be_visible()
    page.get_by_label("Only products where").fill("price > 10")
    wanted = expected(scenes[0], "Shoes", 4, "price > 10", box)
    assert wanted != visitor.ids()  # so that it can be seen whether box and filter count
    page.locator("#go").click()
    expect(visitor.tiles.first).to_contain_text(wanted[0])
    visitor.wait_for(4)
    assert visitor.ids() == wanted
    assert page.locator("#attention figure").count() == 2
    expect(page.get_by_alt_text("Attention for Pants: ")).to_be_visible()

    pants = expected(scenes[0], "Pants", 4, "price > 10", box)
    page.locator("#shown").get_by_label("Pants").check()
    expect(visitor.tiles.first).to_contain_text(pants[0])
    assert visitor.ids() == pants
    expect(page.locator("#details dd").first).to_have_text(pants[0])
    visitor.tiles.nth(2).click()
    expect(page.locator("#details dd").first).to_have_text(pants[2])
    expect(page.locator("#details tbody tr")).to_have_count(3)
    expect(
        page.get_by_alt_text(f"Regions that bring {pants[2]} closer or push it away")
    ).to_be_visible()
    assert [tile.get_attribute("aria-pressed") for tile in visitor.tiles.all()] == [
        "false",
        "false",
        "true",
        "false",
    ]
    before = visitor.said("#total")
    page.get_by_role("button", name="Put this product into the look").click()
    expect(page.locator("#swapped")).to_have_text(f"The look now has {pants[2]}.")
    look = page.locator("#look figcaption").all_inner_texts()
    assert [text.splitlines()[:2] for text in look] == [["Shoes", wanted[0]], ["Pants", pants[2]]]
    distances = [float(text.split()[-1]) for text in look]
    after = visitor.said("#total")
    assert float(after.split("distances ")[1].split(",")[0]) == pytest.approx(
        sum(distances), abs=2e-3
    )
    assert float(after.split("mean ")[1].split(". ")[0]) == pytest.approx(
        sum(distances) / 2, abs=2e-3
    )
    assert after != before

    page.get_by_label("Clear").click()
    expect(page.locator("#results")).to_be_hidden()
    expect(page.locator("#seen img")).to_have_count(0)


def test_a_box_is_drawn(visit, scenes):
    visitor = visit()
    page = visitor.page
    visitor.bring(scenes[0])
    page.get_by_label("Hide a product of the scene").check()
    visitor.see("of the scene.")
    frame = page.locator(".ctl-draw img").bounding_box()

    def at(across, down):
        return frame["x"] + across * frame["width"], frame["y"] + down * frame["height"]

    page.mouse.move(*at(0.6, 0.9))
    page.mouse.down()
    page.mouse.move(*at(0.4, 0.8))
    page.mouse.move(*at(0.2, 0.7))
    expect(page.locator(".ctl-draw div")).to_be_visible()
    page.mouse.up()
    visitor.see("strip above the box: 70% of the scene.")
    assert visitor.edges() == [20, 70, 60, 90]


def test_wrong_boxes_and_questions(visit, scenes):
    visitor = visit()
    page = visitor.page
    refused = page.locator("#refused [role=alert]")
    page.locator("#go").click()
    expect(refused).to_contain_text("Bring a scene first")
    visitor.bring(scenes[0])
    visitor.see("whole scene")
    page.locator("#go").click()
    expect(refused).to_contain_text("Choose at least one category")
    visitor.choose("Shoes")
    page.get_by_label("Only products where").fill("colour == 'red'")
    page.locator("#go").click()
    expect(refused).to_contain_text(
        "there is no column colour. Columns: id, image, category, price"
    )
    page.get_by_label("Only products where").fill("price < 0")
    page.locator("#go").click()
    expect(page.locator("#ranked")).to_contain_text("No product of Shoes passes the filter.")
    expect(page.get_by_role("button", name="Put this product")).to_be_disabled()
    page.get_by_label("Hide a product of the scene").check()
    visitor.see("strip")
    page.locator("#left input[type=number]").fill("90")
    page.keyboard.press("Tab")
    expect(page.locator("#problem [role=alert]")).to_contain_text("left must be less than right")
    page.locator("#go").click()
    expect(refused).to_contain_text("left must be less than right")
    page.locator("#left").get_by_label("Reset").click()
    visitor.see("strip")
    expect(page.locator("#problem [role=alert]")).to_have_count(0)


def test_broken_uploads(visit, scenes, tmp_path):
    visitor = visit()
    page = visitor.page
    problem = page.locator("#problem [role=alert]")
    (tmp_path / "text.jpg").write_text("no picture at all")
    (tmp_path / "cut.jpg").write_bytes(scenes[0].read_bytes()[:2000])
    Image.new("1", (9000, 8000)).save(tmp_path / "wide.png")
    for name, words in (
        ("text.jpg", "is not a JPEG"),
        ("cut.jpg", "cut off or damaged"),
        ("wide.png", "at most 64 million"),
    ):
        visitor.bring(tmp_path / name)
        expect(problem).to_contain_text(words)
        assert page.locator("#seen img").count() == 0
    visitor.bring(scenes[1])
    visitor.see("whole scene")
    expect(problem).to_have_count(0)
    visitor.choose("Shoes")
    visitor.find(5)


def test_a_40_megapixel_photo(visit, tmp_path):
    Image.effect_noise((800, 500), 60).resize((8000, 5000)).convert("CMYK").save(
        tmp_path / "large.jpg", quality=50
    )
    visitor = visit()
    visitor.bring(tmp_path / "large.jpg")
    visitor.see("whole scene")
    visitor.choose("Shoes")
    visitor.find(5)
    shown = visitor.page.evaluate("document.querySelector('#seen img').naturalWidth")
    assert shown <= 1024


def test_two_users_at_once(visit, scenes, expected):
    one, other = visit(), visit()
    one.bring(scenes[0])
    other.bring(scenes[1])
    for visitor, category in ((one, "Shoes"), (other, "Pants")):
        visitor.see("whole scene")
        visitor.choose(category)
        visitor.page.get_by_label("Products of each category").fill("5")
    one.page.locator("#go").click()
    other.page.locator("#go").click()
    one.wait_for(5)
    other.wait_for(5)
    assert one.ids() == expected(scenes[0], "Shoes", 5)
    assert other.ids() == expected(scenes[1], "Pants", 5)
    one.tiles.nth(3).click()
    expect(one.page.locator("#details dd").first).to_have_text(one.ids()[3])
    other.tiles.nth(4).click()
    expect(other.page.locator("#details dd").first).to_have_text(other.ids()[4])
    one.page.locator("#swap").click()
    expect(one.page.locator("#swapped")).to_contain_text(one.ids()[3])
    assert one.said("#look figcaption").splitlines()[:2] == ["Shoes", one.ids()[3]]
    assert other.said("#look figcaption").splitlines()[:2] == ["Pants", other.ids()[0]]
    third = visit()
    assert third.page.locator("#seen img").count() == 0
    expect(third.page.locator("#results")).to_be_hidden()


def test_by_keyboard_alone(visit, scenes):
    visitor = visit()
    page = visitor.page

    def tab_to(selector):
        for _ in range(60):
            if page.evaluate("selector => document.activeElement?.matches(selector)", selector):
                return
            page.keyboard.press("Tab")
        raise AssertionError(f"{selector} is not reached by Tab")

    tab_to("#scene button")
    for attempt in range(10):  # a moment passes between the button's appearance and its waking up
        try:
            with page.expect_file_chooser(timeout=1500) as chooser:
                page.keyboard.press("Enter")
            break
        except TooLate:
            assert attempt < 9, "Enter opens no file chooser"
    chooser.value.set_files(scenes[0])
    visitor.see("whole scene")
    tab_to("#hide input")
    page.keyboard.press("Space")
    expect(page.locator("#left")).to_be_visible()
    tab_to("#top input[type=range]")
    for _ in range(5):
        page.keyboard.press("ArrowLeft")
    visitor.see("strip above the box: 50% of the scene.")
    tab_to("#categories label:nth-of-type(2) input")
    page.keyboard.press("Space")
    tab_to("#k input")
    page.keyboard.press("Control+A")
    page.keyboard.type("3")
    tab_to("#where :is(input, textarea)")
    page.keyboard.type("price >= 0")
    page.keyboard.press("Enter")
    visitor.wait_for(3)
    tab_to("#ranked .ctl-tile:nth-of-type(2)")
    page.keyboard.press("Enter")
    expect(page.locator("#details dd").first).to_have_text(visitor.ids()[1])
    tab_to("#swap")
    page.keyboard.press("Enter")
    expect(page.locator("#swapped")).to_contain_text(visitor.ids()[1])


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_and_nothing_sticks_out_of_a_phone(visit, scenes, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    visitor = visit(
        viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True, color_scheme=scheme
    )

    def check():
        for _ in range(20):  # Gradio pales what is about to change
            found = axe.run(visitor.page).response["violations"]
            serious = [rule for rule in found if rule["impact"] in ("serious", "critical")]
            if not serious:
                break
            visitor.page.wait_for_timeout(500)
        assert [(rule["id"], [node["html"] for node in rule["nodes"]]) for rule in serious] == []
        assert visitor.page.evaluate("document.documentElement.scrollWidth") <= 390
        assert visitor.overflow() == []

    check()
    visitor.page.locator("#go").tap()
    expect(visitor.page.locator("#refused [role=alert]")).to_be_visible()
    check()
    visitor.bring(scenes[0])
    visitor.page.get_by_label("Hide a product of the scene").check()
    visitor.see("strip")
    visitor.choose("Shoes", "Hats", "Pants")
    visitor.page.get_by_label("Products of each category").fill("5")
    visitor.page.locator("#go").tap()
    visitor.wait_for(5)
    assert visitor.page.locator("img:not([alt]), img[alt='']").count() == 0
    assert visitor.page.evaluate("scrollY") > 400  # the answer is in view
    check()
    visitor.page.locator("#shown").get_by_label("Hats").check()
    visitor.wait_for(2)
    assert STRANGE in visitor.ids()
    check()


def test_a_lost_picture_and_a_strange_id(visit, scenes):
    visitor = visit()
    visitor.bring(scenes[0])
    visitor.see("whole scene")
    visitor.choose("Hats")
    visitor.find(2)
    assert STRANGE in visitor.ids()
    assert visitor.page.locator("#ranked b b, #look b b").count() == 0
    for tile in visitor.tiles.all():
        assert tile.locator("img").evaluate(
            "picture => picture.complete && picture.naturalWidth > 0"
        )
    visitor.tiles.nth(visitor.ids().index(STRANGE)).click()
    expect(visitor.page.locator("#details dd").first).to_have_text(STRANGE)
    visitor.page.locator("#swap").click()
    expect(visitor.page.locator("#swapped")).to_have_text(f"The look now has {STRANGE}.")


def test_nothing_is_fetched_elsewhere_and_no_file_is_given_away(
    visit, scenes, address, shop, recommender
):
    visitor = visit()
    visitor.bring(scenes[0])
    visitor.see("whole scene")
    visitor.choose("Shoes")
    visitor.find(5)
    assert [
        url for url in visitor.requests if not url.startswith((address, "data:", "blob:"))
    ] == []
    picture = recommender.catalog.products([0])[0]["image"]
    for path in (
        "/etc/hostname",
        picture,
        str(shop / "1" / "manifest.json"),
        "../../../../../../etc/hostname",
    ):
        with pytest.raises(urllib.error.HTTPError) as error:
            urllib.request.urlopen(f"{address}/gradio_api/file={path}")
        assert error.value.code in (403, 404), path
