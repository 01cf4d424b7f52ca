"""What cheating pays, and what of it the audit finds."""
