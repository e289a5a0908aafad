"""The training loop, its run folder, and what makes a stop harmless."""
