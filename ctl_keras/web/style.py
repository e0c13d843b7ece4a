"""How the page looks and feels beyond what Gradio does: colours, rows that wrap, tiles and a box
that follow the pointer."""

from typing import Any

CSS = """
.ctl-message { margin: 0; padding: 0.6em 0.8em; border-left: 4px solid #b42318;
  background: #fef3f2; color: #7a271a; }
.ctl-row { display: grid; gap: 12px;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 140px), 1fr)); }
.ctl-wide { grid-template-columns: repeat(auto-fill, minmax(min(100%, 200px), 1fr)); }
.ctl-row figure { margin: 0; min-width: 0; }
.ctl-row img { max-width: 100%; width: auto; height: auto; max-height: 420px; }
.ctl-row figcaption, .ctl-row dd, .ctl-tile { overflow-wrap: anywhere; }
.ctl-row dl { margin: 0.3em 0; display: grid; grid-template-columns: auto 1fr; gap: 0 0.6em; }
.ctl-row dd { margin: 0; }
.ctl-tile { padding: 6px; border: 3px solid transparent; border-radius: 6px; text-align: left;
  cursor: pointer; background: var(--background-fill-secondary); color: inherit; }
#ranked .ctl-tile { font-weight: normal; }
.ctl-tile img { display: block; width: 100%; height: 150px; object-fit: contain; }
.ctl-tile[aria-pressed=true] { border-color: var(--color-accent); }
.ctl-tile:focus-visible { outline: 3px solid var(--body-text-color); outline-offset: 2px; }
#details table { width: auto; margin: 0.6em 0; }
#details caption { text-align: left; }
#details :is(th, td) { padding: 0.3em 0.5em; }
.ctl-legend { display: inline-flex; flex-wrap: wrap; align-items: center; gap: 0.4em;
  margin-bottom: 0.4em; }
.ctl-legend span { display: inline-block; width: 7em; height: 0.9em; border: 1px solid #767676; }
.ctl-draw { position: relative; width: fit-content; max-width: 100%; }
.ctl-draw img { display: block; cursor: crosshair; touch-action: none; user-select: none; }
.ctl-draw div { position: absolute; border: 2px dashed #000; background: rgb(107 107 107 / 60%);
  pointer-events: none; }
"""

TILES = """
element.addEventListener('click', event => {
  const tile = event.target.closest('.ctl-tile');
  if (!tile) return;
  const tiles = element.querySelectorAll('.ctl-tile');
  tiles.forEach(other => other.setAttribute('aria-pressed', other === tile));
  trigger('select', {rank: Number(tile.dataset.rank)});
});
"""

DRAW = """
let start = null, sketch = null;
const at = (event, picture) => {
  const edges = picture.getBoundingClientRect();
  const within = share => Math.min(1, Math.max(0, share));
  const percent = (value, from, size) => Math.round(100 * within((value - from) / size));
  return [
    percent(event.clientX, edges.left, edges.width),
    percent(event.clientY, edges.top, edges.height)
  ];
};
const box = (a, b) => [
  Math.min(a[0], b[0]), Math.min(a[1], b[1]), Math.max(a[0], b[0]), Math.max(a[1], b[1])
];
element.addEventListener('pointerdown', event => {
  const picture = event.target.closest('.ctl-draw img');
  if (!picture || event.button !== 0) return;
  event.preventDefault();
  picture.setPointerCapture(event.pointerId);
  start = at(event, picture);
  sketch = picture.parentElement.appendChild(document.createElement('div'));
});
element.addEventListener('pointermove', event => {
  if (!start) return;
  const [left, top, right, bottom] = box(start, at(event, sketch.previousElementSibling));
  const [width, height] = [right - left, bottom - top];
  const edges = {left, top, width, height};
  for (const name in edges) sketch.style[name] = edges[name] + '%';
});
const end = event => {
  if (!start) return;
  const edges = box(start, at(event, sketch.previousElementSibling));
  sketch.remove();
  start = sketch = null;
  const drawn = edges[0] < edges[2] && edges[1] < edges[3];
  if (event.type === 'pointerup' && drawn) trigger('select', {edges});
};
element.addEventListener('pointerup', end);
element.addEventListener('pointercancel', end);
"""

SHOW_RESULTS = (
    "() => { const results = document.querySelector('#results'); if (results?.offsetParent) "
    "results.scrollIntoView(); }"
)


def theme() -> Any:
    """Gradio's own, with fonts of the machine, as others would be fetched, and colours that are far
    enough apart to be read."""
    import gradio as gr

    base = gr.themes.Default(
        font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]
    )
    pale, pale_dark = "*neutral_600", "*neutral_300"
    return base.set(
        body_text_color_subdued=pale,
        body_text_color_subdued_dark=pale_dark,
        block_info_text_color=pale,
        block_info_text_color_dark=pale_dark,
        block_label_text_color=pale,
        block_label_text_color_dark=pale_dark,
        input_placeholder_color=pale,
        input_placeholder_color_dark=pale_dark,
        **{
            f"button_primary_background_fill{state}": "*primary_700"
            for state in ("", "_hover", "_dark", "_hover_dark")
        },
    )
