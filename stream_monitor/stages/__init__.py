"""The contract between stages and whatever drives them."""
