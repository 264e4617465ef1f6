"""Templates of statements, one between two lines of ===."""

STATEMENTS = r"""
{{ 'two
lines' }}{{ 'joined\
line' }}{{
  1 +
  2
}}{{ {'a':
 1}
 .a }}
===
{% if true %}a{% endif %}{% if false %}b{% endif %}{% if 0 %}c{% elif 1 %}d{% elif 1 %}e{% else %}f{% endif %}{% if none %}g{% else %}h{% endif %}{% if x.n > 1 and x.s %}i{% endif %}{% if missing %}j{% elif missing is defined and missing.x %}k{% else %}l{% endif %}{% if 1, %}tuple{% endif %}{% if not x.list %}m{% endif %}{% if x.deep %}n{% endif %}{% if '' or [] or {} %}o{% endif %}
===
{% if a is defined %}1{% elif b is defined %}2{% else %}{% if true %}{% if false %}{% else %}nested{% endif %}{% endif %}{% endif %}
===
{% for i in [1, 2, 3] %}{{ i }}{% endfor %}{% for i in [] %}x{% else %}none{% endfor %}{% for i in missing %}x{% else %}none{% endfor %}{% for i in () %}{% endfor %}{% for i in 'aé😀' %}[{{ i }}]{% endfor %}{% for k in {'b': 1, 'a': 2} %}{{ k }}{% endfor %}{% for i in range(3) %}{{ i }}{% endfor %}{% for i in 1, 2 %}{{ i }}{% endfor %}
===
{% for i in ['a', 'b', 'c', 'd'] %}{{ loop.index }} {{ loop.index0 }} {{ loop.revindex }} {{ loop.revindex0 }} {{ loop.first }} {{ loop.last }} {{ loop.length }} {{ loop.depth }} {{ loop.depth0 }} {{ loop.previtem }} {{ loop.nextitem }} {{ loop.previtem is defined }} {{ loop.nextitem is defined }} {{ loop.cycle('x', 'y', 'z') }} {{ loop.changed(i) }} {{ loop.changed('same') }}
{% endfor %}
===
{% for i in [1, 2] %}{% for j in [3, 4] %}{{ loop.index }}{{ loop.depth }}{{ i }}{{ j }}{{ loop.length }};{% endfor %}{{ loop.index }}|{% endfor %}
===
{% for i in [1, 2] %}{% set outer = loop %}{% for j in 'ab' %}{{ outer.index }}{{ outer.last }}{{ loop.index }} {% endfor %}{% endfor %}
===
{% for a, b in [(1, 2), [3, 4], 'xy'] %}{{ a }}-{{ b }} {% endfor %}{% for (a, b) in {'k': 'v'}.items() %}{{ a }}{{ b }}{% endfor %}{% for a, (b, c) in [(1, (2, 3)), (4, 'xy')] %}{{ a }}{{ b }}{{ c }} {% endfor %}{% for (a, b), c in [((1, 2), 3)] %}{{ a + b + c }}{% endfor %}
===
{% for i in range(10) if i is odd %}{{ i }}:{{ loop.index }}/{{ loop.length }}{{ ',' if not loop.last }}{% endfor %} {% for i in range(5) if i > 9 %}x{% else %}nothing{% endfor %} {% for m in messages if m.role == 'user' %}{{ loop.index }}{{ m.content }}{% endfor %} {% for k, v in x.items() if v is string %}{{ k }}{% endfor %} {% for i in [1, 2, 3] if i != 2 and loop is not defined %}{{ i }}{% endfor %}
===
{% for i in range(6) %}{% if i == 1 %}{% continue %}{% endif %}{% if i == 4 %}{% break %}{% endif %}{{ i }}{% endfor %} {% for i in [1, 2] %}{% for j in [1, 2, 3] %}{% if j == 2 %}{% break %}{% endif %}{{ i }}{{ j }} {% endfor %}{% endfor %} {% for i in [1] %}{% break %}{% else %}else{% endfor %} {% for i in [1, 2] %}{% continue %}{% else %}else{% endfor %}after
===
{% for i in [1, 2, 3] %}{% with %}{% if i == 2 %}{% break %}{% endif %}{{ i }}{% endwith %}{% endfor %} {% for i in [1, 2, 3] %}{% with a = i %}{% if a == 2 %}{% continue %}{% endif %}{{ a }}{% endwith %}{% endfor %}
===
{% for n in x.tree recursive %}{{ loop.depth }}{{ loop.depth0 }}{{ n.v }}{% if n.c %}({{ loop(n.c) }}){% endif %}{{ ',' if not loop.last }}{% endfor %}
===
{% for n in x.tree recursive %}{{ '  ' * loop.depth0 }}{{ loop.index }}. {{ n.v }}
{{ loop(n.c) -}}
{% endfor %}
===
{% for a, b in [(1, []), (2, [(3, [])])] recursive %}{{ a }}{{ loop(b) }}{% endfor %} {% for i in [[1, [2]], [3]] recursive %}{% if i is iterable %}[{{ loop(i) }}]{% else %}{{ i }}{% endif %}{% endfor %} {% for n in x.tree if n.v != 3 recursive %}{{ n.v }}{{ loop(n.c) }}{% else %}.{% endfor %}
===
{% for i in [1, 1, 2, 2, 1] %}{% if loop.changed(i) %}{{ i }}{% endif %}{% endfor %} {% for m in messages %}{{ loop.cycle('odd', 'even') }}{{ m.role if loop.changed(m.role) }} {% endfor %} {% for i in [1, 2] %}{{ loop.changed(i, 'x') }}{{ loop.changed() }}{% endfor %}
===
{% for i in [1, 2] %}{{ loop }} {{ loop|length }} {{ loop is iterable }} {{ loop is callable }} {{ loop.nope is defined }}{% endfor %} {{ loop is defined }}
===
{% set a = 1 %}{{ a }}{% set a = a + 1 %}{{ a }}{% set b, c = 3, 4 %}{{ b }}{{ c }}{% set (d, e) = [5, 6] %}{{ d }}{{ e }}{% set f = 1, 2 %}{{ f }}{% set g = [1, 2][0] if true else 3 %}{{ g }}{% set i, (j, k) = 1, (2, 3) %}{{ i }}{{ j }}{{ k }}{% set _ = 'u' %}{{ _ }}{% set é = 'name' %}{{ é }}
===
{% set a = 1 %}{% for i in [1, 2] %}{% set a = i * 10 %}{{ a }} {% endfor %}{{ a }} {% if true %}{% set a = 'if' %}{% endif %}{{ a }} {% for i in [1] %}{% if true %}{% set z = i %}{{ z }}{% endif %}{% endfor %}{{ z is defined }} {% for i in [1, 2] %}{{ q is defined }}{% set q = i %}{{ q }}{% endfor %}
===
{% set ns = namespace(n=0, text='', found=false) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{% if m.role == 'user' %}{% set ns.found = true %}{% set ns.text = ns.text ~ m.content[0] %}{% endif %}{% endfor %}{{ ns.n }} {{ ns.text }} {{ ns.found }} {{ ns.nope is defined }} {% set ns.list = [1] %}{% set ns.list = ns.list + [2] %}{{ ns.list }}{% set ns.a, ns.b = 1, 2 %}{{ ns.a }}{{ ns.b }}{{ ns['a'] }}
===
{% set ns = namespace() %}{% macro m() %}{% set ns.x = 'set in a macro' %}{% endmacro %}{{ m() }}{{ ns.x }}{% set ns.block %}block {{ 1 + 1 }}{% endset %}{{ ns.block }}{% set other = ns %}{% set other.x = 'shared' %}{{ ns.x }}{% set ns.self = 1 %}{{ ns.self }}
===
{% set block %}a {{ 1 }} {% if true %}b{% endif %}{% endset %}[{{ block }}]{% set block | upper %}shout{% endset %}[{{ block }}]{% set block | trim | replace('a', 'b') %} aXa {% endset %}[{{ block }}]{% set block | indent(2, true) %}x
y{% endset %}[{{ block }}]{% set empty %}{% endset %}[{{ empty }}]{{ empty is string }} {{ block|length }}
===
{% set s %}{% for i in [1, 2] %}{{ i }}{% endfor %}{% set inner = 1 %}{% endset %}{{ s }}{{ inner is defined }}{% set a %}{% set a = 2 %}{{ a }}{% endset %}{{ a }}
===
{% macro m() %}x{% endmacro %}{{ m() }}{{ m() ~ m() }}{% macro n(a, b=2, c='z') %}{{ a }}{{ b }}{{ c }}{% endmacro %} {{ n(1) }} {{ n(1, 3) }} {{ n(1, c='y') }} {{ n(c=1, a=2, b=3) }} {{ n() }} {{ n(b=missing) }} {{ n(*[1, 2, 3]) }} {{ n(**{'a': 'k', 'c': 'w'}) }} {{ m is callable }} {{ m()|upper }} {{ m()|length }}
===
{% macro m(a, b=a) %}{{ a }}{{ b }}{% endmacro %}{{ m(1) }} {{ m(1, 2) }} {% macro o(a=x.n, b=[1, 2]|length) %}{{ a + b }}{% endmacro %}{{ o() }} {% macro p(a, b) %}{{ a is defined }}{{ b is defined }}{{ b|default('d') }}{% endmacro %}{{ p(1) }}
===
{% macro m(a) %}{{ a }}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1) }} {{ m(1, 2, 3) }} {{ m(1, k='v') }} {{ m(1, 2, k='v', l=3) }} {{ m(a=1, z=2) }} {% macro v() %}{% for a in varargs %}{{ a }},{% endfor %}{% for k, v in kwargs.items() %}{{ k }}={{ v }};{% endfor %}{% endmacro %}{{ v(1, 'b', c=3) }}
===
{% macro fact(n) %}{% if n <= 1 %}1{% else %}{{ n * fact(n - 1)|int }}{% endif %}{% endmacro %}{{ fact(10) }} {% macro walk(node, level=0) %}{{ '  ' * level }}{{ node.v }}
{% for child in node.c %}{{ walk(child, level + 1) }}{% endfor %}{% endmacro %}{% for n in x.tree %}{{ walk(n) }}{% endfor %}
===
{% set g = 'global' %}{% macro m() %}{{ g }}{{ i is defined }}{% set g = 'local' %}{{ g }}{% endmacro %}{% for i in [1] %}{{ m() }}{% endfor %}{{ g }} {% macro outer() %}{% macro inner() %}in{% endmacro %}{{ inner() }}{% endmacro %}{{ outer() }}{{ inner is defined }} {% if true %}{% macro late() %}late{% endmacro %}{% endif %}{{ late() }}
===
{% macro wrap(tag) %}<{{ tag }}>{{ caller() }}</{{ tag }}>{% endmacro %}{% call wrap('b') %}bold {{ x.n }}{% endcall %} {% macro list(items) %}{% for i in items %}[{{ caller(i, loop.index) }}]{% endfor %}{% endmacro %}{% call(item, n) list(['p', 'q']) %}{{ n }}:{{ item }}{% endcall %} {% call(a, b='dflt') list([1]) %}{{ a }}{{ b }}{% endcall %} {% macro maybe() %}{% if caller %}yes {{ caller() }}{% else %}no{% endif %}{% endmacro %}{{ maybe() }} {% call maybe() %}body{% endcall %} {% macro twice() %}{{ caller() }}{{ caller() }}{% endmacro %}{% call twice() %}x{% endcall %}
===
{% macro a() %}({{ caller() }}){% endmacro %}{% macro b() %}[{{ caller() }}]{% endmacro %}{% call a() %}1{% call b() %}2{% endcall %}3{% endcall %} {% for i in [1, 2] %}{% call a() %}{{ i }}{% endcall %}{% endfor %} {% macro kw(x=1) %}{{ x }}{{ caller() }}{{ kwargs }}{% endmacro %}{% call kw(x=2, y=3) %}c{% endcall %}
===
{% with a = 1 %}{{ a }}{% endwith %}{{ a is defined }} {% with a = 1, b = 2 %}{{ a + b }}{% endwith %} {% with %}{% set w = 1 %}{{ w }}{% endwith %}{{ w is defined }} {% set a = 5 %}{% with a = a + 1, b = a %}{{ a }}{{ b }}{% endwith %}{{ a }} {% with c = 1 %}{% with d = c + 1 %}{{ d }}{% endwith %}{% endwith %} {% with (e, f) = (1, 2) %}{{ e }}{{ f }}{% endwith %}
===
{% filter upper %}shout {{ 'x' }}{% for i in [1, 2] %}{{ i }}{% endfor %}{% endfilter %} {% filter replace('a', 'b') | trim %} aaa {% endfilter %}{% filter indent(width=4) %}a
b{% endfilter %} {% set z = 1 %}{% filter trim %}{% set z = 2 %}{{ z }}{% endfilter %}{{ z }}
===
{% filter indent(2) %}a
b{% endfilter %}|{% filter indent(width=1, first=true) %}
a

b
{% endfilter %}|
===
{% raw %}
===
a {% raw -%}
===
{% for i in [3] %}{{ self is defined }}{% endfor %}{{ x.list|groupby(0)|list if false }}
===
{{ range(3) }} {{ range(1, 10, 3) }} {{ range(5)[1:3] }} {{ range(10)[::-2] }} {{ range(0) }} {{ [range(2)] }} {{ range(4)[::2][1] }}
===
{% set c = cycler(1, 2) %}{{ c.next() + c.next() }}{{ cycler('x').current }}{% for i in 'abc' %}{{ loop.cycle('-', '+') }}{{ loop.revindex0 }}{% endfor %}{% for i in [1, 2] %}{{ loop.cycle(*x.list) }}{{ loop.revindex0 ~ loop.revindex0 }}{% endfor %}
===
{% print missing %}{%- print x.s -%} {% print 1 %}{% print 'a', 'b' %}{% print x.n + 1 %}{% print x.list|join('-') %}
===
{% raw %}{{ x }} {% if %} {# c #}{% endraw %} {% raw -%}  a  {%- endraw %} b {%- raw %} c {% endraw -%} d {% raw %}{% endraw %}{% raw %}%}{{ '}}' {%{% endraw %}
===
{% generation %}a {{ x.n }}{% endgeneration %} {% for m in messages %}{% if m.role == 'assistant' %}{% generation %}{{ m.content }}{% endgeneration %}{% else %}{{ m.role }}{% endif %}{% endfor %} {% set s = 1 %}{% generation %}{% set s = 2 %}{{ s }}{% endgeneration %}{{ s }} {%- generation -%} tight {%- endgeneration -%} x
===
{# comment #}a{# multi
line #}b{#- trim -#} c {#+ plus +#} d{##}e{#-#} f {# {{ x }} {% if %} #}g{# # } #}h
===
{% for m in messages %}{% if loop.first %}{{ bos_token }}{% endif %}{{ m['role'] | upper }}: {{ m['content'] | trim }}{% if not loop.last %}
{% endif %}{% endfor %}{% if add_generation_prompt %}{{ eos_token }}{% endif %}
===
{% if true: %}colon{% endif %}{% for i in [1]: %}{{ i }}{% endfor %}{% macro m(): %}m{% endmacro %}{{ m() }}{% if x.n == 2 -%}  {{ 1 }}  {%- endif %}
===
{% set messages = messages[1:] %}{{ messages|length }}{% set x = 'shadow' %}{{ x }}{% set range = 5 %}{{ range }}{% set true_ = 1 %}{{ true_ }}{% set loop_messages = messages %}{% for loop_messages in loop_messages %}{{ loop_messages.role[0] }}{% endfor %}
===
{% set c = cycler('a', 'b', 'c') %}{{ c.next() }}{{ c.current }}{{ c.next() }}{{ c.next() }}{{ c.next() }}{{ c.reset() }}{{ c.current }}{{ c.next() }} {% set j = joiner() %}{{ j() }}a{{ j() }}b{{ j() }}c {% set k = joiner('|') %}{% for i in [1, 2, 3] %}{{ k() }}{{ i }}{% endfor %} {% set l = joiner(sep=' & ') %}{{ l() }}{{ l() }}
===
{% set g = [1, 2]|map('string') %}{{ g|list }}{{ g|list }} {% set h = [1, 2, 3]|select('odd') %}{% for i in h %}{{ i }}{% endfor %}{% for i in h %}{{ i }}{% else %}used up{% endfor %} {% if []|map('upper') %}true{% endif %} {% set r = [1, 2]|reverse %}{{ r|first }}{{ r|list }} {{ ([1, 2]|map('string')) is string }}
===
{% for i in [3, 1, 2]|sort %}{{ i }}{{ loop.last }}{% endfor %}{% for i in [1, 2, 3]|select('odd') %}{{ loop.index }}{{ loop.last }}{{ loop.length }}{% endfor %}{% for i in [1, 2]|map('string')|list + ['z'] %}{{ i }}{% endfor %}
===
{% for tool in tools %}{% set f = tool.function %}{{ f.name }}({% for name, p in f.parameters.properties.items() %}{{ name }}: {{ p.type }}{% if p.enum %} of {{ p.enum|join('|') }}{% endif %}{% if p.default is defined %} = {{ p.default|tojson }}{% endif %}{{ '?' if name not in f.parameters.required }}{{ ', ' if not loop.last }}{% endfor %}){% endfor %}
"""
STATEMENTS = STATEMENTS.strip("\n").split("\n===\n")
