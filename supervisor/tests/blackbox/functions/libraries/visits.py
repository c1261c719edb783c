"""redis: counts visits, all events of the worker over one client."""

import os

import redis.asyncio


async def init_context(context):
    context.user_data.redis = redis.asyncio.from_url(os.environ["REDIS"])


async def handler(context, event):
    return str(await context.user_data.redis.incr(f"visits:{event.path}"))
