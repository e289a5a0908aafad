"""Pictures out of a model: samples of the prior, reconstructions."""
