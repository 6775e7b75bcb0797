"""The endpoints, a file per part of the API. Each is `(context, request) -> answer`."""
