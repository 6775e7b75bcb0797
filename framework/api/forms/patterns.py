"""Regular expressions that clients send and the scheduler will run: they have to compile, and may not take for ever.

`(.+)+x` needs 2^n steps to fail on n characters, and one such constraint would stop every deployment of everybody. So a
repetition without bound may not stand inside another one; those that people write for hosts and racks do not need it.
"""

import re
import warnings

LONGEST = 1024
_UNBOUNDED = re.compile(r"[*+]|\{\d*,\}")


def problem(pattern: str) -> str | None:
    """What is wrong with it, or None."""
    if len(pattern) > LONGEST:
        return f"must not be longer than {LONGEST} characters"
    try:
        with warnings.catch_warnings(action="ignore"):  # of what Python may one day read otherwise
            re.compile(pattern)
    except (re.error, OverflowError, RecursionError):
        return f"'{pattern}' is not a valid regular expression"
    if _repeats_a_repetition(pattern):
        return f"'{pattern}' repeats a repetition, which may take for ever to match"
    return None


def _repeats_a_repetition(pattern: str) -> bool:
    """Of a pattern that compiles."""
    groups = [False]  # for each open group, whether a repetition without bound is in it
    position = 0
    while position < len(pattern):
        character = pattern[position]
        if character == "\\":
            position += 2
            continue
        if character == "[":
            position = _end_of_class(pattern, position)
            continue
        repetition = _UNBOUNDED.match(pattern, position)
        if character == "(":
            groups.append(False)
        elif character == ")":
            inner = groups.pop()
            if inner and _UNBOUNDED.match(pattern, position + 1):
                return True
            groups[-1] = groups[-1] or inner
        elif repetition:
            groups[-1] = True
            position = repetition.end()
            continue
        position += 1
    return False


def _end_of_class(pattern: str, start: int) -> int:
    """The position after `[…]`, in which `]` may stand first."""
    position = start + 1
    if pattern[position : position + 1] == "^":
        position += 1
    if pattern[position : position + 1] == "]":
        position += 1
    while position < len(pattern) and pattern[position] != "]":
        position += 2 if pattern[position] == "\\" else 1
    return position + 1
