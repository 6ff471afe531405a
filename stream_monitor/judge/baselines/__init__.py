"""Which baseline each measure is judged against now."""
