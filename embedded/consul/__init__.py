"""A Consul for one machine: one server that is also the one agent, speaking the HTTP API of Consul 1.8.7.

    golang, body, filter     how the real one reads what clients send: durations, JSON, filter expressions
    model, wire              what is kept, and its shapes on the wire
    watch                    who waits for what
    state/                   the catalog, keys, sessions and tokens, with their indexes; knows nothing of HTTP, disks or clocks
    store                    the state on disk
    agent/                   the services and checks of this machine, and what runs the checks
    http/                    requests, answers, blocking queries, and the endpoints
    server, daemon           puts these together

What real clients rely on is taken from the real server: `tests/contract/consul` runs against both.
"""
