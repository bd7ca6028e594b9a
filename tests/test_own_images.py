"""Own images: what a folder's shape means, and what is refused."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from study.data.dataset import prepare
from study.data.images import UNLABELLED, UnreadableImageError
from study.data.sources import open_source
from tests.image_files import labels_of, pixels_of, random_images, write_classes, write_png


def test_class_folders_become_classes_in_the_order_of_their_names(tmp_path: Path) -> None:
    write_classes(tmp_path / "My birds!", "wren", "Robin", "jay/nested")
    source = open_source(f"folder:{tmp_path / 'My birds!'}")
    contents = source.open()
    assert source.name == "My-birds"
    assert contents.classes == ("Robin", "jay", "wren")
    assert labels_of(contents.train) == [0] * 4 + [1] * 4 + [2] * 4
    assert np.array_equal(pixels_of(contents.train)[-4:], random_images(4, 10, 12, 3, seed=0))
    assert (contents.channels, contents.test, contents.validation, contents.unlabelled) == (3, None, None, None)


def test_train_test_val_and_unlabelled_folders_are_kept_as_splits(tmp_path: Path) -> None:
    write_classes(tmp_path / "train", "a", "b")
    write_classes(tmp_path / "test", "b", each=3)
    write_classes(tmp_path / "valid", "a", "b", each=1)
    write_classes(tmp_path / "unlabelled", "scan", "more/scans", each=2)
    contents = open_source(f"folder:{tmp_path}").open()
    assert labels_of(contents.train) == [0] * 4 + [1] * 4
    assert labels_of(contents.test) == [1, 1, 1]
    assert labels_of(contents.validation) == [0, 1]
    assert labels_of(contents.unlabelled) == [UNLABELLED] * 4


def test_a_folder_train_that_holds_images_is_a_class(tmp_path: Path) -> None:
    write_classes(tmp_path, "bus", "train", "tram")
    assert open_source(f"folder:{tmp_path}").open().classes == ("bus", "train", "tram")


@pytest.mark.parametrize("kind", ["folder", "photo-digits"])
def test_a_separate_folder_of_unlabelled_images_joins_those_there_are(tmp_path: Path, kind: str) -> None:
    write_classes(tmp_path / "own", "a", "b", "unlabelled")
    write_classes(tmp_path / "more", "deep/down", each=2)
    name = f"folder:{tmp_path / 'own'}" if kind == "folder" else kind
    source = open_source(name, unlabelled=tmp_path / "more")
    before = open_source(name)
    assert source.fingerprint != before.fingerprint
    own, joined = len(labels_of(before.open().unlabelled)), source.open().unlabelled
    assert joined is not None
    assert labels_of(joined) == [UNLABELLED] * (own + 2)
    assert np.array_equal(joined.read(own), random_images(2, 10, 12, 3)[0])


def test_what_is_no_image_is_passed_over(tmp_path: Path) -> None:
    write_classes(tmp_path, "a", "b")
    for stray in ("README.md", "a/Thumbs.db", "a/._0.png", "__MACOSX/a/0.png", ".cache/x/0.png"):
        (tmp_path / stray).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / stray).write_bytes(b"no image")
    contents = open_source(f"folder:{tmp_path}").open()
    assert contents.classes == ("a", "b") and len(labels_of(contents.train)) == 8


# Channels and depths.


def test_grey_images_keep_one_channel_and_one_in_colour_makes_three(tmp_path: Path) -> None:
    write_classes(tmp_path, "a", "b", shape=(10, 10))
    grey = prepare(open_source(f"folder:{tmp_path}"), size=10, cache=tmp_path / ".cache", seed=0)
    assert grey.pixels.shape == (8, 10, 10, 1)
    write_png(tmp_path / "b" / "coloured.png", random_images(1, 10, 10, 3)[0])
    mixed = prepare(open_source(f"folder:{tmp_path}"), size=10, cache=tmp_path / ".cache", seed=0)
    assert mixed.pixels.shape == (9, 10, 10, 3)
    assert np.array_equal(mixed.pixels[:8], np.repeat(grey.pixels, 3, axis=3))


@pytest.mark.parametrize("mode", ["RGBA", "P", "1", "LA", "CMYK", "I;16"])
def test_every_kind_of_pixel_becomes_eight_bits(tmp_path: Path, mode: str) -> None:
    ramp = np.tile(np.arange(0, 256, 16, dtype=np.uint8), (16, 1))
    image = Image.fromarray(ramp)
    expected = np.asarray(image.convert("1").convert("L")) if mode == "1" else ramp
    if mode == "I;16":
        image = Image.fromarray(ramp.astype(np.uint16) << 8)
    else:
        image = image.convert("RGB").quantize(256) if mode == "P" else image.convert("RGB").convert(mode)
    suffix = "jpg" if mode == "CMYK" else "png"
    for name in "ab":
        (tmp_path / name).mkdir()
        image.save(tmp_path / name / f"0.{suffix}")
    contents = open_source(f"folder:{tmp_path}").open()
    pixels = pixels_of(contents.train)[0]
    assert contents.channels == (1 if mode in ("1", "LA", "I;16") else 3) == (1 if pixels.ndim == 2 else 3)
    assert np.abs(pixels.reshape(16, 16, -1).astype(int) - expected[..., None]).max() <= (40 if mode == "CMYK" else 2)


def test_a_photograph_held_sideways_is_turned_upright(tmp_path: Path) -> None:
    write_classes(tmp_path, "a", "b")
    image = Image.fromarray(random_images(1, 8, 16, 3)[0])
    exif = image.getexif()
    exif[0x0112] = 6  # the camera was turned by 90 degrees
    image.save(tmp_path / "a" / "0.png", exif=exif)
    upright = open_source(f"folder:{tmp_path}").open().train.read(0)
    assert np.array_equal(upright, np.rot90(random_images(1, 8, 16, 3)[0], -1))


# What is refused.


def chunk(kind: bytes, data: bytes) -> bytes:
    """A part of a PNG file."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def bomb() -> bytes:
    """A PNG of a few bytes that claims 20,000 x 20,000 pixels."""
    header = struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize("content", [b"", b"no image", b"\x89PNG\r\n\x1a\n half of it", bomb()])
def test_a_bad_image_is_named_or_skipped_and_counted(tmp_path: Path, content: bytes) -> None:
    write_classes(tmp_path, "a", "b")
    bad = tmp_path / "a" / "2.png"
    bad.write_bytes(content)
    for _ in range(2):
        with pytest.raises(UnreadableImageError, match=rf"{bad} .*--skip-bad-images") as caught:
            prepare(open_source(f"folder:{tmp_path}"), size=8, cache=tmp_path / ".cache", seed=0)
        assert "\n" not in str(caught.value)
    source = open_source(f"folder:{tmp_path}", skip_bad_images=True)
    found = prepare(source, size=8, cache=tmp_path / ".cache", seed=0)
    assert (found.skipped, len(found.labels)) == (1, 7)


def test_a_large_photograph_that_only_warns_is_refused_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_classes(tmp_path, "a", "b")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)  # 120 pixels: above the limit, below twice the limit
    with pytest.raises(UnreadableImageError, match="decompression bomb"):
        prepare(open_source(f"folder:{tmp_path}"), size=8, cache=tmp_path / ".cache", seed=0)


def test_a_truncated_photograph_is_named(tmp_path: Path) -> None:
    write_classes(tmp_path, "a", "b")
    whole = tmp_path / "b" / "photo.jpg"
    Image.fromarray(random_images(1, 64, 64, 3)[0]).save(whole)
    whole.write_bytes(whole.read_bytes()[:1500])
    with pytest.raises(UnreadableImageError, match=r"photo\.jpg .*truncated"):
        prepare(open_source(f"folder:{tmp_path}"), size=8, cache=tmp_path / ".cache", seed=0)


def test_links_out_of_the_folder_are_refused(tmp_path: Path) -> None:
    write_classes(tmp_path / "outside", "secret")
    own = tmp_path / "own"
    write_classes(own, "a", "b")
    (own / "c").symlink_to(tmp_path / "outside" / "secret")
    with pytest.raises(ValueError, match=r"own/c is a link to a folder"):
        open_source(f"folder:{own}")
    (own / "c").unlink()
    (own / "a" / "x.png").symlink_to(tmp_path / "outside" / "secret" / "0.png")
    with pytest.raises(ValueError, match=r"a/x\.png is a link that leads to no file below"):
        open_source(f"folder:{own}")
    (own / "a" / "x.png").unlink()
    (own / "a" / "x.png").symlink_to(own / "b" / "0.png")
    assert len(labels_of(open_source(f"folder:{own}").open().train)) == 9


def test_folders_of_another_shape_are_refused_with_what_to_do(tmp_path: Path) -> None:
    def refused(message: str) -> None:
        with pytest.raises(ValueError, match=message):
            open_source(f"folder:{tmp_path / 'own'}")

    refused("there is no folder")
    (tmp_path / "own").mkdir()
    refused("holds no class folders")
    (tmp_path / "own" / "a").mkdir()
    (tmp_path / "own" / "b").mkdir()
    refused("no images below")
    write_classes(tmp_path / "own" / "train", "a", "b")
    refused("also a, b")
    (tmp_path / "own" / "a").rmdir()
    (tmp_path / "own" / "b").rmdir()
    write_classes(tmp_path / "own" / "test", "b", "c")
    refused("the class 'c', which train has not")


def test_one_class_and_an_empty_class_are_refused(tmp_path: Path) -> None:
    write_classes(tmp_path, "a")
    with pytest.raises(ValueError, match=r"only one class \(a\)"):
        prepare(open_source(f"folder:{tmp_path}"), size=8, cache=tmp_path / ".cache", seed=0)
    (tmp_path / "b").mkdir()
    with pytest.raises(ValueError, match="'b' has 0 labelled"):
        prepare(open_source(f"folder:{tmp_path}"), size=8, cache=tmp_path / ".cache", seed=0)


def test_an_unlabelled_folder_without_images_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="no images below"):
        open_source("digits", unlabelled=tmp_path / "empty")
    with pytest.raises(ValueError, match="there is no folder"):
        open_source("digits", unlabelled=tmp_path / "nowhere")


def test_a_changed_image_is_prepared_anew(tmp_path: Path) -> None:
    write_classes(tmp_path, "a", "b")
    first = prepare(open_source(f"folder:{tmp_path}"), size=8, cache=tmp_path / ".cache", seed=0)
    write_png(tmp_path / "a" / "0.png", random_images(1, 20, 20, 3, seed=9)[0])
    second = prepare(open_source(f"folder:{tmp_path}"), size=8, cache=tmp_path / ".cache", seed=0)
    assert first.folder != second.folder and first.hash != second.hash
