"""The whole platform on one machine: which daemons run with which flags (plan), keeping them running (supervisor),
ending them without a trace (teardown), and saying how they are (status)."""
