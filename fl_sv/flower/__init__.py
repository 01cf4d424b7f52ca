"""What server and companies say to each other, by name."""
