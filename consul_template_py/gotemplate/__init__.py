"""Go's template language as consul-template has it: existing `.ctmpl` files run unchanged, and can be converted to Jinja2."""
