"""Shop-The-Look annotations, JSON lines, to columns: blocks of good lines by Arrow, the others line
by line."""

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json

from ctl_keras.data.cropping import NOT_NUMBERS, is_four_numbers
from ctl_keras.data.reading.pair_table import BOX, LINE, PRODUCT, SCENE, SPLIT, TYPES, PairTable
from ctl_keras.errors import InputError

_BLOCK = 4 << 20  # bytes
_BY_LINE = 1 << 14  # a block with a bad line is halved until it is as small


def read_json_lines(path: Path, split_column: str | None = None) -> PairTable:
    """Reads lines `{"product": id, "scene": id, "bbox": [left, top, right, bottom]}`; empty ones
    are skipped.

    Args:
        path: the file.
        split_column: str or None. A further key whose text becomes the column `split`.

    Raises:
        InputError: the file is missing or cannot be read.
    """
    names = [LINE, SCENE, PRODUCT, *BOX, *([SPLIT] if split_column else [])]
    schema = pa.schema([(name, TYPES[name]) for name in names])
    parts, rejected, read = [schema.empty_table()], [], 0
    for block in _blocks(path):
        for part, bad in _parsed(*block, schema, split_column):
            parts.append(part)
            rejected += bad
            read += part.num_rows + len(bad)
    table = PairTable(pa.concat_tables(parts), read)
    table.reject(rejected)
    return table


def _blocks(path: Path) -> Iterator[tuple[int, bytes]]:
    """Blocks of whole lines, and the number of each one's first."""
    first = 1
    try:
        with open(path, "rb") as file:
            while block := file.read(_BLOCK):
                block += file.readline()
                yield first, block
                first += block.count(b"\n")
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"The annotation file {path} does not exist.") from None
    except OSError as error:
        raise InputError(f"The annotation file {path} cannot be read: {error.strerror}.") from None


def _parsed(
    first: int, block: bytes, schema: pa.Schema, split_column: str | None
) -> Iterator[tuple[pa.Table, list[dict[str, Any]]]]:
    """The block's rows and rejects, in pieces."""
    part = _parsed_at_once(block, first, schema, split_column)
    cut = block.find(b"\n", len(block) // 2) + 1
    if part is not None:
        yield part, []
    elif len(block) <= _BY_LINE or not 0 < cut < len(block):
        yield _parsed_by_line(block, first, schema, split_column)
    else:
        yield from _parsed(first, block[:cut], schema, split_column)
        yield from _parsed(first + block.count(b"\n", 0, cut), block[cut:], schema, split_column)


def _parsed_at_once(
    block: bytes, first: int, schema: pa.Schema, split_column: str | None
) -> pa.Table | None:
    """The block's rows, or None if any line is not as it should be."""
    fields = {SCENE: pa.string(), PRODUCT: pa.string(), "bbox": pa.list_(pa.float64())}
    fields |= {split_column: pa.string()} if split_column else {}
    options = pa.json.ParseOptions(
        pa.schema(list(fields.items())), unexpected_field_behavior="ignore"
    )
    try:
        table = pa.json.read_json(
            io.BytesIO(block), pa.json.ReadOptions(block_size=len(block)), options
        )
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return None
    lines = block.count(b"\n") + (not block.endswith(b"\n"))
    box = table["bbox"].combine_chunks()
    given = pc.is_valid(box)
    numbers = box.flatten()
    if (
        table.num_rows != lines
        or any(
            table[name].null_count or pc.any(pc.equal(table[name], "")).as_py()
            for name in (SCENE, PRODUCT)
        )
        or not pc.all(pc.equal(pc.list_value_length(box.drop_null()), 4), min_count=0).as_py()
        or numbers.null_count
        or np.isnan(numbers.to_numpy(zero_copy_only=False)).any()
    ):
        return None
    values = np.full((lines, 4), np.nan)
    values[given.to_numpy(zero_copy_only=False)] = numbers.to_numpy(zero_copy_only=False).reshape(
        -1, 4
    )
    columns = {
        LINE: pa.array(np.arange(first, first + lines)),
        SCENE: table[SCENE],
        PRODUCT: table[PRODUCT],
        **{name: pa.array(values[:, number], from_pandas=True) for number, name in enumerate(BOX)},
        **({SPLIT: table[split_column]} if split_column else {}),
    }
    return pa.table(columns, schema)


def _parsed_by_line(
    block: bytes, first: int, schema: pa.Schema, split_column: str | None
) -> tuple[pa.Table, list[dict[str, Any]]]:
    rows, rejected = [], []
    for number, line in enumerate(block.split(b"\n"), start=first):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            rejected.append({LINE: number, "reason": "not JSON"})
            continue
        ids = (
            {name: text(value.get(name)) for name in (SCENE, PRODUCT)}
            if isinstance(value, dict)
            else {}
        )
        if not ids or not all(ids.values()):
            rejected.append({LINE: number, "reason": "no scene or no product id"})
            continue
        row: dict[str, Any] = {LINE: number, **ids}
        box = value.get("bbox")
        if box is not None:
            if not is_four_numbers(box):
                detail = json.dumps(box)[:200]
                rejected.append({**row, "reason": f"box {NOT_NUMBERS}", "detail": detail})
                continue
            row |= {name: _number(share) for name, share in zip(BOX, box, strict=True)}
        rows.append(row | ({SPLIT: text(value.get(split_column))} if split_column else {}))
    return pa.Table.from_pylist(rows, schema), rejected


def text(value: Any) -> str | None:
    """The value if it is text that a file can hold (JSON can smuggle in halves of characters), else
    None."""
    return value if isinstance(value, str) and _is_unicode(value) else None


def _is_unicode(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _number(value: float) -> float:
    try:
        return float(value)
    except OverflowError:  # a whole number of hundreds of digits
        return float("inf")
