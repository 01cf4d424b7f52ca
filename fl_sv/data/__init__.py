"""Data: sources and files, the operator's validation set, partitions, and defects for studies."""

from fl_sv.data.dataset import Dataset, Task, fingerprint
from fl_sv.data.federation import (
    OperatorData,
    SharedRows,
    all_company_data,
    company_data,
    operator_data,
    own_files_are_here,
    public_rows,
    read_source,
    require_hidden_validation,
    rows_left_out,
    shared_rows,
)
from fl_sv.data.scaling import Scaling

__all__ = [
    "Dataset",
    "OperatorData",
    "Scaling",
    "SharedRows",
    "Task",
    "all_company_data",
    "company_data",
    "fingerprint",
    "operator_data",
    "own_files_are_here",
    "public_rows",
    "read_source",
    "require_hidden_validation",
    "rows_left_out",
    "shared_rows",
]
