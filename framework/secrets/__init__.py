"""The values of secrets: fetched from where definitions say that they are, seen by nobody but the task that gets them."""
