"""A folder of images becomes a library that can be searched."""
