"""Make a model ready for many images: in 16 bits where the processor has them, as many windows at once as memory holds.

docs/speed.md says what that is worth.
"""

from dataclasses import replace

import torch
from torch import Tensor, nn

from fgsn.inference.model import Model
from fgsn.models.predictor import Predictor
from fgsn.models.pspnet import Architecture, PSPNet

LIVE = 3
"""Maps as large as the largest that are held at once while a window is computed: a block, its shortcut, a copy."""
MOST = {"cpu": 4, "cuda": 64}
"""More windows at once than these bring nothing."""


def faster(model: Model, precision: str = "auto", memory: float = 2.0) -> Model:
    """The same model with a network that predicts faster; what it says differs by rounding only.

    Args:
        model: the model; later training of its network is not seen by the returned one.
        precision: auto takes bfloat16 where the processor computes in it, but never for models whose label maps are to
            be exactly those of the authors' code.
        memory: GiB for the windows that are computed at once; sets how many these are.
    """
    dtype = getattr(torch, chosen_precision(model, precision))
    batch = int(memory * 2**30 / window_bytes(model.network.architecture, model.window, dtype))
    batch = max(1, min(batch, MOST.get(model.device.type, 4)))
    return replace(model, predictor=Predictor(model.network, dtype), batch=batch)


def chosen_precision(model: Model, precision: str) -> str:
    """What auto stands for on the device of a model."""
    if precision != "auto":
        return precision
    return "bfloat16" if model.windows == "aligned" and computes_bfloat16(model.device) else "float32"


def computes_bfloat16(device: torch.device) -> bool:
    """Whether a device multiplies in bfloat16 itself; others only imitate it, slowly."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    # torch has no public name for these questions; where it has other names one day, the answer is no.
    units = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return device.type == "cpu" and any(getattr(torch.cpu, unit, bool)() for unit in units)


def window_bytes(architecture: Architecture, side: int, dtype: torch.dtype) -> int:
    """About how much memory the computation of one window takes, beside the weights; nothing is computed to know it."""
    sizes: list[int] = []

    def measure(module: nn.Module, inputs: tuple[object, ...], output: object) -> None:
        sizes.append(sum(part.numel() for part in (*inputs, output) if isinstance(part, Tensor)))

    with torch.device("meta"), torch.inference_mode():
        network = PSPNet(architecture).eval()
        for module in network.modules():
            module.register_forward_hook(measure)
        network(torch.empty(1, 3, side, side))
    return LIVE * max(sizes) * dtype.itemsize
