"""A pretraining goes on from its newest sound checkpoint, and a promoted encoder is never taken for another's."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from itertools import islice
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from methods.encoders import ENCODERS
from methods.inspection import Figure, Grid
from methods.method import Method
from study.data.dataset import Dataset
from study.learning.pretrain import Judgement, Place, Plan, pretrain
from study.records import Epoch
from study.storage import checkpoints
from study.storage.figures import save_figures
from study.storage.folder import Folder
from study.storage.promoted import ENCODER, load_encoder, owner, promote, read_figures
from study.storage.tensors import DamagedError, pack, unpack
from tests.object_store import Store

PLAN = Plan("rotnet", "convnet", {"batch_size": 32, "copies": 1}, epochs=4, epoch_images=64, seed=5)
OBJECTIVES = (0.2, 0.5, 0.4, 0.3)  # the second epoch is the best
ALONE = Place()
SHOWN: dict[str, Figure] = {"Views": Grid({"one": torch.rand(2, 3, 4, 4)})}


@dataclass
class Course:
    """A pretraining into a folder, with the weights after each epoch that was trained."""

    dataset: Dataset
    folder: Folder
    plan: Plan = PLAN
    place: Place = ALONE

    def __post_init__(self) -> None:
        self.weights: dict[int, dict[str, Tensor]] = {}
        self.history: list[Epoch] = []

    def run(self, stop: int | None = None) -> Course:
        def judge(method: Method) -> Judgement:
            number = len(self.history) + 1
            self.weights[number] = {name: value.clone() for name, value in method.state_dict().items()}
            return Judgement(OBJECTIVES[number - 1], figures=SHOWN)

        epochs = pretrain(self.plan, self.dataset, self.dataset.train[:100], judge, self.place, self.folder)
        for epoch in islice(epochs, stop):
            self.history.append(epoch)
        return self


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) * 2 // 3] ^= 16
    path.write_bytes(content)


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def replace_by_text(path: Path) -> None:
    path.write_text("this is no file of tensors, and longer than its header")


def replace_by_pickle(path: Path) -> None:
    torch.save({"method.x": torch.zeros(3)}, path)


def rename_a_weight(path: Path) -> None:
    tensors, about = unpack(path.read_bytes())
    path.write_bytes(pack({f"{name}x": value for name, value in tensors.items()}, about))


def reshape_a_weight(path: Path) -> None:
    tensors, about = unpack(path.read_bytes())
    name = next(name for name, value in tensors.items() if name.startswith("method.") and value.dim())
    path.write_bytes(pack(tensors | {name: tensors[name][:1]}, about))


def drop_the_history(path: Path) -> None:
    tensors, about = unpack(path.read_bytes())
    path.write_bytes(pack(tensors, about | {"history": "[{}]"}))


def name_a_strange_parameter(path: Path) -> None:
    tensors, about = unpack(path.read_bytes())
    path.write_bytes(pack(tensors | {"optimizer.999.step": torch.zeros(())}, about))


def reshape_a_moment(path: Path) -> None:
    tensors, about = unpack(path.read_bytes())
    path.write_bytes(pack(tensors | {"optimizer.0.exp_avg": torch.zeros(2)}, about))


DAMAGES = [
    *(flip, cut, empty, replace_by_text, replace_by_pickle),
    *(rename_a_weight, reshape_a_weight, drop_the_history, name_a_strange_parameter, reshape_a_moment),
]


@pytest.fixture(scope="module")
def whole(photo_digits: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Course:
    return Course(photo_digits, Folder.of(tmp_path_factory.mktemp("whole"))).run()


@pytest.fixture(scope="module")
def after_three(photo_digits: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("three")
    Course(photo_digits, Folder.of(folder)).run(stop=3)
    return folder


@pytest.fixture
def kept(after_three: Path, tmp_path: Path) -> Path:
    """Checkpoints after three epochs of four."""
    return Path(shutil.copytree(after_three, tmp_path / "kept"))


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(value.equal(other[name]) for name, value in one.items())


def assert_equal_encoders(one: bytes, other: bytes) -> None:
    assert same(unpack(one)[0], unpack(other)[0]) and unpack(one)[1] == unpack(other)[1]


def losses(history: list[Epoch]) -> list[tuple[int, float, float]]:
    return [(epoch.epoch, epoch.loss, epoch.objective) for epoch in history]


def test_two_states_and_the_encoders_that_they_call_best_are_kept(whole: Course, kept: Path) -> None:
    assert whole.folder.names() == [
        "encoder-002.safetensors",
        *("figures", "state-003.safetensors", "state-004.safetensors"),
    ]
    assert Folder.of(kept).names() == [
        "encoder-002.safetensors",
        *("figures", "state-002.safetensors", "state-003.safetensors"),
    ]


@pytest.mark.parametrize("spoil", DAMAGES, ids=lambda spoil: spoil.__name__)
def test_a_damaged_state_is_passed_over_and_the_end_is_the_same(
    spoil: Callable[[Path], None], whole: Course, kept: Path
) -> None:
    spoil(kept / "state-003.safetensors")
    again = Course(whole.dataset, Folder.of(kept)).run()
    assert sorted(again.weights) == [3, 4], "the third epoch is trained again, the second is not"
    assert losses(again.history) == losses(whole.history)
    assert same(again.weights[4], whole.weights[4])
    (line,) = checkpoints.damage(Folder.of(kept))
    assert line.startswith(f"{kept}/state-003.safetensors is damaged (") and "\n" not in line


def test_with_both_states_damaged_training_begins_anew(whole: Course, kept: Path) -> None:
    for number in (2, 3):
        cut(kept / f"state-{number:03d}.safetensors")
    again = Course(whole.dataset, Folder.of(kept)).run()
    assert sorted(again.weights) == [1, 2, 3, 4]
    assert same(again.weights[4], whole.weights[4])
    assert len(checkpoints.damage(Folder.of(kept))) == 2


def test_a_lost_best_encoder_is_trained_again(whole: Course, kept: Path) -> None:
    flip(kept / "encoder-002.safetensors")
    again = Course(whole.dataset, Folder.of(kept)).run()
    assert sorted(again.weights) == [1, 2, 3, 4]
    promote(Folder.of(kept), Folder.of(kept / "best"), again.history)
    assert_equal_encoders((kept / "best" / ENCODER).read_bytes(), whole.folder.read("encoder-002.safetensors"))


def test_a_state_of_another_plan_is_not_gone_on_with(whole: Course, kept: Path) -> None:
    other = Course(whole.dataset, Folder.of(kept), replace(PLAN, params=PLAN.params | {"lr": 0.1})).run(stop=1)
    assert sorted(other.weights) == [1]


def test_what_is_damaged_is_told_before_anything_runs(kept: Path) -> None:
    folder = Folder.of(kept)
    assert checkpoints.damage(folder) == []
    flip(kept / "state-003.safetensors")
    cut(kept / "encoder-002.safetensors")
    assert [line.partition(" is damaged")[0] for line in checkpoints.damage(folder)] == [
        f"{kept}/encoder-002.safetensors",
        f"{kept}/state-003.safetensors",
    ]


def test_a_worker_that_was_given_up_spoils_nothing(whole: Course, kept: Path) -> None:
    """It still writes what it had at its first and second epoch, after another has gone further."""
    again = Course(whole.dataset, Folder.of(kept)).run()
    early = Course(whole.dataset, Folder.of(kept.with_name("early"))).run(stop=1)
    for name in early.folder.names():
        if name.endswith(".safetensors"):
            (kept / name).write_bytes(early.folder.read(name))
    late = Course(whole.dataset, Folder.of(kept)).run()
    assert not late.weights and losses(late.history) == losses(again.history)
    promote(Folder.of(kept), Folder.of(kept / "best"), late.history)
    encoder = ENCODERS[PLAN.encoder](3, 32, 0.0)
    load_encoder(Folder.of(kept / "best"), encoder)
    of_second = {name: value for name, value in whole.weights[2].items() if name.startswith("encoder.")}
    assert same({f"encoder.{name}": value for name, value in encoder.state_dict().items()}, of_second)


def test_no_flipped_bit_goes_unnoticed() -> None:
    tensors = {"a": torch.arange(5.0), "b": torch.tensor([True, False]), "c": torch.tensor(3)}
    about = {"about": '{"seed": 3}'}
    content = pack(tensors, about)
    again = unpack(content)
    assert same(again[0], tensors) and again[1] == about
    missed = 0
    for place in range(len(content)):
        for bit in range(8):
            spoilt = bytearray(content)
            spoilt[place] ^= 1 << bit
            try:
                found = unpack(bytes(spoilt))
            except DamagedError as error:
                assert "\n" not in str(error)
            else:
                assert same(found[0], tensors) and found[1] == about, "only where it changes nothing"
                missed += 1
    assert missed < 8


def test_no_cut_goes_unnoticed() -> None:
    content = pack({"a": torch.arange(5.0)}, {"about": "{}"})
    for length in range(len(content)):
        with pytest.raises(DamagedError):
            unpack(content[:length])


def finished(folder: Folder, seed: int, count: int) -> list[Epoch]:
    """Checkpoints of a pretraining of `count` epochs, each better than the one before."""
    plan = replace(PLAN, seed=seed, epochs=count)
    module = nn.Linear(1, 1)
    optimizer = torch.optim.Adam(module.parameters())
    history = []
    for number in range(1, count + 1):
        nn.init.constant_(module.weight, 100 * seed + number)
        history.append(Epoch(number, 1.0, {}, number / 10, 1.0, 64, 64.0))
        checkpoints.save_encoder(folder, module, plan, number)
        save_figures(folder / checkpoints.FIGURES, number, SHOWN, seed)
        checkpoints.save(folder, module, optimizer, history, plan)
    return history


PROMOTES = """
import os, sys
from pathlib import Path
from study.storage import folder, local
from study.records import Epoch
from study.storage.promoted import promote
import json

left = int(sys.argv[3])

def counted(change):
    def call(*arguments, **named):
        global left
        if left == 0:
            os.kill(os.getpid(), 9)
        left -= 1
        return change(*arguments, **named)
    return call

for name in ("replace", "unlink"):
    setattr(Path, name, counted(getattr(Path, name)))
history = [Epoch(**epoch) for epoch in json.loads(sys.argv[4])]
promote(folder.Folder.of(sys.argv[1]), folder.Folder.of(sys.argv[2]), history)
"""


def test_a_promotion_that_is_killed_anywhere_mixes_nothing_and_can_be_finished(tmp_path: Path) -> None:
    """Killed with SIGKILL before the 1st, 2nd ... file that it changes, for all of them."""
    old, new, best = (Folder.of(tmp_path / name) for name in ("000", "001", "best"))
    before, after = finished(old, seed=1, count=5), finished(new, seed=2, count=3)
    owners = []
    for changes in range(100):
        best.remove_all()
        promote(old, best, before)
        asked = json.dumps([asdict(epoch) for epoch in after])
        script = [sys.executable, "-c", PROMOTES, str(new), str(best), str(changes), asked]
        ended = subprocess.run(script, check=False).returncode
        owners.append(owner(best))
        shown = read_figures(best)
        weight = nn.Linear(1, 1)
        load_encoder(best, weight)
        assert (owners[-1], weight.weight.item()) in ((1, 105.0), (2, 203.0))
        assert set(shown) <= ({1, 2, 3, 4, 5} if owners[-1] == 1 else {1, 2, 3})
        promote(new, best, after)
        assert owner(best) == 2 and set(read_figures(best)) == {1, 2, 3}
        assert (best / checkpoints.FIGURES).names() == ["001.safetensors", "002.safetensors", "003.safetensors"]
        if ended == 0:
            break
        assert ended == -signal.SIGKILL
    assert owners == [1] * 4 + [2] * 3, "three figures are written, then the encoder, and two figures are removed"


def test_an_encoder_that_the_worker_wrote_after_the_last_word_is_not_promoted(tmp_path: Path) -> None:
    folder, best = Folder.of(tmp_path / "000"), Folder.of(tmp_path / "best")
    history = finished(folder, seed=1, count=3)
    promote(folder, best, history[:2])  # stopped after the second epoch, while the third was under way
    encoder = nn.Linear(1, 1)
    load_encoder(best, encoder)
    assert encoder.weight.item() == 102 and set(read_figures(best)) == {1, 2}


def test_a_damaged_encoder_is_not_promoted(tmp_path: Path) -> None:
    folder, best = Folder.of(tmp_path / "000"), Folder.of(tmp_path / "best")
    history = finished(folder, seed=1, count=2)
    flip(tmp_path / "000" / "encoder-002.safetensors")
    with pytest.raises(ValueError, match=r"encoder-002\.safetensors is damaged .*--resume$"):
        promote(folder, best, history)
    assert owner(best) is None and best.names() == []


def test_a_damaged_promoted_encoder_is_nobodys_and_is_not_loaded(tmp_path: Path) -> None:
    folder, best = Folder.of(tmp_path / "000"), Folder.of(tmp_path / "best")
    promote(folder, best, finished(folder, seed=1, count=2))
    assert owner(best) == 1
    cut(tmp_path / "best" / ENCODER)
    assert owner(best) is None and read_figures(best) == {}
    with pytest.raises(ValueError, match=r"best/encoder\.safetensors is damaged .*--resume$"):
        load_encoder(best, nn.Linear(1, 1))


def _train_replica(rank: int, dataset: Dataset, folder: Path) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", f"file://{folder}/rendezvous", timedelta(seconds=120), rank=rank, world_size=2
    )
    course = Course(dataset, Folder.of(folder / str(rank)), place=Place(rank, 2)).run()
    (folder / f"losses-{rank}").write_text(json.dumps([epoch.loss for epoch in course.history]))
    torch.distributed.destroy_process_group()


def test_workers_that_see_another_newest_state_go_on_from_one_that_all_see(
    photo_digits: Dataset, kept: Path, tmp_path: Path
) -> None:
    for rank in range(2):
        shutil.copytree(kept, tmp_path / str(rank))
    flip(tmp_path / "1" / "state-003.safetensors")
    spawn = multiprocessing.get_context("spawn")
    workers = [spawn.Process(target=_train_replica, args=(rank, photo_digits, tmp_path)) for rank in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
        assert worker.exitcode == 0
    one, other = (json.loads((tmp_path / f"losses-{rank}").read_text()) for rank in range(2))
    assert len(one) == 4 and one == other


def test_checkpoints_in_an_object_store_are_gone_on_with(whole: Course, object_store: Store) -> None:
    folder = object_store.folder() / "000"
    Course(whole.dataset, folder).run(stop=3)
    folder.write("state-003.safetensors", folder.read("state-003.safetensors")[:-9])
    again = Course(whole.dataset, folder).run()
    assert sorted(again.weights) == [3, 4] and same(again.weights[4], whole.weights[4])
    best = object_store.folder() / "best"
    promote(folder, best, again.history)
    assert_equal_encoders(best.read(ENCODER), whole.folder.read("encoder-002.safetensors"))
    assert owner(best) == PLAN.seed and set(read_figures(best)) == {1, 2, 3, 4}


def test_a_notebook_may_name_the_folder_by_its_path(photo_digits: Dataset, tmp_path: Path) -> None:
    def epochs() -> Iterator[Epoch]:
        plan = replace(PLAN, epochs=1)
        return pretrain(plan, photo_digits, photo_digits.train, lambda _: Judgement(0.5), Place(), tmp_path)

    first = list(epochs())
    assert (tmp_path / "state-001.safetensors").is_file() and list(epochs()) == first
