import numpy as np
import pytest

from autods.core.halves import unfit_rows, worst


@pytest.mark.parametrize(
    ("value", "unfit"),
    [(0.0, False), (1.0, False), (-65504.0, False), (6.2e-5, False), (1e-5, True), (-1e-6, True),
     (1e-40, True), (65536.0, True), (-1e30, True), (np.inf, True), (np.nan, True)],
)  # fmt: skip
@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_a_row_whose_largest_value_float16_cannot_hold_is_unfit(value, unfit, kind):
    if kind is np.float16 and value == 1e-40:
        pytest.skip("it is zero in float16")
    rows = np.zeros((3, 4), kind)
    with np.errstate(over="ignore"):
        rows[1, 2] = value
    assert unfit_rows(rows).tolist() == [False, unfit, False]
    if unfit:
        assert "in column 2" in worst(rows[1])


def test_a_small_value_beside_a_large_one_may_vanish():
    assert not unfit_rows(np.array([[1.0, 1e-12]])).any()
