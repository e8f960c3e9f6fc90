"""What is measured, and of what: models, speed, accuracy, and where it was done."""
