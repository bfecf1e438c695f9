"""A change of a declared model -> an Event, one way of capture a file."""
