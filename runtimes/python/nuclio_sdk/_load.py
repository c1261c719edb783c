"""Loads the user's code and finds the handler in it.

Every mistake that can be told before an event comes is told here, in one sentence that names the
file and says what to write instead. Nothing heavy is imported: `inspect` alone would double the
start.
"""

import os
import sys
from importlib import import_module
from importlib.machinery import ModuleSpec, SourceFileLoader

# Flags of code objects, as `inspect` names them.
_CO_COROUTINE = 0x80
_CO_ASYNC_GENERATOR = 0x200

_Function = type(lambda: None)
_Module = type(sys)

# A folder without a configured handler is served by the first of these that exists.
_FOLDER_FILES = ("handler.py", "main.py", "app.py", "function.py")


class Unusable(Exception):
    """The code cannot be a function as it stands; the text is for its author."""


class Code:
    """A handler that can be called."""

    def __init__(self, handler, module):
        self.handler = handler
        self.module = module
        self.init_context = getattr(module, "init_context", None)
        self.is_async = _is_async(handler)


def load(path, configured):
    """Loads `path` (a file or a folder) and finds its handler; `configured` may be empty."""
    module_name, _, function_name = configured.rpartition(":")
    if not os.path.exists(path):
        raise Unusable(f"{path} does not exist")
    folder = path if os.path.isdir(path) else os.path.dirname(path)
    sys.path.insert(0, folder)
    sys.argv = [path]
    try:
        if os.path.isdir(path):
            module = _from_folder(path, module_name)
        else:
            module = _from_file(path, module_name)
    except SyntaxError as error:
        if error.filename and os.path.abspath(error.filename).startswith(folder + os.sep):
            raise Unusable(_syntax_error(error, path)) from None
        raise
    except ModuleNotFoundError as error:
        from nuclio_sdk._missing import explained

        error.msg = explained(error, path) or error.msg
        raise
    handler = _named(module, function_name) if function_name else _only(module)
    return Code(handler, module)


def init(init_context, context):
    """Calls `init_context` for a sync handler."""
    _finish(init_context(context))


def terminate(context):
    """Calls what the user's code wants called after the last event."""
    callback = getattr(context.platform, "_termination_callback", None)
    if callback is not None:
        _finish(callback())


def drain(context):
    """Calls what the user's code wants called when a trigger drains."""
    callback = getattr(context.platform, "_drain_callback", None)
    if callback is not None:
        _finish(callback())


def _finish(result):
    """Runs what an async function gave to its end, in a loop of its own."""
    if hasattr(result, "__await__"):
        import asyncio

        error = asyncio.run(ending_of(result))
        if error is not None:
            raise error


async def ending_of(awaitable):
    """The exception it ends with, or None. Raised through the loop it would be shown with the
    frames of `asyncio`, which are not the author's."""
    try:
        await awaitable
    except BaseException as error:
        return error
    return None


def _from_file(path, module_name):
    stem = os.path.splitext(os.path.basename(path))[0]
    if module_name and module_name != stem:
        if not os.path.exists(os.path.join(os.path.dirname(path), *module_name.split(".")) + ".py"):
            raise Unusable(
                f"the handler names the module {module_name}, but the code is {path}: "
                f"write {stem}:FUNCTION, or FUNCTION alone"
            )
        return import_module(module_name)
    # A file may be called like a module that is loaded already (`types.py`); that one stays.
    name = stem if stem not in sys.modules else "nuclio_function_" + stem
    module = _Module(name)
    loader = SourceFileLoader(name, path)
    module.__file__ = path
    module.__loader__ = loader
    module.__package__ = ""
    module.__spec__ = ModuleSpec(name, loader, origin=path)
    module.__spec__.has_location = True
    sys.modules[name] = module
    try:
        # Never from a compiled file: it is told from a newer source by the second and the length.
        compiled = loader.source_to_code(loader.get_data(path), path)
    except (SyntaxError, ValueError) as error:  # the latter for NUL bytes, before 3.11.4
        raise Unusable(_syntax_error(error, path)) from None
    exec(compiled, module.__dict__)
    return module


def _from_folder(path, module_name):
    if module_name:
        place = os.path.join(path, *module_name.split("."))
        if not os.path.exists(place + ".py") and not os.path.isdir(place):
            raise Unusable(
                f"the handler names the module {module_name}, but there is no {place}.py"
            )
        if "." in module_name:
            return import_module(module_name)
        if os.path.exists(place + ".py"):
            return _from_file(place + ".py", "")
        return import_module(module_name)
    files = sorted(name for name in os.listdir(path) if name.endswith(".py"))
    chosen = files[:1] if len(files) == 1 else [n for n in _FOLDER_FILES if n in files][:1]
    if not chosen:
        found = ", ".join(files) if files else "no Python file"
        raise Unusable(
            f"{path} holds {found}: say which to serve with a handler such as "
            f"{os.path.splitext(files[0])[0] if files else 'module'}:handler"
        )
    return _from_file(os.path.join(path, chosen[0]), "")


def _named(module, name):
    found = module
    for part in name.split("."):
        found = getattr(found, part, None)
    if found is None:
        there = [name for name, _ in _candidates(module)]
        have = f"; it has {_and(there)}" if there else ""
        raise Unusable(f"{module.__file__} has no function called {name}{have}")
    if not callable(found):
        raise Unusable(f"{name} in {module.__file__} is a {type(found).__name__}, not a function")
    problem = _problem(found)
    if problem:
        raise Unusable(f"{name} in {module.__file__} {problem}")
    return found


def _only(module):
    if hasattr(module, "handler"):
        return _named(module, "handler")
    fitting = [(name, it) for name, it in _candidates(module) if not _problem(it)]
    if len(fitting) == 1:
        return fitting[0][1]
    if fitting:
        names = [name for name, _ in fitting]
        stem = os.path.splitext(os.path.basename(module.__file__))[0]
        raise Unusable(
            f"{module.__file__} has several functions that could be the handler: {_and(names)}. "
            f"Call one of them handler, or choose one with --handler {stem}:{names[0]}"
        )
    unfitting = [f"{name} {_problem(it)}" for name, it in _candidates(module)]
    seen = f" ({'; '.join(unfitting[:3])})" if unfitting else ""
    raise Unusable(
        f"{module.__file__} has no handler{seen}: "
        "write a function with two parameters, def handler(context, event): ..."
    )


def _candidates(module):
    """Public functions that are defined in this very module."""
    return [
        (name, it)
        for name, it in vars(module).items()
        if isinstance(it, _Function)
        and it.__module__ == module.__name__
        and not name.startswith("_")
        and name != "init_context"
    ]


def _and(names):
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1]


def _function_of(handler):
    """The Python function behind a callable and how many arguments are bound already."""
    bound = 0
    while True:
        if isinstance(handler, _Function):
            return handler, bound
        if hasattr(handler, "__func__"):
            handler, bound = handler.__func__, bound + 1
        elif hasattr(handler, "func") and hasattr(handler, "args"):  # functools.partial
            if getattr(handler, "keywords", None):
                return None, 0
            handler, bound = handler.func, bound + len(handler.args)
        elif not isinstance(handler, type) and isinstance(type(handler).__call__, _Function):
            handler, bound = type(handler).__call__, bound + 1
        else:
            return None, 0


def _problem(handler):
    """Why a callable cannot be called with a context and an event; None if it can or who knows."""
    function, bound = _function_of(handler)
    if function is None:
        return None
    code = function.__code__
    most = code.co_argcount - bound
    least = most - len(function.__defaults__ or ())
    keywords = code.co_varnames[code.co_argcount : code.co_argcount + code.co_kwonlyargcount]
    missing = [name for name in keywords if name not in (function.__kwdefaults__ or ())]
    if missing:
        return f"needs the keyword argument {missing[0]}, but a handler gets (context, event)"
    has_rest = code.co_flags & 0x04
    if least <= 2 and (most >= 2 or has_rest):
        return None
    count = "no parameters" if most == 0 else "1 parameter" if most == 1 else f"{least} parameters"
    return f"has {count}, but a handler gets two: (context, event)"


def is_coroutine_function(handler):
    """True if calling it surely gives something to await."""
    function, _ = _function_of(handler)
    return function is not None and bool(function.__code__.co_flags & _CO_COROUTINE)


def _is_async_generator_function(handler):
    function, _ = _function_of(handler)
    return function is not None and bool(function.__code__.co_flags & _CO_ASYNC_GENERATOR)


def _is_async(handler):
    """True also for what only wraps an async function: its result is looked at when it comes."""
    while handler is not None:
        if is_coroutine_function(handler) or _is_async_generator_function(handler):
            return True
        handler = getattr(handler, "__wrapped__", None)
    return False


def _syntax_error(error, path):
    """Where and what; an error that knows no place is one of the whole file at `path`."""
    if getattr(error, "lineno", None) is None:
        return f"{path}: {getattr(error, 'msg', error)}"
    text = f"{error.filename or path}, line {error.lineno}: {error.msg}"
    if error.text:
        line = error.text.rstrip("\n")
        text += "\n    " + line.strip()
        if error.offset:
            indent = len(line) - len(line.lstrip())
            text += "\n    " + " " * max(error.offset - 1 - indent, 0) + "^"
    return text
