"""The world that is damaged in several modules."""

from __future__ import annotations

import pytest
from test_matrix import World


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("world"))


@pytest.fixture
def world(built: World) -> World:
    built.reset()
    return built
