"""Continual-learning methods, one file each, in one registry; every file here is imported."""

from importlib import import_module
from pkgutil import iter_modules

from bmc.methods.base import METHODS, Method
from bmc.methods.overrides import config_for, overrides_of

__all__ = ["METHODS", "Method", "config_for", "overrides_of"]

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")
