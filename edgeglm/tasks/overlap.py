"""How well maps of classes cover each other: counts of pixels, and intersection over union."""

from __future__ import annotations

import numpy as np


def pixel_counts(
    predicted: np.ndarray, targets: np.ndarray, *, classes: int, ignore: int | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return what of each class is in each image: pixels right, pixels predicted, pixels meant; each (N, K) int64.

    Args:
        predicted: (N, H, W) class numbers.
        targets: (N, H, W) class numbers; those equal to ``ignore`` count nowhere.
        classes: K.
        ignore: A number that stands for no class; None: every pixel counts.
    """
    n = len(targets)
    right, said, meant = (np.zeros((n, classes), np.int64) for _ in range(3))
    for row in range(n):  # one image at a time: a whole split of pixels beside itself is too much memory
        wanted, found = targets[row].ravel(), predicted[row].ravel()
        if ignore is not None:
            seen = wanted != ignore
            wanted, found = wanted[seen], found[seen]
        right[row] = np.bincount(wanted[wanted == found], minlength=classes)
        said[row] = np.bincount(found, minlength=classes)
        meant[row] = np.bincount(wanted, minlength=classes)
    return right, said, meant


def confusion(predicted: np.ndarray, targets: np.ndarray, *, classes: int, ignore: int | None = None) -> np.ndarray:
    """Return how many pixels of each class became which, (K, K) int64, [target][predicted]."""
    total = np.zeros(classes**2, np.int64)
    for wanted, found in zip(targets, predicted, strict=True):
        pairs = wanted.ravel().astype(np.int64) * classes + found.ravel()
        if ignore is not None:
            pairs = pairs[wanted.ravel() != ignore]
        total += np.bincount(pairs, minlength=classes**2)
    return total.reshape(classes, classes)


def class_iou(right: np.ndarray, said: np.ndarray, meant: np.ndarray) -> np.ndarray:
    """Return intersection over union by class, (..., K) 0 to 1, of counts (..., K); NaN for a class never meant."""
    union = said + meant - right
    return np.asarray(np.divide(right, union, out=np.full(union.shape, np.nan), where=meant > 0))


def mean_iou(right: np.ndarray, said: np.ndarray, meant: np.ndarray) -> np.ndarray:
    """Return the mean over the classes that are meant anywhere, (...) of counts (..., K).

    A class that no target holds is left out, also where pixels are put into it: those lower the class that they
    were taken from. So two models, and every resample, are judged on classes that the data decides.
    """
    iou = class_iou(right, said, meant)
    known = ~np.isnan(iou)
    return np.asarray(np.where(known, iou, 0).sum(axis=-1) / np.maximum(known.sum(axis=-1), 1))
