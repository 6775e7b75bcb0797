"""The configuration centre: settings of applications in Consul's KV, by environment, with a history of who changed what and why.

Below `dromos/config/<environment>/` (the prefix is a setting; one ACL rule on it gives or denies an environment):

    values/<path>     a value, as it is: other tools read it too
    head              the number of the last version that is complete
    history/<number>  JSON: when, who, why, and each change with the value before and after
    inherits          the environment whose values hold where this one has none

A commit needs nothing but single-key compare-and-set. The version's entry in the history is written first, and only if nobody has
written that number; then the values; then the head. A process that dies in between leaves an entry above the head: the next writer
carries it out to its end before its own.
"""
