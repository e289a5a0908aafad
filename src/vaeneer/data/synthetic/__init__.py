"""Procedural surfaces for the demo and the tests."""
