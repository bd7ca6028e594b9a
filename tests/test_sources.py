"""Sources: each true file format is read as it is, and whatever is wrong with it is said in one line."""

from __future__ import annotations

import pickle
import struct
from hashlib import md5
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import savemat
from torchvision import datasets

from study.data.images import UNLABELLED
from study.data.sources import SOURCES, open_source
from tests.image_files import Array, labels_of, pixels_of, random_images, write_classes

# torchvision's data sets, in the format that each is published in.


def write_idx(path: Path, values: Array) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    header = struct.pack(">HBB", 0, 8, values.ndim) + struct.pack(f">{values.ndim}I", *values.shape)
    path.write_bytes(header + values.astype(np.uint8).tobytes())


@pytest.mark.parametrize(
    ("name", "prefix", "splits", "first_label", "classes"),
    [
        ("mnist", "MNIST/raw/", ("train", "t10k"), 0, 10),
        ("fashion-mnist", "FashionMNIST/raw/", ("train", "t10k"), 0, 10),
        ("kmnist", "KMNIST/raw/", ("train", "t10k"), 0, 10),
        ("emnist-letters", "EMNIST/raw/emnist-letters-", ("train", "test"), 1, 26),
    ],
)
def test_idx_files_are_read(
    tmp_path: Path, name: str, prefix: str, splits: tuple[str, str], first_label: int, classes: int
) -> None:
    labels = np.arange(classes)
    for seed, split in enumerate(splits):
        write_idx(tmp_path / f"{prefix}{split}-images-idx3-ubyte", random_images(classes, 28, 28, seed=seed))
        write_idx(tmp_path / f"{prefix}{split}-labels-idx1-ubyte", labels + first_label)
    contents = open_source(name, data_dir=tmp_path).open()
    assert (contents.channels, len(contents.classes)) == (1, classes)
    assert labels_of(contents.train) == labels_of(contents.test) == labels.tolist()
    assert np.array_equal(pixels_of(contents.train), random_images(classes, 28, 28))
    assert np.array_equal(pixels_of(contents.test), random_images(classes, 28, 28, seed=1))


def checked(path: Path) -> list[str]:
    """An entry of torchvision's tables of names and checksums, for a file of the test's own."""
    return [path.name, md5(path.read_bytes()).hexdigest()]


@pytest.mark.parametrize(
    ("name", "kind", "label_key", "meta_file", "meta_key"),
    [
        ("cifar10", datasets.CIFAR10, "labels", "batches.meta", "label_names"),
        ("cifar100", datasets.CIFAR100, "fine_labels", "meta", "fine_label_names"),
    ],
)
def test_cifar_batches_are_read(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    kind: Any,
    label_key: str,
    meta_file: str,
    meta_key: str,
) -> None:
    folder = tmp_path / kind.base_folder
    folder.mkdir()
    names = [file for file, _ in kind.train_list + kind.test_list]
    for seed, file in enumerate(names):
        planes = random_images(2, 32, 32, 3, seed=seed).transpose(0, 3, 1, 2).reshape(2, 3072)  # channel by channel
        (folder / file).write_bytes(pickle.dumps({"data": planes, label_key: [0, 1]}, protocol=2))
    (folder / meta_file).write_bytes(pickle.dumps({meta_key: ["cat", "dog"]}, protocol=2))
    monkeypatch.setattr(kind, "train_list", [checked(folder / file) for file in names[:-1]])
    monkeypatch.setattr(kind, "test_list", [checked(folder / names[-1])])
    monkeypatch.setattr(kind, "meta", {"filename": meta_file, "key": meta_key, "md5": checked(folder / meta_file)[1]})

    contents = open_source(name, data_dir=tmp_path).open()
    assert contents.classes == ("cat", "dog")
    batches = [random_images(2, 32, 32, 3, seed=seed) for seed in range(len(names))]
    assert np.array_equal(pixels_of(contents.train), np.concatenate(batches[:-1]))
    assert np.array_equal(pixels_of(contents.test), batches[-1])
    assert labels_of(contents.train) == [0, 1] * (len(names) - 1)


def test_svhn_files_are_read_and_the_extra_images_are_unlabelled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = {}
    for seed, split in enumerate(("train", "test", "extra")):
        file = tmp_path / f"{split}_32x32.mat"
        pixels = random_images(3, 32, 32, 3, seed=seed).transpose(1, 2, 3, 0)
        savemat(file, {"X": pixels, "y": np.array([[10], [1], [9]])})  # 10 is the digit 0
        table[split] = ["", *checked(file)]
    monkeypatch.setattr(datasets.SVHN, "split_list", table)
    contents = open_source("svhn", data_dir=tmp_path).open()
    assert np.array_equal(pixels_of(contents.train), random_images(3, 32, 32, 3))
    assert np.array_equal(pixels_of(contents.unlabelled), random_images(3, 32, 32, 3, seed=2))
    assert labels_of(contents.train) == labels_of(contents.test) == [0, 1, 9]
    assert labels_of(contents.unlabelled) == [UNLABELLED] * 3
    (tmp_path / "extra_32x32.mat").unlink()
    assert open_source("svhn", data_dir=tmp_path).open().unlabelled is None


def test_stl10_files_are_read_with_their_unlabelled_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "stl10_binary"
    folder.mkdir()
    for seed, split in enumerate(("train", "test", "unlabeled")):
        pixels = random_images(3, 96, 96, 3, seed=seed)
        (folder / f"{split}_X.bin").write_bytes(pixels.transpose(0, 3, 2, 1).tobytes())  # column by column
        (folder / f"{split}_y.bin").write_bytes(bytes([1, 2, 10]))
    (folder / "class_names.txt").write_text("\n".join("abcdefghij") + "\n")
    of_train = [checked(folder / file) for file in ("train_X.bin", "train_y.bin", "unlabeled_X.bin")]
    monkeypatch.setattr(datasets.STL10, "train_list", of_train)
    monkeypatch.setattr(datasets.STL10, "test_list", [checked(folder / f"test_{kind}.bin") for kind in "Xy"])
    contents = open_source("stl10", data_dir=tmp_path).open()
    assert contents.classes == tuple("abcdefghij")
    assert labels_of(contents.train) == labels_of(contents.test) == [0, 1, 9]
    for seed, part in enumerate((contents.train, contents.test, contents.unlabelled)):
        assert np.array_equal(pixels_of(part), random_images(3, 96, 96, 3, seed=seed))


def test_eurosat_folders_are_read_and_have_no_split(tmp_path: Path) -> None:
    write_classes(tmp_path / "eurosat" / "2750", "Forest", "River", shape=(64, 64, 3))
    source = open_source("eurosat", data_dir=tmp_path)
    contents = source.open()
    assert (source.size, contents.classes, contents.test) == (64, ("Forest", "River"), None)
    assert np.array_equal(pixels_of(contents.train)[4:], random_images(4, 64, 64, 3, seed=1))


@pytest.mark.parametrize("folder", [".", "imagenet"])
def test_imagenet_is_tested_on_its_validation_folder(tmp_path: Path, folder: str) -> None:
    write_classes(tmp_path / folder / "train", "n01440764", "n01443537")
    write_classes(tmp_path / folder / "val", "n01440764", "n01443537", each=2)
    contents = open_source("imagenet", data_dir=tmp_path).open()
    assert labels_of(contents.train) == [0, 0, 0, 0, 1, 1, 1, 1]
    assert labels_of(contents.test) == [0, 0, 1, 1]
    assert contents.validation is None


def test_digits_are_the_scans_at_full_contrast() -> None:
    contents = open_source("digits").open()
    pixels = pixels_of(contents.train)
    assert pixels.shape == (1797, 8, 8)
    assert (pixels.min(), pixels.max(), contents.channels) == (0, 255, 1)


@pytest.mark.parametrize("name", ["mnist", "cifar10", "svhn", "stl10", "emnist-letters", "eurosat", "imagenet"])
def test_missing_files_are_said_with_the_folder_looked_at(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match=rf"no {name} in {tmp_path} \(there is no .*--data-dir") as caught:
        open_source(name, data_dir=tmp_path)
    assert "\n" not in str(caught.value)
    assert ("--download" in str(caught.value)) == (name != "imagenet")
    with pytest.raises(ValueError, match="needs --data-dir"):
        open_source(name)


def test_damaged_files_are_said_to_be(tmp_path: Path) -> None:
    for split in ("train", "t10k"):
        write_idx(tmp_path / f"MNIST/raw/{split}-images-idx3-ubyte", random_images(3, 28, 28))
        write_idx(tmp_path / f"MNIST/raw/{split}-labels-idx1-ubyte", np.arange(3))
    images = tmp_path / "MNIST/raw/train-images-idx3-ubyte"
    images.write_bytes(images.read_bytes()[:-100])
    with pytest.raises(ValueError, match=rf"mnist in {tmp_path} is damaged"):
        open_source("mnist", data_dir=tmp_path).open()


def test_downloading_happens_only_when_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError("the network is down")

    monkeypatch.setattr("torchvision.datasets.mnist.download_and_extract_archive", refuse)
    monkeypatch.setattr(datasets.MNIST, "mirrors", ["http://127.0.0.1/"])
    with pytest.raises(ValueError, match="pass --download"):
        open_source("mnist", data_dir=tmp_path)
    with pytest.raises(ValueError, match=r"cannot download mnist .*network is down"):
        open_source("mnist", data_dir=tmp_path, download=True)
    with pytest.raises(ValueError, match="cannot be downloaded by itself"):
        open_source("imagenet", data_dir=tmp_path, download=True)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("cifar", "cifar10"),
        ("fashionmnist", "fashion-mnist"),
        ("photodigits", "photo-digits"),
        ("Folder", "folder:PATH"),
        ("folder:", "folder:PATH"),
        ("digits:5", "digits"),
        ("", ""),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest_one(name: str, meant: str) -> None:
    with pytest.raises(ValueError, match=rf"no data set '{name}': did you mean {meant}") as caught:
        open_source(name)
    assert all(known in str(caught.value) for known in SOURCES)


@pytest.mark.parametrize(
    ("name", "first", "mean", "deviation"),
    [("mnist", [5, 0, 4, 1, 9], 0.1307, 0.3081), ("fashion-mnist", [9, 0, 0, 3, 0], 0.2860, 0.3530)],
)
def test_published_files_have_their_well_known_statistics(
    study_data: Path, name: str, first: list[int], mean: float, deviation: float
) -> None:
    contents = open_source(name, data_dir=study_data).open()
    pixels = pixels_of(contents.train)
    assert pixels.shape == (60_000, 28, 28) and len(labels_of(contents.test)) == 10_000
    assert labels_of(contents.train)[:5] == first
    assert abs(pixels.mean() / 255 - mean) < 1e-4 and abs(pixels.std() / 255 - deviation) < 1e-4
