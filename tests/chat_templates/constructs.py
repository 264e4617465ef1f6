"""Counts what a template uses, from jinja2's own syntax tree and lexer."""

import collections
import re

from jinja2 import nodes
from transformers.utils.chat_template_utils import _compile_jinja_template

STATEMENTS = {nodes.For: "for", nodes.If: "if", nodes.Assign: "set",
              nodes.AssignBlock: "set block", nodes.Macro: "macro",
              nodes.FilterBlock: "filter block", nodes.With: "with",
              nodes.Break: "break", nodes.Continue: "continue"}
OPERATORS = {nodes.Add: "+", nodes.Sub: "-", nodes.Mul: "*", nodes.Div: "/",
             nodes.FloorDiv: "//", nodes.Mod: "%", nodes.Pow: "**",
             nodes.Neg: "unary -", nodes.Pos: "unary +", nodes.Not: "not",
             nodes.And: "and", nodes.Or: "or", nodes.Concat: "~",
             nodes.CondExpr: "if else", nodes.Slice: "slice",
             nodes.List: "list", nodes.Tuple: "tuple", nodes.Dict: "dict",
             nodes.Getitem: "subscript", nodes.NSRef: "namespace field"}
GLOBALS = {"range", "dict", "namespace", "cycler", "joiner",
           "raise_exception", "strftime_now"}


def constructs(template):
    """How often each of "filter tojson(indent)", "loop.index" … occurs."""
    environment = _compile_jinja_template("").environment
    found = collections.Counter()
    for node in environment.parse(template).find_all(nodes.Node):
        kind = type(node)
        if kind in STATEMENTS:
            found["statement " + STATEMENTS[kind]] += 1
        if kind in OPERATORS:
            found["operator " + OPERATORS[kind]] += 1
        if kind is nodes.If and node.elif_:
            found["statement elif"] += 1
        if kind in (nodes.If, nodes.For) and node.else_:
            found[f"statement {STATEMENTS[kind]} else"] += 1
        if kind is nodes.For:
            if node.test:
                found["statement for if"] += 1
            if node.recursive:
                found["statement for recursive"] += 1
            if isinstance(node.target, nodes.Tuple):
                found["statement for unpacking"] += 1
        if kind is nodes.Macro and node.defaults:
            found["statement macro defaults"] += 1
        if kind is nodes.CallBlock:
            generation = isinstance(node.call.node, nodes.ExtensionAttribute)
            found["statement " + ("generation" if generation else "call")] += 1
        if kind in (nodes.Filter, nodes.Test):
            what = kind.__name__.lower()
            found[f"{what} {node.name}"] += 1
            for keyword in node.kwargs:
                found[f"{what} {node.name}({keyword.key})"] += 1
        if kind is nodes.Operand:
            found["operator " + node.op] += 1
        if kind is nodes.Name and node.name in ("varargs", "kwargs", "caller",
                                                "self"):
            found["variable " + node.name] += 1
        if kind is nodes.Getattr and node.node == nodes.Name("loop", "load"):
            found["loop." + node.attr] += 1
        if kind is nodes.Call:
            if isinstance(node.node, nodes.Getattr):
                found["method " + node.node.attr] += 1
            elif isinstance(node.node, nodes.Name) and (
                    node.node.name in GLOBALS):
                found["function " + node.node.name] += 1
            elif node.node == nodes.Name("loop", "load"):
                found["function loop"] += 1
            if node.dyn_args:
                found["operator *arguments"] += 1
            if node.dyn_kwargs:
                found["operator **arguments"] += 1
    for _, kind, text in environment.lex(template):
        if kind == "raw_begin":
            found["statement raw"] += 1
        if kind == "comment_begin":
            found["statement comment"] += 1
        if (kind.endswith(("_begin", "_end"))
                and re.search("[-+]", text.strip())):
            found["space " + re.sub(r"\s+|raw", "", text.strip())] += 1
        if kind == "string":
            found.update("escape " + escape for escape in re.findall(
                r"\\[abfnrtvxuU0-7\\'\"\n]", text))
    printed = len(re.findall(r"{%[-+]?\s*print\b", template))
    if printed:
        found["statement print"] += printed
    return found

