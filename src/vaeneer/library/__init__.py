"""A folder of surfaces as vectors."""
