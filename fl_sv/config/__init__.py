"""The configuration of a run: schema, loading, and the generated reference."""

from fl_sv.config.load import config_hash, config_of, dump_config, load_config, parse_config
from fl_sv.config.models import model_name
from fl_sv.config.redact import for_companies
from fl_sv.config.schema import Config

__all__ = [
    "Config",
    "config_hash",
    "config_of",
    "dump_config",
    "for_companies",
    "load_config",
    "model_name",
    "parse_config",
]
