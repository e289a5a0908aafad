"""The served page, and the pages that work offline."""
