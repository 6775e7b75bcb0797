"""What the API answers: declared and observed values -> Marathon's JSON.

cache       JSON of what is frozen, made once
tasks, apps, pods, groups, deployments, queue, events, info     one subject each
"""
