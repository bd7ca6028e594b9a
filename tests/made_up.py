"""Made-up studies for the tests of files, tables, statistics and reports. No figure here was measured."""

from __future__ import annotations

import numpy as np
import torch

from study.records import Epoch, Fit, Mode, Status, Study, Trial, Use, Whose
from study.storage.uses import Album, Shown, Uses

FRACTIONS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)


def study(name: str = "photo-digits-rotnet", method: str = "rotnet", data_hash: str = "5b1f00d5") -> Study:
    return Study(
        name=name,
        dataset="photo-digits",
        method=method,
        encoder="convnet",
        image_size=32,
        trials=20,
        budget_seconds=None,
        epochs=9,
        epoch_images=5028,
        fractions=FRACTIONS,
        labels_per_class=(),
        draws=5,
        objective_fraction=0.05,
        seed=0,
        workers=1,
        gpus_per_worker=0.0,
        lanes=2,
        pool_limit=None,
        data_hash=data_hash,
        classes=tuple("0123456789"),
        pool_images=5028,
        train_labels=1257,
        validation_labels=270,
        test_images=270,
    )


def trials(count: int = 20, seed: int = 0) -> list[Trial]:
    """Every fifth fails at its start, a third of the others is pruned after two epochs."""
    random = np.random.default_rng(seed)
    return [_trial(number, random) for number in range(count)]


def _trial(number: int, random: np.random.Generator) -> Trial:
    status: Status = "failed" if number % 5 == 4 else "pruned" if number % 3 == 1 else "completed"
    epochs = {"failed": 0, "pruned": 2, "completed": 9}[status]
    quality = random.uniform(0.45, 0.75)
    history = tuple(
        Epoch(
            epoch=epoch,
            loss=1.4 / epoch,
            terms={"rotation": 1.4 / epoch},
            objective=float(quality * (1 - 0.4 / epoch)),
            seconds=6.5,
            images_seen=5028,
            images_per_second=float(random.normal(1010, 15)),
            numbers={"effective_rank": 40.0 - epoch},
        )
        for epoch in range(1, epochs + 1)
    )
    return Trial(
        number=number,
        trial_id=f"5b1f_{number:05d}",
        status=status,
        params={
            "batch_size": int(random.choice((32, 64, 128, 256))),
            "lr": float(10 ** random.uniform(-4, -2)),
            "dropout": float(random.uniform(0, 0.6)),
            "augmentation": float(random.uniform(0, 1)),
            "label_smoothing": float(random.uniform(0, 0.3)),
            "copies": int(random.choice((1, 2, 4))),
        },
        objective=history[-1].objective if history else None,
        seconds=6.5 * epochs,
        lane=number % 2,
        started_at=f"2025-01-31T12:{number % 60:02d}:07.250000+00:00",
        seed=1000 + number,
        error="FloatingPointError: the loss is NaN in epoch 1" if status == "failed" else None,
        history=history,
    )


def fits(
    curves: dict[Mode, tuple[float, float]], draws: int = 5, seed: int = 0, fractions: tuple[float, ...] = FRACTIONS
) -> list[Fit]:
    """Fits of each mode, whose accuracy runs from the first figure at the least labels to the second at all of them.

    The draws of one fraction share a part of their deviation in all modes and seeds, as they share their labels. An
    untrained encoder is the same under every seed.
    """
    made = []
    shared_noise = np.random.default_rng(7)
    own_noise = {mode: np.random.default_rng(7 if mode == "random" else (seed, i)) for i, mode in enumerate(curves)}
    for place, fraction in enumerate(fractions):
        labels = round(1257 * fraction)
        shared = shared_noise.normal(0, 0.02, draws)
        for mode, (least, most) in curves.items():
            middle = least + (most - least) * (place / max(1, len(fractions) - 1)) ** 0.7
            for draw in range(draws):
                accuracy = float(np.clip(middle + shared[draw] + own_noise[mode].normal(0, 0.006), 0, 1))
                made.append(
                    Fit(
                        mode=mode,
                        fraction=fraction,
                        labels=labels,
                        labels_per_class=labels / 10,
                        draw=draw,
                        seed=draw,
                        split="test",
                        accuracy=accuracy,
                        top5=min(1.0, accuracy + 0.2),
                        trial_id="5b1f_00000" if mode in ("frozen", "finetuned") else None,
                        seconds=0.4,
                    )
                )
    return made


def uses(images: int = 40) -> Uses:
    """Uses of two encoders over images of 8 pixels; places are hundreds, so that they are no rows."""
    generator = torch.Generator().manual_seed(0)
    places = 100 * torch.arange(images)
    figures = []
    values: tuple[tuple[Whose, float, float], ...] = (("pretrained", 0.8, 0.3), ("random", 0.6, -0.01))
    for whose, value, ari in values:
        for stage in ("conv2", "conv3"):
            for labels in (126, 1257):
                figures.append(Use(whose, "linear", "accuracy", stage, labels, None, images, value, "5b1f_00000"))
        figures += [
            Use(whose, "neighbours", "accuracy", "conv3", 126, 5, images, value - 0.1, "5b1f_00000"),
            Use(whose, "clustering", "accuracy", "conv3", 0, None, images, value, "5b1f_00000"),
            Use(whose, "clustering", "ari", "conv3", 0, None, images, ari, "5b1f_00000"),
        ]
    shown: dict[Whose, Shown] = {
        whose: Shown(
            confusion=torch.randint(5, (10, 10), generator=generator),
            retrieved=places[torch.stack([torch.randperm(images, generator=generator)[:10] for _ in range(3)])],
            mapped=places[torch.randperm(images, generator=generator)],
            components=torch.randn(images, 5, generator=generator),
            variance=torch.tensor(0.7),
            plane=torch.rand(images, 2, generator=generator) * 1.4 - 0.7,
            space=torch.rand(images, 3, generator=generator) - 0.5,
        )
        for whose, _, _ in values
    }
    pixels = torch.randint(256, (images, 8, 8, 3), generator=generator).byte()
    return Uses(tuple(figures), shown, Album(places, pixels, torch.randint(10, (images,), generator=generator)))
