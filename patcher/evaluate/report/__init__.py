"""An evaluation as text, Markdown, HTML and JSON."""
