"""Hits from Redis: redis_hits.py hishel|aiocache URL LENGTH AT_ONCE COUNT prints microseconds a hit."""

import asyncio
import sys
import time

WHICH, URL, LENGTH, AT_ONCE, COUNT = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:6])
PAGE = "http://example.com/hit"


async def hishel_hits():
    """A page through a client whose cache is in Redis, by the rules of RFC 9111."""
    import httpx
    from hishel import AsyncRedisStorage
    from hishel.httpx import AsyncCacheTransport
    from redis.asyncio import Redis

    def answer(_):
        head = {"content-type": "text/html", "cache-control": "public, max-age=3600", "etag": '"1"'}
        return httpx.Response(200, headers=head, content=b"x" * LENGTH)

    storage = AsyncRedisStorage(Redis.from_url(URL), key_prefix=f"hishel{LENGTH}")
    transport = AsyncCacheTransport(httpx.MockTransport(answer), storage=storage, rfc=True)
    client = httpx.AsyncClient(transport=transport)

    async def hit():
        response = await client.get(PAGE)
        assert response.extensions["caching"]["from_cache"] and len(response.content) == LENGTH

    await client.get(PAGE)
    return hit


async def aiocache_hits():
    """The bytes under a key, which is all that aiocache keeps."""
    import urllib.parse

    from aiocache import RedisCache
    from aiocache.serializers import NullSerializer

    url = urllib.parse.urlsplit(URL)
    cache = RedisCache(endpoint=url.hostname, port=url.port, serializer=NullSerializer(encoding=None))
    await cache.set(f"hit{LENGTH}", b"x" * LENGTH, ttl=3600)

    async def hit():
        assert len(await cache.get(f"hit{LENGTH}")) == LENGTH

    return hit


async def main():
    hit = await {"hishel": hishel_hits, "aiocache": aiocache_hits}[WHICH]()

    async def one(count):
        for _ in range(count):
            await hit()

    for count in (max(COUNT // 10, AT_ONCE), COUNT):
        begun = time.perf_counter()
        each = max(count // AT_ONCE, 1)
        await asyncio.gather(*(one(each) for _ in range(AT_ONCE)))
        took = time.perf_counter() - begun
    print(took * 1e6 / (each * AT_ONCE))


asyncio.run(main())
