from decimal import Decimal

import pytest

from autods.core.label_texts import label_text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (3.0, "3"), (-1.0, "-1"), (2.5, "2.5"), (7, "7"), (Decimal("4.00"), "4"),
     (Decimal("0.5"), "0.5"), (1e20, "100000000000000000000"), (None, ""), (float("nan"), ""),
     (Decimal("NaN"), ""), (float("inf"), "inf"), (True, "True"), ("0.0", "0.0"), (b"cat", "cat"),
     ("Käse", "Käse"), (-0.0, "0")],
)  # fmt: skip
def test_whole_numbers_have_no_fraction_whatever_their_type(value, text):
    assert label_text(value) == text
