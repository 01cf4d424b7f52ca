"""The audit: what the companies' work says about what they did, whatever they report."""
