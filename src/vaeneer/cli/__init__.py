"""The command line: app.py lists all commands; a module for each topic holds them."""
