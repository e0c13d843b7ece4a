import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ctl_keras as ctl
from ctl_keras.retrieval.products import Rejected, read_products

CATEGORIES = ("Apparel|Shoes", "Apparel|Hats", "Home|Hats")
HEADER = "id,image,category,price,brand\n"


def read(path, text=None):
    if text is not None:
        path.write_bytes(text.encode() if isinstance(text, str) else text)
    rejected = Rejected()
    return read_products(path, CATEGORIES, rejected), rejected


def test_csv(tmp_path):
    lines = ["007,a.jpg,Shoes,1.5,Acme", '8,"b,c.jpg",Apparel|Hats,,"Zën"']
    table, rejected = read(tmp_path / "p.csv", "\ufeff" + HEADER + "\n".join(lines))
    assert table.drop_columns("category").to_pylist() == [
        {"id": "007", "image": str(tmp_path / "a.jpg"), "price": 1.5, "brand": "Acme"},
        {"id": "8", "image": str(tmp_path / "b,c.jpg"), "price": None, "brand": "Zën"},
    ]
    assert table["category"].to_pylist() == ["Apparel|Shoes", "Apparel|Hats"]
    assert table.column_names == ["id", "image", "category", "price", "brand"]
    assert not rejected.rows


def test_parquet_with_columns_in_another_order(tmp_path):
    columns = {
        "price": [1, 2],
        "category": pa.array(["Shoes", "Shoes"]).dictionary_encode(),
        "id": [7, 8],
        "image": ["a", "/b"],
    }
    pa.parquet.write_table(pa.table(columns), tmp_path / "p.parquet")
    table, _ = read(tmp_path / "p.parquet")
    assert table["id"].to_pylist() == ["7", "8"]
    assert table["image"].to_pylist() == [str(tmp_path / "a"), "/b"]
    assert table["price"].to_pylist() == [1, 2]


def test_rejects_are_counted_and_explained(tmp_path):
    lines = [
        "a,a.jpg,Shoes,1,x",
        "a,b.jpg,Shoes,1,x",
        ",b.jpg,Shoes,1,x",
        "c, ,Shoes,1,x",
        "d,b.jpg,,1,x",
        "e,b.jpg,Socks,1,x",
        "f,b.jpg,Hats,1,x",
        "g,b.jpg",
        "h,h.jpg,Home|Hats,1,x",
    ]
    table, rejected = read(tmp_path / "p.csv", HEADER + "\n".join(lines))
    assert table["id"].to_pylist() == ["a", "h"]
    assert rejected.counts() == {
        "the row has 2 columns, not 5": 1,
        "no id": 1,
        "no picture": 1,
        "no category": 1,
        "an earlier product has the same id": 1,
        "the model does not know the category Socks": 1,
        "the model does not know the category Hats": 1,  # two categories end with it
    }
    assert {
        "id": "e",
        "image": "b.jpg",
        "category": "Socks",
        "reason": "the model does not know the category Socks",
    } in rejected.rows


def test_categories_as_people_write_them(tmp_path):
    names = ["shoes", " SHOES ", "apparel|HATS", "Shoos", "Apparel|Shoe", "Bags"]
    lines = [f"{n},{n}.jpg,{name},1,x" for n, name in enumerate(names)]
    table, rejected = read(tmp_path / "p.csv", HEADER + "\n".join(lines))
    assert table["category"].to_pylist() == ["Apparel|Shoes", "Apparel|Shoes", "Apparel|Hats"]
    assert list(rejected.counts()) == [
        "the model does not know the category Shoos; did you mean Shoes?",
        "the model does not know the category Apparel|Shoe; did you mean Apparel|Shoes?",
        "the model does not know the category Bags",
    ]


@pytest.mark.parametrize(
    "name",
    [r"sub\blå.JPG", "sub/blå.JPG", "sub/bla\u030a.jpg", r".\sub\bla" + "\u030a.Jpg", "/abs"],
)
@pytest.mark.parametrize("there", ["sub/blå.jpg", "sub/bla\u030a.JPG"])
def test_pictures_are_found_as_other_computers_spell_them(name, there, tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / there).touch()
    name = name.replace("/abs", str(tmp_path / there))
    table, _ = read(tmp_path / "p.csv", HEADER + f"1,{name},Shoes,1,x\n2,sub/no.JPG,Shoes,1,x")
    found, missing = table["image"].to_pylist()
    assert (tmp_path / there).samefile(found)
    assert missing == str(tmp_path / "sub/no.JPG")


def test_an_empty_table(tmp_path):
    table, rejected = read(tmp_path / "p.csv", HEADER)
    assert table.num_rows == 0
    assert rejected.counts() == {}


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("none.csv", None, r"The table of products .*none.csv does not exist"),
        ("p.csv", "id,category\n", "lacks the column image. Needed: id, image, category"),
        (
            "p.csv",
            HEADER.replace("price", "fingerprint"),
            "has a column of the reserved name fingerprint",
        ),
        (
            "p.csv",
            b"id,image,category\n\xff\xfe,\xff,\xff\n",
            "is neither CSV in UTF-8 nor Parquet",
        ),
        ("p.csv", "", "is neither CSV in UTF-8 nor Parquet"),
        ("p.parquet", "id,image", "is neither CSV in UTF-8 nor Parquet"),
    ],
)
def test_errors(tmp_path, name, text, message):
    with pytest.raises(ctl.InputError, match=message):
        read(tmp_path / name, text)


def test_a_folder_and_a_column_of_lists(tmp_path):
    with pytest.raises(ctl.InputError, match="is a folder; a CSV or Parquet file is needed"):
        read(tmp_path)
    pa.parquet.write_table(
        pa.table({"id": [["a"]], "image": ["a"], "category": ["Shoes"]}), tmp_path / "p.parquet"
    )
    with pytest.raises(
        ctl.InputError, match=r"The column id of .*p.parquet must be text. It holds list"
    ):
        read(tmp_path / "p.parquet")


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["", "a", "b", "c"]),
            st.sampled_from(["x", ""]),
            st.sampled_from(["Shoes", "?"]),
        )
    )
)
def test_each_row_is_kept_or_explained(tmp_path_factory, rows):
    path = tmp_path_factory.getbasetemp() / "rows.parquet"
    columns = zip(*rows, strict=True) if rows else ([], [], [])
    pa.parquet.write_table(
        pa.table(
            [pa.array(column, pa.string()) for column in columns], ["id", "image", "category"]
        ),
        path,
    )
    table, rejected = read(path)
    assert table.num_rows + len(rejected.rows) == len(rows)
    seen: set[str] = set()
    expected = []
    for identity, image, category in rows:
        if identity and image and category:
            if identity not in seen and category == "Shoes":
                expected.append(identity)
            seen.add(identity)
    assert table["id"].to_pylist() == expected
    assert np.unique(expected).size == len(expected)
