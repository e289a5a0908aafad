"""A library as a map and in clusters."""
