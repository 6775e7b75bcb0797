"""Ground floor of the framework: what is declared (apps, pods, groups) and what is observed, as frozen values.

Attribute names are the snake case of Marathon's JSON names. Nothing here does I/O or looks at a clock.
"""
