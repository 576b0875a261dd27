import copy
import pickle
import re
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import encode_tools
import numpy as np
import open_clip
import pytest
import torch
from encode_tools import CONFIG, MODEL, Touch, add_model, drawn, make_dataset, many, tiny_encoder
from notes import Notes
from open_clip import pretrained as hub
from PIL import Image
from safetensors.torch import save_file

from autods.checks.features import verify_features
from autods.core.files import hash_file
from autods.core.root import DataRoot
from autods.encode.encoders import checkpoints
from autods.encode.encoders.computing import exactly
from autods.encode.encoders.interface import Encoder, TextEncoder
from autods.encode.encoders.open_clip import load_encoder
from autods.encode.encoders.weights import choose_weights, default_tag, fitting_tags
from autods.errors import AutodsError, EncoderError, UnknownName, UsageError
from autods.features.sets import open_features
from autods.index.samples import load_samples


@pytest.fixture
def state(tmp_path: Path) -> dict[str, torch.Tensor]:
    """Return the weights of the tiny model with seed 5."""
    return copy.deepcopy(tiny_encoder(tmp_path, seed=5).model.state_dict())


def test_random_weights_are_the_same_for_a_seed_and_different_for_another(tmp_path):
    one, again, other = (tiny_encoder(tmp_path, seed).provenance for seed in (1, 1, 2))
    assert one == again
    assert one["weights_sha256"] != other["weights_sha256"]
    assert one["pretrained"] == "random-1"


def test_random_weights_are_announced_loudly(tmp_path):
    lines = Notes()
    encoder = load_encoder(add_model(tmp_path), random_weights=3, progress=lines)
    assert encoder.name == f"{MODEL}.random-3"
    assert "RANDOM" in lines.lines[0] and "meaningless" in lines.lines[0]


def test_an_encoder_says_all_that_determines_its_features(tmp_path):
    encoder = tiny_encoder(tmp_path)
    assert encoder.dim == 16
    weights = {"model", "pretrained", "weights_sha256", "quick_gelu", "preprocessing", "precision"}
    assert set(encoder.provenance) == weights | {"open_clip", "torch", "device"}
    assert encoder.provenance["preprocessing"]["size"] == [32, 32]
    assert encoder.provenance["preprocessing"]["interpolation"] == "bicubic"


def test_the_transform_is_that_of_open_clip_and_can_be_sent_to_a_worker(tmp_path):
    encoder = tiny_encoder(tmp_path)
    _, _, preprocess = open_clip.create_model_and_transforms(MODEL)
    sent = pickle.loads(pickle.dumps(encoder.transform))
    path = tmp_path / "a.png"
    path.write_bytes(drawn(4))
    with Image.open(path) as image:
        assert torch.equal(sent(image), preprocess(image))


def test_features_are_plain_float32_rows(tmp_path):
    features = tiny_encoder(tmp_path).encode(torch.zeros(3, 3, 32, 32))
    assert isinstance(features, np.ndarray)
    assert features.dtype == np.float32 and features.shape == (3, 16)


@pytest.mark.parametrize(("precision", "tolerance"), [("bf16", 0.05), ("fp16", 0.01)])
def test_lower_precisions_change_little_and_have_the_same_weights(tmp_path, precision, tolerance):
    full = tiny_encoder(tmp_path)
    low = load_encoder(MODEL, random_weights=0, precision=precision)
    batch = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    difference = np.abs(full.encode(batch) - low.encode(batch)).max()
    assert 0 < difference < tolerance
    assert low.provenance["weights_sha256"] == full.provenance["weights_sha256"]
    assert low.provenance["precision"] == precision


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_a_model_that_pools_by_attention_can_be_of_lower_precision(tmp_path, precision):
    pooling = {"attentional_pool": True, "attn_pooler_heads": 2}
    name = add_model(tmp_path, "tiny-test-pool", vision_cfg={**CONFIG["vision_cfg"], **pooling})
    full, low = (load_encoder(name, None, 0, kind) for kind in ("fp32", precision))
    batch = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert 0 < np.abs(full.encode(batch) - low.encode(batch)).max() < 0.1


def test_encoders_compute_exactly_in_a_process_that_trains_with_rounded_products():
    precision = torch.get_float32_matmul_precision
    before = precision()
    try:
        torch.set_float32_matmul_precision("high")
        with pytest.raises(ValueError, match="an error"), exactly():
            assert precision() == "highest"
            raise ValueError("an error")
        assert precision() == "high"
    finally:
        torch.set_float32_matmul_precision(before)


@pytest.mark.skipif(not hasattr(torch.backends.cuda.matmul, "fp32_precision"), reason="old torch")
def test_encoders_compute_exactly_if_rounded_products_were_allowed_by_their_newer_name():
    products = torch.backends.cuda.matmul
    before = products.fp32_precision
    try:
        products.fp32_precision = "tf32"
        with exactly():
            assert products.fp32_precision == "ieee"
            assert not products.allow_tf32
        assert products.fp32_precision == "tf32"
    finally:
        products.fp32_precision = before


@pytest.mark.parametrize("suffix", [".safetensors", ".pt", ".legacy.pt", ".wrapped.pt"])
def test_a_checkpoint_file_gives_the_encoder_it_was_saved_from(tmp_path, state, suffix):
    path = tmp_path / f"weights{suffix}"
    if suffix == ".safetensors":
        save_file({key: value.contiguous() for key, value in state.items()}, path)
    elif suffix == ".pt":
        torch.save(state, path)
    elif suffix == ".legacy.pt":  # as torch saved it before it used zip
        torch.save(state, path, _use_new_zipfile_serialization=False)
    else:  # as a training run saves it
        torch.save({"epoch": 3, "state_dict": {f"module.{k}": v for k, v in state.items()}}, path)
    encoder = load_encoder(MODEL, str(path))
    original = tiny_encoder(tmp_path, seed=5)
    assert encoder.name == f"{MODEL}.file-{hash_file(path, 'sha256')[:8]}"
    assert encoder.provenance["weights_sha256"] == original.provenance["weights_sha256"]
    batch = torch.ones(2, 3, 32, 32)
    assert np.array_equal(encoder.encode(batch), original.encode(batch))


@pytest.mark.parametrize("zipped", [True, False])
def test_a_checkpoint_that_needs_code_is_refused_and_not_run(tmp_path, zipped):
    add_model(tmp_path)
    path, trace = tmp_path / "evil.pt", tmp_path / "was-here"
    torch.save({"state_dict": Touch(trace)}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(EncoderError, match=r"evil\.pt.*without executing code"):
        load_encoder(MODEL, str(path))
    assert not trace.exists()


@pytest.mark.filterwarnings("ignore")  # of torch, on the age of the format
def test_a_scripted_model_is_refused_for_it_holds_code(tmp_path):
    add_model(tmp_path)
    path = tmp_path / "scripted.pt"
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), path)
    with pytest.raises(EncoderError, match=r"scripted\.pt.*without executing code"):
        load_encoder(MODEL, str(path))


@pytest.mark.parametrize("content", [b"", b"root:x:0:0", b"PK\x03\x04 cut off", b"\x80\x02}q"])
@pytest.mark.parametrize("suffix", [".pt", ".safetensors", ".npz"])
def test_a_file_that_is_no_checkpoint_is_refused(tmp_path, content, suffix):
    add_model(tmp_path)
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(content)
    with pytest.raises(EncoderError, match="not loaded"):
        load_encoder(MODEL, str(path))


def test_weights_of_another_model_name_what_is_missing_and_unexpected(tmp_path, state):
    path = tmp_path / "other.pt"
    state["visual.stranger"] = state.pop("visual.proj")
    torch.save(state, path)
    with pytest.raises(EncoderError) as caught:
        load_encoder(MODEL, str(path))
    assert "1 missing (visual.proj)" in str(caught.value)
    assert "1 unexpected (visual.stranger)" in str(caught.value)


def test_positions_of_another_image_size_are_refused_and_not_interpolated(tmp_path, state):
    torch.save(state, tmp_path / "small.pt")
    vision = {**encode_tools.CONFIG["vision_cfg"], "image_size": 64}
    larger = add_model(tmp_path, "tiny-test-vit-64", vision_cfg=vision)
    with pytest.raises(EncoderError, match=r"visual\.positional_embedding is \[17, 32\]"):
        load_encoder(larger, str(tmp_path / "small.pt"))


def test_unknown_names_are_answered_with_the_nearest():
    with pytest.raises(UnknownName, match="ViT-B-32"):
        load_encoder("ViT-B32")
    with pytest.raises(UnknownName, match="laion2b_s34b_b79k"):
        load_encoder("ViT-B-32", "laion2b_s34b")
    with pytest.raises(UnknownName, match="fp32"):
        load_encoder("ViT-B-32", precision="fp31")


@pytest.mark.parametrize(
    ("model", "tag", "instead"),
    [
        ("ViT-B-32", "openai", "ViT-B-32-quickgelu"),
        ("ViT-L-14", "metaclip_400m", "ViT-L-14-quickgelu"),
        ("ViT-B-32-quickgelu", "laion2b_s34b_b79k", "ViT-B-32"),
        ("RN50", None, "RN50-quickgelu"),
    ],
)
def test_a_quickgelu_mismatch_is_an_error_that_names_the_right_model(model, tag, instead):
    with pytest.raises(EncoderError, match=rf"QuickGELU.*--model {instead} "):
        load_encoder(model, tag)


def test_the_default_tag_is_always_one_that_fits_or_an_error():
    found = {}
    for model in open_clip.list_models():
        try:
            found[model] = default_tag(model)
        except AutodsError as error:
            assert re.search("--pretrained|--model", str(error))
        else:
            assert found[model] in fitting_tags(model)
    assert found["ViT-B-32"] == "laion2b_s34b_b79k"
    assert found["ViT-B-32-quickgelu"] == found["ViT-L-14-quickgelu"] == "openai"
    assert found["ViT-B-16-SigLIP"] == "webli"
    assert len(found) > 90


def test_a_model_with_several_tags_and_no_usual_one_lists_them():
    with pytest.raises(EncoderError, match="laion2b_s13b_b90k, mscoco_finetuned"):
        load_encoder("coca_ViT-B-32")


def test_a_model_without_published_weights_says_what_to_do():
    with pytest.raises(EncoderError, match=r"no weights are published.*--random-weights"):
        load_encoder("ViT-S-32")


def test_a_checkpoint_that_does_not_exist_is_named():
    with pytest.raises(EncoderError, match=r"nowhere\.pt does not exist"):
        load_encoder("ViT-B-32", "nowhere.pt")


def test_wrong_requests_are_usage_errors():
    with pytest.raises(UsageError, match="both"):
        choose_weights("ViT-B-32", "openai", 0)
    with pytest.raises(UsageError, match="seed"):
        choose_weights("ViT-B-32", None, -1)


def test_a_tag_is_named_as_open_clip_lists_it():
    assert choose_weights("ViT-B-32", "LAION2B-S34B-B79K", None).label == "laion2b_s34b_b79k"


def test_without_a_network_the_error_comes_at_once_and_says_what_to_do(monkeypatch, tmp_path):
    def no_network(*_: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(checkpoints.socket, "getaddrinfo", no_network)
    monkeypatch.setattr(checkpoints.urllib.request, "getproxies", dict)
    monkeypatch.setattr(checkpoints, "cached_file", lambda *_: None)
    with pytest.raises(EncoderError) as caught:
        load_encoder("ViT-B-32")
    for text in ("laion2b_s34b_b79k", "--pretrained FILE", "--random-weights SEED"):
        assert text in str(caught.value)


def test_weights_in_the_local_cache_need_no_network(monkeypatch, tmp_path, state):
    repository = "tests/tiny"
    place = tmp_path / "hub" / "models--tests--tiny" / "snapshots" / "main"
    place.mkdir(parents=True)
    (place.parents[1] / "refs").mkdir()
    (place.parents[1] / "refs" / "main").write_text("main")
    save_file({k: v.contiguous() for k, v in state.items()}, place / "open_clip_model.safetensors")
    tags = {"drawn": {"hf_hub": f"{repository}/", "mean": [0.5] * 3, "resize_mode": "squash"}}
    monkeypatch.setitem(hub._PRETRAINED, MODEL, tags)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    encoder = load_encoder(MODEL)
    assert encoder.name == f"{MODEL}.drawn"
    assert (
        encoder.provenance["weights_sha256"]
        == (tiny_encoder(tmp_path, seed=5).provenance["weights_sha256"])
    )
    assert encoder.provenance["preprocessing"]["resize_mode"] == "squash"


def test_a_file_takes_the_preprocessing_that_all_published_weights_share(
    monkeypatch, tmp_path, state
):
    torch.save(state, tmp_path / "w.pt")
    tags = {"a": {"resize_mode": "squash"}, "b": {"resize_mode": "squash"}}
    monkeypatch.setitem(hub._PRETRAINED, MODEL, tags)
    path = str(tmp_path / "w.pt")
    assert load_encoder(MODEL, path).provenance["preprocessing"]["resize_mode"] == "squash"
    tags["b"] = {"resize_mode": "longest"}
    assert load_encoder(MODEL, path).provenance["preprocessing"]["resize_mode"] == "shortest"


def test_a_file_for_a_model_with_a_quickgelu_twin_is_remarked_on(tmp_path, state):
    add_model(tmp_path)
    add_model(tmp_path, f"{MODEL}-quickgelu", quick_gelu=True)
    torch.save(state, tmp_path / "w.pt")
    lines = Notes()
    plain = load_encoder(MODEL, str(tmp_path / "w.pt"), progress=lines)
    assert f"--model {MODEL}-quickgelu" in lines.lines[0]
    quick = load_encoder(f"{MODEL}-quickgelu", str(tmp_path / "w.pt"))
    assert (plain.provenance["quick_gelu"], quick.provenance["quick_gelu"]) == (False, True)
    batch = torch.ones(1, 3, 32, 32)
    assert not np.allclose(plain.encode(batch), quick.encode(batch))


@pytest.mark.parametrize("device", ["nonsense", "cuda:99"])
def test_a_device_that_is_not_there_is_an_error(device):
    with pytest.raises(UsageError, match=f"'{device}'"):
        load_encoder("ViT-B-32", device=device)


def test_a_device_can_be_left_to_the_machine(tmp_path):
    device = load_encoder(add_model(tmp_path), random_weights=0, device="auto").provenance["device"]
    assert device == ("cuda" if torch.cuda.is_available() else "cpu")


def test_texts_are_embedded_as_open_clip_does(tmp_path):
    text = {"context_length": 20, "vocab_size": 49408, "width": 16, "heads": 1, "layers": 1}
    encoder = load_encoder(add_model(tmp_path, text_cfg=text), random_weights=0)
    assert isinstance(encoder, TextEncoder)
    texts = [f"a photo of {i} birds" for i in range(70)]  # more than are encoded at once
    found = encoder.encode_text(texts)
    with torch.no_grad():
        expected = encoder.model.encode_text(open_clip.get_tokenizer(MODEL)(texts)).numpy()
    assert found.dtype == np.float32 and found.shape == (70, 16)
    assert np.abs(found - expected).max() < 1e-5


def test_a_tokenizer_that_cannot_be_had_is_an_error_that_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    text = {**encode_tools.CONFIG["text_cfg"], "hf_tokenizer_name": "nobody/nothing"}
    encoder = load_encoder(add_model(tmp_path, text_cfg=text), random_weights=0)
    with pytest.raises(EncoderError, match="the tokenizer of encoder 'tiny-test-vit' cannot be"):
        encoder.encode_text(["a bird"])


def test_the_encoder_of_the_documentation_can_be_extracted_with(tmp_path):
    """The example stands in the docstring of `Encoder`; it is run from there."""
    blocks = re.findall(r"::\n\n(.*?)(?=\n\n    [A-Z]|\Z)", Encoder.__doc__, re.DOTALL)
    example, use = (textwrap.dedent(block) for block in blocks)
    root = DataRoot.open(tmp_path)
    namespace = {"manifest": make_dataset(root, many(30)), "root": root}
    exec(example, namespace)
    use = use.replace('autods.Catalogue().dataset("aircraft")', "manifest")
    exec(use.replace("autods.DataRoot.open()", "root"), namespace)
    encoder = namespace["MyEncoder"]()
    stored = open_features(root, encoder.name, "drawn")
    index = load_samples(root, "drawn")
    assert stored.dim == encoder.dim and sum(map(len, stored.shards)) == 30
    row = int(stored.shards[0].sample[3])
    with Image.open(root.archive("drawn", "images") / index.locate(row)[1]) as image:
        expected = encoder.encode(encoder.transform(image)[None])[0]
    assert np.array_equal(stored.shards[0].features[3], expected.astype(np.float16))
    assert verify_features(root) == []
    namespace["extract_dataset"](namespace["manifest"], root, encoder)  # all is there


def test_importing_the_package_does_not_import_torch():
    code = "import sys, autods.encode; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
