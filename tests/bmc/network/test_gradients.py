import pytest
import torch
from gradients_by_hand import written_out
from torch import Tensor
from torch.nn import functional

from bmc.network.gradients import cross_entropy, mean_over_samples, sample_gradients, squared_length
from bmc.network.mlp import ResidualMLP


def trained_net() -> ResidualMLP:
    """A small network in double precision whose batch normalisation is not that of a new one."""
    net = ResidualMLP(10, 7, hidden=8, inner=6, width=12).double()
    draws = torch.Generator().manual_seed(0)
    net.reset(draws)
    with torch.no_grad():
        net.weights.add_(0.1 * torch.randn(net.weights.shape, generator=draws))
        net.statistics.add_(0.3 * torch.rand(net.statistics.shape, generator=draws))
    return net.eval()


def samples(n: int = 6) -> tuple[Tensor, Tensor]:
    draws = torch.Generator().manual_seed(1)
    x = torch.randn(n, 10, generator=draws, dtype=torch.float64)
    return x, torch.randint(5, (n,), generator=draws)


@pytest.mark.parametrize("classes", [5, 7])
@pytest.mark.parametrize("value", [cross_entropy, squared_length])
@pytest.mark.parametrize("each", [torch.square, torch.abs])
def test_sums_over_gradients_of_samples_are_those_of_gradients_written_out(classes, value, each):
    net, (x, labels) = trained_net(), samples()
    total = torch.zeros(1, net.size(classes), dtype=torch.float64)
    parts = net.views(net.weights.data[:, : net.size(classes)])
    sample_gradients(parts, x, labels, value).add_to(net.views(total), each)
    expected = each(written_out(net, classes, x, labels, value)).sum(dim=0)
    torch.testing.assert_close(total[0], expected)


def test_products_lengths_and_cosines_are_those_of_gradients_written_out():
    net, (x, labels) = trained_net(), samples(9)
    g = written_out(net, 7, x, labels, cross_entropy)
    own, other = sample_gradients(net.parts(), x, labels, cross_entropy).split(4)
    torch.testing.assert_close(own.products(other), g[:4] @ g[4:].T)
    torch.testing.assert_close(own.lengths(), g[:4].norm(dim=1))
    cosines = functional.cosine_similarity(g[:4, None], g[None, 4:], dim=2)
    torch.testing.assert_close(own.cosines(other), cosines)


def test_means_over_samples_do_not_depend_on_how_rows_are_cut():
    net, (x, labels) = trained_net().float(), samples(11)
    results = []
    for rows in (11, 4, 1):
        batches = zip(x.float().split(rows), labels.split(rows), strict=True)
        results.append(mean_over_samples(net, 5, batches, cross_entropy, torch.square))
    assert results[0].shape == (1, net.size(5))
    for result in results[1:]:
        torch.testing.assert_close(result, results[0])
    expected = written_out(net.double(), 5, x, labels, cross_entropy).square().mean(dim=0)
    torch.testing.assert_close(results[0][0].double(), expected, rtol=1e-3, atol=1e-7)  # float32
