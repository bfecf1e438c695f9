"""Terminal commands and what they share."""
