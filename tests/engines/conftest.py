"""Ray, started once for the tests of a module."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from importlib.util import find_spec

import pytest


@pytest.fixture(scope="module")
def one_ray() -> Iterator[None]:
    """Start Ray, which takes seconds; nothing where it isn't installed."""
    if find_spec("ray") is None:
        yield
        return
    import ray

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
        yield
        ray.shutdown()
