"""A pytest plugin with fixtures for functions.

pytest finds it by itself where nuclio's wheel is installed; elsewhere write
``pytest_plugins = ["nuclio_sdk.testing.pytest_plugin"]`` into a ``conftest.py``. A relative path is
looked up beside the test, then in the folder that pytest was started in.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Generator, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from nuclio_sdk.testing import Function, Served

# When a test began, so that a failed one shows its own part of a log. Records have milliseconds.
_BEGUN = pytest.StashKey[datetime]()
_LONG_AGO = datetime.min.replace(tzinfo=UTC)


@pytest.fixture
def nuclio_function(request: pytest.FixtureRequest) -> Iterator[Callable[..., Function]]:
    """`nuclio_function("orders.py")` is a ``Function`` that is closed after the test."""
    with contextlib.ExitStack() as stack:

        def made(handler: Any, name: str = "", **options: Any) -> Function:
            from nuclio_sdk.testing import Function

            function = Function(_found(request, handler), name, **options)
            stack.callback(function.close)
            return function

        yield made


@pytest.fixture
def nuclio_serve(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., Served]]:
    """`nuclio_serve("orders.py")` runs the file under the real processor until the test has ended.

    What it logs is shown with a test that fails. Functions of one test find each other by name.
    """
    with contextlib.ExitStack() as stack:
        state = tmp_path_factory.mktemp("nuclio-state")

        def served(path: str | os.PathLike[str], **options: Any) -> Served:
            from nuclio_sdk.testing import serve

            options.setdefault("state", state)
            return stack.enter_context(serve(_found(request, path), **options))

        yield served


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Notes when the test begins."""
    now = datetime.now(UTC)
    item.stash[_BEGUN] = now.replace(microsecond=now.microsecond // 1000 * 1000)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Shows the logs of all functions that run with a test that fails."""
    report = yield
    # Not loaded if nobody served anything.
    module = sys.modules.get("nuclio_sdk.testing._served")
    if report.failed and module is not None:
        for served in module.running:
            text = served.log_since(item.stash.get(_BEGUN, _LONG_AGO))
            if text:
                report.sections.append((f"nuclio log of {served.path.name}", text))
    return report


def _found(request: pytest.FixtureRequest, path: Any) -> Any:
    """A file beside the test before one of the folder that pytest runs in."""
    if not isinstance(path, (str, os.PathLike)):
        return path
    beside = Path(request.path).parent / path
    return beside if beside.exists() else path
