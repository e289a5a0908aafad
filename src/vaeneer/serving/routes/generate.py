"""Routes that draw with a network: samples, reconstructions, pictures between two surfaces."""

from __future__ import annotations

import base64
import io
import math
from functools import partial
from typing import Annotated, Any

import numpy as np
import torch
from fastapi import APIRouter, Query, Response
from PIL import Image
from torch import Tensor

from vaeneer.data.crops import Pixels
from vaeneer.data.images import resize_rgb
from vaeneer.data.loader import to_tensor
from vaeneer.errors import ImageFileError
from vaeneer.evaluation.plots import to_pixels
from vaeneer.library.catalog import PixelBox
from vaeneer.library.library import Library
from vaeneer.library.search.query import LEAST_PX, box_of
from vaeneer.model.vae import VAE, eval_mode
from vaeneer.provenance import picture_options
from vaeneer.serving import schemas
from vaeneer.serving.models import ServedLibrary
from vaeneer.serving.problems import Json, Problem, Whole
from vaeneer.serving.schemas import API
from vaeneer.serving.state import AppState, State, TheLibrary

router = APIRouter(prefix=API)
_AT_ONCE = 16  # as in generate.py, so that one seed gives the same pictures there
_LARGEST = 2**63 - 1
ItemId = Annotated[Whole, Query(ge=0, le=_LARGEST)]
Model = Annotated[
    str | None, Query(max_length=255, description="A run, or a bundled model, to draw with.")
]
Epoch = Annotated[
    Whole | None, Query(ge=1, le=10**6, description="Of a run: a model that it kept.")
]


@router.post("/sample", summary="Random samples", response_model=schemas.PicturesAnswer)
async def sample(house: State, asked: schemas.SampleRequest) -> Response:
    """Pictures drawn from the prior; one seed, the same pictures as `vaeneer sample`."""

    def work() -> list[str]:
        vae = _network(house, asked.library, asked.model, asked.epoch)
        random = torch.Generator().manual_seed(asked.seed)
        pixels: list[Pixels] = []
        while len(pixels) < asked.count:
            count = min(_AT_ONCE, asked.count - len(pixels))
            z = asked.temperature * torch.randn(count, vae.latent_size, generator=random)
            pixels += house.network.do(partial(_decoded, vae, z))
        return [data_address(one) for one in pixels]

    return Json({"images": await house.workroom.submit(work)})


@router.get(
    "/reconstruct", summary="What the network keeps", response_model=schemas.ReconstructAnswer
)
async def reconstruct(
    house: State,
    library: TheLibrary,
    item: ItemId,
    box: Annotated[
        str | None, Query(max_length=80, description="x,y,width,height", examples=["0,0,128,128"])
    ] = None,
    model: Model = None,
    epoch: Epoch = None,
) -> Response:
    """An item, or a box on it, and its decoded posterior mean; of a long one the middle square."""

    def work() -> dict[str, Any]:
        vae = _network(house, library.name, model, epoch)
        asked = None if box is None else box_of(box)
        pixels = _square(house, library, item, asked, vae.image_side_px)
        answer = house.network.do(lambda: _reconstructed(vae, pixels))
        return {
            "original": data_address(pixels),
            "reconstruction": data_address(answer),
            "psnr_db": psnr_db(pixels, answer),
        }

    return Json(await house.workroom.submit(work))


@router.get("/interpolate", summary="Between two items", response_model=schemas.InterpolateAnswer)
async def interpolate(
    house: State,
    library: TheLibrary,
    a: ItemId,
    b: ItemId,
    steps: Annotated[Whole, Query(ge=2, le=16)] = 8,
    model: Model = None,
    epoch: Epoch = None,
) -> Response:
    """Decoded points of the line from one item's posterior mean to the other's."""

    def work() -> dict[str, Any]:
        vae = _network(house, library.name, model, epoch)
        ends = [_square(house, library, one, None, vae.image_side_px) for one in (a, b)]
        t = torch.linspace(0, 1, steps)
        pixels = house.network.do(lambda: _between(vae, ends, t))
        values = [round(float(one), 4) for one in t]
        return {"images": [data_address(one) for one in pixels], "t": values}

    return Json(await house.workroom.submit(work))


def data_address(pixels: Pixels) -> str:
    """A PNG file of pixels (H, W, 3) uint8 as a data: address."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG", **picture_options("PNG"))
    return f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}"


def psnr_db(one: Pixels, other: Pixels) -> float | None:
    """Peak signal-to-noise ratio of two pictures of uint8, decibels; None where they are equal."""
    error = float(np.mean((one.astype(np.float64) - other.astype(np.float64)) ** 2))
    return None if error == 0 else round(10 * math.log10(255**2 / error), 3)


def _network(house: AppState, library: str | None, model: str | None, epoch: int | None) -> VAE:
    """A library's own network, unless another is named. Raises Problem 404, 422, 503."""
    if model is not None:
        return house.drawn.of(model, epoch)
    if epoch is not None:
        raise Problem(422, "epoch: name a run as the model.")
    return house.library(library).ready().embedder.vae


def _square(
    house: AppState, library: ServedLibrary, number: int, box: PixelBox | None, side_px: int
) -> Pixels:
    """What the network sees of an item, (side, side, 3) uint8. Raises Problem 404, 422."""
    item, settings = library.item(number), house.settings
    megapixels = item.width_px * item.height_px / 1e6
    if megapixels > settings.max_megapixels:
        raise Problem(422, f"{item.path} has {megapixels:,.0f} megapixels, too many here.")
    try:
        with house.pixels.taking(megapixels, settings.timeout_seconds):
            # a small box wants the pixels of the whole file
            least = side_px if box is None else None
            picture = Library(library.folder, catalog=library.catalog).picture(
                item, at_least_px=least
            )
    except ImageFileError as error:
        raise Problem(422, f"{item.path}: {error.reason}") from None
    if box is not None:
        x, y, width, height = box
        inside = x >= 0 and y >= 0 and x + width <= item.width_px and y + height <= item.height_px
        if not inside or min(width, height) < LEAST_PX:
            raise Problem(422, f"box: give one of {LEAST_PX} px or more inside the picture.")
        picture = picture.crop((x, y, x + width, y + height))
    side = min(picture.size)
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    return resize_rgb(picture.crop((left, top, left + side, top + side)), side_px)


def _decoded(vae: VAE, z: Tensor) -> list[Pixels]:
    with eval_mode(vae):
        return to_pixels(vae.decode(z.to(next(vae.parameters()).device)).sigmoid())


def _reconstructed(vae: VAE, pixels: Pixels) -> Pixels:
    device = next(vae.parameters()).device
    return to_pixels(vae.reconstruct(to_tensor([pixels]).to(device)))[0]


def _between(vae: VAE, ends: list[Pixels], t: Tensor) -> list[Pixels]:
    device = next(vae.parameters()).device
    means = vae.representation(to_tensor(ends).to(device))
    return _decoded(vae, torch.lerp(means[:1], means[1:], t[:, None].to(device)))
