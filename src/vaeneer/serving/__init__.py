"""The HTTP API and the page: libraries and runs behind one port (docs/http-api.md)."""
