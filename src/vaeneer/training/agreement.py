"""Whether crops of one validation image agree: the consistency term of images never trained on."""

from __future__ import annotations

from vaeneer.data.crops import COLUMNS, OneScale, Rows, Views
from vaeneer.data.loader import PackedCrops
from vaeneer.model.losses import consistency_of
from vaeneer.model.vae import eval_mode
from vaeneer.progress import Progress
from vaeneer.rng import NumberTable
from vaeneer.training.run import Run, views_of


def valid_consistency(run: Run, progress: Progress) -> float | None:
    """The mean term over crops of the validation images, the same crops after each epoch.

    In batches of the size that is trained with, in the order of the images. None where the recipe
    has no such term.
    """
    if run.valid_crops is None:
        return None
    views = views_of(run.valid, run.recipe.views)
    table = NumberTable("validation view", run.settings.seed, columns=COLUMNS)
    return _mean_term(run, run.valid_crops, views, table, progress)


def _mean_term(
    run: Run, crops: PackedCrops, views: Views, table: NumberTable, progress: Progress
) -> float:
    numbers: Rows = OneScale(table, views) if run.recipe.one_scale else table
    groups = views.groups(range(views.images), run.recipe.batch_size)
    total, count = 0.0, 0
    title = "validating crops of one surface"
    with (
        eval_mode(run.kept),
        progress.bar(title, total=views.images * views.count, unit="crops") as bar,
    ):
        for batch in crops.batches(groups, numbers):
            with run.precision.autocast():
                posterior = run.kept.encode(batch.images)
            assets = run.sent(views.assets_of(batch.indices))
            terms = consistency_of(posterior, assets, run.recipe, run.kept.texture_size)
            assert terms is not None
            total += float(terms.double().sum())
            count += len(batch.indices)
            bar.advance(len(batch.indices))
    return total / count
