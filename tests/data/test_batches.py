import numpy as np
import pytest

from ctl_keras.data.batches import image_batches


@pytest.mark.parametrize(("rows", "sizes"), [(7, [3, 3, 1]), (6, [3, 3]), (0, [])])
def test_the_number_of_batches_is_known(drawn_pairs, rows, sizes):
    batches = image_batches(drawn_pairs.images, drawn_pairs.product[:rows], None, 3, 16)
    # without it `predict` warns of data that run out
    assert int(batches.cardinality()) == len(sizes)
    assert [len(batch) for batch in batches] == sizes


def test_batches_are_in_the_rows_order(drawn_pairs):
    rows = drawn_pairs.product[[4, 0, 4]]
    (batch,) = image_batches(drawn_pairs.images, rows, None, 3, 16)
    np.testing.assert_array_equal(batch[0], batch[2])
    assert np.abs(batch[0] - batch[1]).max() > 1
