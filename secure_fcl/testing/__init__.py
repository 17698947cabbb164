"""Laws of strategies, streams and memories, for any implementation of them."""
