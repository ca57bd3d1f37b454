"""Base of the report's models: frozen, no unknown keys, and a description of each field for the JSON schema."""

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict

DIGITS = 6


def _to_microseconds(value: float) -> float:
    return round(value, DIGITS)


Seconds = Annotated[float, AfterValidator(_to_microseconds)]
"""A time in seconds, rounded to the microsecond when a model is made of it."""

# The docstring below a field becomes its description in the JSON schema.
CONFIG = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class ReportModel(BaseModel):
    """One object of the report's JSON."""

    model_config = CONFIG | ConfigDict(frozen=True)
