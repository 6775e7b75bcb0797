"""Load-balancer metrics -> instance counts.

`metrics` reads counters, `sample` turns them into rates and says how good each is, `policy` is what an app asks for in its labels, `decide`
is the pure decision, `journal` keeps why, `daemon` wires them to the API.
"""
