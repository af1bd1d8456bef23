"""The settings of every command: one dataclass per command, one line of help per field.

A field's docstring is its help on the command line and its line in the configuration reference. Ranges are checked
where a settings object is built. `fgsn.cli` turns these classes into flags, YAML keys and back.
"""

from fgsn.config.base import Settings, from_plain, require
from fgsn.config.bench import BenchSettings
from fgsn.config.data import (
    CONDITIONS,
    CheckSettings,
    ConvertVistasSettings,
    CorrespondSettings,
    PrepareSettings,
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
from fgsn.config.localization import LocalizeSettings, ScorePosesSettings, TrackSettings
from fgsn.config.report import ReportSettings
from fgsn.config.training import ImportSettings, PretrainSettings, SweepSettings, TrainSettings

__all__ = [
    "CONDITIONS",
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
    "PrepareSettings",
    "PretrainSettings",
    "ReportSettings",
    "ScorePosesSettings",
    "SegmentSettings",
    "Settings",
    "StationarySettings",
    "SweepSettings",
    "TrackSettings",
    "TrainSettings",
    "WorldSettings",
    "from_plain",
    "require",
]
