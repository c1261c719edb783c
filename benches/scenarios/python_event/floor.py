# Times the bare call from Rust: reads how many calls, prints nanoseconds of CPU for each line.
import importlib.util
import sys
import time


def handler(context, event):
    pass


spec = importlib.util.spec_from_file_location("call_floor", sys.argv[1])
call_floor = importlib.util.module_from_spec(spec)
spec.loader.exec_module(call_floor)
context, event = object(), object()
for line in sys.stdin:
    times = int(line)
    begun = time.thread_time_ns()
    call_floor.call(handler, context, event, times)
    print((time.thread_time_ns() - begun) / times, flush=True)
