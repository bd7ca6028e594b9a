"""What a worker is spared comes back for whoever asks for it. Each case is a process of its own."""

from __future__ import annotations

import subprocess
import sys

import pytest

TRAINED = """
import sys, torch
from study.cluster.lean import without_compiler
without_compiler()
layer = torch.nn.Linear(3, 3)
before = len(sys.modules)
for optimizer in (torch.optim.Adam(layer.parameters(), fused=True), torch.optim.SGD(layer.parameters(), 0.1)):
    layer(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    optimizer.zero_grad()
    optimizer.load_state_dict(optimizer.state_dict())
assert len(sys.modules) == before, "something was imported"
"""

ASKED = {
    "compiled": """
compiled = torch.compile(lambda x: 2 * x + 1, backend="eager")
assert compiled(torch.ones(2)).tolist() == [3, 3]
""",
    "a part of it": """
import torch._dynamo.config as config
assert config is sys.modules["torch._dynamo.config"] is torch._dynamo.config
""",
    "a name of a part": """
from torch._dynamo.utils import counters
assert counters is sys.modules["torch._dynamo"].utils.counters
""",
    "looked through": """
import inspect
inspect.getmodule(torch.nn.Linear)
assert len(sys.modules) < before + 50
""",
}


@pytest.mark.parametrize("then", ASKED.values(), ids=ASKED)
def test_optimizers_do_without_the_compiler_until_it_is_asked_for(then: str) -> None:
    subprocess.run([sys.executable, "-c", TRAINED + then], check=True)


def test_without_the_stand_in_an_optimizer_imports_the_compiler() -> None:
    plain = TRAINED.replace("without_compiler()\n", "")
    answer = subprocess.run([sys.executable, "-c", plain], check=False, capture_output=True, text=True)
    assert "something was imported" in answer.stderr, "torch has mended it: study.cluster.lean can go"
