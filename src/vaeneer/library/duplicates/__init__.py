"""Copies in a library, verified by their pixels."""
