"""`python -m benchmarks.federation`: see measure.py."""

from benchmarks.federation.measure import main

if __name__ == "__main__":
    main()
