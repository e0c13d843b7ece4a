"""Somebody who visits the page."""

from playwright.sync_api import expect

EDGES = ("left", "top", "right", "bottom")


class Visitor:
    """A browser context of its own, with the page open.

    Attributes:
        page: Playwright's.
        requests: addresses that the browser asked for.
        errors: of scripts.
    """

    def __init__(self, browser, address, **context):
        self.context = browser.new_context(
            **{"viewport": {"width": 1200, "height": 900}, **context}
        )
        self.page = self.context.new_page()
        self.page.set_default_timeout(60_000)
        expect.set_options(timeout=60_000)
        self.requests, self.errors = [], []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.goto(address)
        expect(self.page.locator("#go")).to_be_visible()

    def bring(self, path):
        if (clear := self.page.get_by_label("Clear")).count():
            clear.click()
            expect(clear).to_have_count(0)  # as people see that the place for a file is empty
        self.page.locator("#scene input[type=file]").set_input_files(path)

    def see(self, words):
        """Waits for what the page says about the scene."""
        expect(self.page.locator("#seen figcaption").first).to_contain_text(words)

    def choose(self, *categories):
        for category in categories:
            self.page.locator("#categories").get_by_label(category, exact=True).check()

    def find(self, count):
        """Asks for so many products of each category, and waits for those of the one that is
        shown."""
        self.page.get_by_label("Products of each category").fill(str(count))
        self.page.locator("#go").click()
        self.wait_for(count)

    def wait_for(self, count):
        expect(self.tiles).to_have_count(count)

    @property
    def tiles(self):
        return self.page.locator("#ranked .ctl-tile")

    def ids(self):
        """Of the ranked products."""
        return [text.splitlines()[-1] for text in self.tiles.all_inner_texts()]

    def edges(self):
        return [
            int(self.page.locator(f"#{edge} input[type=number]").input_value()) for edge in EDGES
        ]

    def said(self, place):
        return self.page.locator(place).inner_text()

    def overflow(self):
        """Elements that stick out of the window to the right."""
        return self.page.evaluate(
            "() => [...document.querySelectorAll('body *')].filter(element => "
            "element.getBoundingClientRect().right > document.documentElement.clientWidth + "
            "1).map(element => element.outerHTML.slice(0, 200))"
        )

    def leave(self):
        self.context.close()
