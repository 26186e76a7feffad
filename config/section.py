"""What all sections of the settings are."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator


class Section(BaseModel):
    """What all sections share: immutable, no unknown keys, no silent conversion, no NaN or infinity.

    0 and 1 are fine where false and true may stand.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False, validate_default=True)

    @field_validator("*", mode="before")
    @classmethod
    def _switched(cls, value: object, info: ValidationInfo) -> object:
        switch = cls.model_fields[info.field_name or ""].annotation is bool
        return bool(value) if switch and type(value) is int and value in (0, 1) else value
