"""What all tests share: the event loop for async tests, and a profile for hypothesis."""

from __future__ import annotations

import os

import hypothesis
import pytest
import torch

# Machines under load make single examples slow; the suite has its own time limit.
hypothesis.settings.register_profile("clearcall", deadline=None, max_examples=60)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "clearcall"))

# Small tensors gain nothing from a second thread, and lose much to it on a busy machine.
torch.set_num_threads(1)


@pytest.fixture
def anyio_backend() -> str:
    """Async tests run in asyncio, as the service does."""
    return "asyncio"
