"""The state: what is stored, the indexes that say when it last changed, and the rules by which it changes.

Nothing here knows HTTP, disks or the time of day; all calls come from one event loop.
"""
