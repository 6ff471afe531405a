"""What the longer commands of the command line do; `cli` declares them."""
