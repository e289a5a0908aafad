"""How good a model is: reconstruction, similarity, calibration."""
