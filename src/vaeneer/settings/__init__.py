"""Every setting once: name, type, default, range, unit and help; standard library only."""
