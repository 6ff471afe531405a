"""How our own records are written: MessagePack with arrays."""
