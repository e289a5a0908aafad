"""Honest figures of a model: ELBO, similarity, baselines, and their pictures."""
