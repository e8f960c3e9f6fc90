"""What every floor stands on: errors, files, hashes, processes, progress, the machine, what is printed."""
