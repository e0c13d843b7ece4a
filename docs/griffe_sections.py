"""For the API reference: sections that griffe does not know get the name of one that it does."""

from typing import Any

import griffe

SECTIONS = {"Call arguments:\n": "Other Parameters: Call arguments:\n", "Example:\n": "Examples:\n"}


class KnownSections(griffe.Extension):
    """What layers, losses and metrics are called with is shown as parameters are, and examples as
    code."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        for ours, known in SECTIONS.items() if obj.docstring else ():
            obj.docstring.value = obj.docstring.value.replace(ours, known)
