"""The run directory: journal, tables, ledger, verification, and another payment."""
