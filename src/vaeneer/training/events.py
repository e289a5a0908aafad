"""TensorBoard events of a run (the optional extra `tensorboard`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vaeneer.errors import TrainingError


def write_events(folder: Path, line: dict[str, Any]) -> None:
    """Write one epoch's figures (a line of metrics.jsonl) as scalars at its step.

    A resumed epoch writes its step again, and TensorBoard shows the later one.
    Raises TrainingError when TensorBoard is not installed.
    """
    require_tensorboard()
    from torch.utils.tensorboard import SummaryWriter  # slow to import, and optional

    with SummaryWriter(str(folder), purge_step=line["step"]) as writer:
        for side in ("train", "valid"):
            for name, value in line[side].items():
                if isinstance(value, int | float):
                    writer.add_scalar(f"{side}/{name}", value, line["step"])
        writer.add_scalar("images_per_second", line["images_per_second"], line["step"])


def require_tensorboard() -> None:
    """Raise TrainingError, with the remedy, when TensorBoard is not installed."""
    try:
        import tensorboard  # noqa: F401
    except ImportError as error:
        raise TrainingError("TensorBoard is not installed; run: pip install tensorboard") from error
