"""Images and tables of kilobytes that would take gigabytes or minutes: refused, or read within the memory there is."""

from __future__ import annotations

import io
import subprocess
import sys
import threading
import time
import zlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from study.data import parquet_images
from study.data.dataset import prepare
from study.data.images import MOST_SCANS, ROOM, UnreadableImageError, decode
from study.data.room import SMALL, Room
from study.data.sources import open_source
from tests.image_files import random_images, write_classes, write_png
from tests.test_own_images import bomb, chunk
from tests.test_parquet_images import png, write

# Sixteen threads, each with an image of 20 million pixels, in a process that says how much memory that took.
PEAK = """
import resource, sys
from concurrent.futures import ThreadPoolExecutor
from study.data import dataset
from study.data.sources import open_source
dataset.THREADS, dataset.BLOCK = 16, 1
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
dataset.prepare(open_source(f"folder:{sys.argv[1]}"), size=8, cache=__import__("pathlib").Path(sys.argv[2]), seed=0)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_many_threads_take_no_more_memory_than_the_largest_image_does(tmp_path: Path) -> None:
    write_png(tmp_path / "own" / "a" / "0.png", np.zeros((4_000, 5_000, 3), dtype=np.uint8))
    for number in range(1, 24):
        copy = tmp_path / "own" / "ab"[number % 2] / f"{number}.png"
        copy.parent.mkdir(exist_ok=True)
        copy.symlink_to(tmp_path / "own" / "a" / "0.png")
    command = [sys.executable, "-c", PEAK, str(tmp_path / "own"), str(tmp_path / "cache")]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr[-2000:]
    taken = int(ended.stdout) * 1024
    assert taken < 2.0e9, f"{taken / 1e9:.1f} GB: sixteen such images at a time would take 4.5"


def test_room_is_shared_by_the_pixel_and_an_image_too_large_for_it_waits_to_be_alone() -> None:
    room, inside, most = Room(10 * SMALL), [0], [0]
    guard = threading.Lock()

    def decode_one(pixels: int) -> None:
        with room.one_image():
            room.take(pixels)
            with guard:
                inside[0] += pixels
                most[0] = max(most[0], inside[0])
            time.sleep(0.01)
            with guard:
                inside[0] -= pixels

    sizes = [4 * SMALL] * 9 + [30 * SMALL, 10 * SMALL]
    threads = [threading.Thread(target=decode_one, args=(size,)) for size in sizes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert not any(thread.is_alive() for thread in threads)
    assert most[0] == 30 * SMALL and room._taken == 0


def test_an_image_that_cannot_be_read_gives_its_room_back(tmp_path: Path) -> None:
    write_classes(tmp_path / "own", "a", "b")
    image = io.BytesIO()
    Image.fromarray(random_images(1, 1_100, 1_000)[0]).save(image, "PNG")
    (tmp_path / "own" / "a" / "9.png").write_bytes(image.getvalue()[:-4000])
    source = open_source(f"folder:{tmp_path / 'own'}", skip_bad_images=True)
    assert prepare(source, size=8, cache=tmp_path / "cache", seed=0).skipped == 1
    assert ROOM._taken == 0


# Images.


def refused(content: bytes, reason: str) -> None:
    begun = time.monotonic()
    with pytest.raises(UnreadableImageError, match=reason):
        decode(io.BytesIO(content), "it")
    assert time.monotonic() - begun < 5


def test_what_is_handed_to_another_program_is_no_image() -> None:
    postscript = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n%%EOF\n"
    Image.open(io.BytesIO(postscript)).close()  # Pillow takes it and would run Ghostscript
    refused(postscript, "it is no image")


def test_a_photograph_drawn_in_thousands_of_scans_is_refused() -> None:
    file = io.BytesIO()
    Image.fromarray(random_images(1, 64, 64, 3)[0]).save(file, "JPEG", progressive=True)
    content = file.getvalue()
    assert decode(io.BytesIO(content), "it").shape == (64, 64, 3)
    last = content.rindex(b"\xff\xda")
    scan = content[last:-2]
    refused(content[:last] + scan * (MOST_SCANS + 1) + content[-2:], "scans")


def test_texts_and_profiles_that_unpack_to_gigabytes_are_refused() -> None:
    whole = png(random_images(1, 8, 8, 3)[0])
    packed = zlib.compress(bytes(100_000_000), 9)
    for kind, head in ((b"zTXt", b"comment\0\0"), (b"iTXt", b"comment\0\1\0\0\0"), (b"iCCP", b"profile\0\0")):
        content = whole[:33] + chunk(kind, head + packed) + whole[33:]
        begun = time.monotonic()
        try:
            assert decode(io.BytesIO(content), "it").shape == (8, 8, 3)
        except UnreadableImageError as error:
            assert "large" in str(error).lower()
        assert time.monotonic() - begun < 5


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "WEBP", "PNG"])
def test_of_many_frames_the_first_alone_is_decoded(kind: str) -> None:
    frames = [Image.fromarray(pixels) for pixels in random_images(300, 16, 16, 3)]
    file = io.BytesIO()
    frames[0].save(file, kind, save_all=True, append_images=frames[1:])
    begun = time.monotonic()
    assert decode(io.BytesIO(file.getvalue()), "it").shape[:2] == (16, 16)
    assert time.monotonic() - begun < 1


def test_a_bomb_in_a_parquet_cell_is_named_like_a_bad_image(tmp_path: Path) -> None:
    write(tmp_path / "train.parquet", [0, 1] * 5, replaced={7: bomb()})
    with pytest.raises(UnreadableImageError, match=r"row 7 .*decompression bomb"):
        prepare(open_source(f"parquet:{tmp_path}"), size=8, cache=tmp_path / "cache", seed=0)


# Tables.


def test_one_image_named_a_million_times_stays_one_image_in_memory(tmp_path: Path) -> None:
    large = png(random_images(1, 1_000, 1_000, 3)[0])  # 3 MB: 40,000 of them would be 120 GB
    rows = 40_000
    values = pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, dtype=np.int32)), pa.array([large], pa.binary()))
    images = pa.StructArray.from_arrays([values, pa.nulls(rows, pa.string())], ["bytes", "path"])
    table = pa.table({"image": images, "label": pa.array([0, 1] * (rows // 2))})
    pq.write_table(table, tmp_path / "train.parquet", row_group_size=rows)
    before = pa.total_allocated_bytes()
    part = open_source(f"parquet:{tmp_path}").open().train
    assert part.read(rows - 1).shape == (1_000, 1_000, 3)
    assert pa.total_allocated_bytes() - before < 50_000_000


def test_a_row_group_that_does_not_fit_into_memory_is_refused_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet_images, "GROUP_BYTES", 500)
    write(tmp_path / "train.parquet", [0, 1] * 5)
    with pytest.raises(ValueError, match=r"train\.parquet holds a row group of .* row_group_size=1000"):
        open_source(f"parquet:{tmp_path}").open()


def test_more_rows_than_a_file_can_hold_are_not_believed(tmp_path: Path) -> None:
    rows = 5_000_000
    empty = pa.StructArray.from_arrays([pa.nulls(rows, pa.binary()), pa.nulls(rows, pa.string())], ["bytes", "path"])
    pq.write_table(pa.table({"image": empty, "label": pa.nulls(rows, pa.int64())}), tmp_path / "train.parquet")
    with pytest.raises(ValueError, match="too small for the 5,000,000 rows"):
        open_source(f"parquet:{tmp_path}").open()


def test_a_label_of_billions_makes_no_billions_of_classes(tmp_path: Path) -> None:
    write(tmp_path / "train.parquet", [0, 1, 10**12])
    with pytest.raises(ValueError, match="has the label 1000000000000"):
        open_source(f"parquet:{tmp_path}").open()
