"""llama.cpp's own programs: found in a folder, run and measured, their output read."""
