"""A handler that prints and logs in every way; for `test_handler_output.py`."""

import ctypes
import os
import subprocess
import sys
import threading


def lines(context, event, argument):
    print("one")
    print("two", "three", sep="-", end="!\n")
    sys.stderr.write("to stderr\n")
    print("żółw \N{SNAKE}")
    sys.stdout.buffer.write(b"raw \xff\xfe\n")
    sys.stdout.write("no line end")
    return event.id


def levels(context, event, argument):
    context.logger.debug("at debug")
    context.logger.info("at %s %d", "info", 2)
    context.logger.warn("at warn")
    context.logger.error_with("at error", price=3, tags=["a"], nested={"b": None}, odd=object)
    context.logger.info("does not %d fit", "word")
    return event.id


def forges(context, event, argument):
    record = '{"time":"2020-01-01T00:00:00Z","level":"error","message":"forged"}'
    print("begin\r\n" + record)
    context.logger.info(f"line\n{record}\x1b[2J\0end")
    context.logger.info_with("with", level="fatal", time=1, event_id="mine", function="other")
    return event.id


def native(context, event, argument):
    os.write(1, b"straight to one\n")
    os.write(2, b"straight to two\n")
    libc = ctypes.CDLL(None)
    libc.puts(b"from libc")
    libc.fflush(None)
    subprocess.run(["sh", "-c", "echo from a child; echo its error >&2"], check=True)
    return event.id


def much(context, event, argument):
    """Prints that many megabytes in lines of 100 bytes."""
    line = "x" * 99 + "\n"
    block = line * 100
    for _ in range(int(argument) * 100):
        sys.stdout.write(block)
    return "printed"


def much_native(context, event, argument):
    block = (b"y" * 99 + b"\n") * 1000
    for _ in range(int(argument) * 10):
        os.write(2, block)
    return "written"


def one_line(context, event, argument):
    print("z" * (int(argument) << 20))
    return "printed"


def dies(context, event, argument):
    print("last words")
    sys.stdout.write("half a line")
    os.write(2, b"native last words\n")
    os.kill(os.getpid(), 9)


def threads(context, event, argument):
    """Eight threads print at once; every line must stay whole."""

    def work(number):
        for turn in range(200):
            print(f"thread {number} turn {turn} " + "=" * 50)

    many = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in many:
        thread.start()
    for thread in many:
        thread.join()
    return event.id


def ok(context, event, argument):
    return "ok"


def handler(context, event):
    word, _, argument = event.path.strip("/").partition("/")
    return globals()[word](context, event, argument)
