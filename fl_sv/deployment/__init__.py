"""The model that came out of a run: saved, loaded, exported, and used on raw rows."""
