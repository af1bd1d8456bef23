"""Settings of the benchmark."""

from dataclasses import dataclass
from pathlib import Path

from fgsn.config.base import Settings, at_least


@dataclass(frozen=True, kw_only=True)
class BenchSettings(Settings):
    """Measure how fast the parts are, each beside a plain version of it and beside what the machine allows."""

    subjects: tuple[str, ...] = ()
    """What to measure: segmentation, training, clustering, assignment, gsmc, pfsl; default: all of them."""
    full: bool = False
    """The sizes of the paper (ResNet-101, 1024 x 768 pixels) instead of small ones: many minutes on a CPU."""
    rounds: int = 3
    """Rounds after the warm-up; in each, ours and the plain version take turns. Medians are reported."""
    out: Path | None = None
    """JSON file to write the results to."""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, rounds=1)
