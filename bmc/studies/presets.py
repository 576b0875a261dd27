"""Presets: files of options that come with the program, which ``--config`` reads by name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bmc.config import Config, Overrides

FOLDER = Path(__file__).parents[1] / "presets"


def preset_names() -> list[str]:
    """Return the names of all presets, sorted."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def config_file(given: Path) -> Path:
    """Return the file that a text names: that file, or else the preset of this name."""
    preset = FOLDER / f"{given}.yaml"
    if not given.is_file() and f"{given}" in preset_names():
        return preset
    return given


@dataclass(frozen=True)
class Preset:
    """The options of a preset: those that methods share, and those of each method it is for."""

    name: str
    shared: dict[str, Any]
    methods: Overrides

    def config(self, method: str, seed: int = 0) -> Config:
        """Return the configuration of one of its methods."""
        from bmc.config import Config
        from bmc.methods import config_for

        return config_for(method, Config(**self.shared, seed=seed), self.methods)


def read_preset(name: str) -> Preset:
    """Read a preset; raise `UnknownName` with the nearest names if there is none of this name."""
    from autods.core.registry import unknown
    from autods.core.yaml_files import parse_yaml
    from bmc.config import Config

    if name not in preset_names():
        raise unknown("preset", name, preset_names())
    content = parse_yaml((FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))
    shared = {key: value for key, value in content.items() if key in Config.names()}
    return Preset(name, shared, {k: v for k, v in content.items() if k not in shared})
