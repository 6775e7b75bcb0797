"""Servers beside Consul that templates read from."""

from tests.support.vault import vault as vault
