"""The read-out: latents to the unit vectors that search compares, fitted in closed form.

The only labels are "these crops show one image". Directions in which crops of one image differ
(place, turn, light) are made small by within-asset whitening, and the directions in which images
differ are kept: linear discriminant analysis (Fisher 1936; Rao 1948) in two steps. NumPy only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from vaeneer.errors import DataError
from vaeneer.settings import ReadoutSettings

Vectors = NDArray[np.float32]
Floats = NDArray[np.float64]
_JITTER = 1e-8  # of the mean variance: what keeps a covariance invertible without shrinkage
_NOTHING = 1e-10  # relative eigenvalue cutoff (rank tolerance)
Rows = TypeVar("Rows", NDArray[np.float32], NDArray[np.float64])
Cosines = TypeVar("Cosines", float, NDArray[np.float64], NDArray[np.float32])
BINS = 10


@dataclass(frozen=True, eq=False)
class Readout:
    """A linear map and a length: K latents to D numbers."""

    mean: Vectors
    """(K,): what is taken away from the latents first."""
    projection: Vectors
    """(K, D): all linear steps in one."""
    ratios: Vectors
    """(D,): variance between images over that within images, along each of the D; 0 unknown."""
    settings: ReadoutSettings = field(default_factory=ReadoutSettings)
    data: dict[str, Any] = field(default_factory=dict)
    """What it was fitted on, for readout.json."""
    figures: dict[str, Any] = field(default_factory=dict)
    """How well it told crops apart that it was not fitted on, for readout.json."""

    @property
    def dimensions(self) -> int:
        """D: how many numbers a vector has."""
        return int(self.projection.shape[1])

    def __call__(self, latents: NDArray[np.floating[Any]]) -> Vectors:
        """Vectors (B, D) float32 of latents (B, K): of length 1, but for zeros, which stay zeros.

        With the setting `norm` off, the lengths are as they come.
        """
        centred: Vectors = latents.astype(np.float32) - self.mean
        vectors: Vectors = centred @ self.projection
        return unit_length(vectors) if self.settings.norm else vectors


def unit_length(vectors: Rows) -> Rows:
    """Vectors (..., D) scaled to length 1; one of zeros stays so, and its cosines are 0."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    unit: Rows = np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)
    return unit


def plain_readout(size: int, mean: NDArray[np.floating[Any]] | None = None) -> Readout:
    """The read-out of a model that has none: centred where the mean is known, nothing else."""
    steps_off = ReadoutSettings(
        centre=mean is not None, min_relative_std=0, whiten=False, dimensions=0
    )
    centre = np.zeros(size) if mean is None else mean
    return Readout(
        mean=np.asarray(centre, np.float32),
        projection=np.eye(size, dtype=np.float32),
        ratios=np.zeros(size, np.float32),
        settings=steps_off,
    )


def fit_readout(
    latents: NDArray[np.floating[Any]], settings: ReadoutSettings | None = None
) -> Readout:
    """Fit a read-out to the latents of several crops of each image, (images, crops, K).

    Centre; leave out dead latents; whiten by the covariance inside an image; keep the directions
    in which the images' means differ most; weigh them. Each step is a setting. All in float64.
    Raises DataError for latents that are not finite or only one crop of each image, SettingsError
    for a setting out of range.
    """
    settings = settings or ReadoutSettings()
    crops = _checked(latents)
    count, each, size = crops.shape
    mean = crops.mean((0, 1)) if settings.centre else np.zeros(size)
    alive = _alive(crops, settings.min_relative_std)
    image_means = crops.mean(1)[:, alive]  # (images, alive)
    apart = (crops[..., alive] - image_means[:, None]).reshape(count * each, -1)
    within = apart.T @ apart / (count * (each - 1))
    projection = _whitening(within, settings.shrinkage) if settings.whiten else np.eye(len(within))
    means = (image_means - image_means.mean(0)) @ projection
    if settings.dimensions:
        directions = _leading(means, settings.dimensions)
        projection, means = projection @ directions, means @ directions
    ratios = _ratios(means, within, projection)
    whole = np.zeros((size, projection.shape[1]))
    whole[alive] = projection * np.maximum(ratios, _NOTHING) ** settings.discriminant_power
    return Readout(
        mean.astype(np.float32), whole.astype(np.float32), ratios.astype(np.float32), settings
    )


def _checked(latents: NDArray[np.floating[Any]]) -> Floats:
    crops = np.asarray(latents, np.float64)
    if crops.ndim != 3 or 0 in crops.shape:
        raise DataError(
            f"latents have shape {crops.shape}; a read-out is fitted to (images, crops, K)."
        )
    if crops.shape[1] < 2:
        raise DataError(
            "There is 1 crop of each image; a read-out is fitted to 2 or more, which show what"
            " varies inside an image."
        )
    if not np.isfinite(crops).all():
        raise DataError("Some latents are not finite; the model's weights are broken.")
    return crops


def _alive(crops: Floats, dead: float) -> NDArray[np.intp]:
    """Which latents vary at least `dead` times as much as the one that varies most."""
    spread = crops.std((0, 1))
    alive: NDArray[np.intp] = np.flatnonzero(spread >= dead * spread.max())
    return alive


def _whitening(within: Floats, shrinkage: float) -> Floats:
    """A matrix W with W.T @ within @ W = identity, but for the shrinkage.

    The inverse of the Cholesky factor is Sw^(-1/2) up to a rotation, which changes no cosine and
    takes a tenth of the time of an eigendecomposition.
    """
    from scipy.linalg import cholesky, solve_triangular

    size = len(within)
    variance = np.trace(within) / size
    if variance == 0:  # crops of an image never differ: nothing to whiten
        return np.eye(size)
    shrunk = (1 - shrinkage) * within + max(shrinkage, _JITTER) * variance * np.eye(size)
    factor = cholesky(shrunk, lower=True)
    inverse: Floats = solve_triangular(factor, np.eye(size), lower=True).T
    return inverse


def _leading(means: Floats, most: int) -> Floats:
    """Orthonormal directions (K, D) in which centred means (n, K) vary most, widest first."""
    from scipy.linalg import eigh

    count, size = means.shape
    if count < size:  # the smaller of the two products has the same variances
        variances, rows = eigh(means @ means.T)
        kept = _widest(variances, most)
        directions = means.T @ rows[:, kept] / np.sqrt(np.maximum(variances[kept], 1e-300))
    else:
        variances, columns = eigh(means.T @ means)
        kept = _widest(variances, most)
        directions = columns[:, kept]
    largest = np.abs(directions).argmax(0)
    signs = np.where(directions[largest, np.arange(len(kept))] < 0, -1.0, 1.0)
    signed: Floats = directions * signs  # which of both an eigenvector is means nothing
    return signed


def _widest(variances: Floats, most: int) -> NDArray[np.intp]:
    """Places of the largest of rising variances, without those of rounding alone; at least one."""
    real = int((variances > _NOTHING * variances[-1]).sum())
    return np.arange(len(variances))[::-1][: max(1, min(most, real))]


def _ratios(means: Floats, within: Floats, projection: Floats) -> Floats:
    """Variance between images over that within, along each column of the projection, (D,)."""
    between = np.square(means).mean(0)
    inside = np.einsum("kd,kd->d", projection, within @ projection)
    ratios: Floats = np.divide(between, inside, out=np.zeros_like(between), where=inside > 0)
    return ratios


@dataclass(frozen=True)
class Reliability:
    """One bin of a reliability diagram: predicted and observed probability."""

    predicted: float
    """Mean probability of the pairs in the bin."""
    observed: float
    """Share of them that show one surface, both classes weighing the same."""
    weight: float
    """Share of all pairs in the bin, both classes weighing the same; all bins sum to 1."""


@dataclass(frozen=True)
class Calibration:
    """P(same surface) = 1 / (1 + exp(-(slope * cosine + intercept)))."""

    slope: float
    intercept: float
    error: float
    """Expected calibration error: the weighted mean of |predicted - observed|."""
    images: int
    """Images behind the pairs; none of them behind the read-out."""
    same_pairs: int
    different_pairs: int
    reliability: tuple[Reliability, ...]
    """The bins that hold a pair, of ten between 0 and 1."""

    def probability(self, cosine: Cosines) -> Cosines:
        """The probability in [0, 1] of each cosine, in the same shape."""
        return logistic(self.slope * cosine + self.intercept)


def logistic(log_odds: Cosines) -> Cosines:
    """The probability of log-odds, in any shape, exact in both tails.

    As scipy.special.expit, whose import would take a tenth of a search from the command line.
    """
    likely: Cosines = np.exp(-np.logaddexp(0.0, -log_odds))
    return likely


def fit_calibration(same: Floats, different: Floats, *, images: int = 0) -> Calibration:
    """Fit the curve to cosines of pairs, (S,) of one surface and (D,) of two.

    Raises DataError where either is empty or a cosine is not finite.
    """
    if not same.size or not different.size:
        raise DataError(
            f"A probability needs pairs of both kinds, and there are {same.size} of one surface"
            f" and {different.size} of two; give images of two surfaces or more."
        )
    cosines = np.concatenate([same, different]).astype(np.float64)
    if not np.isfinite(cosines).all():
        raise DataError("Some cosines are not finite; the model's weights are broken.")
    high, low = (same.size + 1) / (same.size + 2), 1 / (different.size + 2)
    targets = np.repeat([high, low], [same.size, different.size])
    weights = np.repeat([0.5 / same.size, 0.5 / different.size], [same.size, different.size])
    slope, intercept = _fit_logistic(cosines, targets, weights)
    said = logistic(slope * cosines + intercept)
    bins = _reliability(said, np.arange(cosines.size) < same.size, weights)
    error = sum(part.weight * abs(part.predicted - part.observed) for part in bins)
    return Calibration(slope, intercept, error, images, same.size, different.size, bins)


def calibration_of(values: dict[str, Any]) -> Calibration:
    """The calibration that readout.json holds; raises TypeError or ValueError for anything else."""
    older = {"said": "predicted", "found": "observed"}  # in models from before vaeneer 0.1
    bins = tuple(
        Reliability(**{older.get(name, name): value for name, value in part.items()})
        for part in values["reliability"]
    )
    found = Calibration(**{**values, "reliability": bins})
    if not (math.isfinite(found.slope) and math.isfinite(found.intercept)):
        raise ValueError("a slope that is not finite")
    return found


def _fit_logistic(cosines: Floats, targets: Floats, weights: Floats) -> tuple[float, float]:
    """Slope and intercept of least weighted cross entropy (Platt scaling)."""
    from scipy.optimize import minimize

    design = np.stack([cosines, np.ones_like(cosines)], axis=1)

    def loss(curve: Floats) -> tuple[float, Floats]:
        odds = design @ curve
        gradient = design.T @ (weights * (logistic(odds) - targets))
        return float(weights @ (np.logaddexp(0, odds) - targets * odds)), gradient

    def curvature(curve: Floats) -> Floats:
        likely = logistic(design @ curve)
        return design.T @ ((weights * likely * (1 - likely))[:, None] * design)

    found = minimize(
        loss, np.zeros(2), jac=True, hess=curvature, method="trust-ncg", options={"gtol": 1e-12}
    )
    return float(found.x[0]), float(found.x[1])


def _reliability(
    said: Floats, is_same: NDArray[np.bool_], weights: Floats
) -> tuple[Reliability, ...]:
    places = np.minimum((said * BINS).astype(int), BINS - 1)
    parts = []
    for place in np.unique(places):
        held = places == place
        weight = float(weights[held].sum())
        mean = float(weights[held] @ said[held]) / weight
        found = float(weights[held & is_same].sum()) / weight
        parts.append(Reliability(mean, found, weight))
    return tuple(parts)
