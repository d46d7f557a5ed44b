"""Functions that are called with what makes their one argument, and say so in their signature."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import ParamSpec, TypeVar

Given = ParamSpec("Given")
Made = TypeVar("Made")
Result = TypeVar("Result")


def taking(make: Callable[Given, Made]) -> Callable[[Callable[[Made], Result]], Callable[Given, Result]]:
    """Lets a function of one object be called with what makes the object, without a second list of it.

    `help`, editors and type checkers see the parameters of `make`, with its defaults.

    Args:
        make: the object's class.

    Example:
        >>> @taking(complex)
        ... def length(number: complex) -> float:
        ...     return abs(number)
        >>> length(3.0, imag=4.0)
        5.0
    """

    def decorate(function: Callable[[Made], Result]) -> Callable[Given, Result]:
        @functools.wraps(function)
        def call(*arguments: Given.args, **options: Given.kwargs) -> Result:
            return function(make(*arguments, **options))

        returned = inspect.signature(function).return_annotation
        vars(call)["__signature__"] = inspect.signature(make).replace(return_annotation=returned)
        return call

    return decorate
