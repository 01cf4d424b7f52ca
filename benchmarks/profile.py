"""`python -m benchmarks.profile`: see benchmarks/sweep/profile.py."""

from benchmarks.sweep.profile import main

if __name__ == "__main__":
    main()
