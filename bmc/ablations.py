"""The paper's ablations by name: each a grid around the configuration that is asked for."""

from __future__ import annotations

# Grids as `bmc-stream sweep --grid` takes them.
ABLATIONS: dict[str, tuple[str, ...]] = {
    "stability": ("lam=0",),  # experts without stability loss
    "distillation": ("beta=0",),  # consolidation without batched distillation
    "neither": ("lam=0", "beta=0"),
    "experts": ("experts=1,2,4,8,16,all",),  # group sizes
    "buffer": ("buffer=50,125,250,500,1000",),
    "memory": ("memory=500,1000,2000,4000,8000",),
    "lam": ("lam=0.001,0.01,0.1,1",),
    "alpha": ("alpha=0.1,0.5,1,2",),
    "beta": ("beta=0.001,0.01,0.1,1",),
}
