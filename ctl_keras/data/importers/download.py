"""The pictures that annotations name, fetched into a folder. A run that was killed goes on when it
is started again."""

import contextlib
import json
import os
import re
import string
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from ctl_keras.data.picture_files import SUFFIXES
from ctl_keras.data.reading.pair_table import counted, in_words
from ctl_keras.errors import InputError
from ctl_keras.files import new_file, only_one
from ctl_keras.progress import track

PINTEREST = "https://i.pinimg.com/400x/{aa}/{bb}/{cc}/{id}.jpg"
MISSING = "missing.jsonl"
JOURNAL = ".download.jsonl"

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

    Pictures that are there are not asked for again. What cannot be had is listed in
    `out/missing.jsonl`, sorted by id, as `{"id", "reason"}`; a new run asks for it again. A run
    that was killed or interrupted goes on when it is started again, and knows what it could not
    have.

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
        InputError: a wrong argument, httpx is not installed, another process fetches into `out`,
            the host cannot be reached, or there is not one picture.
    """
    fields = _fields(template)
    if concurrency < 1:
        raise InputError(f"`concurrency` must be positive. Received: {concurrency}")
    if not rate > 0:
        raise InputError(f"`rate` must be positive, in requests a second. Received: {rate}")
    _require_httpx()
    out = Path(out)
    if out.exists() and not out.is_dir():
        raise InputError(
            f"Pictures are fetched into a folder, and {out} is a file. Name another place."
        )
    out.mkdir(parents=True, exist_ok=True)
    with only_one(out, out):
        wanted = list(dict.fromkeys(ids))
        there, failed_before = _clean(out), _read_journal(out / JOURNAL, template)
        missing = {
            id_: problem
            for id_ in wanted
            if id_ not in there and (problem := _id_problem(id_, fields) or failed_before.get(id_))
        }
        left = [id_ for id_ in wanted if id_ not in missing and id_ not in there]
        counts = {"wanted": len(wanted), "there": len(wanted) - len(missing) - len(left)}
        _start_journal(out / JOURNAL, template, missing)
        counts["fetched"], counts["bytes"] = _fetch(left, out, template, concurrency, rate, missing)
        with new_file(out / MISSING) as temporary, open(temporary, "w", encoding="utf-8") as file:
            file.writelines(_line(id_, reason) for id_, reason in sorted(missing.items()))
        (out / JOURNAL).unlink()
    because = counted(missing.values())
    if wanted and len(missing) == len(wanted):
        example = f" The first address was {_address(template, left[0])}." if left else ""
        raise InputError(
            f"None of {len(wanted)} pictures could be had: {in_words(because)}; {out / MISSING} "
            f"lists them.{example} Check the ids and the template. Received: {template}"
        )
    return {**counts, "missing": len(missing), "missing_because": because}


def _fetch(
    ids: list[str], out: Path, template: str, concurrency: int, rate: float, missing: dict[str, str]
) -> tuple[int, int]:
    """Fetches pictures; adds what it cannot have to `missing` and to the journal.

    Returns:
        How many it got, and their bytes.
    """
    from ctl_keras.data.importers.fetching import HostUnreachableError, fetch_all

    fetched = size = 0
    addresses = ((id_, _address(template, id_)) for id_ in ids)
    with (
        open(out / JOURNAL, "a", encoding="utf-8") as journal,
        contextlib.closing(fetch_all(addresses, out, concurrency, rate)) as outcomes,
    ):
        try:
            for outcome in track(outcomes, "Fetching pictures", total=len(ids)):
                if outcome.problem is None:
                    fetched, size = fetched + 1, size + outcome.size
                    continue
                missing[outcome.id] = outcome.problem
                if outcome.reached:  # what the network could not do today, the run that goes on may
                    journal.write(_line(outcome.id, outcome.problem))
                    journal.flush()
        except HostUnreachableError as error:
            raise InputError(
                f"The host of {template} cannot be reached ({error}). {fetched} pictures were "
                "fetched; check the address and the network, and start the download again: it "
                "goes on."
            ) from None
    return fetched, size


def describe(counts: dict[str, Any], out: str | Path) -> str:
    """What a download did, in a few lines for people."""
    have = counts["there"] + counts["fetched"]
    lines = [f"{out}: {have} of {counts['wanted']} pictures"]
    lines.append(
        f"  {counts['fetched']} fetched ({counts['bytes'] / 1e6:.1f} MB), {counts['there']} were "
        "there"
    )
    if counts["missing"]:
        lines.append(f"  {counts['missing']} missing: {in_words(counts['missing_because'])}")
        lines.append(f"  {Path(out) / MISSING} lists them; the same command asks for them again")
    return "\n".join(lines)


def _require_httpx() -> None:
    try:
        import httpx  # noqa: F401
    except ImportError:
        raise InputError(
            "httpx is not installed. Install it with: pip install ctl-keras[download]"
        ) from None


def _fields(template: str) -> set[str]:
    """The names of a template's fields.

    Raises:
        InputError: it has others than those of an id, or no {id}, or makes no address.
    """
    message = (
        "The template must be an http:// or https:// address with {id}, and may have {aa}, "
        "{bb} and {cc}, the id's first, second and third two characters, such as "
        f"{PINTEREST}. Received: {template}"
    )
    try:
        parts = [part[1:] for part in string.Formatter().parse(template) if part[1] is not None]
        fields = {name: (name, "", None) for name in _FIELDS}  # no format, no conversion
        fields = {name: part for name, part in fields.items() if part in parts}
        if "id" not in fields or len(fields) < len(set(parts)):
            raise ValueError
        address = urlsplit(_address(template, "aabbcc"))
        if address.scheme not in ("http", "https") or not address.hostname or address.port == 0:
            raise ValueError
    except ValueError:  # also of a brace without its other, and of a port that is no number
        raise InputError(message) from None
    return set(fields)


def _address(template: str, id_: str) -> str:
    return template.format(**{name: quote(id_[part], safe="") for name, part in _FIELDS.items()})


def _id_problem(id_: str, fields: set[str]) -> str | None:
    """Why no picture can have this id, or None."""
    if _NO_NAME.fullmatch(id_) or len(id_.encode()) > _LONGEST_NAME:
        return "id cannot be a file name"
    if len(id_) < max(_FIELDS[name].stop or 0 for name in fields):
        return "id too short for the template"
    return None


def _clean(out: Path) -> set[str]:
    """Removes what a killed run has half written, and returns the names of the pictures that are
    there, without suffix."""
    names = set()
    with os.scandir(out) as entries:
        for entry in entries:
            if not entry.is_file():
                continue
            stem, _, suffix = entry.name.rpartition(".")
            if entry.name.startswith(".tmp-"):
                os.unlink(entry.path)
            elif f".{suffix.lower()}" in SUFFIXES:
                names.add(stem)
    return names


def _read_journal(path: Path, template: str) -> dict[str, str]:
    """Id -> reason of what an unfinished run could not have; nothing if it asked at other
    addresses."""
    failures = {}
    with (
        contextlib.suppress(FileNotFoundError),
        open(path, encoding="utf-8", errors="replace") as file,
    ):
        if file.readline() != _header(template):
            return {}
        for line in file:
            with contextlib.suppress(ValueError):  # a killed run may end in half a line
                row = json.loads(line)
                failures[row["id"]] = row["reason"]
    return failures


def _start_journal(path: Path, template: str, failures: dict[str, str]) -> None:
    """Writes the journal anew, so that it ends in a whole line. It says for which template it
    is."""
    with new_file(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
        file.write(_header(template))
        file.writelines(_line(id_, reason) for id_, reason in failures.items())


def _header(template: str) -> str:
    return json.dumps({"template": template}) + "\n"


def _line(id_: str, reason: str) -> str:
    return json.dumps({"id": id_, "reason": reason}) + "\n"
