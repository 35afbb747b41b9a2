"""Keeps the stream of events from growing for ever, without losing any."""

from __future__ import annotations

from redis.asyncio import Redis

from finsight.adapters.events.redis_stream_records import EVENTS_KEY

# The floor is the oldest id that some group still needs: its oldest delivery that is
# not acknowledged, or the last one it was given (it needs all that follow). One step,
# so that no group can be created or read in between.
_TRIM = """
local function parts(id)
  local ms, seq = string.match(id, '^(%d+)-(%d+)$')
  return tonumber(ms), tonumber(seq)
end
local function older(a, b)
  local ams, aseq = parts(a)
  local bms, bseq = parts(b)
  return ams < bms or (ams == bms and aseq < bseq)
end
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
local excess = redis.call('XLEN', KEYS[1]) - tonumber(ARGV[1])
if excess <= 0 then return 0 end
local step = math.min(excess, tonumber(ARGV[2]))
local entries = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', step + 1)
local floor = entries[#entries][1]
for _, group in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
  local info = {}
  for i = 1, #group, 2 do info[group[i]] = group[i + 1] end
  local needed = info['last-delivered-id']
  local pending = redis.call('XPENDING', KEYS[1], info['name'])
  if pending[1] > 0 then needed = pending[2] end
  if older(needed, floor) then floor = needed end
end
return redis.call('XTRIM', KEYS[1], 'MINID', floor)
"""
_EVERY = 1_000
_STEP = 5_000
"""More than is published between two trims, so that it catches up; few enough to be quick."""


class StreamTrimming:
    """Drops the oldest events beyond `keep` that every group has acknowledged.

    A group that nobody reads any more keeps its events: nothing is lost silently.
    Raises redis-py's errors: its caller translates them.
    """

    def __init__(self, redis: Redis, keep: int) -> None:
        self._script = redis.register_script(_TRIM)
        self._keep = keep
        self._every = min(_EVERY, max(1, keep))
        self._since_last = 0

    async def after(self, published: int) -> None:
        """Count `published` more events; trim when it is time to."""
        self._since_last += published
        if self._since_last >= self._every:
            self._since_last = 0
            await self._script(keys=[EVENTS_KEY], args=[self._keep, _STEP])
