"""What services read: one emitter a format, for every command that finds something."""
