"""Checkpoints of a pretraining: its state after the last two epochs, and its encoder after the best one.

A file is named for its epoch and never changes. So a worker that was given up, and still writes from a machine that was
cut off, spoils nothing that came after; and a damaged file is passed over for the one before.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from study.documents import record
from study.records import Epoch
from study.storage.folder import Folder
from study.storage.tensors import DamagedError, pack, unpack

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

CHECKPOINTS, BEST = "checkpoints", "best"  # folders: of a study's checkpoints, and there of the best trial
REPEAT = "repeat-"  # and of the best trial's settings with other seeds: repeat-1, repeat-2 ...
FIGURES = "figures"  # folder, beside an encoder
_STATE, _ENCODER, _DAMAGED = "state-{:03d}.safetensors", "encoder-{:03d}.safetensors", "state-{:03d}.damaged"
_NAME = re.compile(r"(state|encoder)-(\d{3,})\.safetensors")


@dataclass(frozen=True, eq=False)
class Snapshot:
    """A state as it was found, and what was passed over because it is damaged, one line each."""

    history: tuple[Epoch, ...] = ()  # the epochs that were finished; empty where nothing was found
    weights: Mapping[str, Tensor] = dataclasses.field(default_factory=dict)
    moments: Mapping[int, Mapping[str, Any]] = dataclasses.field(default_factory=dict)  # by parameter
    damaged: Mapping[int, str] = dataclasses.field(default_factory=dict)  # by epoch


def best_epoch(history: Sequence[Epoch]) -> int | None:
    """The first epoch whose objective no other exceeds; None where none is a number."""
    best: Epoch | None = None
    for epoch in history:
        if epoch.objective > (best.objective if best else -1.0):
            best = epoch
    return best.epoch if best else None


def save(
    folder: Folder,
    method: nn.Module,
    optimizer: torch.optim.Optimizer,
    history: Sequence[Epoch],
    plan: DataclassInstance,
) -> None:
    """Write everything that training needs to go on after the last epoch of `history`; forget what is two epochs old.

    The encoder of the best epoch must be there: `save_encoder`.
    """
    tensors = {f"method.{name}": value for name, value in method.state_dict().items()}
    scalars: dict[str, Any] = {}
    for index, state in optimizer.state_dict()["state"].items():
        for name, value in state.items():
            if isinstance(value, Tensor):
                tensors[f"optimizer.{index}.{name}"] = value
            else:
                scalars[f"{index}.{name}"] = value
    about = {
        "history": json.dumps([dataclasses.asdict(epoch) for epoch in history]),
        "optimizer": json.dumps(scalars),
        "about": _text(plan),
    }
    last = len(history)
    folder.write(_STATE.format(last), pack(tensors, about))
    wanted = {best_epoch(history), best_epoch(history[:-1])}
    for kind, epoch, name in _files(folder):
        if (kind == "state" and epoch < last - 1) or (kind == "encoder" and epoch < last and epoch not in wanted):
            folder.remove(name)


def newest(
    folder: Folder,
    method: nn.Module,
    optimizer: torch.optim.Optimizer,
    plan: DataclassInstance,
    most: int,
) -> Snapshot:
    """The newest sound state of this very plan, after at most `most` epochs; an empty one where there is none."""
    damaged: dict[int, str] = {}
    states = {epoch: name for kind, epoch, name in _files(folder) if kind == "state" and epoch <= most}
    for epoch, name in sorted(states.items(), reverse=True):
        try:
            found = _snapshot(folder, name, method, optimizer, plan)
            if len(found.history) != epoch:
                raise DamagedError(f"it is that of epoch {len(found.history)}")
            return dataclasses.replace(found, damaged=damaged)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:  # damaged, or another's
            damaged[epoch] = damaged_line(folder / name, error)
        except FileNotFoundError:  # a worker that was given up has just gone on
            continue
    return Snapshot(damaged=damaged)


def restore(snapshot: Snapshot, method: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Load a state that `newest` found for them."""
    if not snapshot.history:
        return
    method.load_state_dict(snapshot.weights)
    parameters = [weight for group in optimizer.param_groups for weight in group["params"]]
    state = {
        # Fused optimizers walk memory: a moment must lie in memory as its weight does.
        index: {
            name: torch.empty_like(parameters[index]).copy_(value)
            if isinstance(value, Tensor) and value.shape == parameters[index].shape
            else value
            for name, value in moments.items()
        }
        for index, moments in snapshot.moments.items()
    }
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def record_damage(folder: Folder, snapshot: Snapshot) -> None:
    """Write down what was passed over, for `damage`; the file itself is written again by and by."""
    for epoch, line in snapshot.damaged.items():
        folder.write(_DAMAGED.format(epoch), line.encode())


def damage(folder: Folder) -> list[str]:
    """What is damaged among the checkpoints of a trial, or was when they were last read: one line each."""
    lines: list[str] = []
    for name in folder.names():
        if name.endswith(".damaged"):
            lines.append(folder.read(name).decode())
    for _, _, name in _files(folder):
        try:
            unpack(folder.read(name))
        except DamagedError as error:
            lines.append(damaged_line(folder / name, error))
    return sorted(set(lines))


def save_encoder(folder: Folder, encoder: nn.Module, plan: DataclassInstance, epoch: int) -> None:
    """Write the weights and buffers of an encoder after an epoch, with the plan that built it."""
    folder.write(_ENCODER.format(epoch), pack(encoder.state_dict(), {"about": _text(plan)}))


def read_encoder(folder: Folder, history: Sequence[Epoch]) -> bytes:
    """The file of the encoder of the best epoch of `history`. Raises ValueError where it is damaged or missing."""
    name = _ENCODER.format(best_epoch(history) or 0)
    try:
        content = folder.read(name)
        unpack(content)
    except (FileNotFoundError, DamagedError) as error:
        raise ValueError(f"{damaged_line(folder / name, error)}; run again with --resume") from error
    return content


def damaged_line(file: Folder, error: Exception) -> str:
    """What is told of a damaged file."""
    return f"{file} is damaged ({' '.join(str(error).split())})"


def _snapshot(
    folder: Folder, name: str, method: nn.Module, optimizer: torch.optim.Optimizer, plan: DataclassInstance
) -> Snapshot:
    """A state that fits all of them, and whose best encoder is there. Raises DamagedError."""
    tensors, about = unpack(folder.read(name))
    check_plan(about, plan)
    weights = {name.removeprefix("method."): value for name, value in tensors.items() if name.startswith("method.")}
    if shapes(weights) != shapes(method.state_dict()):
        raise DamagedError("it is of another architecture")
    moments: dict[int, dict[str, Any]] = {}
    for name, value in tensors.items():
        if name.startswith("optimizer."):
            _, index, key = name.split(".", 2)
            moments.setdefault(int(index), {})[key] = value
    for name, scalar in json.loads(about["optimizer"]).items():
        index, key = name.split(".", 1)
        moments.setdefault(int(index), {})[key] = scalar
    parameters = dict(enumerate(weight for group in optimizer.param_groups for weight in group["params"]))
    for place, values in moments.items():
        sizes = {value.shape for value in values.values() if isinstance(value, Tensor) and value.dim()}
        counted = "step" in values or "betas" not in optimizer.defaults  # Adam and its kin ask for it
        if place not in parameters or sizes - {parameters[place].shape} or not counted:
            raise DamagedError("it is of another optimizer")
    history = tuple(record(Epoch, epoch) for epoch in json.loads(about["history"]))
    best = best_epoch(history)
    if best is not None:
        _check_encoder(folder, _ENCODER.format(best), plan)
    return Snapshot(history, weights, moments)


def _check_encoder(folder: Folder, name: str, plan: DataclassInstance) -> None:
    try:
        check_plan(unpack(folder.read(name))[1], plan)
    except (FileNotFoundError, DamagedError) as error:
        raise DamagedError(f"its {name}: {error}") from error


def check_plan(about: Mapping[str, str], plan: DataclassInstance) -> None:
    """Raises DamagedError where a file says that it was made by another plan."""
    if about.get("about") != _text(plan):
        raise DamagedError("it is of another plan")


def _text(plan: DataclassInstance) -> str:
    return json.dumps(dataclasses.asdict(plan))


def shapes(tensors: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    """By name: what tensors of the same architecture share."""
    return {name: value.shape for name, value in tensors.items()}


def _files(folder: Folder) -> list[tuple[str, int, str]]:
    """Kind, epoch and name of the states and encoders of a folder."""
    found = [(_NAME.fullmatch(name), name) for name in folder.names()]
    return [(match[1], int(match[2]), name) for match, name in found if match]
