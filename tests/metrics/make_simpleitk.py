"""Numbers of SimpleITK for the tests of fusion and surface distances; run once, by hand.

    python tests/metrics/make_simpleitk.py tests/metrics/data/simpleitk.json

in an environment with SimpleITK (made with 2.5.7) and NumPy. The masks come from the same seeded
generator in the tests, so only the results are kept.
"""

import json
import sys

import numpy as np


def raters(seed: int, labels: int, shape=(6, 7, 8), n=3) -> np.ndarray:
    """`n` noisy versions of one blob (or of nested ones): rater i errs in 4, 8, 12 ... percent."""
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, s) for s in shape], indexing="ij"))
    radius = np.linalg.norm(grid, axis=0)
    truth = np.zeros(shape, np.int64)
    for label in range(1, labels):
        truth[radius < 1.4 - 0.33 * label] = label
    votes = np.repeat(truth[None], n, axis=0)
    for rater in range(n):
        wrong = rng.random(shape) < 0.04 * (rater + 1)
        votes[rater][wrong] = rng.integers(0, labels, shape)[wrong]
    return votes


def staple(votes: np.ndarray) -> dict:
    import SimpleITK as sitk

    found = sitk.STAPLEImageFilter()
    found.SetForegroundValue(1)
    image = found.Execute([sitk.GetImageFromArray(v.astype(np.uint8)) for v in votes])
    return {
        "sensitivity": list(found.GetSensitivity()),
        "specificity": list(found.GetSpecificity()),
        "probability": sitk.GetArrayFromImage(image).ravel().tolist(),
    }


def multi_label(votes: np.ndarray) -> dict:
    import SimpleITK as sitk

    found = sitk.MultiLabelSTAPLEImageFilter()
    found.SetTerminationUpdateThreshold(1e-12)
    found.SetMaximumNumberOfIterations(5000)
    found.SetLabelForUndecidedPixels(99)
    image = found.Execute([sitk.GetImageFromArray(v.astype(np.uint8)) for v in votes])
    return {
        "consensus": sitk.GetArrayFromImage(image).ravel().tolist(),
        "prior": list(found.GetPriorProbabilities()),
        # input value (its last row: undecided), then true value
        "confusion": [list(found.GetConfusionMatrix(i)) for i in range(len(votes))],
    }


def voting(votes: np.ndarray) -> list:
    import SimpleITK as sitk

    images = [sitk.GetImageFromArray(v.astype(np.uint8)) for v in votes]
    return sitk.GetArrayFromImage(sitk.LabelVoting(images, 99)).ravel().tolist()


def hausdorff(a: np.ndarray, b: np.ndarray, spacing) -> float:
    import SimpleITK as sitk

    images = []
    for mask in (a, b):
        image = sitk.GetImageFromArray(mask.astype(np.uint8).transpose())
        image.SetSpacing(spacing)
        images.append(image)
    found = sitk.HausdorffDistanceImageFilter()
    found.Execute(*images)
    return found.GetHausdorffDistance()


def main() -> None:
    import SimpleITK as sitk

    binary, multi = raters(1, 2), raters(2, 4, n=4)
    spacing = (0.5, 1.25, 3.0)
    result = {
        "version": sitk.Version_VersionString(),
        "binary": staple(binary),
        "multi": multi_label(multi),
        "voting": voting(multi),
        "hausdorff": [
            hausdorff(v[0] > 0, v[1] > 0, spacing) for v in (raters(s, 2) for s in range(10, 16))
        ],
    }
    with open(sys.argv[1], "w") as file:
        json.dump(result, file)


if __name__ == "__main__":
    main()
