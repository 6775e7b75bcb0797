"""The endpoints, one module for each subject of the API. `server` has the table of routes."""
