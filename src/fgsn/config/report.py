"""Settings of fgsn report."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from fgsn.config.base import Positional, Settings, above_zero


@dataclass(frozen=True, kw_only=True)
class ReportSettings(Settings):
    """Write a report page about a run or a demo: metrics, curves, pictures of places and clusters, poses."""

    run: Annotated[Path, Positional("RUN")]
    """Run folder (fgsn train, fgsn pretrain) or folder of fgsn demo."""
    data: Path | None = None
    """Data set to show; default: the one that the run was trained on, or the demo's own."""
    labels: Path | None = None
    """Label maps of its images (--out of fgsn evaluate or segment); default: RUN/evaluate, computed if missing."""
    localization: Path | None = None
    """Folder of result files (--out of fgsn localize and track); default: RUN/localization."""
    metres_per_unit: float | None = None
    """Metres per unit of the map; default: from dataset.yaml. Without it, lengths are in units of the map."""
    out: Path | None = None
    """HTML file to write; default: RUN/report.html."""

    @property
    def page(self) -> Path:
        """The HTML file to write."""
        return self.out or self.run / "report.html"

    def written(self) -> Iterator[tuple[str, Path]]:
        """The page."""
        yield "out", self.page

    def __post_init__(self) -> None:
        super().__post_init__()
        above_zero(self, "metres_per_unit")
