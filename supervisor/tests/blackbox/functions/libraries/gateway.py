"""httpx and aiohttp: one client for the life of the worker, many requests at once."""

import os

import aiohttp
import httpx

UPSTREAM = os.environ["UPSTREAM"]


async def init_context(context):
    context.user_data.httpx = httpx.AsyncClient(base_url=UPSTREAM)
    context.user_data.aiohttp = aiohttp.ClientSession(UPSTREAM)


async def handler(context, event):
    target = f"/item/{event.fields['id']}"
    if event.path == "/aiohttp":
        async with context.user_data.aiohttp.get(target) as reply:
            return reply.status, await reply.text()
    reply = await context.user_data.httpx.get(target)
    return reply.status_code, reply.text
