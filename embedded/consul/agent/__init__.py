"""This machine's agent: the services and checks that are registered with it, and what runs the checks."""
