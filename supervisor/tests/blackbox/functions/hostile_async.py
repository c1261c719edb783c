"""An async handler that runs the program its path names; each harms its own event loop."""

import asyncio
import os
import sys
import time

kept = []


async def leaves(event):
    sys.exit(3)


async def leaves_at_once(event):
    os._exit(3)


async def interrupts(event):
    raise KeyboardInterrupt


async def leaves_in_a_task(event):
    async def leave():
        sys.exit(3)

    kept.append(asyncio.create_task(leave()))
    await asyncio.sleep(0.05)
    return "went on"


async def interrupts_in_a_callback(event):
    def interrupt():
        raise KeyboardInterrupt

    asyncio.get_running_loop().call_soon(interrupt)
    await asyncio.sleep(0.05)
    return "went on"


async def stops_the_loop(event):
    asyncio.get_running_loop().stop()
    await asyncio.sleep(0.05)
    return "went on"


async def closes_the_loop(event):
    asyncio.get_running_loop().close()


async def runs_another_loop(event):
    return asyncio.run(asyncio.sleep(0))


async def forgets_the_loop(event):
    asyncio.set_event_loop(None)
    await asyncio.sleep(0.01)
    return "went on"


async def cancels_itself(event):
    asyncio.current_task().cancel()
    await asyncio.sleep(1)


async def cancels_all(event):
    for task in asyncio.all_tasks():
        task.cancel()
    await asyncio.sleep(1)


async def keeps_cancellations(event):
    while True:
        try:
            await asyncio.sleep(10**6)
        except asyncio.CancelledError:
            continue


async def never_ends(event):
    await asyncio.get_running_loop().create_future()


async def blocks(event):
    time.sleep(10**6)


async def spins(event):
    while True:
        pass


async def spins_politely(event):
    while True:
        await asyncio.sleep(0)


async def deafens(event):
    loop = asyncio.get_running_loop()
    for number in range(3, 100):
        loop.remove_reader(number)
    return "deaf"


async def forks(event):
    if os.fork() == 0:
        return "child"
    await asyncio.sleep(0.05)
    return "parent"


async def broken_exception_handler(event):
    def broken(*_):
        raise RuntimeError("broken handler")

    asyncio.get_running_loop().set_exception_handler(broken)

    async def fail():
        raise ValueError("unheard")

    asyncio.create_task(fail())
    await asyncio.sleep(0.02)
    return "went on"


async def many_tasks(event):
    kept.extend(asyncio.create_task(asyncio.sleep(10**6)) for _ in range(20_000))
    return "started"


async def a_coroutine_as_answer(event):
    return asyncio.sleep(1)


async def ok(event):
    await asyncio.sleep(0.001)
    return b"%d %d" % (os.getpid(), len(event.body))


PROGRAMS = dict(globals())


async def handler(context, event):
    return await PROGRAMS[event.path.strip("/")](event)
