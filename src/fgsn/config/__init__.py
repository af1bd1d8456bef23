"""The settings of every command: one dataclass per command, one line of help per field.

The docstring of a field is its help on the command line and its entry in docs/reference.md. A settings object checks
the ranges of its values when it is built; it does not read files. `fgsn.cli` makes the flags from these classes.
"""

from fgsn.config.base import OLD_NAMES, Positional, Settings, from_yaml_values, require
from fgsn.config.bench import BenchSettings
from fgsn.config.data import (
    CONDITIONS,
    CheckSettings,
    ConvertVistasSettings,
    CorrespondSettings,
    PrepareSettings,
    StartSettings,
    WorldSettings,
)
from fgsn.config.labels import (
    DemoSettings,
    EvaluateSettings,
    ExportSettings,
    InfoSettings,
    SegmentSettings,
    StationarySettings,
)
from fgsn.config.localization import (
    AugmentSettings,
    LocalizeSettings,
    RetrieveSettings,
    ScorePosesSettings,
    TrackSettings,
)
from fgsn.config.report import ReportSettings
from fgsn.config.training import ImportSettings, PretrainSettings, SweepSettings, TrainSettings

__all__ = [
    "CONDITIONS",
    "OLD_NAMES",
    "AugmentSettings",
    "BenchSettings",
    "CheckSettings",
    "ConvertVistasSettings",
    "CorrespondSettings",
    "DemoSettings",
    "EvaluateSettings",
    "ExportSettings",
    "ImportSettings",
    "InfoSettings",
    "LocalizeSettings",
    "Positional",
    "PrepareSettings",
    "PretrainSettings",
    "ReportSettings",
    "RetrieveSettings",
    "ScorePosesSettings",
    "SegmentSettings",
    "Settings",
    "StartSettings",
    "StationarySettings",
    "SweepSettings",
    "TrackSettings",
    "TrainSettings",
    "WorldSettings",
    "from_yaml_values",
    "require",
]
