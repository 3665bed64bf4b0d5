"""Corrupted images: the same for everyone, still digits, and what each is said to be."""

from __future__ import annotations

import hashlib
import subprocess
import sys

import numpy as np
import pytest

from experiments import data
from experiments.corruptions import CORRUPTIONS, corrupt

IMAGES = data.digits(seed=0).test.inputs
NAMES = list(CORRUPTIONS)


def blank(value=0, count=400):
    return np.full((count, 28, 28), value, dtype=np.uint8)


def dot(row=13, column=13, count=400):
    images = blank(count=count)
    images[:, row, column] = 255
    return images


@pytest.mark.parametrize("name", NAMES)
def test_new_images_of_the_same_kind_and_the_old_ones_as_they_were(name):
    before = IMAGES.copy()
    corrupted = corrupt(name, IMAGES)
    assert (corrupted.shape, corrupted.dtype) == (IMAGES.shape, np.uint8)
    np.testing.assert_array_equal(IMAGES, before)
    changed = (corrupted != IMAGES).reshape(len(IMAGES), -1)
    assert changed.any(axis=1).all()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("count", [0, 1])
def test_one_image_and_none(name, count):
    assert corrupt(name, IMAGES[:count]).shape == (count, 28, 28)


@pytest.mark.parametrize("name", NAMES)
def test_images_are_corrupted_one_by_one(name):
    """An image that is another in one stack is no other for the rest of the stack."""
    other = IMAGES.copy()
    other[7] = 0
    differs = (corrupt(name, IMAGES) != corrupt(name, other)).any(axis=(1, 2))
    later = slice(8, 8 if name == "shot_noise" else None)  # which draws as many as photons come
    assert differs[7]
    assert not differs[:7].any()
    assert not differs[later].any()


def test_the_same_bytes_in_another_process_whatever_it_did_before():
    code = (
        "import hashlib, numpy\n"
        "from experiments import data\n"
        "from experiments.corruptions import CORRUPTIONS, corrupt\n"
        "numpy.random.seed(5); images = data.digits(seed=3).test.inputs\n"
        "for name in reversed(CORRUPTIONS): print(name, hashlib.sha256(corrupt(name, "
        "images).tobytes()).hexdigest())"
    )
    printed = subprocess.check_output([sys.executable, "-c", code], text=True)
    assert dict(line.split() for line in printed.splitlines()) == {
        name: hashlib.sha256(corrupt(name, IMAGES).tobytes()).hexdigest() for name in NAMES
    }


def test_noise_has_the_size_it_is_said_to_have():
    grey = blank(128)
    noisy = corrupt("gaussian_noise", grey) / 255
    assert np.std(noisy) == pytest.approx(0.33, abs=0.02)  # 0.38, clipped
    struck = corrupt("impulse_noise", grey) != 128
    assert struck.mean() == pytest.approx(0.17, abs=0.002)
    assert (corrupt("impulse_noise", grey)[struck] == 255).mean() == pytest.approx(0.5, abs=0.01)
    # of 3 photons 128/255 come on average; more than 3 are no brighter
    shot = corrupt("shot_noise", grey)
    assert sorted(set(shot.ravel())) == [0, 85, 170, 255]
    assert (shot == 0).mean() == pytest.approx(np.exp(-3 * 128 / 255), abs=0.005)
    assert not corrupt("shot_noise", blank()).any()


def test_blur_spreads_a_dot_and_keeps_its_ink():
    round_blur, motion = corrupt("gaussian_blur", dot()), corrupt("motion_blur", dot())
    rows = np.arange(28) - 13
    weights = round_blur[0] / round_blur[0].sum()
    assert np.sqrt((weights * rows[:, None] ** 2).sum()) == pytest.approx(1.5, rel=0.1)
    np.testing.assert_array_equal(round_blur[0], round_blur[0].T)
    ink = {tuple(map(tuple, np.argwhere(image) - 13)) for image in motion}
    assert ink == {tuple((i, i) for i in range(-2, 3)), tuple((i, -i) for i in range(-2, 3))}
    assert set(motion[motion > 0]) == {51}


def places(name, row, column):
    """Where a dot at this row and column goes, from the centre; the centre of its ink."""
    images = corrupt(name, dot(row, column, count=50)).astype(float)
    at = np.arange(28) - 13.5
    ink = images.sum(axis=(1, 2))
    down, right = (images.sum(axis=2) @ at / ink), (images.sum(axis=1) @ at / ink)
    return {(round(float(r), 1), round(float(c), 1)) for r, c in zip(down, right, strict=True)}


def test_warps_put_a_dot_where_they_are_said_to():
    """A dot 6.5 above and 4.5 left of the centre.

    Interpolation moves the centre of its ink by up to half a pixel.
    """

    def close(dots, expected):
        pairs = zip(sorted(dots), sorted(expected), strict=True)
        assert all(np.allclose(a, b, atol=0.5) for a, b in pairs), dots

    row, column = 7, 9
    cos, sin = np.cos(0.4), np.sin(0.4)
    close(
        places("rotate", row, column),
        [(-6.5 * cos + s * 4.5 * sin, -4.5 * cos - s * 6.5 * sin) for s in (1, -1)],
    )
    close(places("shear", row, column), [(-6.5, -4.5 + s * 0.4 * 6.5) for s in (1, -1)])
    close(places("scale", row, column), [(-6.5 * 0.7, -4.5 * 0.7)])
    assert places("translate", row, column) == {
        (-6.5 + down, -4.5 + right) for down in (3, -3) for right in (3, -3)
    }


def test_a_translation_brings_nothing_in_from_the_other_side():
    corrupted = corrupt("translate", dot(0, 0))
    assert {tuple(place[0]) for place in map(np.argwhere, corrupted) if len(place)} == {(3, 3)}
    assert (corrupted.sum(axis=(1, 2)) == 0).any()


def test_light():
    assert set(corrupt("brightness", dot()).ravel()) == {128, 255}
    striped = corrupt("stripe", blank())
    assert (striped[:, :, 7:21] == 0).all()
    assert (striped[:, :, :7] == 255).all()
    assert (striped[:, :, 21:] == 255).all()
    np.testing.assert_array_equal(corrupt("stripe", striped), blank())
    fog = corrupt("fog", blank())
    assert (fog.min(axis=(1, 2)) == 0).all()
    assert (fog.max(axis=(1, 2)) == 153).all()  # 1.5 of 2.5
    steps = np.abs(np.diff(fog.astype(int), axis=2)).mean()
    assert 0 < steps < 0.25 * fog.std()  # clouds, not noise


@pytest.mark.parametrize("name", NAMES)
def test_a_digit_can_still_be_read(name):
    """The nearest other image under the same corruption is of the same class.

    Far more often than by chance, 0.1.
    """
    splits = data.digits(seed=0)
    # one stack: no two have the same noise
    every = np.concatenate([splits.test.inputs, splits.train.inputs])
    flat = corrupt(name, every).reshape(len(every), -1).astype(np.float32)
    test, train = flat[:360], flat[360:]
    nearest = ((train**2).sum(axis=1) - 2 * test @ train.T).argmin(axis=1)
    assert (splits.train.labels[nearest] == splits.test.labels).mean() > 0.6
