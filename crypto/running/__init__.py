"""Who carries the messages: in this process, or with a process for each helper."""
