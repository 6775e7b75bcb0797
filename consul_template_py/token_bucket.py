"""How often may it happen? A token bucket. Pure: the time comes in, the wait goes out."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rate:
    """`burst` at once, then `per_second` on average. `per_second` 0 means no limit."""

    per_second: float = 0.0
    burst: int = 1


@dataclass(frozen=True, slots=True)
class Bucket:
    tokens: float
    at: float  # seconds, the clock that `take` is given


def full(rate: Rate, now: float) -> Bucket:
    return Bucket(rate.burst, now)


def take(rate: Rate, bucket: Bucket, now: float) -> tuple[Bucket, float]:
    """Takes a token. Returns the bucket after it and 0, or, where there is none, the bucket and the seconds until there is one."""
    if rate.per_second <= 0:
        return bucket, 0.0
    tokens = min(float(rate.burst), bucket.tokens + max(0.0, now - bucket.at) * rate.per_second)
    if tokens >= 1 - 1e-9:
        return Bucket(max(0.0, tokens - 1), now), 0.0
    return Bucket(tokens, now), (1 - tokens) / rate.per_second
