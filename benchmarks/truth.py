"""`python -m benchmarks.truth`: see benchmarks/law/truth.py."""

from benchmarks.law.truth import main

if __name__ == "__main__":
    main()
