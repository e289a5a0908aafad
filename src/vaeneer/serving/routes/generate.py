"""Routes that decode with a network: samples, reconstructions, interpolations."""

from __future__ import annotations

from typing import Annotated

import torch
from fastapi import APIRouter, Query
from PIL import Image
from pydantic import BaseModel, Field

from vaeneer.data.crops import Pixels
from vaeneer.data.images import resize_rgb
from vaeneer.data.loader import to_tensor
from vaeneer.errors import ImageFileError
from vaeneer.evaluation.per_image import psnr_db
from vaeneer.evaluation.plots import reconstructed, to_pixels
from vaeneer.generate import draw_samples
from vaeneer.library.catalog import PixelBox
from vaeneer.library.library import Library
from vaeneer.library.search.query import LEAST_PX, box_of
from vaeneer.model.vae import VAE, eval_mode
from vaeneer.provenance import picture_options
from vaeneer.serving.models import ServedLibrary
from vaeneer.serving.schemas import API, LibraryName, Number, Problem, Whole, answer
from vaeneer.serving.state import AppState, State, TheLibrary
from vaeneer.web.pages import image_url

router = APIRouter(prefix=API)
_LARGEST = 2**63 - 1
ItemId = Annotated[Whole, Query(ge=0, le=_LARGEST)]
Model = Annotated[
    str | None, Query(max_length=255, description="A run, or a bundled model, to draw with.")
]
Epoch = Annotated[
    Whole | None, Query(ge=1, le=10**6, description="Of a run: a model that it kept.")
]


@answer
class PicturesAnswer:
    """Pictures as data: addresses, PNG."""

    images: list[str]


@answer
class ReconstructAnswer:
    """A picture and its reconstruction, as data: addresses."""

    original: str
    reconstruction: str
    psnr_db: float | None
    """Peak signal-to-noise ratio; None where equal."""


@answer
class InterpolateAnswer(PicturesAnswer):
    """Decoded pictures from one item to another."""

    t: list[float]


class SampleRequest(BaseModel, extra="forbid"):
    """Pictures to draw from the prior."""

    count: Whole = Field(16, ge=1, le=64, examples=[4])
    seed: Whole = Field(0, ge=0, le=2**63 - 1)
    temperature: Number = Field(1.0, ge=0, le=3, description="Scale of the latents.")
    library: LibraryName | None = Field(None, description="Whose network draws.")
    model: LibraryName | None = Field(
        None,
        description="A bundled model, or a run, instead of a library.",
        examples=["surface-base"],
    )
    epoch: Whole | None = Field(
        None, ge=1, le=10**6, description="Of a run: the model that it kept after this epoch."
    )


@router.post("/sample", summary="Random samples")
async def sample(state: State, body: SampleRequest) -> PicturesAnswer:
    """Pictures drawn from the prior; one seed, the same pictures as `vaeneer sample`."""

    def work() -> PicturesAnswer:
        vae = _vae(state, body.library, body.model, body.epoch)
        pixels = draw_samples(
            vae, body.count, body.seed, temperature=body.temperature, run=state.batcher.do
        )
        return PicturesAnswer(images=[data_address(one) for one in pixels])

    return await state.pool.submit(work)


@router.get("/reconstruct", summary="What the network keeps")
async def reconstruct(
    state: State,
    library: TheLibrary,
    item: ItemId,
    box: Annotated[
        str | None, Query(max_length=80, description="x,y,width,height", examples=["0,0,128,128"])
    ] = None,
    model: Model = None,
    epoch: Epoch = None,
) -> ReconstructAnswer:
    """An item, or a box on it, and its decoded posterior mean; of a long one the middle square."""

    def work() -> ReconstructAnswer:
        vae = _vae(state, library.name, model, epoch)
        inside = None if box is None else box_of(box)
        pixels = _square(state, library, item, inside, vae.image_side_px)
        answer = state.batcher.do(lambda: reconstructed(vae, [pixels])[0])
        ratio = psnr_db(*(to_tensor([one]).double() for one in (pixels, answer)))
        return ReconstructAnswer(
            original=data_address(pixels),
            reconstruction=data_address(answer),
            psnr_db=None if (pixels == answer).all() else round(float(ratio), 3),
        )

    return await state.pool.submit(work)


@router.get("/interpolate", summary="Between two items")
async def interpolate(
    state: State,
    library: TheLibrary,
    a: ItemId,
    b: ItemId,
    steps: Annotated[Whole, Query(ge=2, le=16)] = 8,
    model: Model = None,
    epoch: Epoch = None,
) -> InterpolateAnswer:
    """Decoded points of the line from one item's posterior mean to the other's."""

    def work() -> InterpolateAnswer:
        vae = _vae(state, library.name, model, epoch)
        ends = [_square(state, library, one, None, vae.image_side_px) for one in (a, b)]
        t = torch.linspace(0, 1, steps)

        def decoded() -> list[Pixels]:
            means = vae.representation(to_tensor(ends).to(vae.device))
            z = torch.lerp(means[:1], means[1:], t[:, None].to(means.device))
            with eval_mode(vae):
                return to_pixels(vae.decode(z).sigmoid())

        images = [data_address(one) for one in state.batcher.do(decoded)]
        return InterpolateAnswer(images=images, t=[round(float(one), 4) for one in t])

    return await state.pool.submit(work)


def data_address(pixels: Pixels) -> str:
    """A PNG file of pixels (H, W, 3) uint8 as a data: address."""
    return image_url(Image.fromarray(pixels), "PNG", **picture_options("PNG"))


def _vae(state: AppState, library: str | None, model: str | None, epoch: int | None) -> VAE:
    """The network of a model or run, else that of a library. Raises Problem 404, 422, 503."""
    if model is not None:
        return state.models.of(model, epoch)
    if epoch is not None:
        raise Problem(422, "epoch: name a run as the model.")
    return state.library(library).ready().embedder.vae


def _square(
    state: AppState, library: ServedLibrary, number: int, box: PixelBox | None, side_px: int
) -> Pixels:
    """The network's input for an item, (side, side, 3) uint8. Raises Problem 404, 422."""
    item, settings = library.item(number), state.settings
    megapixels = item.width_px * item.height_px / 1e6
    if megapixels > settings.max_megapixels:
        raise Problem(422, f"{item.path} has {megapixels:,.0f} megapixels, too many here.")
    try:
        with state.pixels.taking(megapixels, settings.timeout_seconds):
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
