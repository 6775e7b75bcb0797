"""Where data comes from: each source answers a query when there is something newer than what the asker has."""
