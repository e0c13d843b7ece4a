import dataclasses
import hashlib
import json
import shutil

import numpy as np
import pytest

import ctl_keras as ctl
from ctl_keras.data.candidates import candidate_lists, candidates_hash
from tests.data.test_triplets import table


def edited(records, folder, change):
    """A copy of prepared data whose candidate lists were changed, and listed as they are now."""
    shutil.copytree(records, folder)
    lists = json.loads((folder / "candidates.json").read_text())
    change(lists)
    (folder / "candidates.json").write_text(json.dumps(lists))
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"]["candidates.json"]["bytes"] = (folder / "candidates.json").stat().st_size
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def test_prepare_writes_what_each_pair_is_ranked_among(drawn_pairs, records):
    lists = json.loads((records / "candidates.json").read_text())
    assert list(lists) == ["train", "validation", "test"]
    for part in drawn_pairs.split((0.5, 0.25, 0.25)):
        expected: dict[str, set] = {}
        for product, category in zip(part.product, part.category, strict=True):
            expected.setdefault(part.categories[category], set()).add(part.images.ids[product])
        assert lists[part.split_name] == {name: sorted(ids) for name, ids in expected.items()}
    file = json.loads((records / "manifest.json").read_text())["files"]["candidates.json"]
    assert file["sha256"] == hashlib.sha256((records / "candidates.json").read_bytes()).hexdigest()


def test_read_records_takes_the_written_lists(records, tmp_path):
    whole = ctl.read_records(records, "test")
    assert whole.candidates is not None
    category = whole.categories[1]
    added = ctl.read_records(records, "train")
    added = added.images.ids[added.product[added.category == 1][0]]

    folder = edited(records, tmp_path / "more", lambda lists: lists["test"][category].append(added))
    pairs = ctl.read_records(folder, "test")
    assert len(pairs.category_products[1]) == len(whole.category_products[1]) + 1
    assert added in pairs.images.ids[pairs.category_products[1]]
    assert (np.diff(pairs.category_products[1]) > 0).all()
    assert candidates_hash(pairs) != candidates_hash(whole)


def test_a_part_of_a_table_has_its_own_candidates(records):
    pairs = ctl.read_records(records, "test")
    part = pairs.take(pairs.category == 2)
    assert part.candidates is None
    assert [len(products) for products in part.category_products] == [
        0,
        0,
        len(pairs.category_products[2]),
        0,
        0,
    ]


def test_equal_lists_have_equal_hashes_wherever_they_came_from(drawn_pairs, records):
    for part in drawn_pairs.split((0.5, 0.25, 0.25)):
        assert part.candidates is None
        stored = ctl.read_records(records, part.split_name)
        assert candidate_lists(part) == candidate_lists(stored)
        assert candidates_hash(part) == candidates_hash(stored)
    assert candidates_hash(part.take(np.arange(len(part) - 3))) != candidates_hash(part)


def test_candidates_that_no_pair_has_are_negatives():
    pairs = table([(0, 0), (0, 3), (1, 1)])
    assert pairs.has_negative().tolist() == [False, False, False]
    fixed = dataclasses.replace(
        pairs, candidates=(np.array([50, 53]), np.array([51, 54]), np.array([], int))
    )
    assert fixed.has_negative().tolist() == [False, False, True]
    fixed = dataclasses.replace(
        pairs, candidates=(np.array([50, 53, 56]), np.array([51]), np.array([], int))
    )
    assert fixed.has_negative().tolist() == [True, True, False]


def test_errors(records, tmp_path):
    category = ctl.read_records(records, "test").categories[0]

    def read(name, change):
        return ctl.read_records(edited(records, tmp_path / name, change), "test")

    with pytest.raises(
        ctl.InputError,
        match=r"test, .*: the candidate 'gone' is not in the records. Run `prepare` again.",
    ):
        read("id", lambda lists: lists["test"][category].append("gone"))
    with pytest.raises(
        ctl.InputError, match=r"is the product of a pair, but not among its candidates"
    ):
        read("own", lambda lists: lists["test"][category].pop())
    with pytest.raises(ctl.InputError, match=r"the records have no category 'Socks'"):
        read("category", lambda lists: lists["test"].update(Socks=[]))
    with pytest.raises(ctl.InputError, match=r"has no lists for the split test"):
        read("split", lambda lists: lists.pop("test"))
    shutil.copytree(records, tmp_path / "without")
    (tmp_path / "without" / "candidates.json").unlink()
    with pytest.raises(ctl.InputError, match=r"candidates.json is missing or cut off"):
        ctl.read_records(tmp_path / "without", "test")
