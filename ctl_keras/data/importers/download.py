"""The pictures that annotations name, fetched into a folder. A run that was killed goes on when it
is started again."""

import json
import re
import string
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from ctl_keras.data.picture_files import SUFFIXES
from ctl_keras.data.reading.pair_table import counted, in_words
from ctl_keras.errors import InputError
from ctl_keras.files import new_file
from ctl_keras.locks import changed_folder

PINTEREST = "https://i.pinimg.com/400x/{aa}/{bb}/{cc}/{id}.jpg"
MISSING = "missing.jsonl"

_FIELDS = {"aa": slice(0, 2), "bb": slice(2, 4), "cc": slice(4, 6), "id": slice(None)}
# half of a surrogate pair is no text
_NO_NAME = re.compile(r"\.{0,2}|\.tmp-.*|.*[/\\\0\ud800-\udfff].*", re.DOTALL)
_LONGEST_NAME = 200  # bytes; file systems take 255, with a prefix while it is written and a suffix


def download(
    ids: Iterable[str],
    out: str | Path,
    template: str = PINTEREST,
    concurrency: int = 8,
    rate: float = 20.0,
) -> dict[str, Any]:
    """Fetches the picture of each id, to `out/<id>.jpg`, .png or .webp, as its content is.

    Pictures that are there are not asked for again, so a run that was killed goes on when it is
    started again. What cannot be had is listed in `out/missing.jsonl`, sorted by id, as `{"id",
    "reason"}`; a new run asks for it again.

    Args:
        ids: of the pictures; each is asked for once.
        out: folder, made if it is not there.
        template: str. Address with the fields {id}, and {aa}, {bb} and {cc}: the id's first, second
            and third two characters. Defaults to Pinterest's.
        concurrency: int. Most requests at once. Defaults to 8.
        rate: float. Most requests a second, repeated ones included. Defaults to 20.

    Returns:
        Counts: `wanted`, `there` (before), `fetched`, `bytes` (of those), `missing`, and
            `missing_because`, reason -> count.

    Raises:
        InputError: a wrong argument, a library is not installed, another process fetches into
            `out`, the host cannot be reached, or there is not one picture.
    """
    shortest = _shortest_id(template)
    if concurrency < 1:
        raise InputError(f"`concurrency` must be positive. Received: {concurrency}")
    if not rate > 0:
        raise InputError(f"`rate` must be positive, in requests a second. Received: {rate}")
    try:
        from ctl_keras.data.importers.fetching import fetch_all
    except ImportError as error:
        raise InputError(
            f"{error.name} is not installed. Install it with: pip install ctl-keras[download]"
        ) from None
    with changed_folder(out) as out:
        wanted, there = dict.fromkeys(ids), _clean(out)
        left = [id_ for id_ in wanted if id_ not in there]
        problems = {id_: _id_problem(id_, shortest) for id_ in left}
        missing = {id_: problem for id_, problem in problems.items() if problem is not None}
        addresses = {id_: _address(template, id_) for id_ in left if id_ not in missing}
        sizes, failures = fetch_all(addresses, out, concurrency, rate)
        missing |= failures
        with new_file(out / MISSING) as temporary, open(temporary, "w", encoding="utf-8") as file:
            for id_, reason in sorted(missing.items()):
                file.write(json.dumps({"id": id_, "reason": reason}) + "\n")
    because = counted(missing.values())
    if wanted and len(missing) == len(wanted):
        example = f" The first address was {next(iter(addresses.values()))}." if addresses else ""
        raise InputError(
            f"None of {len(wanted)} pictures could be had: {in_words(because)}; {out / MISSING} "
            f"lists them.{example} Check the ids and the template. Received: {template}"
        )
    return {
        "wanted": len(wanted),
        "there": len(wanted) - len(left),
        "fetched": len(sizes),
        "bytes": sum(sizes),
        "missing": len(missing),
        "missing_because": because,
    }


def describe(counts: dict[str, Any], out: str | Path) -> str:
    """What a download did, in a few lines for people."""
    have, size = counts["there"] + counts["fetched"], counts["bytes"] / 1e6
    lines = [
        f"{out}: {have} of {counts['wanted']} pictures",
        f"  {counts['fetched']} fetched ({size:.1f} MB), {counts['there']} were there",
    ]
    if counts["missing"]:
        lines.append(f"  {counts['missing']} missing: {in_words(counts['missing_because'])}")
        lines.append(f"  {Path(out) / MISSING} lists them; the same command asks for them again")
    return "\n".join(lines)


def _shortest_id(template: str) -> int:
    """How many characters a template needs of an id."""
    try:
        fields = {part[1] for part in string.Formatter().parse(template) if part[1] is not None}
        address = urlsplit(_address(template, "aabbcc"))
        is_address = address.scheme in ("http", "https") and address.hostname
        if "id" not in fields or not is_address or address.port == 0:
            raise ValueError
        return max(_FIELDS[name].stop or 1 for name in fields)
    # of a brace without its other, an unknown field, a port that is no number
    except (ValueError, LookupError, AttributeError):
        raise InputError(
            "The template must be an http:// or https:// address with {id}, and may have {aa}, "
            "{bb} and {cc}, the id's first, second and third two characters, such as "
            f"{PINTEREST}. Received: {template}"
        ) from None


def _address(template: str, id_: str) -> str:
    return template.format(**{name: quote(id_[part], safe="") for name, part in _FIELDS.items()})


def _id_problem(id_: str, shortest: int) -> str | None:
    if _NO_NAME.fullmatch(id_) or len(id_.encode()) > _LONGEST_NAME:
        return "id cannot be a file name"
    return "id too short for the template" if len(id_) < shortest else None


def _clean(out: Path) -> set[str]:
    """Removes what a killed run has half written, and returns the names of the pictures that are
    there, without suffix."""
    names = set()
    for path in out.iterdir():
        stem, _, suffix = path.name.rpartition(".")
        if path.name.startswith(".tmp-"):
            path.unlink()
        elif f".{suffix.lower()}" in SUFFIXES:
            names.add(stem)
    return names
