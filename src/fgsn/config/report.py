"""Settings of fgsn report."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from fgsn.config.base import Settings


@dataclass(frozen=True, kw_only=True)
class ReportSettings(Settings):
    """Write one page about a run or a demo: metrics, curves, pictures of places and clusters, poses."""

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(name="", metavar="RUN")]
    """Run folder (fgsn train, fgsn pretrain) or folder of fgsn demo."""
    data: Path | None = None
    """Data set to show; default: the one that the run was trained on, or the demo's own."""
    labels: Path | None = None
    """Label maps of its images (--out of fgsn evaluate or segment); default: RUN/evaluate, made where missing."""
    localization: Path | None = None
    """Folder of result files (--out of fgsn localize and track); default: RUN/localization."""
    out: Path | None = None
    """The page; default: RUN/report.html."""
