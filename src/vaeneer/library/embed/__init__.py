"""Images as a table of vectors."""
