"""What ``publishes()`` is given: arguments, where values come from, the shape of the data."""
