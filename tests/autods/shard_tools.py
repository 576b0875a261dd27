"""What shards of made-up features say of themselves."""

from collections.abc import Mapping, Sequence
from typing import Any

from autods.features.shards import ShardInfo


def shard_info(n: int, class_names: Mapping[str, Sequence[str]], **changes: Any) -> ShardInfo:
    """Describe the only shard of a split with n images; the first task is the default one."""
    plain = {
        "dataset": "pets",
        "split": "train",
        "default_task": next(iter(class_names)),
        "class_names": class_names,
        "encoder": {"model": "tiny"},
        "fingerprint": "cd" * 32,
        "samples_sha256": "ef" * 32,
        **{"start": 0, "stop": n, "index": 0, "count": 1},
    }
    return ShardInfo(**{**plain, **changes})
