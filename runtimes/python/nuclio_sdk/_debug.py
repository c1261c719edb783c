"""A worker of ``nuclio run --debug``: its terminal is the user's, and so is its Ctrl-C.

Ctrl-C reaches every program in the terminal's foreground. The processor leaves it to this worker,
which knows whether a debugger stands at its prompt.
"""

import os
import pdb
import signal
import sys


class _Pdb(pdb.Pdb):
    """Leaves SIGINT as it is: after `continue`, Pdb would take every later Ctrl-C, also the one
    that is to end the function."""

    def __init__(self, completekey="tab", stdin=None, stdout=None, skip=None, *more, **named):
        # The next argument, where it is given by place, is `nosigint` itself.
        if not more:
            named["nosigint"] = True
        super().__init__(completekey, stdin, stdout, skip, *more, **named)


def install():
    """Call on the main thread, before any code of the user."""
    pdb.Pdb = _Pdb
    signal.signal(signal.SIGINT, _interrupted)


def _interrupted(_number, frame):
    if _is_at_prompt(frame):
        raise KeyboardInterrupt
    # It drains at the first, and ends at the second. Not by SIGINT: it has got one by Ctrl-C, and
    # another would be one with it until it is read.
    os.kill(os.getppid(), signal.SIGTERM)


def _is_at_prompt(frame):
    """Whether a debugger runs this frame: all of them are made of `bdb`."""
    # `sys.modules`, so that a user's file of that name is not taken for it.
    own = [vars(module) for name in ("bdb", "pdb") if (module := sys.modules.get(name))]
    while frame is not None:
        if any(frame.f_globals is names for names in own):
            return True
        frame = frame.f_back
    return False
