"""A GPU that is only pretended: its tensors say that they are on cuda:0, and refuse to meet tensors of the CPU.

The numbers lie in the memory of the CPU, so whole programs run with their real values: loops, branches and shapes that
depend on data, backward passes, optimisers. torch's own FakeTensorMode knows no values, and without CUDA it can neither
index tensors of a GPU nor differentiate (torch 2.13). What a pretended GPU does not show: whether CUDA has a kernel for
an operation, its rounding, its speed, 16-bit autocast (off without CUDA), and what happens inside one call of torch.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_flatten, tree_map_only

CUDA = torch.device("cuda", 0)
BETWEEN_DEVICES = {"copy_", "to", "__set__", "_has_compatible_shallow_copy_type"}
"""Functions that copy from one device to another, or only replace an attribute."""
INDEXING = {"__getitem__", "__setitem__", "index_put_"}
"""Functions that accept indices on the CPU, which they copy."""


class OnGpu(Tensor):
    """A tensor on the pretended GPU."""

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs, name = kwargs or {}, getattr(func, "__name__", "")
        if func == Tensor.device.__get__:
            return CUDA
        if func == Tensor.is_cuda.__get__:
            return True
        if name in ("numpy", "__array__"):
            raise TypeError("can't convert cuda:0 device type tensor to numpy; use Tensor.cpu() first")
        if name == "__deepcopy__":
            with torch._C.DisableTorchFunctionSubclass():
                copy = args[0].detach().clone().as_subclass(cls).requires_grad_(args[0].requires_grad)
            copy._is_param = getattr(args[0], "_is_param", False)
            args[1][id(args[0])] = copy
            return copy
        _check_devices(func, name, args, kwargs)
        with torch._C.DisableTorchFunctionSubclass():
            found = func(*args, **kwargs)
        return tree_map_only(Tensor, lambda one: one if isinstance(one, cls) else one.as_subclass(cls), found)


class _Pretend(TorchFunctionMode):
    """Carries out what creates tensors on the pretended GPU, or copies them there or back."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs, name = dict(kwargs or {}), getattr(func, "__name__", "")
        if name == "pin_memory":
            PINNED.append(args[0].shape)
            return args[0]
        if name in ("cpu", "cuda"):
            return _moved(args[0], torch.device("cpu") if name == "cpu" else CUDA)
        if name == "to":
            device, dtype, _, layout = torch._C._nn._parse_to(
                *(one for one in args[1:] if not isinstance(one, Tensor)),
                **{k: v for k, v in kwargs.items() if k != "copy"},
            )
            for like in (one for one in args[1:] if isinstance(one, Tensor)):
                device, dtype = like.device, like.dtype
            tensor = args[0] if device is None else _moved(args[0], device)
            options = {} if layout is None else {"memory_format": layout}
            return func(tensor, dtype or tensor.dtype, **options)
        device = kwargs.get("device")
        if device is not None and torch.device(device).type == "cuda":
            kwargs["device"] = "cpu"
            if getattr(kwargs.get("generator"), "device", CUDA).type == "cpu":
                raise RuntimeError(f"{name}: a generator of the CPU cannot draw on the GPU")
            return func(*args, **kwargs).as_subclass(OnGpu)
        return func(*args, **kwargs)


PINNED: list[torch.Size] = []
"""Shapes of the tensors that were pinned."""


def _moved(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor on another device; differentiable."""
    if device.type == "meta" or tensor.device.type == device.type:
        return tensor if device.type != "meta" else tensor.to("meta")
    with torch._C.DisableTorchFunctionSubclass():
        return tensor.clone().as_subclass(OnGpu if device.type == "cuda" else Tensor)


def _check_devices(func: Any, name: str, args: Any, kwargs: Any) -> None:
    """Raise what torch raises if tensors of both devices meet; numbers (0 dimensions) of the CPU may."""
    if name in BETWEEN_DEVICES:
        return
    flat = tree_flatten((args[:1] + args[2:] if name in INDEXING else args, kwargs))[0]
    tensors = [one for one in flat if isinstance(one, Tensor)]
    if name in INDEXING and tensors and not isinstance(tensors[0], OnGpu):
        raise RuntimeError(f"{name}: indices on cuda:0 for a tensor on cpu")
    strangers = [one for one in tensors if not isinstance(one, OnGpu) and one.ndim > 0 and one.device.type == "cpu"]
    if strangers:
        shapes = [tuple(one.shape) for one in strangers]
        raise RuntimeError(f"{name}: expected all tensors on cuda:0, but those of shapes {shapes} are on cpu")
    generator = next((one for one in flat if isinstance(one, torch.Generator)), None)
    if generator is not None:
        raise RuntimeError(f"{name}: a generator of the CPU cannot draw on the GPU")


@contextmanager
def pretended_gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """While the body runs, this machine seems to have a GPU."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device=None: (8, 0))
    before = torch.__future__.get_overwrite_module_params_on_conversion()
    torch.__future__.set_overwrite_module_params_on_conversion(True)  # the weights of a network become `OnGpu`
    flags = torch.backends.cudnn.allow_tf32, torch.backends.cudnn.benchmark
    PINNED.clear()
    try:
        with _Pretend():
            yield
    finally:
        torch.__future__.set_overwrite_module_params_on_conversion(before)
        torch.backends.cudnn.allow_tf32, torch.backends.cudnn.benchmark = flags
