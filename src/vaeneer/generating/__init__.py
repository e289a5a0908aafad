"""Pictures out of a model: random samples, reconstructions."""
