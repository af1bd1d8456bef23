"""Cases 1, 2, 4, 8 and 9: windows, blending, input, crops, overlap, colours and maps of labels."""

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from golden.data import Golden, differing, gap, relative, row, rows
from PIL import Image

from fgsn.data.convert_vistas import conversion_table
from fgsn.data.labelled.cityscapes import cityscapes_train_ids
from fgsn.data.pairs import _crop
from fgsn.data.resize import resized, resized_shape, scaled_points
from fgsn.evaluation.confusion_matrix import confusion_metrics, confusion_of
from fgsn.inference.colours import published_palette
from fgsn.inference.published_windows import published_labels, published_ramp, published_scores, published_starts
from fgsn.models.normalisation import CAFFE

SIDE = 713


@row("1", "windows of all 28 sizes at stride 2/3, boxes that differ", 0)
def windows(golden: Golden) -> float:
    wrong = 0
    for case in golden["01_sliding_windows.json"]["cases"]:
        side, height, width = case["crop"], case["height"], case["width"]
        if round(case["stride_rate"], 3) == 0.667:  # fgsn has no other stride
            ours = [
                [top, min(top + side, height), left, min(left + side, width), min(side, height), min(side, width)]
                for top in published_starts(height, side)
                for left in published_starts(width, side)
            ]
            theirs = [[sy, min(ey, height), sx, min(ex, width), *valid]
                      for sy, ey, sx, ex, *valid in case["with_mask"]["boxes"]]  # fmt: skip
            wrong += ours != theirs
    return wrong


@row("2", "window weights, 7 sizes", 1e-6)
def weights(golden: Golden) -> float:
    stored, middle = golden["02_interpol_weights.npz"], published_ramp(SIDE)
    whole = (middle[:, None] * middle).double()
    lines = [0, 1, 100, 237, 238, 356, 474, 475, 712]
    errors = [
        gap(middle[lines, None] * middle, stored["w713_rows_0_1_100_237_238_356_474_475_712"]),
        gap(whole.diagonal(), stored["w713_diag"]),
        relative([whole.sum(), whole.square().sum(), whole.min(), whole.max()], stored["w713_sum64"]),
    ]
    for name in stored:
        if name.endswith("step_0.667_0.667"):
            height, width = (int(side) for side in name.split("_")[1].split("x"))
            errors.append(gap(published_ramp(height)[:, None] * published_ramp(width), stored[name]))
    return max(errors)


def handed_out(values: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
    left = iter(values)
    return lambda tiles: torch.stack([next(left) for _ in tiles])


BLENDED = {
    "61x47, windows of 31": ("c31_61x47", 201, 6, 4, 31),
    "20x47, padded": ("c31_20x47_padded", 202, 2, 4, 31),
    "25x20, padded": ("c31_25x20_padded", 203, 1, 4, 31),
    "200x150, windows of 97": ("c97_200x150", 204, 6, 3, 97),
}


@rows(BLENDED, "2", "blended scores, {}", 2e-6)
def blended_scores(golden: Golden, case: str, seed: int, count: int, channels: int, side: int) -> float:
    width, height = (int(part) for part in case.split("_")[1].split("x"))
    values = golden.tensor(seed, count, channels, side, side, bound=3)
    found = published_scores(handed_out(values), torch.zeros(3, height, width), side, 2)
    return gap(torch.cat(list(found), dim=1), golden["02_blend.npz"][f"{case}_logits"])


@rows(BLENDED, "2", "their argmax, share that differs, {}", 1e-4)
def blended_labels(golden: Golden, case: str, seed: int, count: int, channels: int, side: int) -> float:
    width, height = (int(part) for part in case.split("_")[1].split("x"))
    values = golden.tensor(seed, count, channels, side, side, bound=3)
    found = published_labels(handed_out(values), torch.zeros(3, height, width), side, 2, (height, width))
    return differing(found, golden["02_blend.npz"][f"{case}_argmax"])


@row("2", "blended scores, 1024x768, windows of 713", 2e-6)
def blended_full(golden: Golden) -> float:
    values = golden.tensor(205, 4, 2, SIDE, SIDE, bound=3)
    found = torch.cat(list(published_scores(handed_out(values), torch.zeros(3, 768, 1024), SIDE, 4)), dim=1)
    return gap(found[:, ::16, ::16], golden["02_blend.npz"]["c713_1024x768_logits_16th"])


def merged(windows: np.ndarray, size: tuple[int, int], side: int) -> np.ndarray:
    """Feature maps merged where the authors put them: cells at round(pixel · cells / side); ours lie on pixels 8 c."""
    cells = windows.shape[-1]
    corners = [
        [round(start * cells / side) for start in starts]
        for starts in (published_starts(pixels, side) for pixels in size)
    ]
    total = np.zeros((windows.shape[1], *(max(starts) + cells for starts in corners)))
    share, ramp = np.zeros(total.shape[1:]), published_ramp(cells).numpy()
    for values, (top, left) in zip(windows, ((y, x) for y in corners[0] for x in corners[1]), strict=True):
        total[:, top : top + cells, left : left + cells] += values * ramp[:, None] * ramp
        share[top : top + cells, left : left + cells] += ramp[:, None] * ramp
    return total / share


@rows({"200x150": (206, 6), "97x150": (207, 2)}, "2", "merged features at their places, {}", 2e-6)
def merged_features(golden: Golden, seed: int, count: int) -> float:
    name = "fe97_200x150" if seed == 206 else "fe97_97x150"
    size = (150, int(name[5:].split("x")[0]))
    windows = golden.tensor(seed, count, 3, 97, 97, bound=3)[:, :, ::8, ::8].numpy()
    return gap(merged(windows, size, 97), golden["02_blend.npz"][f"{name}_features"])


@row("4", "network input", 1e-4)
def network_input(golden: Golden) -> float:
    stored = golden["04_input_transform.npz"]
    return gap(CAFFE(stored["img_u8"]), stored["output"])


@row("4", "sizes after resizing, that differ", 0)
def sizes(golden: Golden) -> float:
    cases = golden["04_input_transform.json"]["pre_validation_transform_sizes_wh"]
    return sum(resized_shape((before[1], before[0]), 1024) != (after[1], after[0]) for before, after in cases)


@row("4", "resized images, grey levels", 1)
def resized_images(golden: Golden) -> float:
    stored = golden["04_input_transform.npz"]
    return max(gap(resized(stored["img_u8"], side), stored[f"resize{side}"]) for side in (40, 12))


PLAIN = {name: (f"crop_{name}",) for name in ("mid", "idx0", "idx7", "idx11", "idx19", "idx23", "even")}


def crop_of(golden: Golden, case: str, image: int) -> tuple[np.ndarray, np.ndarray]:
    """Our crop of a golden image, and all its points."""
    stored = golden["08_corr_transforms.npz"]
    (facts,) = (facts for facts in golden["08_corr_transforms.json"]["cases"] if facts["name"] == case)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "image.png")
        Image.fromarray(stored[f"{case}_img{image}"]).save(path)
        points = stored[f"{case}_pts{image}"].T
        return _crop(path, points, facts["chosen_index"], facts["crop"], facts["resize"] or 0)


@rows(PLAIN, "8", "crops, pixels that differ, {}", 0)
def crops(golden: Golden, case: str) -> float:
    stored = golden["08_corr_transforms.npz"]
    return max(differing(crop_of(golden, case, image)[0], stored[f"{case}_out_img{image}"]) for image in (1, 2))


@rows(PLAIN, "8", "points in crops, {}", 1e-9)
def points_in_crops(golden: Golden, case: str) -> float:
    stored = golden["08_corr_transforms.npz"]
    side = stored[f"{case}_out_img1"].shape[0]
    points = [crop_of(golden, case, image)[1] for image in (1, 2)]
    seen = np.all([((p >= 0) & (p < side)).all(axis=1) for p in points], axis=0)
    errors = []
    for image, ours in zip((1, 2), points, strict=True):
        errors.append(gap(ours[seen].T, stored[f"{case}_out_pts{image}"]))
        errors.append(gap(np.trunc(ours[seen].T + 0.5), stored[f"{case}_out_pts{image}_int"]))
    return max(errors)


RESIZED = {
    "up, image 1": ("resize_up_crop_img1", "resize_up_crop_pts1", "resize_up_crop_resized", "_img1", "_pts1"),
    "down, image 1": ("resize_down_crop_img1", "resize_down_crop_pts1", "resize_down_crop_resized", "_img1", "_pts1"),
    "one image": ("oneim_src", None, "oneim", "_img", "_pts"),
}


@rows(RESIZED, "8", "resized images, grey levels, {}", 1)
def resized_pairs(golden: Golden, image: str, points: str | None, case: str, out: str, moved: str) -> float:
    stored = golden["08_corr_transforms.npz"]
    return gap(resized(stored[image], 64), stored[case + out])


@rows(RESIZED, "8", "points of resized images, ours taken from centres to corners of pixels, {}", 1e-9)
def resized_points(golden: Golden, image: str, points: str | None, case: str, out: str, moved: str) -> float:
    """Theirs are scaled about the middle of the first pixel, x · f, while the picture is scaled about its corner."""
    stored = golden["08_corr_transforms.npz"]
    before = stored[image].shape
    given = stored[points].T if points else np.array([[0, 0], [10.25, 20.5], [59, 44]])
    after = resized_shape(before, 64)
    factor = np.array([after[1] / before[1], after[0] / before[0]])
    return gap((scaled_points(given, before, after) + 0.5 - 0.5 * factor).T, stored[case + moved])


@rows({"1": (1,), "2": (2,)}, "9", "confusion and overlap after image {}", 1e-12)
def overlap(golden: Golden, images: int) -> float:
    facts, confusion = golden["09_metrics_colors_maps.json"], np.zeros((5, 5), np.int64)
    for suffix in ("", "2")[:images]:
        confusion += confusion_of(np.array(facts[f"gt{suffix}"]), np.array(facts[f"pred{suffix}"]), 5, 5)
    ours, theirs = confusion_metrics(confusion, list("abcde")), facts[f"result_{images}"]
    names = {"acc": "pixel_accuracy", "acc_cls": "mean_accuracy", "mean_iu": "mean_iou", "fwavacc": "weighted_iou"}
    metrics = [gap(ours[mine], theirs[name]) for name, mine in names.items()]
    return max(*metrics, gap(confusion, facts[f"confmat_after_{images}"]))


@row("9", "clusters against classes", 0)
def clusters_and_classes(golden: Golden) -> float:
    facts = golden["09_metrics_colors_maps.json"]
    theirs = facts["fast_hist_cluster"]
    truth = np.array(facts["gt"]).ravel()
    return gap(confusion_of(truth, np.array(theirs["pred_cluster"]), 5, theirs["n_clusters"]), theirs["hist"])


@row("9", "palettes of 20, 100, 200, 256 labels", 0)
def palettes(golden: Golden) -> float:
    stored = golden["09_metrics_colors_maps.json"]["create_palette"]
    return max(gap(published_palette(count)[:20], stored[str(count)]) for count in (20, 100, 200, 256))


@rows({"20": (20,), "1000": (1000,)}, "9", "coloured labels, {} of them", 0)
def coloured(golden: Golden, labels: int) -> float:
    stored = golden["09_metrics_colors_maps.json"][f"colorize_{labels}"]
    return gap(published_palette(labels)[np.array(stored["index"])], stored["rgb"])


@row("9", "Vistas and Cityscapes, maps between labels, that differ", 0)
def maps_of_labels(golden: Golden) -> float:
    stored = golden["09_metrics_colors_maps.json"]
    ids, train_ids = conversion_table(lane_markings=False), cityscapes_train_ids()
    pairs = [(ids[int(label)], theirs) for label, theirs in stored["vistas_to_cityscapes_labelId"].items()]
    pairs += [(train_ids[int(label) % 256], theirs) for label, theirs in stored["cityscapes_id_to_trainid"].items()]
    pairs += [(train_ids[ids[int(label)]], theirs) for label, theirs in stored["vistas_to_trainid"].items()]
    return sum(ours != theirs for ours, theirs in pairs)
