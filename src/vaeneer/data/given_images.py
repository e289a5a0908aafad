"""Images that a caller has in memory, as Pillow's: arrays and tensors of any usual layout."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vaeneer.data.images import to_rgb
from vaeneer.errors import DataError

_ROUNDING = 1e-3  # what resizing and bfloat16 may add to [0, 1]


def picture_of(image: Any) -> Image.Image:
    """One image in memory as an RGB picture.

    image: a Pillow image of any mode; an array (H, W), (H, W, 1), (H, W, 3) or (H, W, 4); or a
    tensor (H, W), (1, H, W), (3, H, W) or (4, H, W). Numbers are uint8, or float in [0, 1]; alpha
    is left out. Raises DataError for anything else.
    """
    if isinstance(image, Image.Image):
        return to_rgb(image)
    if is_tensor(image):
        pixels = image.detach().cpu()
        pixels = pixels.float().numpy() if pixels.is_floating_point() else pixels.numpy()
        if pixels.ndim == 3:
            if pixels.shape[0] not in (1, 3, 4):
                raise _refused(image, "a tensor (3, H, W)")
            pixels = pixels.transpose(1, 2, 0)
    elif isinstance(image, np.ndarray):
        pixels = image
    else:
        raise DataError(
            f"a {type(image).__name__} is no image; give a file, a picture, an array or a tensor."
        )
    return Image.fromarray(_rgb(pixels, image))


def is_tensor(image: Any) -> bool:
    """Whether an object is one of PyTorch's tensors, found without importing PyTorch."""
    return type(image).__module__.partition(".")[0] == "torch" and hasattr(image, "detach")


def _rgb(pixels: NDArray[Any], image: Any) -> NDArray[np.uint8]:
    """Pixels (H, W) or (H, W, 1, 3 or 4) as (H, W, 3) uint8."""
    if pixels.ndim == 2:
        pixels = pixels[:, :, None]
    if pixels.ndim != 3 or pixels.shape[2] not in (1, 3, 4) or 0 in pixels.shape:
        raise _refused(image, "an array (H, W, 3)")
    if pixels.dtype == np.uint8:
        levels = pixels
    elif np.issubdtype(pixels.dtype, np.floating):
        low, high = float(pixels.min()), float(pixels.max())
        if not (low >= -_ROUNDING and high <= 1 + _ROUNDING):
            raise DataError(
                f"float images lie in [0, 1], and this one goes from {low:g} to {high:g};"
                " divide by 255, or give uint8."
            )
        levels = np.rint(np.clip(pixels.astype(np.float32), 0, 1) * 255).astype(np.uint8)
    else:
        raise DataError(f"the image is {pixels.dtype}; give uint8, or float in [0, 1].")
    colours = levels[:, :, :3]
    return np.ascontiguousarray(np.repeat(colours, 3, axis=2) if colours.shape[2] == 1 else colours)


def _refused(image: Any, remedy: str) -> DataError:
    return DataError(f"the image has shape {tuple(image.shape)}; give {remedy}.")
