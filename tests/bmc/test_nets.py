import pytest
import torch
from torch.nn import functional

from bmc.nets import ResidualMLP, StackedBatchNorm


def stacked(copies=3):
    net = ResidualMLP(10, 7, copies, hidden=8, width=12)
    generator = torch.Generator().manual_seed(0)
    net.reset(generator)
    with torch.no_grad():
        for parameter in net.parameters():  # make the copies differ
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return net


def test_the_network_has_the_published_shape():
    net = ResidualMLP(768, 2866)
    shapes = {name: tuple(p.shape[1:]) for name, p in net.named_parameters() if "weight" in name}
    assert shapes["project.weight"] == (768, 128)
    assert shapes["block1.linear1.weight"] == shapes["block1.shortcut.weight"] == (128, 256)
    assert shapes["block1.linear2.weight"] == shapes["block2.linear1.weight"] == (256, 256)
    assert shapes["head.weight"] == (256, 2866)
    assert net.dropout == 0.3


@pytest.mark.parametrize("training", [True, False])
def test_stacked_copies_compute_what_each_copy_computes_alone(training):
    net = stacked().train(training)
    x = torch.randn(3, 5, 10, generator=torch.Generator().manual_seed(1))
    keep = torch.rand(3, 5, 24, generator=torch.Generator().manual_seed(2)) > 0.3
    single = [net.single(k).train(training) for k in range(3)]
    logits, phi = net(x, keep if training else None)
    for k, copy in enumerate(single):
        one, one_phi = copy(x[k : k + 1], keep[k : k + 1] if training else None)
        torch.testing.assert_close(logits[k], one[0])
        for a, b in zip(phi, one_phi, strict=True):
            torch.testing.assert_close(a[k], b[0])


def test_a_slice_of_the_head_equals_those_columns_of_the_whole_head():
    net = stacked().eval()
    x = torch.randn(3, 5, 10, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(net(x, columns=slice(2, 5))[0], net(x)[0][..., 2:5])


def test_batch_normalisation_agrees_with_torch():
    ours = StackedBatchNorm(1, 6).train()
    running_mean, running_var = torch.zeros(6), torch.ones(6)
    x = torch.randn(1, 9, 6, generator=torch.Generator().manual_seed(3)) * 3 + 1
    expected = functional.batch_norm(x[0], running_mean, running_var, training=True)
    torch.testing.assert_close(ours(x)[0], expected)
    torch.testing.assert_close(ours.running_mean[0, 0], running_mean)
    torch.testing.assert_close(ours.running_var[0, 0], running_var)


def test_dropout_keeps_the_expected_activation():
    net = stacked(1).train()
    h, phi = net.features(torch.randn(1, 4, 10), torch.ones(1, 4, 24, dtype=torch.bool))
    torch.testing.assert_close(h, phi[2] / 0.7)
