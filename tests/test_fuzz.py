"""A share of the fuzzing, `python -m tests.fuzz`: what is damaged is read, or refused in one line."""

from __future__ import annotations

from collections import Counter

from tests.fuzz.session import one_child
from tests.fuzz.targets import TARGETS


def test_whatever_is_damaged_is_read_or_refused_in_one_line() -> None:
    tried = list(one_child([target.name for target in TARGETS], seed=7, first=0, stop=20))
    findings = [f"{each.target} {each.number}: {each.said}" for each in tried if each.outcome == "finding"]
    assert not findings, "\n".join(findings)
    outcomes = Counter(each.outcome for each in tried)
    assert len(tried) == 20 * len(TARGETS)
    assert outcomes["accepted"] > 20 and outcomes["refused"] > 100
