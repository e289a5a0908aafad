"""Pixels to latents and back: networks, losses, model files."""
