"""The other uses of a study's features, measured on the lanes: of the best trial's encoder, and of an untrained one."""

from __future__ import annotations

from study.cluster.lanes import Lanes
from study.cluster.messages import Failure, Job
from study.data.dataset import Dataset
from study.learning.jobs import Images, Using, classifier_config, run_using
from study.learning.uses import Found
from study.records import Study, Trial, Whose
from study.storage.folder import Folder
from study.storage.uses import Uses, album

_ENCODERS: tuple[Whose, ...] = ("pretrained", "random")


class UsesError(RuntimeError):
    """The uses of an encoder could not be measured."""


def find_uses(study: Study, images: Images, dataset: Dataset, lanes: Lanes, best: Trial, encoder: Folder) -> Uses:
    """Measure both encoders; `encoder` is the folder of the best trial's. Raises UsesError where a job fails."""
    smoothing = classifier_config(best.params).label_smoothing
    jobs = [
        Job(
            f"{study.name}-uses-{whose}",
            run_using,
            Using(
                images,
                study.encoder,
                study.tap,
                encoder if whose == "pretrained" else None,
                study.objective_budget,
                smoothing,
                study.seed,
                best.trial_id,
            ),
        )
        for whose in _ENCODERS
    ]
    found: dict[Whose, Found] = {}
    for _, answer in lanes.run(jobs):
        if isinstance(answer, Failure):
            raise UsesError(answer.reason)
        whose, measured = answer
        found[whose] = measured
    shown = {whose: found[whose].shown for whose in _ENCODERS}
    figures = tuple(use for whose in _ENCODERS for use in found[whose].figures)
    return Uses(figures, shown, album(dataset, shown.values()))
