"""What templates can call: queries, which need a `Context`, and pure helpers. The same functions serve Jinja2 and Go templates."""
