"""Every kind of file that fgsn reads, small and whole, and ways of damaging it.

`tests/test_damage.py` tries a few hundred damaged files, `benchmarks/fuzz.py` as many as it is told to.
"""

import contextlib
import io
import json
import random
import re
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
import yaml
from PIL import Image

from fgsn.cli import parse
from fgsn.clustering.codebook import Codebook
from fgsn.config import PrepareSettings, SweepSettings
from fgsn.correspond.depth_maps import read_depth
from fgsn.data.convert_vistas import convert_label_map
from fgsn.data.correspondences import read_correspondences, write_correspondences
from fgsn.data.dataset import Dataset
from fgsn.data.images import list_images, read_image
from fgsn.data.labelled import LabelledSet, Sample, open_labelled
from fgsn.data.prepare import prepare
from fgsn.errors import FgsnError
from fgsn.files import read_yaml, write_yaml
from fgsn.formats.ground_truth import read_truth
from fgsn.formats.hdf5 import stamped_arrays, write_stamp
from fgsn.formats.hloc import read_image_size
from fgsn.formats.posed_images import read_posed_images
from fgsn.formats.poses import read_results
from fgsn.formats.priors import read_odometry, read_priors
from fgsn.formats.queries import read_queries
from fgsn.geometry.colmap import read_model, write_model
from fgsn.inference.label_maps import read_label_map, read_palette, write_label_map
from fgsn.inference.model import Model, load
from fgsn.inference.origin import other_origin
from fgsn.localization.hloc_matches import open_hloc_matches
from fgsn.localization.labelled_map import make_labelled_map
from fgsn.localization.map_folder import load_map, save_map
from fgsn.matching.augment import all_key_points, read_projection
from fgsn.matching.candidates import listed_pairs, read_positions
from fgsn.matching.feature_matches import read_matches, write_matches
from fgsn.matching.keypoints import Keypoints, read_keypoints, write_keypoints
from fgsn.models.imported_weights import read_published_codebook, read_weights
from fgsn.models.model_file import read_model_file
from fgsn.models.normalisation import SIGNED
from fgsn.models.pspnet import Architecture, PSPNet
from fgsn.report.curves import read_charts
from fgsn.report.poses import recall_bars
from fgsn.report.sources import ReportSources, read_report_results
from fgsn.sweep import read_experiments
from localization.toy import toy_model

POSE = "1 0 0 0 0.5 -1.25 3"


@dataclass(frozen=True)
class Format:
    """One kind of input."""

    make: Callable[[Path], None]
    """Writes a whole one into an empty folder."""
    read: Callable[[Path], Any]
    """Reads it from that folder, to the last number."""
    files: tuple[str, ...]
    """The files to damage."""
    damage: Callable[[bytes, random.Random], bytes] | None = None
    """How; by default the bytes are damaged, and words as well where the file is text."""


def image(path: Path, kind: str = "RGB", size: tuple[int, int] = (40, 32), **how: Any) -> None:
    """A picture in which no two rows are the same."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8)
    Image.fromarray(pixels).convert(kind).save(path, **how)


def _texts(**lines: str) -> Callable[[Path], None]:
    """Writes these text files; `__` in a name is a dot."""

    def make(folder: Path) -> None:
        for name, text in lines.items():
            (folder / name.replace("__", ".")).write_text(text)

    return make


def _pair(folder: Path) -> None:
    for name in ("a/1.png", "b/1.png"):
        image(folder / "images" / name)
    points = np.random.default_rng(0).uniform(0, 30, (20, 2))
    (folder / "correspondence_data").mkdir()
    for number in range(2):
        file = folder / "correspondence_data" / f"{number}.mat"
        write_correspondences(file, "a/1.png", "b/1.png", points, points + 1, points[:, 0])


def _dataset(folder: Path) -> None:
    _pair(folder)
    places = {"a/1.png": "one", "b/1.png": "one"}
    write_yaml(folder / "dataset.yaml", {"reference": "a", "places": places, "condition_of": {"b/1.png": "snow"}})
    prepare(PrepareSettings(dataset=folder, validation_share=0.0))
    (folder / "places.json").write_text(json.dumps(places))


def _read_dataset(folder: Path) -> None:
    data = Dataset.open(folder)
    for name in ("a/1.png", "b/1.png"):
        data.place(name), data.condition(name)
    data.pairs("all"), data.reference_images("all"), data.reference_points("a/1.png")


def _read_places(folder: Path) -> None:
    (folder / "dataset.yaml").unlink(missing_ok=True)
    assert isinstance(Dataset.open(folder).place("a/1.png"), str)


def _binary_model(folder: Path) -> None:
    import pycolmap

    write_model(folder, toy_model())
    pycolmap.Reconstruction(str(folder)).write_binary(str(folder))


def _labelled(folder: Path) -> None:
    save_map(folder, make_labelled_map(toy_model(), None))


QUERY = "night/q.jpg"


def _hloc(folder: Path) -> None:
    labelled = make_labelled_map(toy_model(), None)
    names = labelled.names
    with h5py.File(folder / "features.h5", "w") as file:
        file[f"{QUERY}/keypoints"] = np.random.default_rng(0).uniform(0, 40, (12, 2)).astype(np.float32)
        for row, name in enumerate(names):
            file[f"{name}/keypoints"] = labelled.pixels_of(row).astype(np.float32)
    with h5py.File(folder / "matches.h5", "w") as file:
        for name in names:
            group = file.create_group(f"{QUERY.replace('/', '-')}/{name.replace('/', '-')}")
            group["matches0"], group["matching_scores0"] = np.arange(-1, 11), np.linspace(0, 1, 12)
    (folder / "pairs.txt").write_text("".join(f"{QUERY} {name}\n" for name in names))


def _read_hloc(folder: Path) -> None:
    labelled = make_labelled_map(toy_model(), None)
    files = (folder / name for name in ("pairs.txt", "features.h5", "matches.h5"))
    open_hloc_matches(labelled, *files).of(QUERY)


def _own_features(folder: Path) -> None:
    rng = np.random.default_rng(0)
    found = Keypoints(rng.random((9, 2), np.float32), rng.random((9, 4), np.float32), rng.random(9, np.float32), (9, 9))
    write_keypoints(folder / "features.h5", {"a/1.png": found}, "stamp")
    write_matches(folder / "matches.h5", "a", "b", 9, (np.arange(8).reshape(-1, 2), np.ones(4)), "stamp")


def _read_own_features(folder: Path) -> None:
    read_keypoints(folder / "features.h5", "a/1.png", "stamp")
    read_matches(folder / "matches.h5", "a", "b", "stamp")


def _model(folder: Path) -> None:
    torch.manual_seed(0)
    network = PSPNet(Architecture("tiny", 5, feature_dim=16, aux_dim=8)).eval()
    codebook = Codebook.fit(torch.randn(60, 16), 5, 0, 8)
    Model(network, SIGNED, 0, 65, codebook=codebook, stationary=(True,) * 5).save(folder / "model.safetensors")


def _label_vectors(folder: Path) -> None:
    rng = np.random.default_rng(0)
    arrays = {"label_vectors": rng.random((9, 5)), "label_pyramid": rng.random(80)}
    with h5py.File(folder / "vectors.h5", "w") as file:
        write_stamp(file, "stamp")
        for key, values in arrays.items():
            file[f"a/1.png/{key}"] = values.astype(np.float16)


def _augmented(folder: Path) -> None:
    """What `fgsn augment` writes: a features.h5 and a projection."""
    rng = np.random.default_rng(0)
    with h5py.File(folder / "features.h5", "w") as file:
        for name in ("a/1.png", "b/1.png"):
            group = file.create_group(name)
            group["keypoints"], group["image_size"] = rng.random((9, 2)) * 40, np.array([40, 32])
            group["descriptors"], group["scores"] = rng.random((12, 9), np.float32), rng.random(9, np.float32)
    np.save(folder / "projection.npy", rng.random((5, 4), np.float32))


def _read_augmented(folder: Path) -> None:
    for name, points in all_key_points(folder / "features.h5").items():
        read_image_size(folder / "features.h5", name), points.sum(), read_keypoints(folder / "features.h5", name)
    read_projection(folder / "projection.npy", 5)


def _rigs(folder: Path) -> None:
    import pycolmap

    _binary_model(folder)
    model = pycolmap.Reconstruction(str(folder))
    for path in folder.glob("*.bin"):
        path.unlink()
    model.write_text(str(folder))


def _read_report_results(folder: Path) -> None:
    results = read_report_results(folder / "results.json")
    recall_bars(ReportSources(folder, {}, results, {}), [])


def _read_origin(folder: Path) -> None:
    other_origin(folder, {"model": "m", "short_side": 0, "window": 65, "windows": "even"})


def _weights() -> dict[str, Any]:
    return {
        "module.conv.weight": torch.randn(2, 3, 3, 3),
        "module.conv.bias": torch.zeros(2),
        "module.n": torch.ones(1),
    }


def _pth(legacy: bool) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        content = {"state_dict": _weights(), "epoch": 3, "name": "x", "rate": 0.5}
        torch.save(content, folder / "weights.pth", _use_new_zipfile_serialization=not legacy)

    return make


def _weights_safetensors(folder: Path) -> None:
    from safetensors.torch import save_file

    save_file(_weights(), folder / "weights.safetensors")


def _codebook(folder: Path) -> None:
    rng = np.random.default_rng(0)
    with h5py.File(folder / "centroids.h5", "w") as file:
        file["pca_transform_Amat"], file["pca_transform_bvec"] = rng.random((8, 4)), rng.random(4)
        file["cluster_centroids"] = rng.random((5, 4))


def _label_maps(folder: Path) -> None:
    for name, count in (("8.png", 200), ("16.png", 900)):
        write_label_map(folder / name, np.arange(20 * 30).reshape(20, 30) % count, count)


def _read_label_maps(folder: Path) -> None:
    for name in ("8.png", "16.png"):
        read_label_map(folder / name), read_palette(folder / name)


def _annotated(folder: Path) -> None:
    image(folder / "image.png")
    Image.fromarray(np.full((32, 40), 7, np.uint8)).save(folder / "label.png")


def _read_annotated(folder: Path) -> None:
    sample = Sample(folder / "image.png", folder / "label.png")
    LabelledSet("test", ("road",), [sample], [], {7: 0}).read_label(sample)
    if problem := convert_label_map(folder / "label.png", folder / "converted" / "label.png", False):
        raise FgsnError(problem)


def _depths(folder: Path) -> None:
    depth = np.random.default_rng(0).uniform(1, 50, (24, 32)).astype(np.float32)
    Image.fromarray((depth * 100).astype(np.uint16)).save(folder / "depth.png")
    Image.fromarray(depth).save(folder / "depth.tiff")
    Image.fromarray(depth).save(folder / "depth.pfm")
    np.save(folder / "depth.npy", depth)
    np.savez(folder / "plain.npz", depth)
    np.savez_compressed(folder / "depth.npz", depth)


DEPTHS = ("depth.png", "depth.tiff", "depth.pfm", "depth.npy", "plain.npz", "depth.npz")
PICTURES = {
    "rgb.jpg": {"exif": (exif := Image.Exif())}, "progressive.jpg": {"progressive": True}, "cmyk.jpg": {"kind": "CMYK"},
    "rgb.png": {}, "palette.png": {"kind": "P"}, "alpha.png": {"kind": "RGBA"}, "grey16.png": {"kind": "I;16"},
    "rgb.webp": {}, "rgb.bmp": {}, "rgb.ppm": {}, "small.gif": {"kind": "P"}, "rgb.tiff": {"compression": "tiff_lzw"},
    "tiles.tif": {"compression": "tiff_adobe_deflate"},
}  # fmt: skip
exif[0x0112] = 6


def _pictures(folder: Path) -> None:
    for name, how in PICTURES.items():
        image(folder / name, **how)


def _read_all(names: tuple[str, ...], read: Callable[[Path], Any]) -> Callable[[Path], None]:
    """Reads the files that are there; damaged are one at a time, and only those are put into the folder."""

    def every(folder: Path) -> None:
        for name in names:
            if (folder / name).exists():
                read(folder / name)

    return every


def _image_list(folder: Path) -> None:
    for number in range(3):
        image(folder / "images" / f"{number}.png")
    (folder / "list.txt").write_text("# images\n0.png\n1.png\n\n2.png\n")


def _camvid(folder: Path) -> None:
    for part in ("train", "val"):
        image(folder / part / "1.png")
        (folder / f"{part}.txt").write_text(f"/SegNet/CamVid/{part}/1.png {part}/1.png\n")


def _vistas(folder: Path) -> None:
    for part in ("training", "validation"):
        image(folder / part / "images" / "1.jpg")
        image(folder / part / "labels" / "1.png", "L")
    labels = [{"readable": f"class {n}", "evaluate": n != 65} for n in range(66)]
    (folder / "config.json").write_text(json.dumps({"labels": labels, "version": 1.2}))


TRAIN_YAML = """\
data: [a, b]
init: base
out: run
clusters: 100
lr: 1e-2
gradient: both
recluster_every: 0
precision: float32
resume: false
"""
SWEEP_YAML = """\
train: {data: a, init: base, iterations: 10}
evaluate: {split: all}
grid:
  clusters: [20, 100]
  gradient: {coin: coin, both: both}
"""
METRICS = "".join(json.dumps({"step": n, "loss": 1 / n, "validation": {"kappa": 0.5}}) + "\n" for n in range(1, 20))
TRUTH = {
    "t.txt": "".join(f"snow/{n}.jpg {POSE}\n" for n in range(4)),
    "c.txt": "# name qw qx qy qz cx cy cz\n"
    + "".join(f"img_0{n}_c0_1285949808454723us.jpg {POSE}\n" for n in range(4)),
    "m.txt": "".join(f"rear/{n}.jpg 1 0 0 4 0 1 0 5 0 0 1 6 0 0 0 1\n" for n in range(4)),
}
POSITIONS = "a/1.jpg 57.7 11.9\na/2.jpg,57.8,12.0\n# c\na/3.jpg 57.9 12.1\n"


def _read_positions(folder: Path) -> None:
    read_positions(folder / "p.txt")


def _truth(folder: Path) -> None:
    for name, text in TRUTH.items():
        (folder / name).write_text(text)


DEMO = {
    "labels": {"fgsn": {"clusters": 5, "conditions": {"snow": {"kappa": 0.5}}}},
    "localization": {"p3p": {"snow": [50.0, 75, 100], "all": [50, 75, 100.0]}},
    "seconds": {"world": 10, "train": 20.5},
}


def _in_pickle(data: bytes, rng: random.Random) -> bytes:
    """A checkpoint whose archive is whole and whose pickle is damaged."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w") as new:
        for name in old.namelist():
            stored = old.read(name)
            new.writestr(name, damaged(stored, rng) if name.endswith("data.pkl") else stored)
    return out.getvalue()


def _in_header(data: bytes, rng: random.Random) -> bytes:
    """A safetensors file whose JSON header is damaged, with a length that fits it."""
    size = int.from_bytes(data[:8], "little")
    header = damaged(data[8 : 8 + size], rng, text=True)
    return len(header).to_bytes(8, "little") + header + data[8 + size :]


def _config(folder: Path) -> None:
    with contextlib.suppress(SystemExit):  # a setting that must be given is not: told with the usage
        parse("train", ["--config", str(folder / "train.yaml")])


FORMATS = {
    "correspondences .mat": Format(
        _pair, lambda f: read_correspondences(f / "correspondence_data/0.mat"), ("correspondence_data/0.mat",)
    ),
    "data set lists": Format(_dataset, _read_dataset, ("corr_train.txt", "reference_image_names.txt")),
    "reference points .h5": Format(_dataset, _read_dataset, ("reference_points.h5",)),
    "dataset.yaml": Format(_dataset, _read_dataset, ("dataset.yaml",)),
    "places.json": Format(_dataset, _read_places, ("places.json",)),
    "COLMAP text": Format(
        lambda f: write_model(f, toy_model()), read_model, ("cameras.txt", "images.txt", "points3D.txt")
    ),
    "COLMAP binary": Format(_binary_model, read_model, ("cameras.bin", "images.bin", "points3D.bin")),
    "labelled map": Format(_labelled, load_map, ("map.safetensors",)),
    "labelled map, header": Format(_labelled, load_map, ("map.safetensors",), _in_header),
    "hloc .h5": Format(_hloc, _read_hloc, ("features.h5", "matches.h5")),
    "hloc pairs": Format(_hloc, _read_hloc, ("pairs.txt",)),
    "own features .h5": Format(_own_features, _read_own_features, ("features.h5", "matches.h5")),
    "label vectors .h5": Format(
        _label_vectors,
        lambda f: stamped_arrays(f / "vectors.h5", "a/1.png", ("label_vectors", "label_pyramid"), "stamp"),
        ("vectors.h5",),
    ),
    "augmented features": Format(_augmented, _read_augmented, ("features.h5", "projection.npy")),
    "rigs and frames text": Format(_rigs, read_model, ("rigs.txt", "frames.txt")),
    "rigs and frames binary": Format(_binary_model, read_model, ("rigs.bin", "frames.bin")),
    "results.json of a demo": Format(_texts(results__json=json.dumps(DEMO)), _read_report_results, ("results.json",)),
    "made_from.json": Format(
        _texts(made_from__json=json.dumps({"model": "x", "short_side": 384, "window": 65, "windows": "even"})),
        _read_origin,
        ("made_from.json",),
    ),
    "pose results": Format(
        _texts(r__txt="".join(f"a/{n}.jpg {POSE}\n" for n in range(5))),
        lambda f: read_results(f / "r.txt", [f"a/{n}.jpg" for n in range(5)]),
        ("r.txt",),
    ),
    "truth": Format(_truth, _read_all(tuple(TRUTH), read_truth), tuple(TRUTH)),
    "queries": Format(
        _texts(q__txt="a/1.jpg PINHOLE 64 48 50 51 32 24\nb c/2.jpg OPENCV 64 48 50 50 32 24 .1 0 0 0\n"),
        lambda f: read_queries(f / "q.txt"),
        ("q.txt",),
    ),
    "priors": Format(
        _texts(p__txt="a/1.jpg 0 1 0 1.5\n# c\na/2.jpg 0.6 0.8 0 1.5\n"), lambda f: read_priors(f / "p.txt"), ("p.txt",)
    ),
    "odometry": Format(
        _texts(o__txt=f"a/1.jpg {POSE}\na/2.jpg {POSE}\n"), lambda f: read_odometry(f / "o.txt"), ("o.txt",)
    ),
    "poses and intrinsics": Format(
        _texts(
            p__txt=f"a/1.jpg {POSE}\nb/2.jpg {POSE}\n",
            i__txt="a PINHOLE 64 48 50 51 32 24\nb/2.jpg RADIAL 6 4 5 3 2 0 0\n",
        ),
        lambda f: read_posed_images(f / "p.txt", f / "i.txt"),
        ("p.txt", "i.txt"),
    ),
    "positions": Format(_texts(p__txt=POSITIONS), _read_positions, ("p.txt",)),
    "list of pairs": Format(
        _texts(p__txt="a/1.jpg b/1.jpg\nb/2.jpg a/1.jpg\n"),
        lambda f: listed_pairs(f / "p.txt", ["a/1.jpg"], ["b/1.jpg", "b/2.jpg"]),
        ("p.txt",),
    ),
    "settings .yaml": Format(_texts(train__yaml=TRAIN_YAML), _config, ("train.yaml",)),
    "experiments .yaml": Format(
        _texts(sweep__yaml=SWEEP_YAML),
        lambda f: read_experiments(SweepSettings(experiments=f / "sweep.yaml", out=f / "out")),
        ("sweep.yaml",),
    ),
    "plain .yaml": Format(
        _texts(a__yaml=yaml.safe_dump({"a": [1, {"b": None}]})), lambda f: read_yaml(f / "a.yaml"), ("a.yaml",)
    ),
    "metrics.jsonl": Format(
        _texts(metrics__jsonl=METRICS), lambda f: read_charts({"run": f / "metrics.jsonl"}), ("metrics.jsonl",)
    ),
    "model .safetensors": Format(_model, lambda f: load(f / "model.safetensors", "cpu"), ("model.safetensors",)),
    "model, header": Format(_model, lambda f: load(f / "model.safetensors", "cpu"), ("model.safetensors",), _in_header),
    "checkpoint, header": Format(
        _model, lambda f: read_model_file(f / "model.safetensors"), ("model.safetensors",), _in_header
    ),
    "imported .pth": Format(_pth(False), lambda f: read_weights(f / "weights.pth"), ("weights.pth",)),
    "imported .pth, pickle": Format(
        _pth(False), lambda f: read_weights(f / "weights.pth"), ("weights.pth",), _in_pickle
    ),
    "imported .pth, old": Format(_pth(True), lambda f: read_weights(f / "weights.pth"), ("weights.pth",)),
    "imported .safetensors": Format(
        _weights_safetensors, lambda f: read_weights(f / "weights.safetensors"), ("weights.safetensors",), _in_header
    ),
    "published codebook .h5": Format(
        _codebook, lambda f: read_published_codebook(f / "centroids.h5"), ("centroids.h5",)
    ),
    "label maps": Format(_label_maps, _read_label_maps, ("8.png", "16.png")),
    "annotations": Format(_annotated, _read_annotated, ("label.png",)),
    "depth maps": Format(_depths, _read_all(DEPTHS, lambda p: read_depth(p, 1.0)), DEPTHS),
    "images": Format(_pictures, _read_all(tuple(PICTURES), read_image), tuple(PICTURES)),
    "list of images": Format(_image_list, lambda f: list_images(f / "list.txt"), ("list.txt",)),
    "CamVid lists": Format(_camvid, lambda f: open_labelled(f"camvid:{f}"), ("train.txt",)),
    "Vistas config": Format(_vistas, lambda f: open_labelled(f"vistas:{f}"), ("config.json",)),
}

WORDS = [
    "", "nan", "inf", "-inf", "1e999", "-1", "0", "1e12", "1000000000000", "18446744073709551615", "9" * 30,
    "9" * 5000, "1.5", "-0.0", "None", "true", "[", "{", "{}", "[]", "null", '"', "&a [*a]", "*a",
    "!!python/object:os.system", "!!int x", "!!timestamp x", "2001-99-99", "1:99:99", "? ", ": ", "- ", "\t", "\x00",
    "\x1b[31m", "é", "\u2028", "\u0663", "²", "..", "/etc/passwd", "../../x", "a" * 300, "a" * 5000, "[" * 3000,
    '{"a":' * 3000, "PINHOLE", "FULL_OPENCV", "#", "\r", "\n", "😀", "C:\\x", "~", "<<: *a", "%", "@", "`", "|", ">",
    "0x", "0b2", "1_000", "12e", "=", "\ufeff", "NaN", "Infinity", "-Infinity", "1e400", "[[]]", "[1]",
]  # fmt: skip
"""What people, programs and enemies write where something else is wanted."""
NUMBERS = [
    0,
    1,
    0x7F,
    0x80,
    0xFF,
    0x7FFF,
    0xFFFF,
    2**31 - 1,
    2**31,
    2**32 - 1,
    10**12,
    2**40,
    2**63 - 1,
    2**63,
    2**64 - 1,
]


def damaged(data: bytes, rng: random.Random, text: bool | None = None) -> bytes:
    """The same bytes with one to three things wrong."""
    text = _is_text(data) if text is None else text
    for _ in range(rng.choice((1, 1, 2, 3))):
        data = rng.choice(TEXT_WAYS if text and rng.random() < 0.75 else WAYS)(data, rng)
    return data


def _is_text(data: bytes) -> bool:
    try:
        return "\0" not in data.decode()
    except UnicodeDecodeError:
        return False


def _place(data: bytes, rng: random.Random) -> int:
    """Somewhere; often near the beginning, where headers are."""
    size = rng.choice((len(data), len(data), 64, 600))
    return rng.randrange(max(1, min(size, len(data))))


def _flip(data: bytes, rng: random.Random) -> bytes:
    out = bytearray(data)
    for _ in range(rng.choice((1, 2, 8))):
        if out:
            out[_place(data, rng)] = rng.randrange(256)
    return bytes(out)


def _number(data: bytes, rng: random.Random) -> bytes:
    at, width = _place(data, rng), rng.choice((1, 2, 4, 8))
    value = (rng.choice(NUMBERS) % 2 ** (8 * width)).to_bytes(width, rng.choice(("little", "big")))
    return data[:at] + value + data[at + width :]


def _cut(data: bytes, rng: random.Random) -> bytes:
    return data[: _place(data, rng)]


def _remove(data: bytes, rng: random.Random) -> bytes:
    at = _place(data, rng)
    return data[:at] + data[at + rng.choice((1, 2, 8, 100)) :]


def _repeat(data: bytes, rng: random.Random) -> bytes:
    at, size = _place(data, rng), rng.choice((1, 8, 100, 1000))
    return data[: at + size] + data[at:]


def _blank(data: bytes, rng: random.Random) -> bytes:
    at, size = _place(data, rng), rng.choice((4, 16, 100, 1000))
    return data[:at] + bytes([rng.choice((0, 255))]) * len(data[at : at + size]) + data[at + size :]


def _insert(data: bytes, rng: random.Random) -> bytes:
    at = _place(data, rng)
    return data[:at] + rng.randbytes(rng.choice((1, 4, 40))) + data[at:]


def _swap(data: bytes, rng: random.Random) -> bytes:
    first, second = sorted((_place(data, rng), _place(data, rng)))
    return data[:first] + data[second:] + data[first:second]


def _word(data: bytes, rng: random.Random) -> bytes:
    """Another word in the place of one."""
    words = list(re.finditer(rb"[^\s,:\[\]{}\"]+", data))
    if not words:
        return data
    found = rng.choice(words)
    return data[: found.start()] + rng.choice(WORDS).encode() + data[found.end() :]


def _added_word(data: bytes, rng: random.Random) -> bytes:
    at = _place(data, rng)
    return data[:at] + rng.choice(WORDS).encode() + data[at:]


def _lines(data: bytes, rng: random.Random) -> bytes:
    """A line less, twice, cut short, or joined with the next."""
    lines = data.split(b"\n")
    row = rng.randrange(len(lines))
    how = rng.randrange(4)
    if how == 0:
        del lines[row]
    elif how == 1:
        lines.insert(rng.randrange(len(lines)), lines[row])
    elif how == 2:
        lines[row] = lines[row][: rng.randrange(len(lines[row]) + 1)]
    else:
        lines[row : row + 2] = [b" ".join(lines[row : row + 2])]
    return b"\n".join(lines)


WAYS = (_flip, _number, _number, _cut, _remove, _repeat, _blank, _insert, _swap)
TEXT_WAYS = (_word, _word, _word, _added_word, _lines)


class Trial:
    """Tries damaged files of one format; they are written into `folder`."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self.format, self.folder = name, FORMATS[name], folder
        folder.mkdir(parents=True)
        self.format.make(folder)
        self.format.read(folder)  # the whole one can be read
        self.whole = {file: (folder / file).read_bytes() for file in self.format.files}
        self.alone = self.format.files in (DEPTHS, tuple(PICTURES), tuple(TRUTH))
        if self.alone:
            for file in self.whole:
                (folder / file).unlink()

    def __call__(self, seed: int) -> str:
        """What went wrong with damaged file number `seed`: '' if it was read, or refused as it should be."""
        rng = random.Random(f"{self.name} {seed}")
        file = rng.choice(self.format.files)
        return self.holding(file, (self.format.damage or damaged)(self.whole[file], rng))

    def holding(self, file: str, data: bytes) -> str:
        """What went wrong where a file holds this instead."""
        path = self.folder / file
        path.write_bytes(data)
        try:
            self.format.read(self.folder)
        except FgsnError as error:
            said = str(error)
            if str(self.folder) not in said and not said.startswith("--"):  # a flag, or its key in a YAML file
                return f"does not name the file: {said}"
            if "\n" in said or not said.isprintable() or len(said) > 1500:
                return f"is not one short line: {said[:200]!r}"
        except Exception as error:
            return f"{type(error).__name__}: {error}"[:300]
        finally:
            if self.alone:
                path.unlink(missing_ok=True)
            else:
                path.write_bytes(self.whole[file])
        return ""
