"""The names in the messages between server and companies."""
