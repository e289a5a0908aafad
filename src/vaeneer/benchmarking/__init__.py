"""How fast a machine is, and what holds it up."""
