"""A policy scored on recorded samples before it acts: traces, a simulated cluster, other autoscalers to compare with, and the scores.

`simulate` runs one policy over one trace; `score` says how well demand was met, at what cost and how calmly.
"""
