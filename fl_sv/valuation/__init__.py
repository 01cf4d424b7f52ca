"""From the utility table to every company's value with an interval."""
