"""Images beside features: plain torch and Hugging Face give the image of the same row."""

import numpy as np
import pytest
import torch
from encode_tools import drawn, make_dataset, tiny_encoder
from torch.utils.data import DataLoader
from torchvision.transforms import Compose, PILToTensor, Resize

from autods.core.root import DataRoot
from autods.encode.extract import extract_dataset
from autods.interop.huggingface import dataset_dict
from autods.interop.torch_data import TaskDataset, task_datasets
from autods.streams.open import open_stream
from autods.streams.stream import Stream

SMALL = Compose([Resize((8, 8)), PILToTensor()])


@pytest.fixture(scope="module")
def stream(tmp_path_factory: pytest.TempPathFactory) -> Stream:
    """Two tasks of two classes, in the other order; images of several kinds."""
    folder = tmp_path_factory.mktemp("images")
    kinds = [("PNG", "RGB"), ("JPEG", "L"), ("PNG", "P")]
    images = {
        f"{part}/class{i % 4}/{i:02d}.{kinds[i % 3][0].lower()}": drawn(
            i + (part == "test") * 100, *kinds[i % 3]
        )
        for part, count in (("train", 28), ("test", 12))
        for i in range(count)
    }
    root, encoder = DataRoot.open(folder / "root"), tiny_encoder(folder)
    extract_dataset(make_dataset(root, images), root, encoder, batch_size=8, shard_size=20)
    return open_stream("drawn", root, encoder.name, scenario="task-il", classes_per_task=2, order=1)


def test_images_of_torch_are_those_of_the_rows(stream):
    assert [task.index for task in stream.tasks] == [0, 1]
    for task, dataset in zip(
        stream.tasks, task_datasets(stream, images=True, transform=SMALL), strict=True
    ):
        expected = task.images("train", SMALL)
        assert len(dataset) == len(task.train) == len(expected)
        for i, (image, label, number) in enumerate(dataset[i] for i in range(len(dataset))):
            assert torch.equal(image, expected[i][0])
            assert (label, number) == (task.train.labels[i], task.index)
        batches = list(DataLoader(dataset, batch_size=4))
        assert torch.cat([y for _, y, _ in batches]).tolist() == task.train.labels.tolist()
    with pytest.raises(TypeError, match="one at a time"):
        TaskDataset(stream.tasks[0], images=True)[:]


def test_hugging_face_keeps_the_image_files_beside_the_features(stream, tmp_path):
    for task in stream.tasks:
        made = dataset_dict(stream, task.index, images=True, cache_dir=str(tmp_path))
        assert set(made) == {"train", "dev", "test"}
        for split, data in made.items():
            part, images = getattr(task, split), task.images(split)
            assert data.column_names == ["features", "label", "task", "image"]
            assert np.array_equal(data["label"][:], part.labels)
            assert data.num_rows == len(part)
            for i, row in enumerate(data):
                assert row["image"].convert("RGB").tobytes() == images[i][0].tobytes()
                assert np.array_equal(np.float16(row["features"]), part.features[i])
