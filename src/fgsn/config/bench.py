"""Settings of the benchmark."""

from dataclasses import dataclass
from pathlib import Path

from fgsn.config.base import Settings, at_least


@dataclass(frozen=True, kw_only=True)
class BenchSettings(Settings):
    """Measure the speed of each part, next to a simple baseline and the limit of the machine."""

    subjects: tuple[str, ...] = ()
    """What to measure: segmentation, training, clustering, assignment, gsmc, pfsl; default: everything."""
    full: bool = False
    """Use the sizes of the paper (ResNet-101, 1024 x 768 pixels); takes many minutes on a CPU."""
    rounds: int = 3
    """Rounds after the warm-up. Each one times both fgsn and the baseline; medians are reported."""
    out: Path | None = None
    """JSON file to write the results to."""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, rounds=1)
