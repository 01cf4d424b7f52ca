"""`python -m benchmarks.alarms`: see benchmarks/law/alarms.py."""

from benchmarks.law.alarms import main

if __name__ == "__main__":
    main()
