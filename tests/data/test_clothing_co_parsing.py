"""`import clothing-co-parsing` on a tree of the repository's shape, with .mat files by SciPy."""

import json

import numpy as np
import pytest
from PIL import Image

import ctl_keras as ctl

scipy_io = pytest.importorskip("scipy.io")
mask_tools = pytest.importorskip("pycocotools.mask")

NAMES = (
    "null accessories bag belt blazer blouse bodysuit boots bra bracelet cape cardigan clogs coat "
    "dress earrings flats glasses gloves hair hat heels hoodie intimate jacket jeans jumper "
    "leggings loafers necklace panties pants pumps purse ring romper sandals scarf shirt shoes "
    "shorts skin skirt sneakers socks stockings suit sunglasses sweater sweatshirt swimwear "
    "t-shirt tie tights top vest wallet watch wedges"
)
LABELS = NAMES.split()
PRODUCTS = {
    "jacket": "Apparel & Accessories|Clothing|Coats & Jackets",
    "shoes": "Apparel & Accessories|Shoes",
    "sunglasses": "Apparel & Accessories|Sunglasses",
    "t-shirt": "Apparel & Accessories|Clothing|Shirts & Tops",
}
WORN = {
    "hair": (10, 5, 40, 20),
    "jacket": (20, 30, 60, 90),
    "t-shirt": (30, 40, 50, 80),
    "shoes": (30, 130, 60, 148),
    "belt": (30, 90, 50, 94),
    "sunglasses": (14, 10, 34, 18),  # too small
}


@pytest.fixture
def tree(tmp_path):
    labels = np.zeros((1, len(LABELS)), object)
    labels[0, :] = [np.array([name]) for name in LABELS]
    folder = tmp_path / "clothing-co-parsing"
    (folder / "photos").mkdir(parents=True)
    for level in ("pixel-level", "image-level"):
        (folder / "annotations" / level).mkdir(parents=True)
    scipy_io.savemat(folder / "label_list.mat", {"label_list": labels})
    pixels = np.random.default_rng(0).integers(0, 256, (150, 100, 3), np.uint8)
    truth = np.zeros((150, 100), np.uint8)
    for name, (left, top, right, bottom) in WORN.items():
        truth[top:bottom, left:right] = LABELS.index(name)
    for number in range(1, 5):
        Image.fromarray(pixels).save(folder / "photos" / f"{number:04d}.jpg")
        if number < 3:
            path = folder / "annotations" / "pixel-level" / f"{number:04d}.mat"
            scipy_io.savemat(path, {"groundtruth": truth}, do_compression=True)
    tags = {"tags": np.array([[41, 20, 3]], np.uint8)}
    scipy_io.savemat(folder / "annotations" / "image-level" / "0003.mat", tags)
    return folder, truth


def test_the_pairs_of_a_photo_are_those_of_the_coco_importer(tree, tmp_path, here):
    folder, truth = tree
    said = here("import", "clothing-co-parsing", folder, "--out", tmp_path / "ccp", "--workers", 1)
    assert "2 scenes and 6 products" in said.out
    assert "2 x smaller than 16 pixels" in said.out
    marked = []
    for number in (1, 2):
        for name in PRODUCTS:
            lengths = mask_tools.encode(np.asfortranarray(truth == LABELS.index(name), np.uint8))
            lengths["counts"] = lengths["counts"].decode()
            marked.append({"id": len(marked), "image_id": number, "segmentation": lengths})
            marked[-1]["category_id"] = LABELS.index(name)
    content = {
        "images": [{"id": number, "file_name": f"{number:04d}.jpg"} for number in (1, 2)],
        "annotations": marked,
        "categories": [{"id": number, "name": name} for number, name in enumerate(LABELS)],
    }
    (tmp_path / "instances.json").write_text(json.dumps(content))
    products = [f"{name}={path}" for name, path in PRODUCTS.items()]
    ctl.import_coco(
        tmp_path / "instances.json", folder / "photos", tmp_path / "coco", products=products
    )
    found, other = (
        {
            path.relative_to(tmp_path / name): path.read_bytes()
            for path in (tmp_path / name).rglob("*.*")
            if path.is_file() and path.name != "rejected.jsonl"
        }
        for name in ("ccp", "coco")
    )
    assert len(found) == 2 + 2 + 6
    assert found == other


def test_boxes_and_categories_are_those_of_the_labels(tree, tmp_path):
    ctl.import_clothing_co_parsing(tree[0], tmp_path / "out")
    lines = (tmp_path / "out" / "fashion.json").read_text().splitlines()
    category = json.loads((tmp_path / "out" / "fashion-cat.json").read_text())
    whole = [100, 150, 100, 150]
    assert {
        (row["scene"], category[row["product"]]): [
            round(share * side) for share, side in zip(row["bbox"], whole, strict=True)
        ]
        for row in map(json.loads, lines)
    } == {
        (scene, path): list(WORN[label])
        for scene in ("0001", "0002")
        for label, path in PRODUCTS.items()
        if label != "sunglasses"
    }


def test_what_is_damaged_is_left_out(tree, tmp_path):
    labels = tree[0] / "annotations" / "pixel-level"
    (labels / "0003.mat").write_bytes(b"MATLAB 5.0 MAT-file" + bytes(200))
    (labels / "0004.mat").write_bytes((labels / "0001.mat").read_bytes())
    (tree[0] / "photos" / "0004.jpg").unlink()
    counts = ctl.import_clothing_co_parsing(tree[0], tmp_path / "out")
    assert (counts["scenes"], counts["rejected_because"]) == (
        2,
        {"smaller than 16 pixels": 2, "labels unreadable": 1, "picture missing": 1},
    )


def test_another_folder(tmp_path):
    with pytest.raises(ctl.InputError, match="git clone https://github.com/bearpaw/"):
        ctl.import_clothing_co_parsing(tmp_path, tmp_path / "out")
