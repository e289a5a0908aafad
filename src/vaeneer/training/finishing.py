"""What a run does after each epoch, and at its end."""

from __future__ import annotations

import math
from dataclasses import asdict, replace
from typing import Any

from vaeneer.errors import NonFiniteLossError
from vaeneer.measuring.measurement import measure
from vaeneer.model.checkpoint import save
from vaeneer.progress import Progress
from vaeneer.training.agreement import valid_consistency
from vaeneer.training.events import write_events
from vaeneer.training.figures import epoch_line, spoken
from vaeneer.training.finished_models import finish_models
from vaeneer.training.plots import draw_epoch
from vaeneer.training.run import Run
from vaeneer.training.run_folder import read_metrics
from vaeneer.training.state import check_weights, save_state


def finish_epoch(run: Run, progress: Progress) -> None:
    """Validate, keep the model where it is best, write figures and plots, save the state."""
    check_weights(run.vae, run.folder.state)
    found = measure(
        run.kept,
        run.valid,
        precision=run.precision,
        batch_size=run.recipe.batch_size,
        seed=run.settings.seed,
        title="validating",
        progress=progress,
    )
    apart = valid_consistency(run, progress)
    line = epoch_line(
        run.state,
        run.settings.loss,
        found,
        run.card.training_mean_rgb,
        texture_size=run.kept.texture_size,
        valid_consistency=apart,
        consistency_weight=run.recipe.consistency_weight,
    )
    epoch, loss = line["epoch"], line["valid"]["trained_loss"]
    if not math.isfinite(loss):
        raise NonFiniteLossError(
            f"The validation loss became {loss} after epoch {epoch}; the last good state is in"
            f" {run.folder.state}. Start again with a smaller --learning-rate."
        )
    card = replace(run.card, figures=line["valid"], training=history(run, epoch))
    if run.state.best_loss is None or loss < run.state.best_loss:
        run.state.best_loss, run.state.best_epoch = loss, epoch
        save(run.kept, run.folder.best, card=card)
    save(run.kept, run.folder.last, card=card)
    if epoch % run.settings.checkpoint_every == 0:
        save(run.kept, run.folder.checkpoint(epoch), card=card)
    run.folder.append_metrics(line)
    draw_epoch(run.folder, run.kept, run.valid, found, run.settings.seed)
    if run.settings.tensorboard:
        write_events(run.folder.tensorboard, line)
    run.state.close_epoch()
    save_state(run.folder.state, run.vae, run.averaged, run.optimizer, run.state)
    progress.say(spoken(line, run.recipe.epochs))


def history(run: Run, epoch: int) -> dict[str, Any]:
    """What a model's card says of its training."""
    settings = {**asdict(run.settings), **asdict(run.recipe)}
    if run.settings.cache is not None:
        settings["cache"] = str(run.settings.cache)
    return {"epochs": epoch, "steps": run.state.step, "settings": settings}


def finish_run(run: Run, progress: Progress) -> dict[str, Any]:
    """Finish the kept models; return the last figures."""
    finish_models(run, progress)
    return read_metrics(run.folder.root)[-1]
