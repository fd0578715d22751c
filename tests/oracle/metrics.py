#!/usr/bin/env python3
"""Store small inputs of the anomaly metrics with the values they should have.

Definitions. A prediction is "score >= threshold"; a class is 0 (good) or 1.

image_auroc   Area under the ROC curve of the image scores; null unless both
              classes are present.
image_ap      Average precision, the sum of (R_n - R_(n-1)) P_n over the distinct
              thresholds; null unless both classes are present.
image_f1_max  The largest F1 over all distinct thresholds; null unless both
              classes are present.
pixel_auroc   The same as for images, over all pixels of all images together.
pixel_ap      Each score map is first resized to the size of its mask:
              bilinear, half-pixel centres, positions clamped to the map.
pixel_aupro   Area under the per-region overlap. Regions are the 8-connected
              components of all masks. For each distinct threshold: the share of
              each region that is found, averaged over regions (each counts
              once, whatever its size), against the share of the normal pixels
              of all images that is found. Trapezoids from (0, 0) through all
              thresholds to a false positive rate of 0.3 (interpolated linearly
              there), divided by 0.3. Null unless there is a region and a normal
              pixel.

ROC and precision-recall figures are scikit-learn's, components scipy's; resizing
and the per-region overlap are written out here, in f64 and without binning.

A case is a JSON object with name, image_scores, image_labels, maps (height, width,
scores by row), masks (height, width, data by row; good images have a mask too, all
0) and expected. All scores are exact f32 values; -0.0 occurs and equals 0.0. Where a
map is resized, neighbours that are equal must give that very value:
interpolate by a + (b - a) * t.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from scipy import ndimage
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score

AUPRO_LIMIT = 0.3


def both_classes(labels):
    return 0 < np.sum(labels) < len(labels)


def auroc(labels, scores):
    return float(roc_auc_score(labels, scores)) if both_classes(labels) else None


def average_precision(labels, scores):
    return float(average_precision_score(labels, scores)) if both_classes(labels) else None


def f1_max(labels, scores):
    if not both_classes(labels):
        return None
    precision, recall, _ = precision_recall_curve(labels, scores)
    total = precision + recall
    return float(np.max(2 * precision * recall / np.where(total > 0, total, 1)))


def sample_positions(size, new_size):
    """For each new index: the two neighbours in the old row and the share of the second."""
    position = (np.arange(new_size) + 0.5) * size / new_size - 0.5
    position = np.clip(position, 0, size - 1)
    first = np.floor(position).astype(int)
    return first, np.minimum(first + 1, size - 1), position - first


def resize(scores, height, width):
    """Bilinear resize with half-pixel centres and clamped edges, first along rows."""
    left, right, t = sample_positions(scores.shape[1], width)
    scores = scores[:, left] + (scores[:, right] - scores[:, left]) * t
    above, below, t = sample_positions(scores.shape[0], height)
    return scores[above] + (scores[below] - scores[above]) * t[:, None]


def aupro(maps, masks, limit=AUPRO_LIMIT):
    """Area under the per-region overlap curve, by its definition."""
    regions = []
    for scores, mask in zip(maps, masks, strict=True):
        components, count = ndimage.label(mask, structure=np.ones((3, 3)))
        regions += [scores[components == i] for i in range(1, count + 1)]
    normal = np.concatenate([s[m == 0] for s, m in zip(maps, masks, strict=True)])
    if not regions or not len(normal):
        return None

    rates, overlaps = [0.0], [0.0]
    for threshold in np.unique(np.concatenate([*regions, normal]))[::-1]:
        rates.append(np.mean(normal >= threshold))
        overlaps.append(np.mean([np.mean(region >= threshold) for region in regions]))

    area = 0.0
    for i in range(1, len(rates)):
        x0, x1, y0, y1 = rates[i - 1], rates[i], overlaps[i - 1], overlaps[i]
        if x1 > limit:
            y1 = y0 + (y1 - y0) * (limit - x0) / (x1 - x0)
            x1 = limit
        area += (x1 - x0) * (y0 + y1) / 2
        if x1 == limit:
            break
    return float(area / limit)


def evaluate(image_scores, image_labels, maps, masks):
    """All expected values of a case."""
    resized = [resize(s.astype(np.float64), *m.shape) for s, m in zip(maps, masks, strict=True)]
    pixel_scores = np.concatenate([s.ravel() for s in resized])
    pixel_labels = np.concatenate([m.ravel() for m in masks])

    # Two ways to the same number: with one region and no limit, the overlap
    # curve is the ROC curve.
    for scores, mask in zip(resized, masks, strict=True):
        if ndimage.label(mask, structure=np.ones((3, 3)))[1] == 1 and not mask.all():
            assert np.isclose(aupro([scores], [mask], 1.0), auroc(mask.ravel(), scores.ravel()))

    return {
        "image_auroc": auroc(image_labels, image_scores),
        "image_ap": average_precision(image_labels, image_scores),
        "image_f1_max": f1_max(image_labels, image_scores),
        "pixel_auroc": auroc(pixel_labels, pixel_scores),
        "pixel_ap": average_precision(pixel_labels, pixel_scores),
        "pixel_aupro": aupro(resized, masks),
    }


def mask_of(height, width, *rectangles):
    """A mask of rectangles (top, left, bottom, right), ends excluded."""
    mask = np.zeros((height, width), np.uint8)
    for top, left, bottom, right in rectangles:
        mask[top:bottom, left:right] = 1
    return mask


def noisy_maps(random, sizes, masks, lift):
    """Gaussian noise, raised by `lift` where the mask, brought to map size, is 1."""
    maps = []
    for (height, width), mask in zip(sizes, masks, strict=True):
        rows = np.arange(height) * mask.shape[0] // height
        columns = np.arange(width) * mask.shape[1] // width
        maps.append(random.normal(size=(height, width)) + lift * mask[np.ix_(rows, columns)])
    return maps


def case(maps, masks, image_scores=None):
    """Image scores default to the largest score of each map; labels follow the masks."""
    maps = [np.asarray(m, np.float32) for m in maps]
    if image_scores is None:
        image_scores = [m.max() for m in maps]
    labels = np.array([int(mask.any()) for mask in masks])
    return np.asarray(image_scores, np.float32), labels, maps, masks


def make_cases():
    """Map names to cases."""
    random = np.random.default_rng(20)
    size, good = (12, 16), mask_of(12, 16)
    several = [
        mask_of(*size, (2, 3, 6, 9)),
        good,
        mask_of(*size, (0, 0, 3, 2), (8, 10, 12, 16)),
        good,
        mask_of(*size, (5, 5, 6, 6)),
        good,
    ]
    sizes = [size] * len(several)
    cases = {"random": case(noisy_maps(random, sizes, several, 1.0), several)}

    ties = [np.clip(np.round(m), -1, 2) / 4 for m in noisy_maps(random, sizes, several, 1.0)]
    cases["heavy_ties"] = case(ties, several, [0.5, 0.25, 0.25, 0.25, 0.5, 0.5])

    doubled = [mask.repeat(2, axis=0).repeat(3, axis=1)[:19, :41] for mask in several[:3]]
    cases["all_equal"] = case([np.full((5, 7), 0.7)] * 3, doubled)

    odd = [mask_of(17, 23, (1, 2, 7, 12), (10, 15, 17, 20)), mask_of(17, 23)]
    odd += [mask_of(17, 23, (4, 4, 12, 9)), mask_of(17, 23)]
    cases["enlarged"] = case(noisy_maps(random, [(7, 9)] * 4, odd, 1.5), odd)

    mixed = [
        mask_of(8, 10, (2, 2, 5, 9)),
        mask_of(9, 15),
        mask_of(5, 7, (0, 5, 2, 7), (4, 0, 5, 1)),
        mask_of(11, 6, (3, 1, 9, 4)),
        mask_of(6, 6),
    ]
    map_sizes = [(4, 5), (6, 6), (12, 16), (1, 6), (1, 1)]
    cases["sizes_mixed"] = case(noisy_maps(random, map_sizes, mixed, 1.0), mixed)

    touching = [
        mask_of(*size, (0, 0, 3, 3), (3, 3, 6, 6), (2, 8, 4, 10), (4, 7, 6, 8), (9, 0, 12, 2)),
        mask_of(*size, (1, 1, 2, 2), (1, 3, 2, 4), (2, 2, 3, 3), (6, 15, 12, 16), (11, 8, 12, 16)),
        np.indices(size).sum(axis=0).astype(np.uint8) % 2,
        good,
    ]
    cases["components_touch_diagonally"] = case(
        noisy_maps(random, [size] * 4, touching, 0.7), touching
    )

    small = (6, 8)
    empty = [mask_of(*small)] * 3
    cases["only_good"] = case(noisy_maps(random, [small] * 3, empty, 0.0), empty)

    defective = [mask_of(*small, r) for r in [(1, 1, 4, 4), (0, 6, 6, 8), (5, 0, 6, 8)]]
    cases["only_defective_images"] = case(
        noisy_maps(random, [small] * 3, defective, 1.0), defective
    )

    full = [np.ones(small, np.uint8)] * 2
    cases["only_defective_pixels"] = case(noisy_maps(random, [small] * 2, full, 0.0), full)

    single = [mask_of(*size, (3, 4, 9, 8), (10, 12, 12, 16))]
    cases["single_image"] = case(noisy_maps(random, [size], single, 1.2), single)

    ranks = [random.uniform(0, 0.5, size=size) + 0.5 * mask for mask in several]
    cases["perfect"] = case(ranks, several)
    cases["inverted"] = case([-m for m in ranks], several, [-m.max() for m in ranks])

    far = [10.0 ** (3 * m) * np.sign(m) for m in noisy_maps(random, sizes, several, 0.8)]
    cases["wide_range"] = case(far, several)
    return cases


def to_json(name, image_scores, image_labels, maps, masks):
    """The case with its expected values, as it is stored."""
    return {
        "name": name,
        "image_scores": [float(s) for s in image_scores],
        "image_labels": [int(label) for label in image_labels],
        "maps": [
            {"height": m.shape[0], "width": m.shape[1], "scores": [float(s) for s in m.ravel()]}
            for m in maps
        ],
        "masks": [
            {"height": m.shape[0], "width": m.shape[1], "data": [int(d) for d in m.ravel()]}
            for m in masks
        ],
        "expected": evaluate(image_scores, image_labels, maps, masks),
    }


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=Path(__file__).resolve().parents[1] / "fixtures" / "metrics",
        help="folder to write to (default: tests/fixtures/metrics)",
    )
    output = parser.parse_args().output
    output.mkdir(parents=True, exist_ok=True)
    for name, content in make_cases().items():
        stored = to_json(name, *content)
        (output / f"{name}.json").write_text(json.dumps(stored, separators=(",", ":")) + "\n")
        print(name, {k: v if v is None else round(v, 6) for k, v in stored["expected"].items()})


if __name__ == "__main__":
    main()
