"""Containers and tasks -> Consul services: what runs is compared with what Consul has, and only the difference is written.

sources/    what runs: a Mesos master, a Marathon API, a Docker daemon; each gives a Look, and hints when to look again
merge       PURE  looks -> one Instance per task or container
naming      PURE  an Instance -> the services it is to have, by the conventions of registrator and marathon-consul
checks      PURE  the health checks of a service, in Consul's words
diff        PURE  wanted and actual services -> the writes to make, and what has to be confirmed first
consul      the agents and the catalog over HTTP
sync        the loop around all that
"""
