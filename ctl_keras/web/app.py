"""The page's layout: which control calls what. What happens then is in `looks`, what it looks like
in `markup`."""

from typing import Any

from PIL import Image

from ctl_keras.errors import InputError
from ctl_keras.web import markup
from ctl_keras.web.looks import (
    Found,
    Looks,
    first_look,
    look_distances,
    look_rows,
    swapped,
    thumbnail,
)
from ctl_keras.web.scenes import View, cut, look_around, open_picture, preview
from ctl_keras.web.style import DRAW, SHOW_RESULTS, TILES

MOST = 100  # products of a category
_FORGET_SECONDS = 3600
_QUICK: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
# the network takes all processors, and a large photo much memory: one after the other
_HEAVY: dict[str, Any] = {
    "api_visibility": "private",
    "concurrency_id": "heavy",
    "concurrency_limit": 1,
}


def build_page(looks: Looks) -> Any:
    """The page of a model and a catalog.

    Args:
        looks: the one thing that all visitors share; it does not change.

    Returns:
        `gradio.Blocks`, not launched. What a visitor brings and finds is kept in that visitor's own
        session.
    """
    import gradio as gr

    names = {path: name for name, path in looks.categories.items()}

    def state() -> Any:
        return gr.State(None, time_to_live=_FORGET_SECONDS)

    with gr.Blocks(
        title="Complete the look",
        analytics_enabled=False,
        delete_cache=(_FORGET_SECONDS, _FORGET_SECONDS),
    ) as page:
        scene, found, look, picked = state(), state(), state(), state()
        gr.Markdown(
            f"# Complete the look\nWhich of {len(looks.recommender.catalog):,} products complete a "
            "scene? Bring a photo, choose categories, and see the nearest products and why they "
            "are near."
        )
        with gr.Row():
            with gr.Column():
                upload = gr.File(
                    label="Scene: a photo (JPEG, PNG, WebP, AVIF, TIFF, GIF or BMP)",
                    file_types=["image"],
                    elem_id="scene",
                )
                hide = gr.Checkbox(
                    label="Hide a product of the scene",
                    info="The model learned from scenes without the product: it saw the largest "
                    "strip beside the product's box. Your scene is cut in the same way. Set "
                    "the box's edges, or draw it on the scene.",
                    elem_id="hide",
                )
                with gr.Group(visible=False) as box:
                    edges = [
                        gr.Slider(
                            0,
                            100,
                            value,
                            step=1,
                            label=f"{edge} edge of the box, in percent",
                            elem_id=edge.lower(),
                        )
                        for edge, value in (
                            ("Left", 35),
                            ("Top", 55),
                            ("Right", 65),
                            ("Bottom", 85),
                        )
                    ]
            with gr.Column():
                problem = gr.HTML(elem_id="problem")
                seen = gr.HTML(elem_id="seen", js_on_load=DRAW)
        with gr.Row():
            wanted = gr.CheckboxGroup(
                list(looks.categories.items()),
                label="Categories; several make a whole look",
                elem_id="categories",
            )
            k = gr.Number(
                10,
                label=f"Products of each category, 1 to {MOST}",
                precision=0,
                minimum=1,
                maximum=MOST,
                elem_id="k",
            )
            where = gr.Textbox(
                label="Only products where (may stay empty)",
                info=f"A filter such as id != '17'. Columns: {', '.join(looks.columns)}",
                elem_id="where",
            )
        go = gr.Button("Find products", variant="primary", elem_id="go")
        refused = gr.HTML(elem_id="refused")

        with gr.Column(visible=False, elem_id="results") as results:
            gr.Markdown("## The look")
            whole, total = gr.HTML(elem_id="look"), gr.HTML(elem_id="total")
            gr.Markdown("## Products, nearest first")
            shown = gr.Radio([], label="Category", elem_id="shown")
            ranked = gr.HTML(elem_id="ranked", js_on_load=TILES)
            gr.Markdown("## The chosen product: which regions bring it close")
            details = gr.HTML(elem_id="details")
            swap, swap_note = (
                gr.Button("Put this product into the look", elem_id="swap"),
                gr.HTML(elem_id="swapped"),
            )
            gr.Markdown("## Attention: which regions count for a category")
            attention = gr.HTML(elem_id="attention")

        def draw_scene(picture: Image.Image | None, hidden: bool, *edges: float) -> dict[Any, Any]:
            if picture is None:  # perhaps it is still being read; what is shown stays
                return {seen: gr.skip(), problem: gr.skip()}
            try:
                view = look_around(edges if hidden else None)
                part = cut(picture, view) if hidden else None
                return {
                    seen: markup.scene_figures(preview(picture, view), part, view.words, hidden),
                    problem: "",
                }
            except InputError as error:
                whole_scene = preview(picture, look_around(None))
                return {
                    seen: markup.scene_figures(whole_scene, None, "", hidden),
                    problem: markup.message(str(error)),
                }

        def bring(path: str | None) -> dict[Any, Any]:
            cleared = {
                found: None,
                look: None,
                picked: None,
                results: gr.update(visible=False),
                refused: "",
            }
            try:
                picture = None if path is None else open_picture(path)
            except InputError as error:
                return {**cleared, scene: None, seen: "", problem: markup.message(str(error))}
            return {**cleared, scene: picture, problem: "", **({} if picture else {seen: ""})}

        def draw_box(event: gr.EventData) -> list[Any]:
            return [gr.update(value=True), *event.edges]

        def draw_look(answer: Found, chosen: dict[str, int]) -> dict[Any, Any]:
            rows = look_rows(answer, chosen)
            pictures = {category: thumbnail(row) for category, row in rows.items()}
            both = "Sum of the distances {:.3f}, mean {:.3f}. Less is nearer.".format(
                *look_distances(answer, chosen)
            )
            return {
                look: chosen,
                whole: markup.look_figures(rows, pictures, names),
                total: markup.note(both),
            }

        def draw_product(answer: Found, category: str, rank: int | None) -> dict[Any, Any]:
            if rank is None:
                return {
                    details: "",
                    swap: gr.update(interactive=False),
                    swap_note: "",
                    picked: None,
                }
            row, shares = answer.products[category][rank], looks.regions(answer, category, rank)
            about = markup.product_details(answer.seen, row, thumbnail(row), shares, looks.settings)
            return {details: about, swap: gr.update(interactive=True), swap_note: "", picked: rank}

        def draw_category(answer: Found, chosen: dict[str, int], category: str) -> dict[Any, Any]:
            rows, rank = answer.products[category], chosen.get(category)
            tiles = markup.product_tiles(
                rows, [thumbnail(row) for row in rows], names[category], rank
            )
            return {ranked: tiles, **draw_product(answer, category, rank)}

        def find(picture: Image.Image | None, hidden: bool, *controls: Any) -> dict[Any, Any]:
            *edges, categories, count, only = controls
            try:
                if picture is None:
                    raise InputError("Bring a scene first: drop a photo, or choose a file.")
                view: View = look_around(edges if hidden else None)
                answer = looks.find(cut(picture, view), categories, count or 0, only)
            except InputError as error:
                return {refused: markup.message(str(error)), results: gr.update(visible=False)}
            weights = {category: part["attention"] for category, part in answer.scene.items()}
            chosen = first_look(answer)
            return {
                refused: markup.note(
                    f"Found {sum(map(len, answer.products.values()))} products; they are below."
                ),
                results: gr.update(visible=True),
                found: answer,
                shown: gr.update(
                    choices=[(names[path], path) for path in answer.products], value=categories[0]
                ),
                attention: markup.attention_figures(
                    answer.seen, weights, names, looks.settings["attention"]
                ),
                **draw_look(answer, chosen),
                **draw_category(answer, chosen, categories[0]),
            }

        def remembered(answer: Found | None) -> Found:
            if answer is None:
                raise gr.Error(
                    "What was found is forgotten after an hour. Find the products again.",
                    print_exception=False,
                )
            return answer

        def choose(answer: Found | None, chosen: dict[str, int], category: str) -> dict[Any, Any]:
            return draw_category(remembered(answer), chosen, category)

        def pick(answer: Found | None, category: str, event: gr.EventData) -> dict[Any, Any]:
            return draw_product(remembered(answer), category, event.rank)

        def put(
            answer: Found | None, chosen: dict[str, int], category: str, rank: int
        ) -> dict[Any, Any]:
            answer = remembered(answer)
            said = f"The look now has {answer.products[category][rank]['id']}."
            return {
                **draw_look(answer, swapped(chosen, category, rank)),
                swap_note: markup.note(said),
            }

        box_controls: list[Any] = [hide, *edges]
        scene_view = [seen, problem]
        product_view, look_view = [details, swap, swap_note, picked], [look, whole, total]
        brought = upload.change(
            bring, upload, [scene, found, look, picked, results, refused, *scene_view], **_HEAVY
        )
        # as the controls are then
        brought.then(draw_scene, [scene, *box_controls], scene_view, **_QUICK)
        seen.select(draw_box, None, box_controls, **_QUICK)
        hide.change(lambda hidden: gr.update(visible=hidden), hide, box, **_QUICK)
        for control in box_controls:
            control.change(
                draw_scene, [scene, *box_controls], scene_view, trigger_mode="always_last", **_QUICK
            )
        asked = gr.on(
            [go.click, where.submit],
            find,
            [scene, *box_controls, wanted, k, where],
            [refused, results, found, shown, attention, ranked, *look_view, *product_view],
            **_HEAVY,
        )
        asked.then(None, None, None, js=SHOW_RESULTS)
        shown.input(choose, [found, look, shown], [ranked, *product_view], **_QUICK)
        ranked.select(pick, [found, shown], product_view, **_QUICK)
        swap.click(put, [found, look, shown, picked], [*look_view, swap_note], **_QUICK)
    return page
