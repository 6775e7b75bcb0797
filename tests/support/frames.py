"""How long the browser's main thread works for each frame of a scroll, from a trace: script, style, layout, paint.

Processor time of the thread, not the clock's: on a machine that others use too, frames come late for reasons that are not the page's.
"""

import json
from bisect import bisect_right
from typing import Any

from playwright.sync_api import Page

CATEGORIES = ["devtools.timeline", "disabled-by-default-devtools.timeline", "toplevel"]
# As a wheel turns: so many pixels each frame.
_SCROLL = """async ([frames, pixels]) => {
  let top = scrollY;
  for (let frame = 0; frame < frames; frame++) {
    await new Promise(requestAnimationFrame);
    scrollTo(0, top += pixels);
  }
}"""


def scroll_work(page: Page, frames: int = 120, pixels: int = 90) -> list[float]:
    """Milliseconds for each frame, the least first."""
    browser = page.context.browser
    assert browser is not None
    browser.start_tracing(page=page, categories=CATEGORIES)
    try:
        page.evaluate(_SCROLL, [frames, pixels])
    finally:
        trace = json.loads(browser.stop_tracing())
    return sorted(work_of(trace["traceEvents"]))


def work_of(events: list[dict[str, Any]]) -> list[float]:
    """Of the thread with the most animation frames: the sum of its tasks from each frame's to the next one's."""
    ticks: dict[tuple[int, int], list[int]] = {}
    for event in events:
        if event["name"] == "FireAnimationFrame":
            ticks.setdefault((event["pid"], event["tid"]), []).append(event["ts"])
    thread, fired = max(ticks.items(), key=lambda item: len(item[1]))
    tasks = sorted(
        (event["ts"], event["dur"], event["tdur"])
        for event in events
        if event["name"] == "RunTask" and (event["pid"], event["tid"]) == thread and "tdur" in event
    )
    began = [start for start, _, _ in tasks]
    # A frame begins with the task that its script runs in.
    bounds = sorted({began[max(0, bisect_right(began, moment) - 1)] for moment in fired})
    work = [0.0] * len(bounds)
    for start, _, spent in tasks:
        index = bisect_right(bounds, start) - 1
        if index >= 0:
            work[index] += spent / 1000
    return work[1:-1]  # the first and the last are cut


def percentile(values: list[float], share: float) -> float:
    return values[min(len(values) - 1, int(len(values) * share))]
