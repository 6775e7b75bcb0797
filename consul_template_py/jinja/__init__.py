"""Jinja2 templates: sandboxed, evaluated incrementally, and escaped for the syntax that they write."""
