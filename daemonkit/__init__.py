"""What every daemon needs and no domain knows: settings, logging, metrics, a health endpoint, signals, supervised loops.

One room, so that all daemons look alike to whoever runs them. Nothing here knows what a task, an app or a service is.
"""
