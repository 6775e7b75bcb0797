"""HTTP: requests and answers, who may ask, blocking queries, and the endpoints by path."""
