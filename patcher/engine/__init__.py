"""The patch engine: type files and anchors become a plan, and a plan is written all or nothing."""
