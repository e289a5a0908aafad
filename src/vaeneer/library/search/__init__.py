"""Items of a library that look like a query."""
