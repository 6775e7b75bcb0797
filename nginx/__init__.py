"""The edge: what Consul knows of healthy services becomes routes, and Nginx or HAProxy follows them.

model, names, options, marathon_lb, routes   pure: service meta and labels -> routes
nginx_conf, endpoints, haproxy_conf          pure: routes -> a proxy's configuration and its table of endpoints
process, control, targets                    a proxy that runs: start, adopt, reload, verify, roll back
daemon                                       wires them to Consul
"""
