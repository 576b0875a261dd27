from contextlib import nullcontext

import pytest
import torch
from published_network import PublishedNetwork
from simulated_cuda import simulated_cuda
from torch import Tensor
from torch.nn import functional

from bmc.network.mlp import ResidualMLP
from bmc.network.passes import _product_into, product


def stacked(copies: int = 3, precision: str = "float32", inner: int = 6) -> ResidualMLP:
    net = ResidualMLP(10, 7, copies, hidden=8, inner=inner, width=12, precision=precision)
    generator = torch.Generator().manual_seed(0)
    net.reset(generator)
    with torch.no_grad():  # make the copies differ
        net.weights.add_(0.1 * torch.randn(net.weights.shape, generator=generator))
    return net


def single(net: ResidualMLP, k: int) -> ResidualMLP:
    """Copy ``k`` alone."""
    copy = ResidualMLP(10, 7, hidden=8, inner=6, width=12)
    copy.load_state_dict({name: t[k : k + 1] for name, t in net.state_dict().items()})
    return copy


def inputs(copies: int = 3, rows: int = 5) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(copies, rows, 10, generator=generator)
    return x, torch.rand(copies, rows, 24, generator=generator) > 0.3


def reference(net: ResidualMLP, weights: Tensor, x: Tensor, keep: Tensor) -> list[Tensor]:
    """The training pass of one copy as torch's own layers and autograd compute it."""
    parts = net.views(weights)

    def norm(z: Tensor, n: object) -> Tensor:
        return functional.batch_norm(z, None, None, n.weight[0, 0], n.bias[0, 0], training=True)

    u = functional.linear(x[0], parts.project[0].T, parts.project_bias[0, 0])
    phi = [u]
    for block, own in zip(parts.blocks(), keep[0].chunk(2, dim=-1), strict=True):
        z = norm(u @ block.enter[0], block.norm_enter)
        inner, shortcut = z.split([net.inner, net.width], dim=-1)
        phi.append(
            torch.relu(norm(torch.relu(inner) @ block.leave[0], block.norm_leave) + shortcut)
        )
        u = phi[-1] * (own * torch.tensor(1 / (1 - net.dropout)))
    return [functional.linear(u, parts.head[0], parts.head_bias[0, 0]), *phi]


def copied_to(net: ResidualMLP, described: PublishedNetwork) -> None:
    """Give the network that is written from the description the weights of ours."""
    parts, inner = net.parts(), net.inner
    described.project.load_state_dict(
        {"weight": parts.project[0].T, "bias": parts.project_bias[0, 0]}
    )
    described.head.load_state_dict({"weight": parts.head[0], "bias": parts.head_bias[0, 0]})
    for block, own in zip(described.blocks, parts.blocks(), strict=True):
        block.enter.weight.data.copy_(own.enter[0, :, :inner].T)
        block.shortcut.weight.data.copy_(own.enter[0, :, inner:].T)
        block.leave.weight.data.copy_(own.leave[0].T)
        for linear in (block.enter, block.leave):
            linear.bias.data.zero_()  # as published, and no gradient reaches them
        both = own.norm_enter
        for norm, mine, part in (
            (block.norm_enter, both, slice(inner)),
            (block.norm_shortcut, both, slice(inner, None)),
            (block.norm_leave, own.norm_leave, slice(None)),
        ):
            norm.weight.data.copy_(mine.weight[0, 0, part])
            norm.bias.data.copy_(mine.bias[0, 0, part])


def test_the_network_has_as_many_weights_as_the_published_description_says():
    net, described = ResidualMLP(768, 2866), PublishedNetwork(768, 2866)
    assert described.trunk_parameters() == 314_752
    assert described.biases_before_norms() == 768  # these have no effect, so ours has none
    assert net.trunk == 313_984
    assert net.parts().head.numel() == described.head.weight.numel()


def test_the_network_computes_what_the_published_description_says():
    net, described = ResidualMLP(768, 50), PublishedNetwork(768, 50)
    generator = torch.Generator().manual_seed(3)
    net.reset(generator)
    net.weights.data.add_(0.05 * torch.randn(net.weights.shape, generator=generator))
    copied_to(net, described)
    x = torch.randn(16, 768, generator=generator)
    keep = torch.rand(16, net.dropout_width, generator=generator) > net.dropout
    described.masks = list(keep.chunk(2, dim=1))
    for _ in range(3):  # updates of the running statistics
        logits, _ = net.train()(x[None], keep[None])
        torch.testing.assert_close(logits[0], described.train()(x), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(net.eval()(x[None])[0][0], described.eval()(x), atol=1e-4, rtol=1e-4)
    net.train()
    described.train()
    for block in described.blocks:  # a bias before a batch normalisation has no effect
        block.enter.bias.data.normal_()
    torch.testing.assert_close(net(x[None], keep[None])[0][0], described(x), atol=1e-4, rtol=1e-4)


def test_the_gradients_written_by_hand_are_those_of_autograd():
    net = stacked(1).double().train()
    x, keep = inputs(1)
    x = x.double().requires_grad_()
    pull = [torch.randn(1, 5, n).double() for n in (7, 8, 12, 12)]
    logits, phi = net(x, keep)
    sum((a * b).sin().sum() for a, b in zip([logits, *phi], pull, strict=True)).backward()
    weights = net.weights.detach().clone().requires_grad_()
    again = x.detach().clone().requires_grad_()
    outputs = reference(net, weights, again, keep)
    sum((a * b[0]).sin().sum() for a, b in zip(outputs, pull, strict=True)).backward()
    torch.testing.assert_close(logits[0], outputs[0])
    torch.testing.assert_close(net.weights.grad, weights.grad)
    torch.testing.assert_close(x.grad, again.grad)


@pytest.mark.parametrize("used", range(4))
def test_an_output_that_no_loss_uses_gets_no_gradient(used):
    net = stacked(1).double().train()
    x, keep = inputs(1)
    logits, phi = net(x.double(), keep)
    [logits, *phi][used].square().sum().backward()
    weights = net.weights.detach().clone().requires_grad_()
    reference(net, weights, x.double(), keep)[used].square().sum().backward()
    torch.testing.assert_close(net.weights.grad, weights.grad)


@pytest.mark.parametrize("training", [True, False])
def test_stacked_copies_compute_what_each_copy_computes_alone(training):
    net = stacked().train(training)
    x, keep = inputs()
    alone = [single(net, k).train(training) for k in range(3)]
    logits, phi = net(x, keep if training else None)
    for k, copy in enumerate(alone):
        one, one_phi = copy(x[k : k + 1], keep[k : k + 1] if training else None)
        torch.testing.assert_close(logits[k], one[0])
        torch.testing.assert_close(net.statistics[k], copy.statistics[0])
        for a, b in zip(phi, one_phi, strict=True):
            torch.testing.assert_close(a[k], b[0])


def test_evaluation_normalises_by_the_running_statistics():
    net = stacked(1).train()
    x, _ = inputs(1, rows=64)
    for _ in range(200):
        net(x)  # the statistics approach those of these rows
    trained = net(x)[0]
    # running variances are the unbiased ones
    torch.testing.assert_close(net.eval()(x)[0], trained, rtol=0.1, atol=0.1)


def test_running_statistics_move_as_those_of_torch_do():
    net = stacked(1).train()
    x, _ = inputs(1, rows=9)
    parts = net.parts()
    z = (
        functional.linear(x[0], parts.project[0].T, parts.project_bias[0, 0])
        @ parts.block1.enter[0]
    )
    mean, variance = torch.zeros(18), torch.ones(18)
    functional.batch_norm(z, mean, variance, training=True)
    net(x)
    torch.testing.assert_close(parts.block1.norm_enter.running_mean[0, 0], mean)
    torch.testing.assert_close(parts.block1.norm_enter.running_var[0, 0], variance)


def test_the_first_classes_of_the_head_equal_those_outputs_of_the_whole_head():
    net = stacked().eval()
    x, _ = inputs()
    torch.testing.assert_close(net(x, classes=4)[0], net(x)[0][..., :4])


def test_dropout_multiplies_what_it_keeps_so_that_the_expectation_stays():
    net = stacked(1).train()
    x, keep = inputs(1)
    all_kept = torch.ones_like(keep)
    head = net.parts().head
    with torch.no_grad():
        head.zero_()
        head[0, 0, 3] = 1.0  # the first output is the fourth activation of the last block
    logits, phi = net(x, all_kept)
    torch.testing.assert_close(
        logits[..., 0] - net.parts().head_bias[0, 0, 0], phi[2][..., 3] / 0.7
    )


def test_bf16_rounds_products_and_nothing_else():
    exact, rounded = (stacked(2, p, inner=12).train() for p in ("float32", "bf16"))
    x, keep = inputs(2, rows=15)  # in which none is rounded across a kink of relu
    results = []
    for net in (exact, rounded):
        logits, phi = net(x, keep)
        (logits.square().mean() + sum(p.square().mean() for p in phi)).backward()
        results.append((logits, net.weights.grad))
    for a, b in zip(*results, strict=True):
        assert b.dtype == torch.float32
        assert not torch.equal(a, b)
        assert (a - b).norm() < 0.02 * a.norm()


@pytest.mark.parametrize("device", ["cpu", "simulated"])
def test_bf16_rounds_the_factors_of_a_product_and_not_its_sums(device):
    place = simulated_cuda() if device == "simulated" else nullcontext()
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, 5, 64, generator=generator), torch.randn(2, 64, 3, generator=generator)
    expected = torch.bmm(a.bfloat16().double(), b.bfloat16().double())
    with place:
        own = [t.to("cuda" if device == "simulated" else "cpu") for t in (a, b)]
        found, out = product(*own, torch.bfloat16), torch.empty_like(own[0][..., :3])
        _product_into(out, *own, torch.bfloat16)
        found, out = found.cpu(), out.cpu()
    for result in (found, out):
        assert result.dtype == torch.float32
        assert (result - expected).abs().max() < 1e-5  # rounded sums are 0.03 away
