"""`python -m benchmarks.estimators`: see measure.py."""

from benchmarks.estimators.measure import main

if __name__ == "__main__":
    main()
