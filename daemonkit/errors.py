"""The error tree of daemonkit. An operator's mistake is one line: what is wrong, where, and how to mend it.

OperatorError           shown as it is, no traceback; exit code 1
└── SettingsError       a flag, variable or file key that cannot be used; exit code 2
"""


class OperatorError(Exception):
    exit_code = 1


class SettingsError(OperatorError):
    exit_code = 2
