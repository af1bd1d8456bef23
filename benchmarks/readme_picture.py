"""Make the picture of the README from a finished demo: one place in every condition, images above label maps.

python benchmarks/readme_picture.py DEMO --place NAME --out docs/demo.jpg
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from fgsn.data.dataset import Dataset
from fgsn.data.images import read_image
from fgsn.inference.label_maps import read_label_map, read_palette

GAP = 6


def montage(rows: list[list[np.ndarray]], width: int) -> Image.Image:
    """Arrange pictures in rows, each `width` pixels wide, on white."""
    sized = [
        [Image.fromarray(tile).resize((width, round(width * tile.shape[0] / tile.shape[1]))) for tile in row]
        for row in rows
    ]
    height = sized[0][0].height
    sheet = Image.new("RGB", (len(rows[0]) * (width + GAP) - GAP, len(rows) * (height + GAP) - GAP), (255, 255, 255))
    for y, row in enumerate(sized):
        for x, tile in enumerate(row):
            sheet.paste(tile, (x * (width + GAP), y * (height + GAP)))
    return sheet


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("demo", type=Path)
    parser.add_argument("--place", required=True)
    parser.add_argument("--out", type=Path, default=Path("docs/demo.jpg"))
    parser.add_argument("--width", type=int, default=240)
    options = parser.parse_args()
    dataset = Dataset.open(options.demo / "world")
    conditions = dict.fromkeys([dataset.yaml["reference"], *dataset.yaml["conditions"]])
    names = [f"{condition}/c0/{options.place}" for condition in conditions]
    images = [read_image(dataset.images / f"{name}.jpg") for name in names]
    maps = [options.demo / "evaluate_fgsn" / "labels" / f"{name}.png" for name in names]
    labels = [read_palette(path)[read_label_map(path)[0]] for path in maps]
    montage([images, labels], options.width).save(options.out, quality=88)


if __name__ == "__main__":
    main()
