"""The messages between server and companies: their names, and what they may hold."""
