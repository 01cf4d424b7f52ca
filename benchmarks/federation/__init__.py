"""What a federation of real processes costs, and which faults it survives."""
