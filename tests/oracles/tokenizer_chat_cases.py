"""Templates and conversations for make_tokenizer_data.py: (name, template,
variables). Each template shows some constructs of the language; a case that
jinja2 refuses is recorded as an error."""

TALK = [
    {"role": "system", "content": "You are terse."},
    {"role": "user", "content": "  What's 2+2?\n"},
    {"role": "assistant", "content": "4"},
    {"role": "user", "content": "Grüße, 世界 👋🏽 <b>&\"'"},
]
SHORT = TALK[1:2]
TOOLS = [{"type": "function", "function": {
    "name": "get_weather", "description": "Weather in a town",
    "parameters": {"type": "object", "required": ["town"], "properties": {
        "town": {"type": "string"},
        "days": {"type": "array", "items": {"type": "integer"}}}}}}]
CALLS = TALK[1:2] + [
    {"role": "assistant", "content": None, "tool_calls": [
        {"id": "c1", "type": "function", "function": {
            "name": "get_weather", "arguments": {"town": "Köln", "days": [1, 2]}}}]},
    {"role": "tool", "tool_call_id": "c1", "content": "{\"t\": 21.5}"},
    {"role": "assistant", "content": "<think>\nhm\n</think>\n\n21.5 degrees."},
    {"role": "user", "content": [{"type": "text", "text": "and"},
                                 {"type": "image"},
                                 {"type": "text", "text": "tomorrow?"}]},
]

MARKUP = """{%- for message in messages %}
    {%- if loop.first and message['role'] != 'system' %}
        {{- '<|im_start|>system\\nBe kind.<|im_end|>\\n' }}
    {%- endif %}
    {{- '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""

HEADERS = """{{- bos_token }}
{%- if custom_tools is defined %}{% set tools = custom_tools %}{% endif %}
{%- if not date_string is defined %}
    {%- set date_string = strftime_now("%d %b %Y") %}
{%- endif %}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{{- "<|h|>system<|/h|>\\n\\n" }}
{%- if tools is not none %}
    {{- "Tools: " }}
    {%- for t in tools %}
        {{- t | tojson(indent=4) }}
        {{- "\\n\\n" }}
    {%- endfor %}
{%- endif %}
{{- "Today: " + date_string + "\\n" + system_message + "<|eot|>" }}
{%- for message in messages %}
    {%- if not (message.role == 'tool' or 'tool_calls' in message) %}
        {{- '<|h|>' + message['role'] + '<|/h|>\\n\\n' }}
        {%- if message.content is string %}
            {{- message['content'] | trim }}
        {%- else %}
            {%- for part in message.content %}
                {%- if part.type == 'text' %}{{ part.text }}{% elif part.type == 'image' %}{{ '<image>' }}{% endif %}
            {%- endfor %}
        {%- endif %}
        {{- '<|eot|>' }}
    {%- elif 'tool_calls' in message %}
        {%- if message.tool_calls|length != 1 %}
            {{- raise_exception("one call at a time") }}
        {%- endif %}
        {%- set call = message.tool_calls[0].function %}
        {{- '{"name": "' + call.name + '", "parameters": ' }}
        {{- call.arguments | tojson }}
        {{- "}<|eot|>" }}
    {%- else %}
        {{- "<|h|>tool<|/h|>" }}
        {%- if message.content is mapping or message.content is iterable %}
            {{- message.content | tojson }}
        {%- else %}
            {{- message.content }}
        {%- endif %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|h|>assistant<|/h|>\\n\\n' }}{%- endif %}
"""

THINKING = """{%- set ns = namespace(last=messages|length - 1, open=true) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.open and message.role == "user" and message.content is string and not(message.content.startswith('<tool>') and message.content.endswith('</tool>')) %}
        {%- set ns.open = false %}
        {%- set ns.last = index %}
    {%- endif %}
{%- endfor %}
last={{ ns.last }} open={{ ns.open }}
{% for message in messages %}
{%- if message.content is string %}{% set content = message.content %}{% else %}{% set content = '' %}{% endif %}
{%- if message.role == "assistant" %}
    {%- set reasoning = '' %}
    {%- if '</think>' in content %}
        {%- set reasoning = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}
        {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
    {%- endif %}
    {%- generation %}
    {{- '[' ~ reasoning ~ '|' ~ content ~ ']' }}
    {%- endgeneration %}
{%- elif (loop.previtem and loop.previtem.role != "tool") or loop.first or loop.last %}
    {{- loop.index ~ '/' ~ loop.revindex ~ ':' ~ message.role }}
{%- endif %}
{%- endfor %}
{%- if enable_thinking is defined and enable_thinking is false %}{{ '<think></think>' }}{% endif %}
"""

MACROS = """{% macro field(name, spec, level=0) -%}
{{ '  ' * level }}{{ name }}: {{ spec.type }}{% if spec['items'] is defined %} of {{ spec['items'].type }}{% endif %}
{%- if spec.properties is defined %}

{% for key, value in spec.properties|dictsort %}{{ field(key, value, level + 1) }}{% if not loop.last %}

{% endif %}{% endfor %}{% endif %}
{%- endmacro %}
{% macro box(title) %}<{{ title }} {{ varargs|join(',') }} {{ kwargs|tojson }}>{{ caller() if caller else 'none' }}</{{ title }}>{% endmacro %}
{% for tool in tools %}{{ field(tool.function.name, tool.function.parameters) }}{% endfor %}
{{ box('a', 1, 2, x='y') }}
{% call box('b') %}inside{% endcall %}
{% macro each(xs) %}{% for x in xs %}{{ caller(x, loop.index) }};{% endfor %}{% endmacro %}
{% call(value, n) each(['p', 'q']) %}{{ n }}={{ value }}{% endcall %}
"""

LOOPS = """
{% for a, b in {'x': 1, 'y': 2}.items() %}{{ a }}{{ b }}{{ loop.cycle('-', '+') }}{% endfor %}
{% for x in [] %}never{% else %}empty{% endfor %}
{% for x in range(10) if x is odd %}{{ loop.index }}/{{ loop.length }}:{{ x }} {% endfor %}
{% for x in range(10) %}{% if x == 2 %}{% continue %}{% endif %}{% if x > 4 %}{% break %}{% endif %}{{ x }}{% endfor %}
{% for x in [1,1,2,2,1] %}{% if loop.changed(x) %}{{ x }}{% endif %}{% endfor %}
{% for n in [{'v': 1, 'c': [{'v': 2, 'c': []}, {'v': 3, 'c': [{'v': 4, 'c': []}]}]}] recursive %}{{ loop.depth }}:{{ n.v }}({{ loop(n.c) }}){% endfor %}
{% set x = 1 %}{% for i in [1, 2] %}{% set x = x + i %}{{ x }}{% endfor %}{{ x }}
{% for c in 'aé世' %}[{{ c }}]{% endfor %}
{% for k in {'b': 1, 'a': 2} %}{{ k }}{% endfor %}
{% for (i, j) in [(1, 2), (3, 4)] %}{{ i + j }}{% endfor %}
{{ loop is defined }}
"""

EXPRESSIONS = """
{{ 1 + 2 * 3 - 4 / 2 }} {{ 7 // 2 }} {{ -7 // 2 }} {{ 7 % 3 }} {{ -7 % 3 }} {{ 2 ** 10 }} {{ 2 ** -1 }} {{ -2 ** 2 }} {{ 1_000 + 0.5e1 }}
{{ 1 == 1.0 }} {{ true == 1 }} {{ 'a' < 'b' }} {{ 1 < 2 < 3 }} {{ 1 < 3 < 2 }} {{ 'x' in 'xyz' }} {{ 3 not in [1, 2] }} {{ [1, 2] == [1, 2] }} {{ (1, 2) == [1, 2] }}
{{ not true or true and false }} {{ 'a' if false else 'b' if false else 'c' }} {{ ('z' if false) is defined }} {{ '' or 'dflt' }} {{ 0 and 1 }} {{ none or [] }}
{{ 'a' ~ 1 ~ none ~ true ~ 1.5 ~ [1, 'x'] ~ {'k': (1,)} }} {{ 'ab' * 3 }} {{ [1] + [2] }} {{ [0] * 3 }} {{ "con" "cat" }}
{{ 'abcdef'[1:4] }} {{ 'abcdef'[::-1] }} {{ 'abcdef'[-2:] }} {{ [1,2,3,4,5][::2] }} {{ [1,2,3][5:] }} {{ 'naïve世'[4:] }} {{ 'abc'[0] }} {{ 'abc'[-1] }} {{ [1,2,3][-3:-1] }} {{ 'abcdef'[4:1:-1] }}
{{ {'a': {'b': [10, 20]}}.a.b.1 }} {{ {'a': 1}['a'] }} {{ {'a': 1}.zzz is undefined }} {{ {1: 'one', none: 'n'}[1] }} {{ messages[0].role }} {{ messages[-1]['content'][:6] }}
{{ true }} {{ none }} {{ 1.0 }} {{ 1e16 }} {{ 1e-5 }} {{ 123456789.123 }} {{ 0.1 + 0.2 }} {{ 10 / 5 }} {{ 1e300 * 1e10 }} {{ "it's" }} {{ ["it's", 'say "hi"', "a\\n\\t\\\\b", 'é', '\\x07'] }}
{{ undefined_name }}|{{ undefined_name is defined }}|{{ undefined_name|default('d') }}|{{ ''|default('e', true) }}|{{ none|default('f') }}|{{ undefined_name | length }}
{{ 'A\\u00e9\\x41\\101\\q' }} {{ '%s is %d and %.2f, %5d|%-5s|%05d %x %%' % ('x', 3, 2.5, 42, 'ab', 7, 255) }} {{ '%(a)s' % {'a': 1} }} {{ '{} {1} {k}'.format('a', 'b', k='c') if false else '{0} {1} {k} {{}}'.format('a', 'b', k='c') }}
{{ +3 }} {{ - 3 }} {{ (1, 2)[0] }} {{ () }} {{ (1,) }} {{ [] }} {{ {} }} {{ 5 is divisibleby 5 }} {{ 5 is not even }} {{ 3 is in [1, 3] }}
"""

METHODS = """
{{ '  a b  '.strip() }}|{{ 'xxaxx'.strip('x') }}|{{ '  a'.lstrip() }}|{{ 'a  '.rstrip() }}|{{ 'a,b,,c'.split(',') }}|{{ ' a  b '.split() }}|{{ 'a b c'.split(' ', 1) }}|{{ 'a b c'.rsplit(' ', 1) }}|{{ 'a b c'.split(maxsplit=1) }}
{{ 'abc'.startswith('ab') }} {{ 'abc'.startswith(('x', 'a')) }} {{ 'abc'.endswith('bc') }} {{ 'abc'.upper() }} {{ 'ÀÉß'.lower() }} {{ 'straße é'.upper() }} {{ 'hELLO wORLD'.title() }} {{ 'hELLO'.capitalize() }}
{{ 'a-b-c'.replace('-', '+') }} {{ 'a-b-c'.replace('-', '+', 1) }} {{ 'abc'.replace('', '.') }} {{ 'abcabc'.find('c') }} {{ 'é世c'.find('c') }} {{ 'abcabc'.rfind('c') }} {{ 'abc'.find('z') }} {{ 'banana'.count('a') }}
{{ '123'.isdigit() }} {{ 'abc'.isalpha() }} {{ 'a1'.isalnum() }} {{ ' '.isspace() }} {{ 'ABC'.isupper() }} {{ 'abc'.islower() }} {{ ''.isdigit() }}
{{ ','.join(['a', 'b']) }} {{ 'a\\nb\\r\\nc'.splitlines() }} {{ 'x'.ljust(3) }}| {{ 'x'.rjust(3, '.') }} {{ '7'.zfill(3) }} {{ '-7'.zfill(4) }} {{ 'x'.center(4) }}| {{ 'pre-x'.removeprefix('pre-') }} {{ 'x.py'.removesuffix('.py') }} {{ 'a=b=c'.partition('=') }} {{ 'a=b=c'.rpartition('=') }}
{{ {'a': 1}.get('a') }} {{ {'a': 1}.get('b') }} {{ {'a': 1}.get('b', 2) }} {{ {'a': 1, 'b': 2}.keys()|list }} {{ {'a': 1}.values()|list }} {{ {'a': 1}.items()|list }} {{ [1, 2, 1].count(1) }} {{ [5, 6].index(6) }}
{{ {'items': 3}['items'] }} {{ {'a': 1}.keys()|length }} {{ 'a' in {'a': 1}.keys() }}
"""

FILTERS = """
{{ [3, 1, 2]|sort }} {{ ['b', 'A', 'c']|sort }} {{ ['b', 'A', 'c']|sort(case_sensitive=true) }} {{ [3, 1, 2]|sort(reverse=true) }} {{ [{'n': 2, 'm': 'a'}, {'n': 1, 'm': 'b'}]|sort(attribute='n')|map(attribute='m')|join }}
{{ [1, 2, 3]|first }} {{ [1, 2, 3]|last }} {{ []|first is defined }} {{ [1, 2, 3]|sum }} {{ [{'v': 1}, {'v': 2}]|sum(attribute='v') }} {{ [1, 2, 3]|max }} {{ [4, 2]|min }} {{ 'abc'|length }} {{ 'né世'|count }} {{ [1, 2]|length }}
{{ [1, 2, 3]|join('-') }} {{ [{'a': 1}, {'a': 2}]|join(',', attribute='a') }} {{ 'abc'|list }} {{ 'abc'|reverse }} {{ [1, 2]|reverse|list }} {{ ['a', 'b', 'a', 'A']|unique|list }} {{ [1, 2, 3, 4, 5]|batch(2, 0)|list }} {{ [1, 2, 3, 4, 5]|slice(3)|list }}
{{ [1, 2, 3, 4]|select('odd')|list }} {{ [1, 2, 3, 4]|reject('odd')|list }} {{ [0, 1, '']|select|list }} {{ messages|selectattr('role', 'equalto', 'user')|list|length }} {{ messages|rejectattr('role', 'in', ['user'])|map(attribute='role')|list }} {{ messages|selectattr('content')|list|length }} {{ [1, 2, 3]|select('gt', 1)|list }} {{ ['a', 'B']|map('upper')|list }} {{ [{'a': 1}, {}]|map(attribute='a', default=9)|list }}
{{ 'hello world foo'|title }} {{ 'hELLO'|capitalize }} {{ 'x'|upper }} {{ 'X'|lower }} {{ ' x '|trim }} {{ 'xxaxx'|trim('x') }} {{ 'abc'|replace('b', 'x') }} {{ '<a href="x">&\\'</a>'|escape }} {{ 'a b/c?é'|urlencode }} {{ 'one two  three'|wordcount }} {{ 'x'|center(5) }}|
{{ 3.7|int }} {{ '42'|int }} {{ 'x'|int(-1) }} {{ '3.9'|int }} {{ 'ff'|int(base=16) }} {{ '1.5'|float }} {{ 'x'|float }} {{ 3|float }} {{ -3|abs }} {{ 2.567|round(2) }} {{ 2.5|round }} {{ 2.567|round(1, 'floor') }} {{ 2.1|round(0, 'ceil') }} {{ 3|string + 'x' }} {{ '%s-%s'|format('a', 'b') }}
{{ 'a\\nb\\n\\nc'|indent }}|{{ 'a\\nb'|indent(2, true) }}|{{ 'a\\n\\nb'|indent('> ', blank=true) }}|{{ 'abcdefghij klmnop'|truncate(9, leeway=0) }}|{{ 'abcdefghij'|truncate(5, true, '.', 0) }}|{{ 'short'|truncate(20) }}
{{ {'b': 1, 'A': 2}|dictsort }} {{ {'b': 1, 'a': 2}|dictsort(by='value', reverse=true) }} {{ {'a': 1}|items|list }} {% for role, group in messages|groupby('role') %}{{ role }}={{ group|length }};{% endfor %}
{{ {'a': [1, 2.0, none, true, 'é"\\\\\\n'], 'b': {}}|tojson }} {{ {'b': 1, 'a': []}|tojson(indent=2, sort_keys=true) }} {{ 'é😀'|tojson(ensure_ascii=true) }} {{ [1, {'a': 2}]|tojson(separators=(',', ':')) }} {{ tools|tojson(indent=2) }} {{ '<&>'|tojson }}
{% filter upper|trim %}  shout {{ 'x' }} {% endfilter %} {% set captured | trim | upper %}  cap {{ 1 + 1 }} {% endset %}[{{ captured }}] {% set plain %}p{% endset %}{{ plain }}
{% with a = 1, b = 'x' %}{{ a }}{{ b }}{% endwith %}{{ a is defined }} {% set p, q = 1, 2 %}{{ p }}{{ q }} {% if messages|selectattr('role', 'equalto', 'nobody') %}a generator is true{% endif %} {{ dict(a=1, b=2) }} {{ range(3)|list }} {{ range(5, 0, -2)|list }}
{% set sep = joiner('; ') %}{% for x in [1, 2, 3] %}{{ sep() }}{{ x }}{% endfor %} {% set cy = cycler('a', 'b') %}{{ cy.next() }}{{ cy.next() }}{{ cy.next() }}
{{ strftime_now('%Y-%m-%d %H:%M') }} {{ strftime_now('%A, %B %e') }} {{ 'a'|attr('upper') is callable }}
"""

TESTS = """
{% for v in [1, 0, 1.5, true, false, none, 'x', '', [], [1], (1,), {}, {'a': 1}] %}
{{ v }}: {{ v is number }} {{ v is integer }} {{ v is float }} {{ v is string }} {{ v is mapping }} {{ v is iterable }} {{ v is sequence }} {{ v is boolean }} {{ v is none }} {{ v is true }} {{ v is false }} {{ v is defined }} {{ v is callable }} {{ 'T' if v else 'F' }}
{% endfor %}
{{ 'abc' is lower }} {{ 'ABC' is upper }} {{ 4 is even }} {{ 1 is eq 1 }} {{ 1 is ne 2 }} {{ 1 is lt 2 }} {{ 2 is ge(2) }} {{ none is sameas none }} {{ 'upper' is filter }} {{ 'nope' is filter }} {{ 'odd' is test }} {{ x is undefined }} {{ namespace is callable }} {{ 1 is not none and 2 is number }}
"""

SPACE = """  {% if true %}
   kept
  {%- if true -%}
     tight
  {%- endif +%}
  plus
  {%+ if true %} indented{% endif %}
{% endif %}

{# a comment #}
  {# another -#}   
 after
{{ 'x' }}
{{- 'y' -}}
   z	{% raw %}{{ not }} {% this %}{% endraw %}
	{%- raw -%}  {# raw #}  {%- endraw -%}  end
{% set a = 1 %}   
{{ a }} {#- gone -#} b
{% for i in [1, 2] -%}
  {{ i }}
{% endfor %}
last line
"""

ERRORS = [
    "{{ raise_exception('Roles must alternate: ' ~ messages[0].role) }}",
    "{% if %}{% endif %}", "{{ }}", "{{ 1 + }}", "{% for x in y %}", "{{ 'a' }",
    "{% endfor %}", "{% nosuchtag %}", "{{ x.y }}", "{{ x + 1 }}", "{{ 1 + 'a' }}",
    "{{ 'a'|nosuchfilter }}", "{{ 1 is nosuchtest }}", "{{ 1 / 0 }}", "{{ 1 // 0 }}",
    "{{ none.x.y }}", "{{ none() }}", "{{ nosuch() }}", "{{ [1].append(2) }}",
    "{{ {'a': 1}.update({'b': 2}) }}", "{% set messages.x = 1 %}",
    "{% for a, b in [1] %}{% endfor %}", "{% for a, b in [(1, 2, 3)] %}{% endfor %}",
    "{{ 'abc'|join(1, 2, 3, 4) }}", "{% macro m(a) %}{% endmacro %}{{ m(1, 2) }}",
    "{% macro m(a) %}{% endmacro %}{{ m(b=1) }}", "{# open", "{% raw %} x",
    "{{ (1 }}", "{{ [1) }}", "{{ 'open }}", "{{ 1 < 'a' }}", "{{ [1]|tojson(1, 2) }}{{ x|tojson }}",
    "{{ namespace(1) }}", "{{ messages|map('nosuch')|list }}", "{{ 'a' 1 }}",
    "{{ range(1, 2, 0) }}", "{{ 'x'.split('') }}", "{{ 'abc'.index('z') }}",
    "{{ '%d' % 'x' }}", "{{ '%s %s' % 'x' }}", "{% break %}{{ 1 }}{% if true %}",
    "{{ x is defined is true }}", "{{ {[1]: 2} }}", "{{ 5|length }}",
]

CASES = []
for label, text in [("markup", MARKUP), ("headers", HEADERS),
                    ("thinking", THINKING), ("macros", MACROS)]:
    for talk_name, talk in [("talk", TALK), ("short", SHORT), ("calls", CALLS),
                            ("one", TALK[:1])]:
        for prompt in (True, False):
            variables = {"messages": talk, "add_generation_prompt": prompt,
                         "tools": TOOLS if talk_name in ("calls", "one") else None,
                         "bos_token": "<s>", "eos_token": "</s>"}
            if prompt:
                variables["enable_thinking"] = talk_name != "calls"
            CASES.append((f"{label}/{talk_name}/{prompt}", text, variables))
BASE = {"messages": TALK, "tools": TOOLS, "add_generation_prompt": True}
for label, text in [("loops", LOOPS), ("expressions", EXPRESSIONS),
                    ("methods", METHODS), ("filters", FILTERS), ("tests", TESTS)]:
    for number, line in enumerate(text.strip("\n").split("\n")):
        if label != "tests":
            CASES.append((f"{label}/{number}", line, BASE))
    CASES.append((label, text, BASE))
CASES.append(("space", SPACE, BASE))
for number, line in enumerate(ERRORS):
    CASES.append((f"errors/{number}", line, BASE))
