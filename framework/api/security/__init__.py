"""Who may do what.

accounts    the file: names, hashed secrets, permissions; reloaded when it changes
guard       every request: who it is, whether it may come in at all, the audit of what it changed
"""
