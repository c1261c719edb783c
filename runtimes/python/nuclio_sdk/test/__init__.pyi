import unittest
import unittest.mock
from collections.abc import Callable
from typing import Any

from nuclio_sdk import Context, Event

class Platform:
    """Calls handlers as a platform would, and notes which functions they call."""

    kind: str
    namespace: str
    context: Context
    call_function_mock: unittest.mock.MagicMock
    def __init__(self) -> None: ...
    def call_handler(self, handler: Callable[[Context, Event], Any], event: Event) -> Any:
        """Calls it with a context of its own, made at the first call."""
    def call_handler_with_context_mutation(
        self,
        handler: Callable[[Context, Event], Any],
        event: Event,
        context_mutator: Callable[[Context], Context],
    ) -> Any: ...
    def call_function(
        self,
        name: str,
        event: Event,
        node: str | None = None,
        timeout: float | None = None,
        service_name_override: str | None = None,
    ) -> Any: ...
    async def call_function_async(
        self,
        name: str,
        event: Event,
        node: str | None = None,
        timeout: float | None = None,
        service_name_override: str | None = None,
    ) -> Any: ...
    def get_call_function_call_args(self, index: int) -> tuple[Any, ...]: ...

class TestCase(unittest.TestCase):
    """A test with a platform; the environment is put back afterwards."""

    _platform: Platform
