"""`python -m benchmarks.distillation`: see study.py."""

from benchmarks.distillation.study import main

if __name__ == "__main__":
    main()
