"""A CUDA device computes what the CPU does, in every way it can. Skipped without such a device.

`tests/bmc/methods/test_device.py` runs the same on a simulated device.
"""

import pytest
import torch
from gpu.compared import (
    CPU,
    DRAWN_ON_DEVICE,
    Way,
    agreement,
    bank_distance,
    distance,
    scores,
    stream,
    trained_names,
)
from gpu.correct import ROUNDED, SAME, bound

from bmc.methods import METHODS

CUDA = torch.device("cuda")
STREAM = stream()
pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


@pytest.mark.parametrize("name", METHODS.names())
def test_a_method_computes_on_cuda_what_it_computes_on_the_cpu(name):
    expected, given = scores(name, Way(CPU), STREAM), scores(name, Way(CUDA), STREAM)
    if name in DRAWN_ON_DEVICE:
        assert agreement(given, expected) >= 0.9
    else:
        assert distance(given, expected) <= bound(name, expected, STREAM)


@pytest.mark.parametrize("name", trained_names())
def test_captured_updates_on_cuda_compute_what_eager_ones_do(name):
    eager = scores(name, Way(CUDA, dropout=0.3), STREAM)
    captured = scores(name, Way(CUDA, dropout=0.3, capture=True), STREAM)
    assert distance(captured, eager) <= SAME


@pytest.mark.parametrize("name", METHODS.names())
def test_a_table_on_the_host_gives_what_one_on_the_cuda_device_gives(name):
    held = scores(name, Way(CUDA), STREAM)
    assert distance(scores(name, Way(CUDA, on_host=True), STREAM), held) <= SAME


@pytest.mark.parametrize("precision", ROUNDED)
@pytest.mark.parametrize("name", trained_names())
def test_rounded_products_on_cuda_predict_most_rows_alike(name, precision):
    exact = scores(name, Way(CUDA), STREAM)
    rounded = scores(name, Way(CUDA, precision=precision, capture=True), STREAM)
    assert agreement(rounded, exact) >= ROUNDED[precision]


@pytest.mark.parametrize(
    "options",
    [{"capture": False}, {"capture": True}, {"capture": True, "patience": 1, "epochs": 12}],
)
def test_experts_of_unequal_length_on_cuda_do_not_depend_on_their_neighbours(options):
    far, equal = bank_distance(CUDA, precision="float32", **options)
    assert equal
    assert far <= 0.05
