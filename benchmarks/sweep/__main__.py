"""`python -m benchmarks.sweep`: see measure.py."""

from benchmarks.sweep.measure import main

if __name__ == "__main__":
    main()
