"""Watches Consul (and Vault, ZooKeeper, files), renders templates, and applies the result safely. Knows nothing of any proxy.

The rooms, from the ground up:

    errors       one tree
    http         requests that may be held for minutes, thousands of them
    query/       what can be asked, one file per kind: how it is written, asked and answered
    sources/     where the answers come from: `poll(query, cursor)`
    watch        one shared task per distinct query, which never gives up
    guard        (pure) data that suddenly shrinks is doubted first
    quiescence   (pure) when a burst of changes is over
    token_bucket (pure) how often something may happen
    targets/     what a configuration is applied to
    apply        stage -> check -> swap -> reload -> verify, or roll back; retries, coalescing, applied apart from written

The edge (`nginx/`) builds on `watch`, `guard`, `quiescence`, `targets.base` and `apply`.
"""
