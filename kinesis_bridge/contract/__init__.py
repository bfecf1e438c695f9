"""What the readers in account B can build on: which events there are, when, and in what form."""
