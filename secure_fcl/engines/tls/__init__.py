"""The carrier over mutual TLS 1.3: a listening server, parties that dial it, their certificates and logs."""
