"""Templates that jinja2 refuses, one a line: what no template may say, then
what it may say and not do."""

ERRORS = r"""
{{ raise_exception('plain') }}
{{ raise_exception('Roles must alternate: ' ~ messages[0].role) }}
{% if messages|length > 1 %}{{ raise_exception("only " ~ 1 ~ " message, é 漢 \"x\"") }}{% endif %}
{% for m in messages %}{% if m.role != 'system' %}{{- raise_exception(m.role) }}{% endif %}{% endfor %}
{% set y = raise_exception('in set') %}
{{ raise_exception(none) }}
{{ raise_exception(message='named') }}
{{ raise_exception() }}
{% if %}{% endif %}
{{ }}
{{ 1 + }}
{{ + }}
{{ 1 1 }}
{{ 'a' 1 }}
{{ a b }}
{{ (1 }}
{{ [1 }}
{{ [1) }}
{{ {1 }}
{{ {1: } }}
{{ {1: 2 }}
{{ {'a' 1} }}
{{ 'open }}
{{ "open }}
{{ 1 ? 2 : 3 }}
{{ a && b }}
{{ a || b }}
{{ !a }}
{{ a = 1 }}
{{ a := 1 }}
{{ $a }}
{{ a @ b }}
{{ `a` }}
{{ 1 <> 2 }}
{{ lambda x: x }}
{{ [x for x in y] }}
{{ f'{x}' }}
{{ a. }}
{{ a.[0] }}
{{ a[ }}
{{ x.list[1:2:3:4] }}
{{ x| }}
{{ x|1 }}
{{ x is }}
{{ x is 1 }}
{{ x is not }}
{{ x is defined is true }}
{{ x not }}
{{ not }}
{{ 1 if }}
{{ f(a=1, 2) }}
{{ f(**a, *b) }}
{{ f(a b) }}
{{ f(*a, *b) }}
{{ f(, ) }}
{{ 'a' }
{% if true }}x{% endif %}
{{ 1 %}
{% for x in y %}
{% for x %}{% endfor %}
{% for in y %}{% endfor %}
{% for 1 in y %}{% endfor %}
{% for x.y in z %}{% endfor %}
{% for loop in y %}{% endfor %}
{% for x in y if %}{% endfor %}
{% for x in y %}{% else %}{% else %}{% endfor %}
{% endfor %}
{% endif %}
{% else %}
{% elif 1 %}
{% if 1 %}{% endfor %}
{% if 1 %}{% else %}{% elif 2 %}{% endif %}
{% nosuchtag %}
{% %}
{% 1 %}
{% set %}
{% set x %}
{% set 1 = 2 %}
{% set x = %}
{% set x.y.z = 1 %}
{% set x[0] = 1 %}
{% set true = 1 %}
{% set none = 1 %}
{% set x += 1 %}
{% macro %}{% endmacro %}
{% macro m %}{% endmacro %}
{% macro m( %}{% endmacro %}
{% macro m(a=1, b) %}{% endmacro %}
{% macro m(1) %}{% endmacro %}
{% macro m() %}
{% call %}{% endcall %}
{% call x %}{% endcall %}
{% call 1 %}{% endcall %}
{% call x() %}
{% with a %}{% endwith %}
{% with a = %}{% endwith %}
{% with a = 1 %}
{% filter %}{% endfilter %}
{% filter upper %}
{% filter nosuch %}x{% endfilter %}
{% generation %}
{% endgeneration %}
{% raw %} x
{% raw x %}{% endraw %}
{% endraw %}
{# open
{% do x %}
{% trans %}x{% endtrans %}
{% break %}{{ 1 }}{% if true %}
{{ nosuch() }}
{{ nosuch.x }}
{{ nosuch['x'] }}
{{ nosuch.x.y }}
{{ x.nope.deeper }}
{{ nosuch + 1 }}
{{ 1 + nosuch }}
{{ -nosuch }}
{{ nosuch * 2 }}
{{ nosuch < 1 }}
{{ nosuch|tojson }}
{{ nosuch|int }}
{{ nosuch|float }}
{{ [1, 2] is sequence if true else 0 }}
{{ 007 }}
{{ 0x }}
{{ 0b2 }}
{{ 1_ }}
{{ 1__0 }}
{% for a, in [[1]] %}{% endfor %}
{% set a, = [1] %}
{{ 'a' ~ 1 + 2 }}
{% if missing.x if true else false %}{% endif %}
{{ nosuch ~ nosuch() }}
{{ 'a'|nosuchfilter }}
{{ 'a'|nosuch.filter }}
{{ 1 is nosuchtest }}
{{ messages|map('nosuch')|list }}
{{ messages|select('nosuch')|list }}
{{ messages|selectattr()|list }}
{{ messages|selectattr('role', 'nosuch')|list }}
{{ messages|map()|list }}
{{ messages|map(attribute='role', nosuch=1)|list }}
{{ [1]|map('upper', 1, 2)|list }}
{{ 1 / 0 }}
{{ 1 // 0 }}
{{ 1 % 0 }}
{{ 1.0 / 0 }}
{{ 1.5 % 0 }}
{{ 0 ** -1 }}
{{ 1 + 'a' }}
{{ 'a' + 1 }}
{{ 'a' - 'b' }}
{{ 'a' * 'b' }}
{{ [1] + (1,) }}
{{ [1] + 'a' }}
{{ none + 1 }}
{{ none.x.y }}
{{ none() }}
{{ none|length }}
{{ none|list }}
{{ none|join }}
{{ none|first }}
{{ none|sort }}
{{ none|sum }}
{{ none|dictsort }}
{{ none|abs }}
{{ none|round }}
{{ none|items|list }}
{{ none|last }}
{{ none|reverse }}
{{ none|unique|list }}
{{ none|min }}
{{ 5|length }}
{{ 5|list }}
{{ 5|first }}
{{ 5|reverse }}
{{ 5|sort }}
{{ 'x'|abs }}
{{ 'x'|round }}
{{ 1.5|round(method='up') }}
{{ 'x'|sum }}
{{ ['a']|sum }}
{{ ['a', 1]|sort }}
{{ ['a', 1]|max }}
{{ [{}, {"a": 1}, 1]|sort }}
{{ ['a']|dictsort }}
{{ {'a': 1}|dictsort(by='nope') }}
{{ {'a': 1, 2: 3}|dictsort }}
{{ 'a'|batch|list }}
{{ 'a'|slice|list }}
{{ 'a'|replace('a') }}
{{ 'a'|replace }}
{{ 'abc'|join(1, 2, 3, 4) }}
{{ 'a'|indent(nosuch=1) }}
{{ 'a'|center(1, 2, 3) }}
{{ 'a'|truncate(1) }}
{{ 'a'|attr }}
{{ messages|groupby }}
{{ 'a'|format('b') }}
{{ '%s %s'|format('b') }}
{{ '%d'|format('b') }}
{{ '%d' % 'x' }}
{{ '%s %s' % 'x' }}
{{ '%s' % ('x', 'y') }}
{{ '%z' % 1 }}
{{ '%' % 1 }}
{{ '%(a)s' % 1 }}
{{ '%(a)s' % {} }}
{{ '{}'.format() }}
{{ '{a}'.format() }}
{{ '{'.format() }}
{{ '}'.format() }}
{{ '{} {0}'.format(1) }}
{{ '{:d}'.format('x') }}
{{ '{:q}'.format(1) }}
{{ '{a.b.c}'.format(a={}) }}
{{ '{0[x][y]}'.format({}) }}
{{ '{0[x}'.format({}) }}
{{ '{:>5'.format(1) }}
{{ '{:{:{}}}'.format(1, 2, 3) }}
{{ '{!r'.format(1) }}
{{ '{:+}'.format('a') }}
{{ '{:.2}'.format(1) }}
{{ '{:d}'.format(1.5) }}
{{ '{:5}'.format(none) }}
{{ '{:5}'.format([1]) }}
{{ '%c' % 'ab' }}
{{ '%*d' % ('a', 1) }}
{{ '%.' % 1 }}
{{ '%(a' % {'a': 1} }}
{{ '{!x}'.format(1) }}
{{ [1]|tojson(1, 2, 3, 4, 5) }}
{{ [1]|tojson(nosuch=1) }}
{{ range|tojson }}
{{ {(1, 2): 3}|tojson }}
{{ namespace()|tojson }}
{{ x.items()|tojson }}
{{ [1]|map('string')|tojson }}
{{ {1: 1, 'a': 2}|tojson(sort_keys=true) }}
{{ [1].append(2) }}
{{ [1].pop() }}
{{ [1].insert(0, 1) }}
{{ [1].extend([2]) }}
{{ [1].remove(1) }}
{{ [2, 1].sort() }}
{{ [2, 1].reverse() }}
{{ [1].clear() }}
{{ {'a': 1}.update({'b': 2}) }}
{{ {'a': 1}.pop('a') }}
{{ {'a': 1}.popitem() }}
{{ {'a': 1}.setdefault('b', 2) }}
{{ {'a': 1}.clear() }}
{% set messages.x = 1 %}
{% set nosuch.x = 1 %}
{% for a, b in [1] %}{% endfor %}
{% for a, b in [(1, 2, 3)] %}{% endfor %}
{% for a, b in ['x'] %}{% endfor %}
{% for a in 5 %}{% endfor %}
{% for a in none %}{% endfor %}
{% set a, b = 1 %}
{% set a, b = [1] %}
{% set a, b = [1, 2, 3] %}
{% macro m(a) %}{% endmacro %}{{ m(1, 2) }}
{% macro m(a) %}{% endmacro %}{{ m(b=1) }}
{% macro m(a) %}{% endmacro %}{{ m(1, a=2) }}
{% macro m() %}{{ caller() }}{% endmacro %}{{ m() }}
{% macro m() %}x{% endmacro %}{% call m() %}y{% endcall %}
{{ 1 < 'a' }}
{{ [] < 1 }}
{{ {} < {} }}
{{ none < none }}
{{ 1 in 1 }}
{{ 1 in 'a' }}
{{ none in 'a' }}
{{ 1 in none }}
{{ {[1]: 2} }}
{{ {{}: 2} }}
{{ x.list['a':] }}
{{ x.list[::0] }}
{{ x.s[1.5:] }}
{{ x.deep[1:] }}
{{ range(1, 2, 0) }}
{{ range() }}
{{ range('a') }}
{{ range(1.5) }}
{{ range(1, 2, 3, 4) }}
{{ range(200000) }}
{{ range(99999999999) }}
{{ dict(1) }}
{{ dict([1]) }}
{{ dict({}, {}) }}
{{ namespace(1) }}
{{ namespace({}, {}) }}
{{ cycler() }}
{{ strftime_now() }}
{{ strftime_now(1) }}
{{ 'x'.split('') }}
{{ 'x'.split(1) }}
{{ 'x'.join(1) }}
{{ 'x'.join([1]) }}
{{ 'x'.join() }}
{{ 'x'.replace('a') }}
{{ 'x'.replace(1, 2) }}
{{ 'x'.startswith(1) }}
{{ 'x'.startswith() }}
{{ 'x'.startswith(['x']) }}
{{ 'x'.strip(1) }}
{{ 'x'.upper(1) }}
{{ 'x'.center() }}
{{ 'x'.center(5, 'ab') }}
{{ 'x'.ljust('a') }}
{{ 'x'.zfill() }}
{{ 'abc'.index('z') }}
{{ 'abc'.rindex('z') }}
{{ 'x'.partition('') }}
{{ 'x'.nosuch() }}
{{ [1].index(2) }}
{{ [1].nosuch() }}
{{ {}.nosuch() }}
{{ {}.get() }}
{{ {}.items(1) }}
{{ (5).nosuch() }}
{{ 5() }}
{{ 'x'() }}
{{ x() }}
{{ [1]() }}
{{ 1 is divisibleby }}
{{ 1 is divisibleby 0 }}
{{ 'a' is odd }}
{{ 1 is in }}
{{ 1 is in 5 }}
{{ 1 is lt 'a' }}
{{ nosuch is odd }}
{{ 1 is eq }}
{{ loop.index }}
{{ loop(1) }}
{% for x in [1] %}{{ loop([2]) }}{% endfor %}
{% for x in [1] %}{{ loop.cycle() }}{% endfor %}
{{ ''.__class__.__mro__ }}
{{ x.__class__ }}{{ x.__class__.__name__ }}
{{ [].__class__.__base__ }}
{{ range.__globals__['x'] }}
{{ ().__class__() }}
{{ 'x'.format.__self__.y }}
{{ '{0.__class__.__name__.x.y}'.format(1) }}
{{ 'a' * 3 * 'b' }}
{{ x.n.nope.y }}
{{ x.list|map(attribute='a.b.c')|list|tojson }}
{{ [1, 2]|first(1) }}
{{ [1, 2]|length(1) }}
{{ 'a'|upper(1) }}
{{ 'a'|trim('a', 'b') }}
{{ 'a'|int(1, 2, 3) }}
{{ 'a'|default(1, 2, 3) }}
{{ {'a b': 1}|xmlattr }}
{{ 'x'|filesizeformat }}
{{ [1]|unique(1, 2, 3)|list }}
{{ 'a'|safe(1) }}
""".strip("\n").split("\n")
