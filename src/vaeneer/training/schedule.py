"""What changes from step to step: the step size, the weight of the KL term, the average's reach."""

from __future__ import annotations

import math

from vaeneer.settings.training import Recipe


def learning_rate(recipe: Recipe, step: int, steps: int) -> float:
    """The step size at `step` (from 0) of `steps`: a linear rise, then a cosine to its end.

    Loshchilov & Hutter 2017, eq. 5, with `final_rate` as the share that is left at the end.
    """
    rise = recipe.warmup * steps
    if step < rise:
        return recipe.learning_rate * (step + 1) / (rise + 1)
    done = min((step - rise) / max(steps - rise, 1), 1.0)
    falling = 0.5 * (1 + math.cos(math.pi * done))
    return recipe.learning_rate * (recipe.final_rate + (1 - recipe.final_rate) * falling)


def kl_share(recipe: Recipe, step: int, steps: int) -> float:
    """The share of beta at `step`: it rises linearly to 1 (KL warm-up; Bowman et al. 2016)."""
    return min(1.0, (step + 1) / (recipe.kl_warmup * steps + 1))


def average_share(recipe: Recipe, step: int) -> float:
    """What the averaged weights keep at `step`: little at first, when they know little."""
    return min(recipe.averaging, (1 + step) / (10 + step))
