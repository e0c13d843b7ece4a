"""The pictures that annotations name, fetched from where they are published.

```
OUT/<id>.jpg           or .png, .webp: whole and checked
OUT/missing.jsonl      {id, reason}: what could not be had; the next run asks for it again
OUT/.download.jsonl    the same, while a run is not finished: a killed one does not ask twice
```
"""

import json
import os
import string
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ctl_keras.data.fetching import Fetcher, MissingError, UnreachableError
from ctl_keras.data.images import picture_problem
from ctl_keras.data.pair_table import counted, in_words
from ctl_keras.data.picture_files import SUFFIXES, picture_bytes
from ctl_keras.errors import InputError
from ctl_keras.files import new_file
from ctl_keras.processes import run_ahead
from ctl_keras.progress import track

PINTEREST = "https://i.pinimg.com/400x/{aa}/{bb}/{cc}/{id}.jpg"  # the rule published with the data (method notes)
MISSING, JOURNAL = "missing.jsonl", ".download.jsonl"
_FIELDS = {"id", "aa", "bb", "cc"}
_LONGEST_NAME = 240  # bytes; file systems take 255 with the suffix


def download(
    ids: Iterable[str], out: str | Path, template: str = PINTEREST, concurrency: int = 8, rate: float = 20
) -> dict[str, Any]:
    """Fetches pictures, as few and as slowly as a host may expect, and keeps those that can be decoded.

    Pictures that are there already are not asked for; a killed run goes on when it is started again. Dropped connections,
    delays, truncated and damaged bodies, 429 and 5xx are tried five times with growing pauses; `Retry-After` pauses all.

    Args:
        ids: the pictures' ids, such as `picture_names` gives them.
        out: folder for `<id>.jpg` (.png, .webp), or one to go on with.
        template: address with `{id}` and, if wanted, `{aa}`, `{bb}` and `{cc}`: its first, second and third two characters.
            Defaults to Pinterest's.
        concurrency: int. Requests at once. Defaults to 8.
        rate: float. Requests a second. Defaults to 20.

    Returns:
        `{"wanted", "there", "fetched", "bytes", "missing", "missing_because"}`: numbers of pictures; `missing_because` a dict
        reason -> number.

    Raises:
        InputError: wrong arguments, httpx is not installed, the host cannot be reached, or no picture at all could be had.
    """
    _check(template, concurrency, rate)
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    wanted = sorted(set(ids))
    there = _there(out)
    missing = _unfinished(out / JOURNAL)
    counts = {"wanted": len(wanted), "there": sum(id_ in there for id_ in wanted), "fetched": 0, "bytes": 0}
    left = [id_ for id_ in wanted if id_ not in there and id_ not in missing]
    user_agent = f"ctl-keras/{metadata.version('ctl-keras')}"
    with Fetcher(rate, concurrency, _problem, user_agent) as fetcher, open(out / JOURNAL, "a", encoding="utf-8") as journal:
        try:
            results = _results(fetcher, left, out, template, concurrency)
            for id_, size, reason in track(results, "Fetching pictures", total=len(left)):
                if reason is None:
                    counts["fetched"] += 1
                    counts["bytes"] += size
                else:
                    missing[id_] = reason
                    journal.write(json.dumps({"id": id_, "reason": reason}) + "\n")
                    journal.flush()
        except UnreachableError:
            raise InputError(
                f"The host of {template} cannot be reached. {counts['fetched']} pictures were fetched; start again to go on."
            ) from None
    missing = {id_: missing[id_] for id_ in wanted if id_ in missing and id_ not in there}
    with new_file(out / MISSING) as temporary:
        lines = (json.dumps({"id": id_, "reason": reason}) + "\n" for id_, reason in missing.items())
        temporary.write_text("".join(lines), encoding="utf-8")
    (out / JOURNAL).unlink()
    because = counted(missing.values())
    if wanted and len(missing) == len(wanted):
        raise InputError(
            f"None of {len(wanted)} pictures could be fetched: {in_words(because)}. Is {template} the right address?"
        )
    return {**counts, "missing": len(missing), "missing_because": because}


def describe(counts: dict[str, Any], out: str | Path) -> str:
    """What was fetched, in a few lines for people."""
    size = f"{counts['bytes'] / 1e6:.1f} MB"
    lines = [
        f"{out}: {counts['fetched']} pictures fetched ({size}), {counts['there']} were there, of {counts['wanted']} wanted"
    ]
    if counts["missing"]:
        lines.append(f"  {counts['missing']} missing, see {Path(out) / MISSING}:")
        lines += [f"  {count} x {reason}" for reason, count in counts["missing_because"].items()]
    return "\n".join(lines)


def _check(template: str, concurrency: int, rate: float) -> None:
    try:
        fields = {name for _, name, _, _ in string.Formatter().parse(template) if name is not None}
    except ValueError:
        fields = set()
    if "id" not in fields or fields - _FIELDS or not template.startswith(("http://", "https://")):
        raise InputError(
            "`template` must be a web address with {id}, and may have {aa}, {bb} and {cc}, its first, second and third two "
            f"characters. Received: {template!r}"
        )
    for name, value in (("concurrency", concurrency), ("rate", rate)):
        if not value > 0:
            raise InputError(f"`{name}` must be positive. Received: {value!r}")


def _there(out: Path) -> set[str]:
    """The ids of the pictures in the folder; what a killed run has half written is removed."""
    there = set()
    for entry in os.scandir(out):
        name, suffix = os.path.splitext(entry.name)
        if entry.name.startswith(".tmp-"):
            os.unlink(entry.path)
        elif suffix in SUFFIXES:
            there.add(name)
    return there


def _unfinished(journal: Path) -> dict[str, str]:
    """What a killed run could not have: id -> reason. Its last line may be half of one."""
    missing = {}
    if journal.exists():
        for line in journal.read_bytes().splitlines():
            try:
                row = json.loads(line)
                missing[row["id"]] = row["reason"]
            except (ValueError, KeyError, TypeError):
                continue
    return missing


def _results(
    fetcher: Fetcher, ids: list[str], out: Path, template: str, concurrency: int
) -> Iterator[tuple[str, int, str | None]]:
    """Id, bytes, and why it is missing or None, as they come."""

    def fetch(id_: str) -> tuple[str, int, str | None]:
        try:
            data = fetcher.get(_address(template, id_))
        except MissingError as error:
            return id_, 0, str(error)
        suffix = ".png" if data.startswith(b"\x89PNG") else ".webp" if data[8:12] == b"WEBP" else ".jpg"
        with new_file(out / f"{id_}{suffix}") as temporary:
            temporary.write_bytes(data)
        return id_, len(data), None

    with ThreadPoolExecutor(concurrency) as pool:
        yield from run_ahead(pool, fetch, ids, 2 * concurrency)


def _address(template: str, id_: str) -> str:
    if not id_ or id_ in (".", "..") or any(character in id_ for character in "/\\\0") or len(id_.encode()) > _LONGEST_NAME:
        raise MissingError("the id is no name for a file")
    parts = {name: id_[2 * number : 2 * number + 2] for number, name in enumerate(("aa", "bb", "cc"))}
    if "{cc}" in template and len(id_) < 6:
        raise MissingError("the id is too short for the address")
    return template.format(id=quote(id_, safe=""), **{name: quote(part, safe="") for name, part in parts.items()})


def _problem(data: bytes) -> str | None:
    return picture_problem(picture_bytes(data))
