"""Corrupted test images (noise, blur, warps, light), which show how robust a network is.

Twelve corruptions of the kind of MNIST-C (Mu and Gilmer, MNIST-C: a robustness benchmark for
computer vision, 2019), of about its severities, each written for a whole stack of images.
Everything random in one comes from a generator seeded by its name: every run and every loss sees
the same corrupted images. Does not belong here: what a network makes of them.

Inside, images are float32 [n, 28, 28] in [0, 1]; what leaves that range is clipped at the end.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.random import Generator
from scipy import ndimage

_CENTRE = (28 - 1) / 2  # of rows and of columns


def corrupt(name: str, images: np.ndarray) -> np.ndarray:
    """New images, uint8 [n, 28, 28], under a corruption of `CORRUPTIONS`: always the same bytes."""
    generator = np.random.default_rng(list(name.encode()))
    corrupted = CORRUPTIONS[name]((images / np.float32(255)).astype(np.float32), generator)
    return np.rint(np.clip(corrupted, 0, 1) * 255).astype(np.uint8)


def gaussian_noise(images: np.ndarray, generator: Generator) -> np.ndarray:
    """With a standard deviation of 0.38."""
    return images + 0.38 * generator.standard_normal(images.shape, np.float32)


def shot_noise(images: np.ndarray, generator: Generator) -> np.ndarray:
    """As of a sensor that counts photons, 3 of them where it is brightest."""
    return generator.poisson(images * 3) / np.float32(3)


def impulse_noise(images: np.ndarray, generator: Generator) -> np.ndarray:
    """17 % of the pixels are black or white, whatever they were."""
    chance = generator.random(images.shape, np.float32)
    return np.where(chance < 0.17, chance < 0.085, images)


def gaussian_blur(images: np.ndarray, generator: Generator) -> np.ndarray:
    """With a standard deviation of 1.5 pixels."""
    return ndimage.gaussian_filter(images, (0, 1.5, 1.5))


def motion_blur(images: np.ndarray, generator: Generator) -> np.ndarray:
    """Along 5 pixels of one of the diagonals."""
    diagonal = np.eye(5, dtype=np.float32)[None] / 5
    return _either_way(
        images,
        generator,
        lambda part, sign: ndimage.convolve(part, diagonal[:, ::sign], mode="constant"),
    )


def shear(images: np.ndarray, generator: Generator) -> np.ndarray:
    """Rows move to the left or to the right, by 0.4 of their height over the centre."""
    return _either_way(images, generator, lambda part, sign: _warp(part, [[1, 0], [0.4 * sign, 1]]))


def scale(images: np.ndarray, generator: Generator) -> np.ndarray:
    """To 0.7 of their size."""
    return _warp(images, [[1 / 0.7, 0], [0, 1 / 0.7]])


def rotate(images: np.ndarray, generator: Generator) -> np.ndarray:
    """By 0.4 radians, 23 degrees, to the left or to the right."""
    cos, sin = np.cos(0.4), np.sin(0.4)
    return _either_way(
        images, generator, lambda part, sign: _warp(part, [[cos, sign * sin], [-sign * sin, cos]])
    )


def translate(images: np.ndarray, generator: Generator) -> np.ndarray:
    """By 3 pixels up or down, and 3 to the left or to the right."""
    images = _either_way(
        images, generator, lambda part, sign: ndimage.shift(part, (0, 3 * sign, 0), order=0)
    )
    return _either_way(
        images, generator, lambda part, sign: ndimage.shift(part, (0, 0, 3 * sign), order=0)
    )


def brightness(images: np.ndarray, generator: Generator) -> np.ndarray:
    """Half of white is added."""
    return images + np.float32(0.5)


def stripe(images: np.ndarray, generator: Generator) -> np.ndarray:
    """The 7 columns at the left and the 7 at the right are inverted."""
    inside = abs(np.arange(28) - _CENTRE) < 7
    return np.where(inside, images, 1 - images)


def fog(images: np.ndarray, generator: Generator) -> np.ndarray:
    """Clouds of every size, the small ones thinner, as bright as one and a half inks."""
    clouds = np.zeros_like(images)
    for size, thickness in ((3, 1.0), (7, 0.5), (14, 0.25)):
        grid = generator.random((len(images), size, size), np.float32)
        clouds += thickness * ndimage.zoom(grid, (1, 28 / size, 28 / size), order=1)
    low, high = clouds.min(axis=(1, 2), keepdims=True), clouds.max(axis=(1, 2), keepdims=True)
    return (images + 1.5 * (clouds - low) / (high - low)) / 2.5


CORRUPTIONS: dict[str, Callable[[np.ndarray, Generator], np.ndarray]] = {
    function.__name__: function
    for function in (
        *(gaussian_noise, shot_noise, impulse_noise, gaussian_blur, motion_blur, shear),
        *(scale, rotate, translate, brightness, stripe, fog),
    )
}


def _either_way(
    images: np.ndarray, generator: Generator, change: Callable[[np.ndarray, int], np.ndarray]
) -> np.ndarray:
    """`change(part, sign)` with a sign, 1 or -1, that is drawn for each image."""
    signs = generator.choice((1, -1), len(images))
    changed = np.empty_like(images)
    for sign in (1, -1):
        changed[signs == sign] = change(images[signs == sign], sign)
    return changed


def _warp(images: np.ndarray, matrix: list[list[float]]) -> np.ndarray:
    """Take the value at x from the centre, (row, column), from `matrix` x.

    Outside of the image all values are 0.
    """
    whole = np.eye(3)
    whole[1:, 1:] = matrix
    centre = np.array([0, _CENTRE, _CENTRE])
    return ndimage.affine_transform(images, whole, centre - whole @ centre, order=1)
