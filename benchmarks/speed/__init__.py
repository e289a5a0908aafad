"""How fast a machine is, and the bottleneck."""
