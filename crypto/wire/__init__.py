"""What travels: messages, their values in msgpack, and arrays in files."""
