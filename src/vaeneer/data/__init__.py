"""A folder of files -> uint8 pixels -> batches of crops."""
