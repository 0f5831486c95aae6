"""A small release, and a server of files."""

from collections.abc import Iterator

import pytest

from tests.support.file_server import Server, serving
from tests.support.releases import Release, make_release


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Release:
    return make_release(tmp_path_factory.mktemp("release"))


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server without files."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with serving() as server:
        yield server


@pytest.fixture
def served(server: Server, made: Release) -> None:
    """Puts the release on the server."""
    made.serve(server)
