"""The test helpers of nuclio's SDK, under their names; `nuclio_sdk.testing` is the newer kit."""

import os
import sys
import unittest
import unittest.mock

from nuclio_sdk import Context, Logger

__all__ = ["Platform", "TestCase"]


class Platform:
    """Calls handlers as a platform would, and notes which functions they call."""

    kind = "test"
    namespace = "default"

    def __init__(self):
        self._contexts = {}
        self.call_function_mock = unittest.mock.MagicMock()
        self.context = Context(Logger("debug"), self)

    def call_handler(self, handler, event):
        """Calls it with a context of its own, made at the first call."""
        return handler(self._context_of(handler), event)

    def call_handler_with_context_mutation(self, handler, event, context_mutator):
        return handler(context_mutator(self._context_of(handler)), event)

    def call_function(self, name, event, node=None, timeout=None, service_name_override=None):
        return self.call_function_mock(name, event, node, timeout, service_name_override)

    async def call_function_async(
        self, name, event, node=None, timeout=None, service_name_override=None
    ):
        return self.call_function(name, event, node, timeout, service_name_override)

    def get_call_function_call_args(self, index):
        return self.call_function_mock.call_args_list[index][0]

    def _context_of(self, handler):
        if handler not in self._contexts:
            context = Context(self.context.logger, self)
            init_context = getattr(sys.modules[handler.__module__], "init_context", None)
            if init_context is not None:
                init_context(context)
            self._contexts[handler] = context
        return self._contexts[handler]


class TestCase(unittest.TestCase):
    """A test with a platform; the environment is put back afterwards."""

    def setUp(self):
        self._platform = Platform()
        patch = unittest.mock.patch.dict(os.environ)
        patch.start()
        self.addCleanup(patch.stop)
