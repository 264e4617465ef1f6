"""jinja2 as `transformers` sets it up, with a clock that stands."""

import datetime

import jinja2
from transformers.utils.chat_template_utils import _compile_jinja_template

NOW = datetime.datetime(2025, 7, 26, 13, 5, 9)


def render(template, variables):
    """(text, None), or (None, what it refused and why)."""
    try:
        compiled = _compile_jinja_template(template)
        compiled.globals["strftime_now"] = NOW.strftime
        return compiled.render(**variables), None
    except Exception as error:  # noqa: BLE001: any refusal counts
        return None, (f"{type(error).__name__}: {error}")


def raised(error):
    """The message of raise_exception, or None."""
    name = jinja2.exceptions.TemplateError.__name__ + ": "
    return error[len(name):] if error.startswith(name) else None
