"""pythae's side of benchmarks/training.py: the reference network and crops under its BaseTrainer.

Runs in the environment that pythae_environment.sh makes; nothing of vaeneer is imported but the
file of the network, by its path.
"""

from __future__ import annotations

import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from pythae.data.datasets import DatasetOutput
from pythae.models import VAE, VAEConfig
from pythae.models.base.base_utils import ModelOutput
from pythae.models.nn import BaseDecoder, BaseEncoder
from pythae.trainers import BaseTrainer, BaseTrainerConfig
from pythae.trainers.training_callbacks import TrainingCallback
from seed_recipe import BATCH_SIZE, SIDE_PX, CropDataset, reference
from sides import serve
from torch import Tensor


class Encoder(BaseEncoder):
    """The reference's encoder in pythae's words."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = reference.Encoder()

    def forward(self, images: Tensor) -> ModelOutput:
        mean, log_var = self.layers(images)
        return ModelOutput(embedding=mean, log_covariance=log_var)


class Decoder(BaseDecoder):
    """The reference's decoder with its sigmoid in pythae's words."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = reference.Decoder()

    def forward(self, z: Tensor) -> ModelOutput:
        return ModelOutput(reconstruction=torch.sigmoid(self.layers(z)))


class Crops(CropDataset):
    """The same crops of the same files in pythae's words."""

    def __getitem__(self, index: int) -> DatasetOutput:
        return DatasetOutput(data=super().__getitem__(index))


class EpochTimes(TrainingCallback):
    """The wall-clock of each epoch of the trainer."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def on_epoch_begin(self, training_config: BaseTrainerConfig, **kwargs: Any) -> None:
        self._started = time.perf_counter()

    def on_epoch_end(self, training_config: BaseTrainerConfig, **kwargs: Any) -> None:
        self.seconds.append(time.perf_counter() - self._started)


def train(folder: str, epochs: int = 1, workers: int = 2) -> dict[str, Any]:
    """pythae's BaseTrainer over the images of `folder`."""
    began = time.perf_counter()
    data, times = Crops(Path(folder)), EpochTimes()
    shape = (3, SIDE_PX, SIDE_PX)
    settings = VAEConfig(input_dim=shape, latent_dim=512, reconstruction_loss="bce")
    with tempfile.TemporaryDirectory() as out:
        trainer = BaseTrainer(
            VAE(settings, encoder=Encoder(), decoder=Decoder()),
            train_dataset=data,
            training_config=BaseTrainerConfig(
                output_dir=out,
                num_epochs=epochs,
                per_device_train_batch_size=BATCH_SIZE,
                train_dataloader_num_workers=workers,
                learning_rate=1e-3,
                no_cuda=True,
            ),
            callbacks=[times],
        )
        trainer.train()
    images = len(data) * epochs
    return {
        "images": images,
        "workers": workers,
        "epoch_seconds": times.seconds,
        "images_per_second": images / sum(times.seconds),
        "whole_seconds": time.perf_counter() - began,
    }


def versions() -> dict[str, Any]:
    """What is installed here."""
    return {name: version(name) for name in ("pythae", "torch", "pydantic", "numpy", "pillow")}


if __name__ == "__main__":
    serve(train=train, versions=versions)
