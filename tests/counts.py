"""How often tests try what is drawn at random. The defaults find a plain mistake in seconds; after
a change of what is killed or parsed, `CTL_KILLS=50 CTL_EXAMPLES=1000` looks closer."""

import os

KILLS = int(os.environ.get("CTL_KILLS", "2"))  # points at which a process is killed
EXAMPLES = int(os.environ.get("CTL_EXAMPLES", "20"))  # hypothesis's examples, damaged files


def some(cases: list) -> list:
    """Every second case, and all of them where more than the default examples are asked for."""
    return cases if EXAMPLES > 20 else cases[::2]
