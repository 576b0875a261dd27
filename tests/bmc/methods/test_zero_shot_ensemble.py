"""Names and images together: the sum of log-probabilities, its limits, and what is kept."""

import pytest
import torch
from small import CPU, learned, small_config, small_stream, tensors

from bmc.methods import METHODS

STREAM = small_stream()
X = torch.cat([task.test.features for task in tensors(STREAM)])
IMAGES = {"zero-shot-ncm": "ncm", "zero-shot-lda": "slda"}


@pytest.mark.parametrize("name", IMAGES)
def test_scores_are_the_weighted_sum_of_log_probabilities_of_names_and_images(name):
    method = learned(name, STREAM, small_config(name, text=0.3, temperature=0.05))
    parts = [learned(n, STREAM, small_config(n)) for n in ("zero-shot", IMAGES[name])]
    texts, images = (part.scores(X).double() for part in parts)
    images = images / 0.05 if name == "zero-shot-ncm" else images
    p, q = (torch.softmax(logits, dim=1) for logits in (texts / 0.05, images))
    expected = 0.3 * p.log() + 0.7 * q.log()
    torch.testing.assert_close(method.scores(X).double(), expected, rtol=1e-4, atol=1e-3)
    assert method.memory_bytes() == sum(part.memory_bytes() for part in parts)


@pytest.mark.parametrize("name", IMAGES)
def test_a_weight_of_one_is_zero_shot_and_of_zero_the_images_alone(name):
    for text, alone in ((1.0, "zero-shot"), (0.0, IMAGES[name])):
        scores = learned(name, STREAM, small_config(name, text=text)).scores(X)
        expected = learned(alone, STREAM, small_config(alone)).scores(X)
        assert torch.equal(scores.argmax(dim=1), expected.argmax(dim=1))


@pytest.mark.parametrize("name", ["zero-shot", *IMAGES])
def test_only_names_of_classes_seen_so_far_compete(name):
    method = METHODS.get(name)(STREAM.dim, STREAM.n_classes, small_config(name), CPU)
    for task in tensors(STREAM)[:2]:
        method.learn([task])
        assert method.scores(X).shape == (len(X), task.stop)
