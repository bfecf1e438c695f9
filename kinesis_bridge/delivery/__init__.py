"""The ways of an event from the site to its stream, one a file."""
