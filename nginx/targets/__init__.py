"""What follows the routing model: Nginx with Lua, plain Nginx, HAProxy."""
