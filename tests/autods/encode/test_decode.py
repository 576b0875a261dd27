import io
import tempfile
import tracemalloc
from contextlib import ExitStack

import numpy as np
import pytest
from encode_tools import drawn
from filelock import FileLock, Timeout
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from autods.encode.decode import Unreadable, content_hash, load_image


def as_array(image: Image.Image) -> np.ndarray:
    return np.asarray(image.convert("RGB"), np.float32).transpose(2, 0, 1)


def decode(data: bytes) -> np.ndarray:
    return as_array(load_image(data)[0])


def saved(image: Image.Image, fmt: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, fmt, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
@pytest.mark.parametrize("fmt", ["PNG", "TIFF"])
def test_every_mode_is_read_as_pil_reads_it(mode, fmt):
    data = saved(Image.open(io.BytesIO(drawn(3))).convert(mode), fmt)
    with Image.open(io.BytesIO(data)) as image:
        assert np.array_equal(decode(data), as_array(image))


@pytest.mark.parametrize("fmt", ["JPEG", "BMP", "GIF", "WEBP", "PPM"])
def test_every_listed_format_is_read(fmt):
    assert decode(drawn(3, fmt)).shape == (3, 27, 37)


def test_cmyk_jpeg_is_read():
    assert decode(drawn(3, "JPEG", "CMYK")).shape[0] == 3


def test_sixteen_bit_grey_is_scaled_and_not_cut_off():
    grey = (np.arange(256, dtype=np.uint16).reshape(16, 16) << 8) + 77
    for fmt in ("PNG", "TIFF"):
        pixels = decode(saved(Image.fromarray(grey), fmt))
        assert np.array_equal(pixels[0], np.arange(256).reshape(16, 16))


def test_orientation_tags_are_not_applied():
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees
    data = saved(Image.new("RGB", (8, 4)), "JPEG", exif=exif)
    assert decode(data).shape == (3, 4, 8)


@pytest.mark.parametrize("fmt", ["PNG", "JPEG", "GIF", "BMP"])
def test_a_truncated_image_is_unreadable(fmt):
    data = drawn(3, fmt)
    with pytest.raises(Unreadable):
        decode(data[: len(data) // 2])


def test_the_reason_is_the_same_on_every_run():
    reasons = []
    for data in (b"", b"nothing", drawn(1)[:60], b"", b"nothing", drawn(1)[:60]):
        with pytest.raises(Unreadable) as caught:
            decode(data)
        reasons.append(str(caught.value))
    assert reasons[:3] == reasons[3:]
    assert "empty" in reasons[0] and "0x" not in "".join(reasons)


def test_a_decompression_bomb_is_unreadable_and_not_unpacked(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(Unreadable, match="decompression bomb"):
        decode(saved(Image.new("L", (100, 100)), "PNG"))


def no_memory(*_: object) -> None:
    raise MemoryError


def test_want_of_memory_is_not_the_images_fault(monkeypatch):
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", no_memory)
    with pytest.raises(MemoryError):
        load_image(drawn(1))


def test_a_file_that_would_start_another_program_is_not_opened():
    data = saved(Image.new("RGB", (8, 8)), "EPS")
    with pytest.raises(Unreadable, match="known format"):
        decode(data)


@given(st.binary(max_size=200), st.integers(0, 2000))
def test_damaged_bytes_are_decoded_or_unreadable_and_nothing_else(noise, place):
    data = bytearray(drawn(5, "JPEG"))
    data[place : place + len(noise)] = noise
    try:
        assert decode(bytes(data)).dtype == np.float32
    except Unreadable as reason:
        assert str(reason)


def test_the_content_hash_is_that_of_the_files_bytes():
    # sha256 of nothing begins with e3b0c44298fc1c14
    assert content_hash(b"") == int.from_bytes(bytes.fromhex("e3b0c44298fc1c14"), "little")
    assert content_hash(drawn(1)) != content_hash(drawn(2))
    assert 0 <= content_hash(b"x") < 2**64


def test_images_of_very_many_pixels_take_turns(monkeypatch, tmp_path):
    monkeypatch.setattr("autods.encode.decode.LARGE", 100)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    content = io.BytesIO()
    Image.new("L", (20, 20)).save(content, "PNG")
    with ExitStack() as turns:
        load_image(content.getvalue(), turns=turns)
        (lock,) = tmp_path.glob("*.lock")
        with pytest.raises(Timeout), FileLock(lock, timeout=0):
            pass
    with FileLock(lock, timeout=0):
        pass
    monkeypatch.setattr("autods.encode.decode.LARGE", 1000)
    with ExitStack() as turns:
        load_image(content.getvalue(), turns=turns)
        with FileLock(lock, timeout=0):
            pass


def test_deep_grey_values_are_scaled_without_copies_of_the_whole():
    side = 1500
    values = np.arange(side * side, dtype=np.uint16).reshape(side, side)
    content = io.BytesIO()
    Image.fromarray(values).save(content, "PNG")
    tracemalloc.start()
    try:
        image, _ = load_image(content.getvalue())
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert np.array_equal(np.asarray(image), values >> 8)
    assert peak < 6 * side * side
