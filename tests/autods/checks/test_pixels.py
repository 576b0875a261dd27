"""Pixels decide which images are copies, and leave the rest to features."""

import io

import numpy as np
import pytest
from feature_tools import write_set
from PIL import Image, ImageDraw, ImageOps

from autods.checks.near import Joined
from autods.checks.near_findings import find_near
from autods.checks.pixels import AGREE, CROWD, Judged, SmallPictures
from autods.checks.small_pictures import small_picture
from autods.core.progress import Silent
from autods.core.root import DataRoot


def photo(seed: int) -> Image.Image:
    """Draw smooth noise of 96 x 80 pixels in colours."""
    levels = np.random.default_rng(seed).integers(0, 255, (10, 12, 3), np.uint8)
    return Image.fromarray(levels).resize((96, 80), Image.Resampling.BICUBIC)


def drawing(*line: int) -> Image.Image:
    image = Image.new("L", (105, 105), "white")
    ImageDraw.Draw(image).line(line, fill="black", width=4)
    return image


def square(colour: str) -> Image.Image:
    image = Image.new("RGB", (64, 64), "white")
    ImageDraw.Draw(image).rectangle((8, 16, 48, 48), fill=colour)
    return image


def sky(left: int) -> Image.Image:
    """Draw a gradient with a bird, whose levels are nearly those of any other sky."""
    image = Image.linear_gradient("L").resize((64, 64)).point(lambda level: 120 + level // 4)
    ImageDraw.Draw(image).ellipse((left, 20, left + 12, 32), fill=60)
    return image


def recompressed(image: Image.Image, quality: int) -> Image.Image:
    image.save(buffer := io.BytesIO(), "JPEG", quality=quality)
    return Image.open(buffer)


def judged(tmp_path, images, cosine: float):
    """Judge images of which the features of the first two have a cosine, the others none."""
    x = np.eye(len(images))
    x[1] = cosine * x[0] + np.sqrt(1 - cosine**2) * x[1]
    stored = write_set(DataRoot(tmp_path), "pets", {"train": (x, [0, 1] * (len(x) // 2))})
    table = Joined([stored])
    levels = np.stack([small_picture(image) for image in images])
    found = Judged(table, SmallPictures(table, [levels], [np.arange(len(x))]))
    return found, find_near([stored], found.pairs(0.95, Silent()))


OTHERS = [photo(100 + i) for i in range(4)]


@pytest.mark.parametrize("cosine", [0.0, 0.99])
@pytest.mark.parametrize(
    "original", [photo(0), drawing(10, 20, 90, 60), square("red"), sky(10)],
    ids=["photograph", "drawing", "square", "sky"],
)  # fmt: skip
@pytest.mark.parametrize(
    "copied",
    [
        lambda image: image.resize((image.width // 2, image.height // 2)),
        lambda image: recompressed(image, 20),
        ImageOps.mirror,
        lambda image: recompressed(ImageOps.mirror(image).resize((300, 200)), 60),
    ],
    ids=["resized", "recompressed", "mirrored", "all three"],
)
def test_a_copy_is_found_whatever_its_features_say(tmp_path, copied, original, cosine):
    by, near = judged(tmp_path, [original, copied(original), *OTHERS], cosine)
    assert (near.total, near.apart) == (1, 0)
    assert by.added == int(cosine < 0.95)
    assert near.kept.pixels[0] > AGREE
    assert near.kept.cosine[0] == pytest.approx(cosine, abs=0.01)


@pytest.mark.parametrize("cosine", [0.5, 0.99])
@pytest.mark.parametrize(
    ("one", "other"),
    [
        (drawing(10, 20, 90, 60), drawing(10, 60, 90, 10)),
        (photo(1), photo(2)),
        (square("red"), square("blue")),
        (sky(5), sky(26)),
    ],
    ids=["drawings", "photographs", "colours", "skies"],
)
def test_images_whose_edges_differ_are_put_apart(tmp_path, one, other, cosine):
    _, near = judged(tmp_path, [one, other, *OTHERS], cosine)
    assert near.total == 0
    assert near.apart == len(near.alike.a) == int(cosine > 0.95)


@pytest.mark.parametrize(
    "other", [photo(0).resize((15, 90)), Image.new("RGB", (99, 99), "white")],
    ids=["few pixels", "one colour"],
)  # fmt: skip
@pytest.mark.parametrize("cosine", [0.5, 0.99])
def test_features_alone_judge_an_image_that_shows_nothing(tmp_path, other, cosine):
    found, near = judged(tmp_path, [photo(0), other, *OTHERS], cosine)
    assert near.total == int(cosine > 0.95)
    assert found.small.known.tolist() == [True, False] + [True] * 4


def test_images_with_the_outline_of_many_others_are_left_to_features(tmp_path):
    crowd = [drawing(10, 20, 90, 60 + step % 2) for step in range(CROWD + 2)]
    found, near = judged(tmp_path, [*crowd, photo(0), ImageOps.mirror(photo(0))], 0.99)
    assert found.crowded == len(crowd)
    assert (near.total, found.added) == (2, 1)  # the pair by features, and the photograph
