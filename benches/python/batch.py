"""Many pages, half of them cached: batch.py aiohttp|aiohttp-client-cache|hishel ORIGIN COUNT AT_ONCE prints seconds."""

import asyncio
import os
import sys
import tempfile
import time

WHICH, ORIGIN, COUNT, AT_ONCE = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
URLS = [f"{ORIGIN}/1k?{os.getpid()}.{n}" for n in range(COUNT)]


async def gather(get, urls):
    slots = asyncio.Semaphore(AT_ONCE)

    async def one(url):
        async with slots:
            assert len(await get(url)) == 1024

    await asyncio.gather(*(one(url) for url in urls))


async def measured(get):
    if WHICH != "aiohttp":
        await gather(get, URLS[::2])
    begun = time.perf_counter()
    await gather(get, URLS)
    return time.perf_counter() - begun


async def main():
    if WHICH == "aiohttp":
        import aiohttp

        async with aiohttp.ClientSession() as session:

            async def get(url):
                async with session.get(url) as response:
                    return await response.read()

            return await measured(get)
    if WHICH == "aiohttp-client-cache":
        from aiohttp_client_cache import CacheBackend, CachedSession

        # In memory, which is the fastest that it has.
        async with CachedSession(cache=CacheBackend(expire_after=3600)) as session:

            async def get(url):
                async with session.get(url) as response:
                    return await response.read()

            return await measured(get)
    import httpx
    from hishel import AsyncSqliteStorage
    from hishel.httpx import AsyncCacheTransport

    with tempfile.TemporaryDirectory() as folder:
        storage = AsyncSqliteStorage(database_path=os.path.join(folder, "hishel.db"))
        transport = AsyncCacheTransport(httpx.AsyncHTTPTransport(), storage=storage, rfc=True)
        async with httpx.AsyncClient(transport=transport, timeout=60) as client:

            async def get(url):
                return (await client.get(url)).content

            return await measured(get)


print(asyncio.run(main()))
