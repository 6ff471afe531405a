"""Events to profiles: the hot stage. Pure: bytes and positions in, records to publish out."""
