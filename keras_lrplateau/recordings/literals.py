"""What Python prints of dictionaries, lists and numbers, read without running anything."""

from __future__ import annotations

import ast
import math
from typing import Any

_NAMES = {
    "nan": math.nan,
    "inf": math.inf,
    "NaN": math.nan,
    "Infinity": math.inf,
    "null": None,
    "true": True,
    "false": False,
}

_MAPPINGS = {"dict", "OrderedDict", "defaultdict"}


def parse_literal(text: str) -> Any:
    """The value of a Python literal; also of nan, inf, np.float32(0.1), array([...]), tensor(...) and OrderedDict.

    Raises:
        ValueError: It is something else.
    """
    try:
        return _value(ast.parse(text.strip(), mode="eval").body)
    except SyntaxError:
        raise ValueError("no literal of Python") from None


def _value(node: ast.expr) -> Any:
    match node:
        case ast.Constant(value=value):
            return value
        case ast.Name(id=name) if name in _NAMES:
            return _NAMES[name]
        case ast.Attribute(attr=name) if name in _NAMES:
            return _NAMES[name]
        case ast.UnaryOp(op=ast.USub() | ast.UAdd() as sign, operand=operand):
            found = _value(operand)
            if isinstance(found, (int, float)):
                return -found if isinstance(sign, ast.USub) else found
        case ast.List(elts=elements) | ast.Tuple(elts=elements):
            return [_value(each) for each in elements]
        case ast.Dict(keys=keys, values=values) if None not in keys:
            return {str(_value(key)): _value(each) for key, each in zip(keys, values, strict=True) if key is not None}
        case ast.Call(func=func, args=[*_, last]):
            name = func.attr if isinstance(func, ast.Attribute) else func.id if isinstance(func, ast.Name) else ""
            # Of defaultdict(list, {...}) the last argument counts; of tensor(0.1, ...), array([...], ...) the only one.
            found = _value(last)
            if name in _MAPPINGS and isinstance(found, list):
                return {str(key): each for key, each in found}
            return found
    raise ValueError("no literal of Python")
