import csv

import numpy as np
import pytest

import ctl_keras as ctl


@pytest.fixture(scope="session")
def local(exported):
    return ctl.LocalModel(exported)


@pytest.fixture(scope="session")
def catalog(exported, records, tmp_path_factory):
    """All products of the records, with a price of the row's number."""
    folder = tmp_path_factory.mktemp("catalog")
    with open(records / "products.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    with open(folder / "products.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, ["id", "image", "category", "price"])
        writer.writeheader()
        for price, row in enumerate(rows):
            writer.writerow({**row, "image": str(records / row["image"]), "price": price})
    return ctl.build_catalog(exported, folder / "products.csv", folder / "catalog")


@pytest.fixture(scope="session")
def nearest(local, catalog):
    """The oracle: `nearest(scene, category)` -> (distance, id) of all products of a category, by
    plain numpy."""

    def find(scene, category):
        query = local.embed_scene(scene, [category])["query"][0].astype(np.float64)
        distances = 2 - np.asarray(catalog.embeddings, np.float64) @ query
        rows = zip(distances, catalog.ids.to_pylist(), catalog.categories.to_pylist(), strict=True)
        return sorted(
            (float(distance), identity) for distance, identity, name in rows if name == category
        )

    return find
