"""Asks another HTTP server on behalf of each event, with many events in flight. Needs aiohttp.

    UPSTREAM_URL=http://127.0.0.1:9000 nuclio run fanout.py
    curl 'http://127.0.0.1:8080/orders?page=2'

While one event waits for the upstream, the worker handles others: a thousand slow answers cost a
thousand small tasks, not a thousand workers. `copies` in the query asks that many times at once.
An upstream that fails gets the client 502, one that takes longer than ten seconds 504.
"""

import asyncio
import os

import aiohttp

TIMEOUT = aiohttp.ClientTimeout(total=10)
COPIES_MAX = 16


async def init_context(context):
    url = os.environ.get("UPSTREAM_URL")
    if not url:
        raise RuntimeError("UPSTREAM_URL is not set: it names the server that is asked")
    context.user_data.upstream = url.rstrip("/")
    # One session for the life of the worker: connections are used again. No limit of its own:
    # how many events are in flight is decided by maxInflight.
    connector = aiohttp.TCPConnector(limit=0)
    session = aiohttp.ClientSession(connector=connector, timeout=TIMEOUT)
    context.user_data.session = session
    context.platform.set_termination_callback(session.close)


async def ask(context, path):
    async with context.user_data.session.get(context.user_data.upstream + path) as reply:
        return {"status": reply.status, "body": await reply.text()}


async def handler(context, event):
    try:
        copies = int(event.fields.get("copies", 1))
    except ValueError:
        return 400, "copies must be a number.\n"
    if not 1 <= copies <= COPIES_MAX:
        return 400, f"copies must be from 1 to {COPIES_MAX}.\n"

    try:
        replies = await asyncio.gather(*(ask(context, event.path) for _ in range(copies)))
    except TimeoutError:
        return 504, "The upstream did not answer in time.\n"
    except aiohttp.ClientError as error:
        context.logger.warn_with("upstream failed", error=str(error))
        return 502, "The upstream cannot be reached.\n"
    return {"path": event.path, "replies": replies}
