"""A page of 1 KiB from aiohttp, kept in Redis by aiocache: `server.py PORT HOST REDIS_PORT`."""

import asyncio
import sys

from aiocache import Cache, cached
from aiocache.serializers import PickleSerializer
from aiohttp import web

port, host, redis_port = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
body = b"x" * 1024


@cached(ttl=3600, cache=Cache.REDIS, endpoint=host, port=redis_port, serializer=PickleSerializer(), key="page")
async def page():
    await asyncio.sleep(0.05)
    return body


async def handler(_request):
    return web.Response(body=await page(), content_type="application/octet-stream")


app = web.Application()
app.router.add_get("/{path:.*}", handler)
web.run_app(app, host="127.0.0.1", port=port, print=None, access_log=None)
