"""The types of a workload file's values and tables, each with its own message for a value that it refuses."""

from typing import Annotated, Any, get_args

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WithJsonSchema,
    WrapValidator,
    model_validator,
)
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import PydanticCustomError, core_schema

MIN_SIDE = 16  # pixels


def expected(description: str) -> WrapValidator:
    """Replaces the message for any value that the annotated type refuses."""

    def validate(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
        try:
            return handler(value)
        except ValidationError:
            raise ValueError(f"expected {description}, not {value!r}") from None

    return WrapValidator(validate)


def one_of(literal: Any) -> WrapValidator:
    """The message for a value that is not among those of `literal`, a typing.Literal."""
    return expected(f"one of {', '.join(get_args(literal))}")


def as_tuple(value: Any) -> tuple[Any, ...]:
    """The items of a TOML array that is not empty."""
    if not isinstance(value, list | tuple) or not value:
        raise ValueError(f"expected a list of one or more, not {value!r}")
    return tuple(value)


def _numbers(value: Any) -> tuple[Any, ...]:
    """The numbers to draw from: of `4`, of `[10, 16, 32]`, or of `"2-16"`, all from 2 to 16."""
    if isinstance(value, str):
        ends = value.split("-")
        if len(ends) != 2 or not all(end.strip().isdecimal() for end in ends) or int(ends[0]) > int(ends[1]):
            raise ValueError(f'expected a number, a list, or a range such as "2-16", not {value!r}')
        return tuple(range(int(ends[0]), int(ends[1]) + 1))
    return as_tuple(value) if isinstance(value, list | tuple) else (value,)


def _width_and_height(value: Any) -> Any:
    """The sides in pixels of `"640x480"`."""
    if isinstance(value, tuple):
        return value
    sides = value.split("x") if isinstance(value, str) else []
    if len(sides) != 2 or not all(side.isdecimal() and int(side) >= MIN_SIDE for side in sides):
        raise ValueError(f'expected a size such as "640x480", {MIN_SIDE} pixels or more a side, not {value!r}')
    return int(sides[0]), int(sides[1])


def _numbers_schema(least: int) -> WithJsonSchema:
    number = {"type": "integer", "minimum": least}
    numbers = {"type": "array", "items": number, "minItems": 1}
    return WithJsonSchema({"anyOf": [number, numbers, {"type": "string", "pattern": r"^\s*\d+\s*-\s*\d+\s*$"}]})


Text = Annotated[str, Field(min_length=1), expected("text")]
Flag = Annotated[bool, expected("true or false")]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False), expected("a number at least 0, at most 1")]
PositiveShare = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False), expected("a number above 0, at most 1")]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False), expected("a number above 0")]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False), expected("a number at least 0")]
Seed = Annotated[int, Field(ge=0), expected("a whole number, at least 0")]
Count = Annotated[int, Field(ge=1), expected("a whole number, at least 1")]
TwoOrMore = Annotated[int, Field(ge=2), expected("a whole number, at least 2")]
Counts = Annotated[tuple[Count, ...], BeforeValidator(_numbers), _numbers_schema(1)]
CountsOfTwoOrMore = Annotated[tuple[TwoOrMore, ...], BeforeValidator(_numbers), _numbers_schema(2)]
Size = Annotated[
    tuple[int, int], BeforeValidator(_width_and_height), WithJsonSchema({"type": "string", "pattern": r"^\d+x\d+$"})
]


class Table(BaseModel):
    """A TOML table: its keys are the fields, and any other key is an error that lists them."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True)

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown_keys(cls, content: Any) -> Any:
        if isinstance(content, cls):
            return content
        if not isinstance(content, dict):
            raise ValueError(f"expected a table, not {content!r}")
        for key in content:
            if key not in cls.model_fields:
                known = ", ".join(cls.model_fields)
                context = {"key": key, "known": known}
                raise PydanticCustomError("unknown_key", "there is no such key; known here: {known}", context)
        return content


class TomlSchema(GenerateJsonSchema):
    """A JSON schema in the terms of TOML: no null, and no default that a file would write in another way."""

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        if isinstance(schema.get("default"), int | float | str):
            return super().default_schema(schema)
        return self.generate_inner(schema["schema"])

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False
