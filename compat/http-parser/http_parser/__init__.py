"""`http-parser` for pymesos, over httptools.

pymesos depends on the `http-parser` distribution, whose C code no longer compiles. This package satisfies that dependency with the
calls that pymesos makes; parsing is httptools' (the parser of Node.js), which ships wheels.
"""
