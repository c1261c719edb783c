"""Runs a program whose kernel refuses one system call, as some sandboxes do.

    python refuse_syscall.py memfd_create EPERM PROGRAM ARGUMENT...

The filter is inherited by everything the program starts and cannot be taken off again.
"""

import ctypes
import errno
import os
import platform
import struct
import sys

NUMBERS = {
    "x86_64": {"memfd_create": 319, "bind": 49, "pidfd_open": 434, "eventfd2": 290},
    "aarch64": {"memfd_create": 279, "bind": 200, "pidfd_open": 434, "eventfd2": 19},
}
PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS, SECCOMP_MODE_FILTER = 22, 38, 2
ALLOW, FAIL_WITH = 0x7FFF0000, 0x00050000
# BPF: load a word of the call's description, jump if equal, return.
LOAD, JUMP_EQUAL, RETURN = 0x20, 0x15, 0x06
NUMBER_AT = 0


def instruction(code, operand, if_true=0, if_false=0):
    return struct.pack("HBBI", code, if_true, if_false, operand)


def refuse(number, error):
    program = b"".join(
        [
            instruction(LOAD, NUMBER_AT),
            instruction(JUMP_EQUAL, number, 0, 1),
            instruction(RETURN, FAIL_WITH | error),
            instruction(RETURN, ALLOW),
        ]
    )
    buffer = ctypes.create_string_buffer(program, len(program))
    # struct sock_fprog: a count and, behind padding, a pointer.
    description = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(buffer))
    libc = ctypes.CDLL(None, use_errno=True)
    for arguments in [
        (PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0),
        (PR_SET_SECCOMP, SECCOMP_MODE_FILTER, description, 0, 0),
    ]:
        if libc.prctl(*arguments) != 0:
            raise OSError(ctypes.get_errno(), f"prctl({arguments[0]})")


def main():
    call, error, *argv = sys.argv[1:]
    refuse(NUMBERS[platform.machine()][call], getattr(errno, error))
    os.execvp(argv[0], argv)


if __name__ == "__main__":
    main()
