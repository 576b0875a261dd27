"""timm models as encoders: names, weights, preprocessing, features."""

import io
import pickle
import socket

import numpy as np
import pytest
import timm
import torch
from encode_tools import Touch, drawn, make_dataset, many
from notes import Notes
from PIL import Image
from safetensors.torch import save_file
from timm.data import create_transform, resolve_model_data_config

from autods.core.files import hash_file
from autods.core.root import DataRoot
from autods.encode.encoders import checkpoints
from autods.encode.encoders.open_clip import check_encoder, load_encoder
from autods.encode.encoders.timm import TimmEncoder, _width, choose_timm
from autods.encode.extract import extract_dataset
from autods.encode.preprocessing import cut
from autods.errors import EncoderError, FeaturesMissing, UnknownName, UsageError
from autods.features.sets import open_features
from autods.index.samples import load_samples

MODEL = "timm:test_resnet.r160_in1k"  # tiny models that timm keeps for tests
VIT = "timm:test_vit.r160_in1k"


def tiny(seed: int = 0, model: str = MODEL) -> TimmEncoder:
    return load_encoder(model, random_weights=seed)


def plain(model: str, seed: int, **options: int) -> torch.nn.Module:
    """Return the model as timm makes it; seeded as the encoder is."""
    torch.manual_seed(seed)
    return timm.create_model(model.removeprefix("timm:"), **options).eval()


def test_random_weights_are_the_same_for_a_seed_and_announced():
    lines = Notes()
    one = load_encoder(MODEL, random_weights=1, progress=lines)
    assert one.provenance == tiny(1).provenance
    assert one.provenance["weights_sha256"] != tiny(2).provenance["weights_sha256"]
    assert one.name == "timm-test_resnet.r160_in1k.random-1"
    assert "RANDOM" in lines.lines[0] and one.name in lines.lines[0]


def test_building_a_model_leaves_the_random_numbers_of_the_caller_alone():
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    tiny()
    assert torch.equal(torch.rand(2), expected)


@pytest.mark.parametrize("model", [MODEL, VIT])
def test_its_preprocessing_can_be_cut_so_that_decoders_send_bytes(model):
    encoder = tiny(model=model)
    both = cut(encoder.transform)
    assert both.dtype == np.uint8
    image = Image.open(io.BytesIO(drawn(3, "PNG", "P")))
    batch = np.empty((1, *both.shape), np.float32)
    both.fill(batch, both.pixels(image)[None])
    assert np.array_equal(batch[0], encoder.transform(image).numpy())
    sent = pickle.loads(pickle.dumps(both))  # to the processes that decode
    assert np.array_equal(sent.pixels(image), both.pixels(image))


def test_an_encoder_says_all_that_determines_its_features():
    provenance = tiny().provenance
    assert provenance["model"] == MODEL and provenance["pretrained"] == "random-0"
    assert provenance["preprocessing"] == {
        "input_size": [3, 160, 160],
        "interpolation": "bilinear",
        "mean": [0.5, 0.5, 0.5],
        "std": [0.5, 0.5, 0.5],
        "crop_pct": 0.95,
        "crop_mode": "center",
        "mode": "RGB",
    }
    assert provenance["timm"] == timm.__version__
    assert (provenance["precision"], provenance["quick_gelu"]) == ("fp32", False)


def test_a_name_without_a_tag_stands_for_the_default_tag_of_timm():
    assert tiny(model="timm:test_resnet").provenance == tiny().provenance
    assert choose_timm("resnet50", None, None).encoder == "timm-resnet50.a1_in1k"
    assert choose_timm("resnet50", "a2_in1k", None).encoder == "timm-resnet50.a2_in1k"
    assert choose_timm("botnet50ts_256", None, 0).encoder == "timm-botnet50ts_256.random-0"


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA", "CMYK"])
def test_the_transform_is_that_of_timm_on_rgb_and_can_be_sent_to_a_worker(tmp_path, mode):
    config = resolve_model_data_config(plain(MODEL, 0))
    expected = create_transform(**config, is_training=False)
    sent = pickle.loads(pickle.dumps(tiny().transform))
    path = tmp_path / "a.png"
    path.write_bytes(drawn(4))
    with Image.open(path) as image:
        changed = image.convert(mode)
        assert torch.equal(sent(changed), expected(changed.convert("RGB")))


@pytest.mark.parametrize("model", [MODEL, VIT])
def test_features_are_the_pooled_ones_before_the_classifier(model):
    encoder = tiny(5, model)
    bare = plain(model, 0, num_classes=0)
    bare.load_state_dict(encoder.model.state_dict())
    batch = torch.randn(3, 3, 160, 160, generator=torch.Generator().manual_seed(0))
    found = encoder.encode(batch)
    with torch.no_grad():
        assert np.abs(found - bare(batch).numpy()).max() < 1e-5
    assert found.dtype == np.float32 and found.shape == (3, encoder.dim)
    assert encoder.dim == bare.num_features


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_lower_precisions_change_little_and_have_the_same_weights(precision):
    low = load_encoder(VIT, random_weights=0, precision=precision)
    full = tiny(0, VIT)
    batch = torch.randn(2, 3, 160, 160, generator=torch.Generator().manual_seed(0))
    a, b = low.encode(batch), full.encode(batch)
    assert a.dtype == np.float32 and 0 < np.abs(a - b).max() < 0.1 * np.abs(b).max()
    assert low.provenance["weights_sha256"] == full.provenance["weights_sha256"]


@pytest.mark.parametrize("kind", ["safetensors", "zip", "legacy", "trained", "headless"])
def test_a_checkpoint_file_gives_the_features_it_was_saved_from(tmp_path, kind):
    classes = 7 if kind == "trained" else 1000
    state = plain(MODEL, 5, num_classes=classes).state_dict()
    path = tmp_path / ("w.safetensors" if kind == "safetensors" else "w.pt")
    if kind == "safetensors":
        save_file({key: value.contiguous() for key, value in state.items()}, path)
    elif kind == "trained":  # as a training run of another number of classes saves it
        torch.save({"epoch": 3, "state_dict": {f"module.{k}": v for k, v in state.items()}}, path)
    elif kind == "headless":
        torch.save({k: v for k, v in state.items() if not k.startswith("fc.")}, path)
    else:
        torch.save(state, path, _use_new_zipfile_serialization=kind == "zip")
    encoder = load_encoder(MODEL, str(path))
    label = f"file-{hash_file(path, 'sha256')[:8]}"
    assert encoder.name == f"timm-test_resnet.r160_in1k.{label}"
    assert encoder.provenance["pretrained"] == label
    original = plain(MODEL, 5, num_classes=classes)
    original.reset_classifier(0)
    assert encoder.provenance["weights_sha256"] == checkpoints.hash_weights(original)
    batch = torch.ones(2, 3, 160, 160)
    with torch.no_grad():
        assert np.array_equal(encoder.encode(batch), original(batch).numpy())


@pytest.mark.parametrize("zipped", [True, False])
def test_a_checkpoint_that_needs_code_is_refused_and_not_run(tmp_path, zipped):
    path, trace = tmp_path / "evil.pt", tmp_path / "was-here"
    torch.save({"state_dict": Touch(trace)}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(EncoderError, match=r"evil\.pt.*without executing code"):
        load_encoder(MODEL, str(path))
    assert not trace.exists()


@pytest.mark.parametrize("content", [b"", b"root:x:0:0", b"PK\x03\x04 cut off"])
@pytest.mark.parametrize("suffix", [".pt", ".safetensors", ".npz"])
def test_a_file_that_is_no_checkpoint_is_refused(tmp_path, content, suffix):
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(content)
    with pytest.raises(EncoderError, match="not loaded"):
        load_encoder(MODEL, str(path))


def test_weights_of_another_model_are_refused(tmp_path):
    path = tmp_path / "other.pt"
    torch.save(plain(VIT, 0).state_dict(), path)
    with pytest.raises(EncoderError, match=r"other\.pt does not fit.*Missing key.*--model"):
        load_encoder(MODEL, str(path))
    state = plain(MODEL, 0).state_dict()
    torch.save({**state, "stranger": torch.ones(1)}, path)
    with pytest.raises(EncoderError, match="stranger"):
        load_encoder(MODEL, str(path))


def test_positions_of_another_image_size_are_refused_and_not_interpolated(tmp_path):
    path = tmp_path / "larger.pt"
    torch.save(plain(VIT, 0, img_size=192).state_dict(), path)
    with pytest.raises(EncoderError, match=r"pos_embed is \[1, 145, 64\] instead of \[1, 101, 64"):
        load_encoder(VIT, str(path))


@pytest.fixture
def no_network(monkeypatch, tmp_path):
    def refuse(*_: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(checkpoints.socket, "getaddrinfo", refuse)
    monkeypatch.setattr(checkpoints.urllib.request, "getproxies", dict)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))


def test_published_weights_in_the_local_cache_need_no_network(no_network, tmp_path):
    place = tmp_path / "hub" / "models--timm--test_resnet.r160_in1k" / "snapshots" / "main"
    place.mkdir(parents=True)
    (place.parents[1] / "refs").mkdir()
    (place.parents[1] / "refs" / "main").write_text("main")
    save_file(plain(MODEL, 5).state_dict(), place / "model.safetensors")
    encoder = load_encoder(MODEL)
    assert encoder.name == "timm-test_resnet.r160_in1k"
    assert encoder.provenance["pretrained"] == "r160_in1k"
    assert encoder.provenance["weights_sha256"] == tiny(5).provenance["weights_sha256"]


def test_without_a_network_the_error_comes_at_once_and_says_what_to_do(no_network):
    for model in (MODEL, "timm:vit_huge_patch16_gap_448.in1k_ijepa"):  # of the hub, and of a URL
        with pytest.raises(EncoderError) as caught:
            load_encoder(model)
        for text in ("is not reachable", "--pretrained FILE", "--random-weights SEED"):
            assert text in str(caught.value)


def test_unknown_names_are_answered_with_the_nearest():
    with pytest.raises(UnknownName, match="resnet50"):
        load_encoder("timm:resnet5O")
    with pytest.raises(UnknownName, match="a1_in1k"):
        load_encoder("timm:resnet50.a1_in2k")
    with pytest.raises(UnknownName, match="a1_in1k"):
        load_encoder("timm:resnet50", "a1_in2k")


def test_wrong_requests_are_errors_that_say_why():
    with pytest.raises(UsageError, match="expected one tag"):
        load_encoder("timm:resnet50.a1_in1k", "a2_in1k")
    with pytest.raises(UsageError, match="both"):
        load_encoder(MODEL, "r160_in1k", 0)
    with pytest.raises(UsageError, match="seed"):
        load_encoder(MODEL, random_weights=-1)
    with pytest.raises(EncoderError, match=r"nowhere\.pt does not exist"):
        load_encoder(MODEL, "nowhere.pt")
    with pytest.raises(EncoderError, match=r"no weights are published.*--random-weights"):
        load_encoder("timm:botnet50ts_256")


def test_a_model_that_does_not_pool_is_refused():
    with pytest.raises(EncoderError, match=r"'maps' gives no pooled features.*\[1, 2, 6, 6\]"):
        _width(torch.nn.Conv2d(3, 2, 3), "maps", (3, 8, 8))


def test_extracted_features_equal_a_plain_timm_loop(tmp_path):
    root, encoder = DataRoot.open(tmp_path / "root"), tiny(5)
    manifest = make_dataset(root, many(30))
    extract_dataset(manifest, root, encoder, batch_size=8)
    model = plain(MODEL, 5)
    model.reset_classifier(0)
    transform = create_transform(**resolve_model_data_config(model), is_training=False)
    stored, index = open_features(root, encoder.name, "drawn"), load_samples(root, "drawn")
    rows = np.concatenate([shard.sample for shard in stored.shards])
    features = np.concatenate([s.features for s in stored.shards]).astype(np.float32)
    assert len(rows) == 30
    for row, feature in zip(rows, features, strict=True):
        path = root.archive("drawn", "images") / index.locate(int(row))[1]
        with Image.open(path) as image, torch.no_grad():
            expected = model(transform(image.convert("RGB"))[None])[0].numpy()
        cosine = feature @ expected / np.linalg.norm(feature) / np.linalg.norm(expected)
        assert cosine > 0.99999
    assert stored.info.encoder["model"] == MODEL


@pytest.mark.parametrize(
    ("encoder", "options"),
    [
        ("timm-resnet50.a1_in1k", "--model timm:resnet50.a1_in1k "),
        ("timm-resnet50.a1_in1k.file-0123abcd", "--model timm:resnet50.a1_in1k --pretrained FILE"),
        ("timm-resnet50.a1_in1k.random-3", "--model timm:resnet50.a1_in1k --random-weights 3"),
        ("timm-botnet50ts_256.random-3", "--model timm:botnet50ts_256 --random-weights 3"),
    ],
)
def test_missing_features_are_answered_with_the_command_that_makes_them(tmp_path, encoder, options):
    with pytest.raises(FeaturesMissing) as caught:
        open_features(DataRoot.open(tmp_path), encoder, "pets")
    assert f"autods extract pets {options}" in str(caught.value)


def test_a_model_of_timm_without_its_prefix_is_named_with_it():
    name = "test_efficientnet"
    with pytest.raises(UnknownName, match=f"timm has '{name}': name it timm:{name}"):
        check_encoder(name, random_weights=0)
