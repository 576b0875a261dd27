"""A CUDA device without one: tensors that say they are on it, compute on the CPU, and are watched.

A tensor here holds data, so that whole trainings run and give true numbers; what CUDA refuses is
refused, and whatever would make the host wait is noted with the function that did it:

- a product, a sum or an index of tensors on different devices, a generator of the other device,
  a normalisation of mixed types: `RuntimeError`, as on CUDA;
- a value or a size read by the host (``item``, ``bool``, ``nonzero``, masks, ``unique``,
  checks of factorisations), copies to the host, copies from memory that is not pinned: a `Wait`;
- while a graph is captured, any of these raises, and what a solver's library computes; what ran is
  recorded, and replayed as CUDA does.

Torch's own fake tensors refuse mixed devices too, but know no values and cannot train.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from simulated_graph import Recording, leaves, mapped
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

CUDA = torch.device("cuda", 0)
META = torch.device("meta")  # what autograd believes, which would look for a real CUDA device
PACKAGES = tuple(str(Path(__file__).parents[2] / name) for name in ("bmc", "autods"))

# operations of which the host awaits a value, a size or an error code
WAITING = {
    "_local_scalar_dense", "nonzero", "masked_select", "_unique2", "unique_dim",
    "unique_consecutive", "bincount", "_linalg_check_errors", "_linalg_eigh", "_linalg_svd",
    "linalg_lstsq", "equal", "histc", "linalg_eig",
}  # fmt: skip
# operations by cuSOLVER or MAGMA, which make memory or streams of their own: no graph may hold them
SOLVING = {
    "linalg_cholesky_ex", "_cholesky_solve_helper", "linalg_lu_factor_ex", "linalg_lu_solve",
    "_linalg_solve_ex", "linalg_inv_ex", "linalg_qr", "geqrf", "_linalg_eigh", "_linalg_svd",
}  # fmt: skip
# operations that the CPU lacks, and what gives their numbers there
ON_CUDA_ALONE: dict[Any, Any] = {
    torch.ops.aten.bmm.dtype: lambda a, b, _: torch.bmm(a.float(), b.float()),
    torch.ops.aten.bmm.dtype_out: lambda a, b, _, out: torch.bmm(a.float(), b.float(), out=out),
}
INDEXING = {"index", "index_put_", "index_put", "_index_put_impl_", "_unsafe_index"}
GENERATORS = torch.Generator


class OnDevice(Tensor):
    """A tensor that names the simulated device and holds its numbers on the CPU."""

    inner: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, inner: Tensor) -> OnDevice:
        made = torch.Tensor._make_wrapper_subclass(
            cls, inner.size(), strides=inner.stride(), storage_offset=inner.storage_offset(),
            dtype=inner.dtype, device=META,
        )  # fmt: skip
        made.inner = inner
        return made

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise RuntimeError(f"{func}: a tensor of the simulated device is used outside of it")

    @property
    def device(self) -> torch.device:  # type: ignore[override]  # torch has an attribute
        return CUDA

    @property
    def is_cuda(self) -> bool:  # type: ignore[override]  # torch has an attribute
        return True

    def __repr__(self, **_: Any) -> str:
        return f"OnDevice({self.inner!r})"


class DeviceGenerator(torch.Generator):
    """A generator of the simulated device."""

    device = CUDA  # type: ignore[assignment]  # torch has an attribute

    def manual_seed(self, seed: int) -> torch.Generator:
        super().manual_seed(seed)
        return self  # torch returns another object


class _Generators(torch.Generator):
    """Makes generators of either device."""

    def __new__(cls, device: Any = "cpu") -> torch.Generator:  # type: ignore[misc]  # as torch does
        return DeviceGenerator() if torch.device(device).type == "cuda" else GENERATORS()


class Device(TorchDispatchMode):
    """The simulated device while `simulated_cuda` lasts.

    Attributes
    ----------
    waits
        How often the host waited, by the function of ours that made it and what it did.
    forbidden
        Why nothing may wait at present (the update in which we are), or nothing.
    streams
        Those that were made current, one after the other.
    """

    def __init__(self) -> None:
        super().__init__()
        self.waits: Counter[tuple[str, str]] = Counter()
        self.forbidden = ""
        self.recording: Recording | None = None
        self.pinned: set[int] = set()
        self.streams: list[Stream] = []

    def wait(self, what: str) -> None:
        """Note that the host waits; raise where that is forbidden."""
        if self.recording is not None:
            raise RuntimeError(f"{what}: not permitted while a graph is captured, in {_caller()}")
        if self.forbidden:
            raise RuntimeError(f"{what} within {self.forbidden}, in {_caller()}")
        self.waits[_caller(), what] += 1

    def is_pinned(self, tensor: Tensor) -> bool:
        return tensor.untyped_storage().data_ptr() in self.pinned or not tensor.numel()

    def pin(self, tensor: Tensor) -> Tensor:
        self.pinned.add(tensor.untyped_storage().data_ptr())
        tensor._pinned_for_life = tensor.untyped_storage()  # type: ignore[attr-defined]
        return tensor

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        flat = leaves((args, kwargs))
        ours = [t for t in flat if isinstance(t, OnDevice)]
        target = kwargs.get("device")
        here = target == META or bool(ours)
        if not here:
            return func(*args, **kwargs)
        name = func._schema.name.split("::")[1]
        self._check(name, args, kwargs, ours, flat)
        outer = {id(t.inner): t for t in ours}
        plain = mapped(lambda v: v.inner if isinstance(v, OnDevice) else v, (args, kwargs))
        if target == META:
            plain[1]["device"] = torch.device("cpu")
        if func in ON_CUDA_ALONE:
            ON_CUDA_ALONE[func]._schema = func._schema  # by which a graph knows what it writes
            func = ON_CUDA_ALONE[func]
        if self.recording is not None:
            found = self.recording.run(func, *plain)
        else:
            found = func(*plain[0], **plain[1])
        for t in ours:
            if t.shape != t.inner.shape:  # resized as an output
                with torch._C._DisableTorchDispatch():
                    torch._C.TensorBase.data.__set__(t, OnDevice(t.inner))  # type: ignore[attr-defined]
        if name == "copy_" and not isinstance(args[0], OnDevice):
            return args[0]
        if name == "_to_copy" and target is not None and target != META:
            return found
        return mapped(lambda v: _outer(v, outer) if isinstance(v, Tensor) else v, found)

    def _check(self, name: str, args: Any, kwargs: Any, ours: list[OnDevice], flat: Any) -> None:
        if name in ("_to_copy", "copy_"):
            self._check_copy(name, args, kwargs)
            return
        others = [t for t in flat if isinstance(t, Tensor) and not isinstance(t, OnDevice)]
        if name in INDEXING:
            indices = [i for i in args[1] if i is not None]
            masks = any(i.dtype in (torch.bool, torch.uint8) for i in indices)
            if masks and not (name != "index" and args[2].ndim == 0):  # that one is masked_fill
                self.wait("a mask as an index")
            if not isinstance(args[0], OnDevice):
                raise RuntimeError("indices should be on the same device as the indexed tensor")
            if any(not isinstance(i, OnDevice) for i in indices):
                self.wait("an index on the host")
            others = [t for t in others if all(t is not i for i in indices)]
        if ours and any(t.ndim for t in others):
            shapes = [tuple(t.shape) for t in others]
            raise RuntimeError(f"{name}: all tensors must be on one device, got {shapes} on cpu")
        for g in flat:
            if isinstance(g, GENERATORS) and self.recording is not None:
                raise RuntimeError(f"{name}: a generator that the captured graph does not know")
        if "layer_norm" in name or "batch_norm" in name:
            kinds = {t.dtype for t in flat if isinstance(t, Tensor)}
            if len(kinds) > 1:
                raise RuntimeError(f"{name}: expected one type, got {kinds}")
        if name in SOLVING and self.recording is not None:
            raise RuntimeError(f"{name}: no part of a captured graph, in {_caller()}")
        sized = kwargs.get("output_size") is not None
        if name in WAITING or (name == "repeat_interleave" and not sized):
            self.wait(name)

    def _check_copy(self, name: str, args: Any, kwargs: Any) -> None:
        if name == "copy_":
            to, source = args[0], args[1]
            queued = bool(args[2]) if len(args) > 2 else bool(kwargs.get("non_blocking"))
            there, pinned = isinstance(to, OnDevice), not isinstance(to, OnDevice) and to
        else:
            source, pinned = args[0], None
            device = kwargs.get("device")
            there = device == META if device is not None else isinstance(source, OnDevice)
            queued = bool(kwargs.get("non_blocking"))
        if there == isinstance(source, OnDevice):
            return
        if there and source.ndim == 0 and name == "copy_":
            return  # a number, which travels with the kernel
        host = source if there else pinned
        if not (queued and isinstance(host, Tensor) and self.is_pinned(host)):
            self.wait("a copy from pageable memory" if there else "a copy to the host")


def _outer(tensor: Tensor, outer: dict[int, OnDevice]) -> OnDevice:
    known = outer.get(id(tensor))
    return OnDevice(tensor) if known is None else known


def _caller() -> str:
    """Return module and function of the nearest frame of the packages."""
    frame = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_filename.startswith(PACKAGES):
            module = frame.f_globals["__name__"]
            return f"{module}.{frame.f_code.co_qualname.split('.<locals>.<')[0]}"
        frame = frame.f_back  # type: ignore[assignment]
    return "a test"


class _Calls(TorchFunctionMode):
    """Turns the name of the device into one that torch can work with, and what has no operation."""

    def __init__(self, device: Device) -> None:
        super().__init__()
        self.simulated = device

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func is torch.device:
            return func(*args, **kwargs)
        if own := OWN.get(func):
            answer = own(self.simulated, *args, **kwargs)
            if answer is not NotImplemented:
                return answer
        _check_generator(func, args, kwargs)
        if kwargs.pop("pin_memory", False):
            return self.simulated.pin(func(*args, **kwargs))
        args, kwargs = mapped(_renamed, (args, kwargs))
        return func(*args, **kwargs)


def _check_generator(func: Any, args: Any, kwargs: Any) -> None:
    generator = kwargs.get("generator")
    if generator is None:
        return
    place = kwargs.get("device") or "cpu"
    if args and isinstance(args[0], Tensor):
        place = args[0].device
    if (torch.device(place).type == "cuda") != isinstance(generator, DeviceGenerator):
        raise RuntimeError(f"{func.__name__}: expected a generator of {place}")


def _renamed(value: Any) -> Any:
    if isinstance(value, torch.device) and value.type == "cuda":
        return META
    return META if isinstance(value, str) and value.split(":")[0] == "cuda" else value


def _tensor(simulated: Device, data: Any, **kwargs: Any) -> Any:
    place = kwargs.pop("device", None)
    if place is None or torch.device(place).type != "cuda" or isinstance(data, OnDevice):
        return NotImplemented
    simulated.wait("a copy from pageable memory")
    with torch._C.DisableTorchFunction():
        return OnDevice(torch.tensor(data, **kwargs))


def _tolist(device: Device, self: Tensor) -> Any:
    if not isinstance(self, OnDevice):
        return NotImplemented
    device.wait("tolist")
    return self.inner.tolist()


def _numpy(device: Device, self: Tensor, *_: Any, **__: Any) -> Any:
    if not isinstance(self, OnDevice):
        return NotImplemented
    raise TypeError("can't convert cuda:0 device type tensor to numpy")


def _set_data(device: Device, self: Tensor, value: Tensor) -> Any:
    if isinstance(self, OnDevice) != isinstance(value, OnDevice):
        raise RuntimeError("data of another device")
    with torch._C.DisableTorchFunction():
        torch.Tensor.data.__set__(self, value)  # type: ignore[attr-defined]
    if isinstance(self, OnDevice) and isinstance(value, OnDevice):
        self.inner = value.inner


def _of_inner(name: str) -> Callable[..., Any]:
    def call(device: Device, self: Tensor, *args: Any) -> Any:
        return getattr(self.inner, name)(*args) if isinstance(self, OnDevice) else NotImplemented

    return call


def _pin(device: Device, self: Tensor, *_: Any) -> Any:
    if isinstance(self, OnDevice):
        raise RuntimeError("cannot pin a tensor of the device")
    return device.pin(self.clone())


OWN: dict[Any, Callable[..., Any]] = {
    torch.tensor: _tensor,
    torch.as_tensor: _tensor,
    Tensor.tolist: _tolist,
    Tensor.numpy: _numpy,
    Tensor.__array__: _numpy,
    Tensor.data.__set__: _set_data,  # type: ignore[attr-defined]
    Tensor.data_ptr: _of_inner("data_ptr"),
    Tensor.untyped_storage: _of_inner("untyped_storage"),
    Tensor.pin_memory: _pin,
    Tensor.is_pinned: lambda device, self, *_: device.is_pinned(self),
}


class Event:
    """An event of a stream: all is done at once here."""

    def __init__(self, **_: Any) -> None:
        self.device: Device | None = None

    def record(self, *_: Any) -> None:
        """Do nothing."""

    def wait(self, *_: Any) -> None:
        """Do nothing."""

    def query(self) -> bool:
        """Say that it is over."""
        return True

    def synchronize(self) -> None:
        """Do nothing."""


class Stream(Event):
    """A stream, in which all is done at once."""

    wait_stream = wait_event = Event.record


@contextmanager
def simulated_cuda(free: int = 1 << 40) -> Iterator[Device]:
    """Let ``torch.device("cuda")`` be the simulated device, with so many bytes of free memory."""
    device = Device()

    @contextmanager
    def graph(captured: Recording, **_: Any) -> Iterator[None]:
        device.recording = captured
        try:
            yield
        except RuntimeError as error:  # as CUDA's, which no longer says what it was
            raise RuntimeError("operation failed due to a previous error") from error
        finally:
            device.recording = None
            captured.restore()

    cuda = {
        "is_available": lambda: True,
        "device_count": lambda: 1,
        "synchronize": lambda *_: device.wait("synchronize"),
        "mem_get_info": lambda *_: (free, free),
        "memory_reserved": lambda *_: 0,
        "memory_allocated": lambda *_: 0,
        "max_memory_allocated": lambda *_: 0,
        "is_current_stream_capturing": lambda: device.recording is not None,
        "reset_peak_memory_stats": lambda *_: None,
        "current_device": lambda: 0,
        "empty_cache": lambda: None,
        "device": lambda *_: nullcontext(),
        "stream": lambda *_: nullcontext(),
        "Stream": lambda *_, **__: Stream(),
        "current_stream": lambda *_: Stream(),
        "set_stream": device.streams.append,
        "Event": Event,
        "CUDAGraph": Recording,
        "graph": graph,
    }
    with ExitStack() as stack:
        for name, value in cuda.items():
            stack.enter_context(mock.patch.object(torch.cuda, name, value))
        none = mock.patch.object(torch.accelerator, "current_accelerator", lambda **_: None)
        stack.enter_context(none)
        nothing = mock.patch.object(Tensor, "record_stream", lambda *_: None, create=True)
        stack.enter_context(nothing)
        stack.enter_context(mock.patch.object(torch, "Generator", _Generators))
        # views of tensors that wrap others lose what they wrap in inference mode
        stack.enter_context(mock.patch.object(torch, "inference_mode", torch.no_grad))
        stack.enter_context(device)
        stack.enter_context(_Calls(device))
        yield device
