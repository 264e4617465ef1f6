"""Templates of our own in the ways that published ones are written; each is
rendered over every conversation."""
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


ALTERNATING = """{%- if messages and messages[0].role in ['system', 'developer'] -%}
  {%- set system, turns = messages[0].content, messages[1:] -%}
{%- else -%}{%- set system, turns = none, messages -%}{%- endif -%}
{{ bos_token }}
{%- set ns = namespace(i=0) -%}
{%- for message in turns -%}
  {%- if message.role in ('user', 'assistant') and not message.get('tool_calls') -%}
    {%- if (message.role == 'user') != (ns.i % 2 == 0) -%}
      {{ raise_exception('Turn ' ~ ns.i ~ ' should not be ' ~ message.role ~ '.') }}
    {%- endif -%}
    {%- set ns.i = ns.i + 1 -%}
  {%- elif message.role not in ['tool', 'assistant'] -%}
    {{ raise_exception("Unknown role '" + message.role + "'") }}
  {%- endif -%}
{%- endfor -%}
{%- for message in turns -%}
  {%- set last = loop.last and message.role == 'user' or loop.nextitem is defined and loop.nextitem.role != message.role -%}
  {%- if message.role == 'user' -%}
    {%- if tools and last -%}[TOOLS]{{ tools | map(attribute='function') | list | tojson }}[/TOOLS]{%- endif -%}
    [INST] {{ (system ~ '\\n\\n' if system and loop.first else '') ~ message.content }} [/INST]
  {%- elif message.tool_calls is defined and message.tool_calls -%}
    [CALLS][{%- for call in message.tool_calls -%}
      {{- '{"name": "' ~ call.function.name ~ '", "arguments": ' ~ (call.function.arguments if call.function.arguments is string else call.function.arguments | tojson) -}}
      {%- if not call.id is defined or call.id|length != 9 -%}{{ raise_exception('A call needs an id of 9 characters, has ' ~ (call.id|default('none'))) }}{%- endif -%}
      {{- ', "id": "' ~ call.id ~ '"}' ~ ('' if loop.last else ', ') -}}
    {%- endfor -%}]{{ eos_token }}
  {%- elif message.role == 'assistant' -%}
    {{ ' ' ~ message.content | trim ~ eos_token }}
  {%- else -%}
    [RESULT]{{ {'content': message.content, 'id': message.tool_call_id} | tojson(ensure_ascii=true) }}[/RESULT]
  {%- endif -%}
{%- endfor -%}
"""

MARKED = """{%- macro value(v) -%}
{%- if v is mapping or (v is sequence and v is not string) -%}{{ v | tojson }}{%- elif v is boolean or v is none -%}{{ v | string | lower }}{%- else -%}{{ v }}{%- endif -%}
{%- endmacro -%}
{%- macro fields(spec, skip) -%}
{%- for key in spec.keys() | list if key not in skip %}

<{{ key }}>
{%- if spec[key] is mapping %}{% for name, item in spec[key] | items %}<{{ name | replace('-', '_') }}>{{ value(item) }}</{{ name | replace('-', '_') }}>{% endfor %}
{%- else %}{{ value(spec[key]) }}{% endif -%}
</{{ key }}>
{%- endfor %}
{%- endmacro -%}
{%- if tools is iterable and tools | length > 0 %}
# Tools
{%- for tool in tools %}{%- if tool.function is defined %}{% set tool = tool.function %}{% endif %}
<function>
<name>{{ tool.name }}</name>
{%- if tool.description %}
<description>{{ tool.description | trim }}</description>
{%- endif %}
{%- if tool.parameters.properties is mapping %}
{%- for name, p in tool.parameters.properties | items %}
<parameter>{{ name }}{% if p.type is defined %} ({{ p.type if p.type is string else p.type | join('|') }}){% endif %}{{ fields(p, ['type', 'description']) }}</parameter>
{%- endfor %}{% endif %}
{{- fields(tool, ['name', 'description', 'parameters', 'type']) }}
</function>
{%- endfor %}
{% endif %}
{%- set last = namespace(query=-1) %}
{%- for m in messages %}{% if m.role == 'user' and m.content is string %}{% set last.query = loop.index0 %}{% endif %}{% endfor %}
{%- for m in messages %}
<turn n="{{ loop.index }}" role="{{ m.role }}"{% if m.name is defined %} name="{{ m.name | e }}"{% endif %}>
{%- if m.reasoning_content is defined and m.reasoning_content and loop.index0 > last.query %}<think>{{ m.reasoning_content.strip('\\n') }}</think>{% endif %}
{%- if m.content is string %}{{ m.content.split('</think>')[-1].lstrip() }}
{%- elif m.content is iterable %}{% for part in m.content %}{% if part.type == 'text' %}{{ part.text }}{% elif 'image' in part.type or 'image_url' in part %}<image {{ loop.index }}>{% endif %}{% endfor %}
{%- elif m.content is not none %}{{ m.content }}{% endif %}
{%- for call in m.tool_calls or [] %}{% set call = call.function or call %}
<call {{ call.name }}>
{%- if call.arguments is mapping %}{% for key, arg in call.arguments.items() %}<arg {{ key }}>{{ value(arg) }}</arg>{% endfor %}{% else %}{{ call.arguments }}{% endif %}
</call>
{%- endfor %}
</turn>
{%- endfor %}
{%- if add_generation_prompt %}
<turn role="assistant">{{ '<think></think>' if enable_thinking is defined and enable_thinking is false }}
{%- endif %}
"""

TYPED = """{%- macro type_of(p, indent='') -%}
{%- if p.enum -%}{{ p.enum | map('tojson') | join(' | ') }}
{%- elif p.anyOf or p.oneOf -%}{% for o in (p.anyOf or p.oneOf) %}{{ type_of(o) }}{{ ' | ' if not loop.last }}{% endfor %}
{%- elif p.type is sequence and p.type is not string -%}{{ p.type | join(' | ') | replace('integer', 'number') }}
{%- elif p.type == 'array' -%}{{ type_of(p['items'], indent) if p['items'] else 'any' }}[]
{%- elif p.type == 'object' and p.properties -%}{ {%- for k, v in p.properties | dictsort %} {{ k }}{{ '' if k in (p.required or []) else '?' }}: {{ type_of(v, indent + '  ') }}{{ ',' if not loop.last }}{%- endfor %} }
{%- elif p.type in ['integer', 'number'] -%}number
{%- else -%}{{ p.type | default('any', true) }}
{%- endif -%}
{%- endmacro -%}
{{- bos_token -}}
Today is {{ date_string | default(strftime_now('%d %b %Y')) }}.
{% if model_identity is defined %}{{ model_identity }} ({{ reasoning_effort | default('medium') | upper }})
{% endif -%}
{% if builtin_tools is defined %}Built in: {{ builtin_tools | sort | join(', ') }}
{% endif -%}
{% if tools %}namespace functions {
{% for tool in tools %}{% set f = tool.function if 'function' in tool else tool %}
  // {{ f.description | replace('\\n', '\\n  // ') }}
  type {{ f.name }} = (_: {
{%- for name, p in f.parameters.properties.items() %}
{%- if p.description %}
    // {{ p.description | truncate(40) | capitalize }}
{%- endif %}
    {{ name }}{% if f.parameters.required is not defined or name not in f.parameters.required %}?{% endif %}: {{ type_of(p) }}{% if p.default is defined %}, // default: {{ p.default if p.default is string else p.default | tojson }}{% else %},{% endif %}
{%- endfor %}
  }) => any;
{% endfor %}}
{% endif -%}
{% for document in documents or [] %}
Document {{ loop.index0 }}: {{ document.title }}
{{ document.text | indent(4, first=true) }}
{% else %}
no documents
{% endfor %}
{% if controls is defined %}{% for k, v in controls | dictsort(reverse=true) %}{{ k }}={{ v }}{{ ', ' if not loop.last }}{% endfor %}{% endif %}
{% for role, group in messages | groupby('role') %}{{ role }}: {{ group | length }}; {% endfor %}
{% for message in messages | selectattr('role', 'in', ['user', 'assistant', 'system']) | rejectattr('content', 'none') %}
{{ '%-10s|%3d|' | format(message.role, loop.index) }}{{ message.content if message.content is string else message.content | selectattr('type', 'equalto', 'text') | map(attribute='text') | join(' ') }}
{% if loop.previtem is defined and loop.previtem.role == message.role %}(again){% endif %}
{% endfor %}
{{ messages | map(attribute='name', default='-') | unique | list }} {{ (messages | last).role if messages else 'nobody' }}
{% generation %}{{ messages[-1]['content'] if messages and messages[-1]['role'] == 'assistant' }}{% endgeneration %}
"""

PLAIN_DUMP = """{{ messages }}
{{ tools }}{{ documents }}{{ bos_token }}{{ add_generation_prompt }}
{% for m in messages %}{{ m }}{{ m.items() | list }}{{ m | dictsort }}{{ m | tojson(indent=1, sort_keys=true) }}
{% endfor %}"""

EACH_FIELD = """{% for m in messages recursive %}
{%- if m is mapping %}{{ loop.depth }}{% for k, v in m.items() %}[{{ k }}|{{ v | string | length }}|{{ v is string }}|{{ v is none }}]{% endfor %}
{%- if m.content is sequence and m.content is not string %}{{ loop(m.content) }}{% endif %}
{%- else %}{{ m }}{% endif %}
{%- endfor %}
{{- messages | map(attribute='content') | select('string') | map('trim') | map('title') | join(' / ') }}
{{ messages | selectattr('tool_calls') | map(attribute='tool_calls') | sum(start=[]) | map(attribute='function.name') | join(',') }}
{{ messages | map(attribute='role') | list | unique | sort | reverse | list }}
{%- set text = messages | map(attribute='content') | select('string') | join('\\n') %}
{{ text | wordcount }} {{ text | length }} {{ text | upper | reverse }} {{ text.split() | batch(3, '-') | list }} {{ text | urlencode }} {{ text | e }} {{ text | center(30) }} {{ text.splitlines() }} {{ text | truncate(25, true) }}
"""

TALKS = {"markup": MARKUP, "headers": HEADERS, "thinking": THINKING,
         "macros": MACROS, "alternating": ALTERNATING, "marked": MARKED,
         "typed": TYPED, "dump": PLAIN_DUMP, "fields": EACH_FIELD}
