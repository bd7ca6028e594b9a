"""A study over several hosts that share no disk: one is cut off, another joins, and nothing finished is lost."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import pytest

from study.cluster.proposals import trial_seed
from study.data.dataset import Dataset
from study.learning.jobs import Images, Pretraining, run_pretraining
from study.learning.pretrain import Place, Plan
from study.storage.files import read_study, read_trials
from study.storage.folder import Folder
from tests.hosts import Host, can_play_hosts, network

pytestmark = [
    pytest.mark.timeout(2400),
    pytest.mark.slow,  # whole studies on clusters of their own
    pytest.mark.skipif(not can_play_hosts(), reason="playing hosts takes root, ip, unshare and nsenter"),
]

EPOCHS = 4
STUDY = [
    *("python", "-m", "study.run", "--method", "rotnet", "--dataset", "photo-digits:1257", "--epochs", str(EPOCHS)),
    *("--fractions", "0.01", "--draws", "2", "--objective-fraction", "0.01", "--modes", "frozen,random"),
]
NAME = "photo-digits-1257-rotnet"
_COPY = """
import sys
from pathlib import Path
from study.storage.folder import Folder
from study.storage.mirror import Mirror
Mirror(Path(sys.argv[2]), Folder.of(sys.argv[1])).fetch()
"""
_UPLOAD = re.compile(
    r'^(\S+) - - \[.*?(\d\d:\d\d:\d\d)\] "POST \S*/checkpoints/(\d+)/state-(\d+)\.safetensors\?uploadId'
)


@dataclass(frozen=True)
class Upload:
    """A checkpoint that reached the store: its log says which host brought it."""

    host: str
    clock: str
    trial: int
    epoch: int


class Store:
    """An object store on a host of its own, and what its log says."""

    def __init__(self, host: Host, log: Path) -> None:
        self.host, self._log = host, log
        host.start(Path(sys.prefix) / "bin" / "moto_server", "-H", host.address, log=log)
        make = f"import urllib.request as u; u.urlopen(u.Request('http://{host.address}:5000/studies', method='PUT'))"
        wait_for(lambda: host.run("python", "-c", make, check=False) == "" and "PUT /studies" in log.read_text())

    def results(self, name: str) -> str:
        return f"s3://studies/{name}?endpoint_override={self.host.address}:5000&scheme=http&region=us-east-1"

    def uploads(self) -> list[Upload]:
        found = (_UPLOAD.match(line) for line in self._log.read_text().splitlines())
        return [Upload(each[1], each[2], int(each[3]), int(each[4])) for each in found if each]

    def fetch(self, name: str, copy: Path) -> None:
        """Copy a study out of the store, to a folder that this host shares with the real machine."""
        self.host.run("python", "-c", _COPY, self.results(name).replace(name, f"{name}/{NAME}"), copy)


def wait_for(true: Callable[[], object], seconds: float = 120, during: subprocess.Popen[str] | None = None) -> None:
    """Wait until it is true, as long as the process `during` runs."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"not within {seconds} s"
        assert during is None or during.poll() is None, "the study ended"
        time.sleep(0.5)


def timeline(uploads: list[Upload], names: dict[str, str]) -> Iterator[str]:
    """Which trial ran where, a line for each stretch of epochs on one host."""
    order = sorted(uploads, key=lambda upload: (upload.trial, upload.clock, upload.epoch))
    for (trial, host), stretch in groupby(order, key=lambda upload: (upload.trial, upload.host)):
        epochs = list(stretch)
        yield (
            f"{epochs[0].clock} to {epochs[-1].clock}: trial {trial} on {names[host]}, "
            f"epochs {epochs[0].epoch} to {epochs[-1].epoch}"
        )


def test_a_study_survives_the_loss_of_a_host_and_uses_one_that_joins(
    tmp_path: Path, photo_digits: Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "driver.log"
    with network() as net:
        store = Store(net.add("store", tmp_path), tmp_path / "store.log")
        head, alpha, beta = (net.add(name) for name in ("head", "alpha", "beta"))
        head.lead("--num-cpus=0")
        for host in (alpha, beta):
            host.join(head, "--num-cpus=1")
        driver = head.start(
            *(*STUDY, "--trials", "8", "--epoch-images", "1500", "--address", f"{head.address}:6379"),
            *("--results", store.results("lost"), "--tracking-uri", "sqlite:////var/tmp/mlflow.db"),
            log=log,
        )

        def uploads(host: Host, trial: int | None = None) -> list[Upload]:
            return [each for each in store.uploads() if each.host == host.address and trial in (None, each.trial)]

        wait_for(lambda: any(each.epoch == 2 for each in uploads(alpha)), 600, driver)
        alpha.cut_off()
        cut = time.strftime("%H:%M:%S")
        lost = uploads(alpha)[-1].trial
        gamma = net.add("gamma")
        gamma.join(head, "--num-cpus=1")
        wait_for(lambda: uploads(beta, lost) or uploads(gamma, lost), 600, driver)
        alpha.plug_in()  # its worker was never told, and may still be at work
        driver.wait(timeout=900)
        with capsys.disabled():
            print(f"\nalpha was cut off at {cut}, in trial {lost}; then gamma joined")
            print(*timeline(store.uploads(), {host.address: host.name for host in net.hosts}), sep="\n")
        assert driver.returncode == 0, log.read_text()
        store.fetch("lost", tmp_path / "copy")
        before, after = uploads(alpha, lost), [*uploads(beta, lost), *uploads(gamma, lost)]
        assert uploads(gamma), "the host that joined was used"
    assert before[0].epoch == 1 and after[0].epoch == before[-1].epoch + 1, "it went on after the last checkpoint"

    study, trials = read_study(tmp_path / "copy")[0], read_trials(tmp_path / "copy")
    assert sorted(trial.number for trial in trials) == list(range(8))
    assert {trial.status for trial in trials} <= {"completed", "pruned"}
    found = next(trial for trial in trials if trial.number == lost)
    images = Images(photo_digits.folder, study.seed, study.pool_limit)
    plan = Plan.of(study, found.params, trial_seed(study, lost))
    alone = Pretraining(images, plan, study.objective_budget, study.draws, Folder.of(tmp_path / "alone"))
    undisturbed = [(epoch.loss, epoch.objective) for epoch in run_pretraining(alone, Place())]
    assert [(epoch.loss, epoch.objective) for epoch in found.history] == undisturbed, "as if nothing had happened"


def test_the_workers_of_a_lane_train_together_from_two_hosts(tmp_path: Path) -> None:
    log = tmp_path / "driver.log"
    with network() as net:
        store = Store(net.add("store", tmp_path), tmp_path / "store.log")
        head, alpha, beta = (net.add(name) for name in ("head", "alpha", "beta"))
        head.lead("--num-cpus=0")
        for host in (alpha, beta):
            host.join(head, "--num-cpus=1")
        driver = head.start(
            *(*STUDY, "--workers", "2", "--trials", "1", "--epoch-images", "256", "--address", f"{head.address}:6379"),
            *("--results", store.results("pair"), "--tracking-uri", "sqlite:////var/tmp/mlflow.db"),
            log=log,
        )
        assert driver.wait(timeout=900) == 0, log.read_text()
        for host in (alpha, beta):
            assert "pixels.uint8" in host.run("find", "/tmp", "-name", "pixels.uint8"), "each has a copy of the images"
        assert not head.run("find", "/tmp", "-name", "pixels.uint8"), "the driver has its own in its cache"
        store.fetch("pair", tmp_path / "copy")
    (trial,) = read_trials(tmp_path / "copy")
    assert trial.status == "completed" and len(trial.history) == EPOCHS
