"""Case 3: the authors' networks, imported, compute what theirs did."""

from functools import cache

import numpy as np
import torch
from golden.data import Golden, differing, gap, row, rows
from torch import nn

from fgsn.models import backbones
from fgsn.models.imported_weights import OLD_CLASSIFIERS, published_name
from fgsn.models.layers import resize_map
from fgsn.models.pspnet import Architecture, PSPNet

NETWORKS = {
    "r101_dilated": "resnet101",
    "r101_orig": "resnet101-plain",
    "mini_dilated": "resnet-mini",
    "mini_orig": "resnet-mini-plain",
}
SIDE = 713


@rows({"dilated": (False, "resnet101"), "plain": (True, "resnet101-plain")}, "3", "weights, names and shapes, {}", 0)
def weight_names(golden: Golden, original: bool, backbone: str) -> float:
    theirs = golden["03_state_dict_keys.json"][f"use_original_base={original}"]
    with torch.device("meta"):
        network = PSPNet(Architecture(backbone, 100))
    ours = {published_name(name): list(value.shape) for name, value in network.state_dict().items()}
    known = {name: shape for name, shape, _ in theirs["state_dict"]}
    trained = sum(value.numel() for value in network.parameters())
    return len(ours.items() ^ known.items()) if trained == theirs["n_trainable"] else np.inf  # type: ignore[operator]


@row("3", "names of old checkpoints", 0)
def old_names(golden: Golden) -> float:
    rename = golden["03_state_dict_keys.json"]["older_checkpoint_keys"]["rename"]
    ours = {old + part: new + part for old, new in OLD_CLASSIFIERS.items() for part in ("weight", "bias")}
    return len(ours.items() ^ rename.items())


@row("3", "names that torchvision's ResNet-101 weights go to", 0)
def torchvision_names(golden: Golden) -> float:
    theirs = golden["03_state_dict_keys.json"]["use_original_base=True"]["state_dict"]
    wanted = {name.removeprefix("fcn."): shape for name, shape, _ in theirs if name.startswith("fcn.")}
    with torch.device("meta"):
        ours = backbones.build_backbone("resnet101-torchvision").state_dict()
    return sum(list(ours[name].shape) != wanted.get(name) for name in ours) + abs(len(ours) - len(wanted))


@cache
def forward(golden: Golden, case: str) -> dict[str, np.ndarray]:
    """All outputs of one network on the 97 x 97 input, under the names of the golden data."""
    network, x = golden.network(NETWORKS[case], 100), golden.tensor(301, 1, 3, 97, 97, bound=2)
    output, learning = network(x), network.train()(x)
    spread = resize_map(output.logits, (97, 97))
    return {
        "clus_eval_hfeat": output.features.numpy(),
        "clus_eval_logits": output.logits.numpy(),
        "clus_train_auxfeat": learning.aux_features.numpy(),
        "clus_train_auxlogits": learning.aux_logits.numpy(),
        "psp_eval_logits": spread[:, ::4, ::6, ::6].numpy(),
        "psp_train_auxlogits": resize_map(learning.aux_logits, (97, 97))[:, ::4, ::6, ::6].numpy(),
        "psp_eval_argmax": spread.argmax(dim=1)[0].numpy(),
    }


@rows({case: (case,) for case in NETWORKS}, "3", "features, scores and auxiliary ones, {}", 2e-4)
def outputs(golden: Golden, case: str) -> float:
    stored, errors = golden["03_forward.npz"], []
    for name, ours in forward(golden, case).items():
        if not name.endswith("argmax"):
            theirs = stored[f"{case}_{name}"]
            errors.append(gap(ours[:, :: ours.shape[1] // theirs.shape[1]], theirs))
    return max(errors)


@rows({case: (case,) for case in NETWORKS}, "3", "labels, share that differs, {}", 5e-3)
def labels(golden: Golden, case: str) -> float:
    return differing(forward(golden, case)["psp_eval_argmax"], golden["03_forward.npz"][f"{case}_psp_eval_argmax"])


MINI = {case: (case,) for case in NETWORKS if case.startswith("mini")}


@rows(MINI, "3", "scores of 90x122, {}", 2e-4)
def not_square(golden: Golden, case: str) -> float:
    logits = golden.network(NETWORKS[case], 100)(golden.tensor(302, 1, 3, 90, 122, bound=2)).logits
    return gap(logits, golden["03_forward.npz"][f"{case}_clus_eval_logits_90x122"])


@rows(MINI, "3", "scores of 713x713, {}", 2e-4)
def full_size(golden: Golden, case: str) -> float:
    logits = golden.network(NETWORKS[case], 100)(golden.tensor(304, 1, 3, SIDE, SIDE, bound=2)).logits
    return gap(logits[:, ::20, ::6, ::6], golden["03_forward.npz"][f"{case}_clus_713_logits"])


@rows(MINI, "3", "channels that dropout takes and the scores then, {}", 2e-4)
def dropped(golden: Golden, case: str) -> float:
    network, stored = golden.network(NETWORKS[case], 100).train(), golden["03_forward.npz"]
    network.dropout.p = 0.1
    torch.manual_seed(0)
    first = network.dropout(torch.ones(1, 256, 1, 1))  # theirs draws for the auxiliary head first
    logits = network(golden.tensor(301, 1, 3, 97, 97, bound=2)).logits
    channels = (first[0, :, 0, 0] == 0).nonzero()[:, 0]
    return max(
        gap(channels, stored[f"{case}_seed0_dropped_auxfeat_channels"]),
        gap(logits[:, ::4], stored[f"{case}_clus_train_dropout_seed0_logits"]),
    )


@cache
def learning_norms(golden: Golden, case: str) -> tuple[float, float]:
    """Errors of the scores and (relative) of the statistics where batch norms learn."""
    network, stored = golden.network(NETWORKS[case], 100), golden["03_forward.npz"]
    network.frozen_norms = False
    norms = {published_name(f"{name}.x")[:-2]: part for name, part in network.named_modules()
             if isinstance(part, nn.BatchNorm2d)}  # fmt: skip
    for name, norm in norms.items():
        norm.momentum = 0.1 if case == "mini_orig" and name.startswith("fcn.") else 0.95
    output = network.train()(golden.tensor(303, 2, 3, 97, 97, bound=2))
    scores = max(
        gap(output.logits[:, ::4], stored[f"{case}_clus_trainbn_logits"]),
        gap(output.aux_logits[:, ::4], stored[f"{case}_clus_trainbn_auxlogits"]),
    )
    prefix, statistics = f"{case}_after_trainbn_", []
    for key in stored:
        if key.startswith(prefix):
            name, _, statistic = key.removeprefix(prefix).rpartition(".")
            ours, theirs = getattr(norms[name], statistic).numpy(), stored[key]
            statistics.append(np.linalg.norm(ours - theirs) / np.linalg.norm(theirs))
    return scores, max(statistics)


@rows(MINI, "3", "scores while batch norms learn, {}", 2e-3)
def norms_scores(golden: Golden, case: str) -> float:
    return learning_norms(golden, case)[0]


@rows(MINI, "3", "statistics of batch norms, relative, {}", 1e-4)
def norms_statistics(golden: Golden, case: str) -> float:
    return learning_norms(golden, case)[1]
