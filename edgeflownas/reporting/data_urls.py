"""Pictures as data URLs, so that a page needs no other file."""

import base64
from collections.abc import Sequence

import cv2
import numpy as np


def png_url(pixels: np.ndarray) -> str:
    """A data URL of pixels (H, W, 3 or 4) uint8, RGB or RGBA."""
    order = cv2.COLOR_RGBA2BGRA if pixels.shape[-1] == 4 else cv2.COLOR_RGB2BGR
    return _data_url("png", cv2.cvtColor(pixels, order), [cv2.IMWRITE_PNG_COMPRESSION, 9])


def jpeg_url(pixels: np.ndarray) -> str:
    """A data URL of a frame (H, W, 3) uint8, RGB: a photograph, for which PNG is five times as large."""
    return _data_url("jpeg", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 90])


def _data_url(kind: str, pixels: np.ndarray, options: Sequence[int]) -> str:
    encoded = cv2.imencode(f".{kind}", pixels, options)[1].tobytes()
    return f"data:image/{kind};base64,{base64.b64encode(encoded).decode()}"
