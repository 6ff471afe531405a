"""From the columns of a commit to the deltas of topic `profiles`."""
