"""White space: every tag with every sign, in every surrounding."""

import itertools

# (opening tag's words, closing tag's words); a closing of None: one tag.
TAGS = [("if true", "endif"), ("set a = 1", None), ("raw", "endraw"),
        ("for i in [1, 2]", "endfor"), ("generation", "endgeneration"),
        ("filter upper", "endfilter"), ("set a", "endset")]
SIGNS = ["", "-", "+"]
# Where %s is the tags with what is between them.
AROUND = ["%s", " %s ", "\n%s\n", "a\n  %s  \nb", "a %s b", "a\n\t%s\n\nb",
          "  a  %s  b  ", "\n\n  %s\n\n", "{{ 1 }} %s {{ 2 }}",
          "{{ 1 }}\n  %s\n{{ 2 }}", "{# c #} %s {# c #}",
          "{% if true %}\n  %s\n{% endif %}\n"]
BETWEEN = ["x", " x ", "\n  x\n", "\n\n  x  \n  "]


def tags():
    """Opening and closing tags with all signs; what is between and around
    goes round so that each meets each."""
    between = itertools.cycle(BETWEEN)
    around = itertools.cycle(AROUND)
    for opening, closing in TAGS:
        signs = [SIGNS] * (2 if closing is None else 4)
        for chosen in itertools.product(*signs):
            text = "{%" + chosen[0] + " " + opening + " " + chosen[1] + "%}"
            if closing is not None:
                text += (next(between) + "{%" + chosen[2] + " " + closing
                         + " " + chosen[3] + "%}")
            yield next(around).replace("%s", text)


def variables_and_comments():
    for around, left, right in itertools.product(AROUND, ["", "-"], SIGNS):
        for opening, closing, body in [("{{", "}}", " 'v' "),
                                       ("{#", "#}", " c ")]:
            if opening == "{{" and right == "+":
                continue
            yield around.replace(
                "%s", opening + left + body + right + closing)
    for left, right in itertools.product(SIGNS, SIGNS):
        yield "a \n  {#" + left + " c " + right + "#} \n b"


OTHER = [
    "", "\n", " ", "\n\n", "a\n", "a\n\n", "a\r\n", "\r\na\r\nb\rc", "a\r",
    "{{ 1 }}\n", "{{ 1 }}\n\n", "{% if 1 %}a{% endif %}\n",
    "{% if 1 %}a{% endif %}\n\n", "{% if 1 %}\r\na\r\n{% endif %}\r\nb",
    "  {% if 1 %}\n    a\n  {% endif %}\n  b\n",
    "\t{% if 1 %}\ta\t{% endif %}\tb",
    "\u00a0{% if 1 %}a{% endif %}", "\u3000\n\u3000{% if 1 %}a{% endif %}\u3000",
    "x {%- if 1 -%} \u00a0 a {%- endif -%} \u2003 y",
    "{% if 1 %} {% if 1 %} a {% endif %} {% endif %} b",
    "a{% if 1 %}\n{% endif %}\n{% if 1 %}\n{% endif %}\nb",
    "{%if 1%}a{%endif%}{%-if 1-%} a {%-endif-%} b", "{{1}}{{-2-}}  {{ 3}}",
    "{{ '-' -}}  x", "{{ 1 -}}\n\n  x", "x\n\n  {{- 1 }}", "{{ -1 }}{{ - 1 }}",
    "{{- -1 -}}", "{%- set a = -1 -%}{{ a }}", "a {#- b -#} c", "{ { } } %} #}",
    "{ {{ 1 }} }", "{{{'a': 1}['a']}}", "{{ {'a': {}} }}}", "a{b}c{ %d% }",
    "{% set a = 1 %}\n{% set b = 2 %}\n\n{{ a }}\n{{ b }}\n",
    "{%- for m in messages %}\n  {{- m.role }}\n{%- endfor %}\n",
    "{% for m in messages -%}\n  {{ m.role }}\n{% endfor -%}\n end",
    "{% for m in messages %}\n  {{ m.role -}}\n{% endfor %}\n end\n",
    "line {# c #}\nnext", "line\n{# c #}\nnext", "  {# c #}\nnext",
    "  {# c #}  \nnext", "  {#- c -#}  \n next", "a{# c #}{# d #}\n{# e #}b",
    "   {{ 1 }}\n   {% if 1 %}\n   {{ 2 }}\n   {% endif %}\n",
    "{% macro m() %}\n  in\n{% endmacro %}\n[{{ m() }}]\n",
    "{% macro m() -%}\n  in\n{%- endmacro %}\n[{{ m() }}]\n",
    "{%- macro m() %}a{% endmacro -%}\n\n{{ m() }}",
    "{% call m() %}\n x\n{% endcall %}\n".replace(
        "{% call", "{% macro m() %}\n({{ caller() }})\n{% endmacro %}\n{% call"),
    "{% if 1 %}\n\n\nx{% endif %}", "x\n   \n  {% if 1 %}y{% endif %}",
    "x{% raw %}\n  {% endraw %}\ny", "x\n  {%- raw -%}\n  a \n{%- endraw -%}\n y",
    "{%   if   1   %}a{%   endif   %}", "{%\nif 1\n%}a{%\nendif\n%}\nb",
    "{%- \n if 1 \n -%}\n a {%+ endif +%}\n b", "{{\n1\n}}\n{{-\n2\n-}}\n3",
]

SPACES = list(tags()) + list(variables_and_comments()) + OTHER
