"""Repeats: the best trial's settings pretrained again with other seeds, so that the curve knows what a seed changes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

from study.cluster.curve import CurveError, repeats
from study.cluster.lanes import Lanes
from study.cluster.messages import Failure, Job
from study.cluster.proposals import trial_seed
from study.learning.jobs import Images, Pretraining, run_pretraining
from study.learning.pretrain import Plan
from study.records import Epoch, Study, Trial
from study.seeds import derive
from study.storage.checkpoints import BEST, REPEAT
from study.storage.folder import Folder
from study.storage.promoted import owner, promote


def repeat_best(
    study: Study,
    images: Images,
    lanes: Lanes,
    best: Trial,
    kept: Folder,
    take: Callable[[str, Folder, Plan], bool],
    note: Callable[[str], None],
) -> dict[int, Folder]:
    """Pretrain the repeats that are missing below `kept`; the folders of all encoders by repeat, 0 the trial's own.

    A repeat runs for as many epochs as the trial did, and its encoder too is that of its best epoch. One that fails is
    left out, and `note` hears why: settings that diverge with another seed are a result. The trial's own is made again
    where it was lost or damaged; raises CurveError where that fails. `take` fills a folder, of that name, with an
    encoder that this plan has made elsewhere, and says whether there was one.
    """
    names = {number: f"{REPEAT}{number}" if number else BEST for number in repeats(study)}
    encoders = {number: kept / name for number, name in names.items()}
    jobs = []
    numbers = {}
    for number, folder in encoders.items():
        own = trial_seed(study, best.number)
        seed = derive(own, "repeat", number) if number else own
        plan = Plan.of(study, best.params, seed)
        if owner(folder) != seed and not take(names[number], folder, plan):
            running = kept / (f"{REPEAT}{number}-running" if number else f"{best.number:03d}")
            budget = study.objective_budget
            argument = Pretraining(images, plan, budget, study.draws, running, study.validation, best.epochs)
            jobs.append(Job(f"{study.trial_id(best.number)}-{REPEAT}{number}", run_pretraining, argument))
            numbers[jobs[-1].name] = number
    histories: dict[int, list[Epoch]] = defaultdict(list)
    for job, answer in lanes.run(jobs):
        number = numbers[job.name]
        if isinstance(answer, Failure):
            if number == 0:
                raise CurveError(f"trial {best.number}, the best, could not be pretrained again: {answer.reason}")
            note(f"repeat {number} is left out: {answer.reason}")
            del encoders[number]
            continue
        histories[number].append(answer)
        if len(histories[number]) == best.epochs:
            promote(job.argument.folder, encoders[number], histories[number])
            job.argument.folder.remove_all()
    return encoders
