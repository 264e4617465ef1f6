"""One template a line: every method of texts, lists, dicts and loops."""

METHODS = r"""
{{ 'hELLO'.capitalize() }} {{ ''.capitalize() }} {{ 'éA'.capitalize() }} {{ 'ßa'.capitalize() }} {{ 'ﬁN'.capitalize() }}
{{ 'ÀB ß ς'.casefold() }} {{ 'ABC'.casefold() }} {{ 'ŉ'.casefold() }}
{{ 'a'.center(4) }}| {{ 'ab'.center(5) }}| {{ 'abc'.center(2) }}| {{ 'a'.center(4, '*') }} {{ 'ab'.center(5, '·') }}
{{ 'banana'.count('a') }} {{ 'banana'.count('ana') }} {{ 'banana'.count('') }} {{ 'banana'.count('a', 2) }} {{ 'banana'.count('a', 2, 4) }} {{ 'ééé'.count('é', 1) }} {{ ''.count('') }} {{ 'banana'.count('a', -1) }}
{{ 'abc'.endswith('bc') }} {{ 'abc'.endswith('') }} {{ 'abc'.endswith(('x', 'c')) }} {{ 'abc'.endswith('b', 0, 2) }} {{ 'abc'.endswith(()) }} {{ 'é漢'.endswith('漢') }} {{ 'abc'.endswith('abcd') }}
{{ 'abc'.startswith('ab') }} {{ 'abc'.startswith('') }} {{ 'abc'.startswith(('x', 'a')) }} {{ 'abc'.startswith('b', 1) }} {{ 'abc'.startswith('c', -1) }} {{ 'abc'.startswith('b', 1, 1) }} {{ 'é漢'.startswith('漢', 1) }} {{ 'abc'.startswith('abcd') }}
{{ 'a\tb'.expandtabs() }}| {{ 'a\tbc\td'.expandtabs(4) }}| {{ 'a\n\tb'.expandtabs(2) }}| {{ 'a\tb'.expandtabs(0) }}| {{ 'a\tb'.expandtabs(tabsize=3) }}|
{{ 'banana'.find('an') }} {{ 'banana'.find('x') }} {{ 'banana'.find('an', 2) }} {{ 'banana'.find('an', 2, 4) }} {{ 'é漢字'.find('字') }} {{ 'abc'.find('') }} {{ 'abc'.find('', 3) }} {{ 'abc'.find('', 4) }} {{ 'abc'.find('c', -1) }} {{ 'banana'.rfind('an') }} {{ 'banana'.rfind('an', 0, 4) }} {{ 'abc'.rfind('') }} {{ 'é漢é'.rfind('é') }} {{ 'abc'.rfind('x') }}
{{ 'banana'.index('an') }} {{ 'banana'.index('an', 2) }} {{ 'banana'.rindex('a') }} {{ 'é漢'.index('漢') }}
{{ '{a}-{b}'.format_map({'a': 1, 'b': 'x'}) }} {{ '{0}'.format('z') }}
{{ 'aB1'.isalnum() }} {{ 'a b'.isalnum() }} {{ ''.isalnum() }} {{ 'é漢'.isalnum() }} {{ 'abc'.isalpha() }} {{ 'a1'.isalpha() }} {{ ''.isalpha() }} {{ 'é漢字'.isalpha() }} {{ 'ⅷ'.isalpha() }} {{ '½'.isalnum() }} {{ 'abc'.isascii() }} {{ 'é'.isascii() }} {{ ''.isascii() }}
{{ '123'.isdecimal() }} {{ '٣'.isdecimal() }} {{ '²'.isdecimal() }} {{ ''.isdecimal() }} {{ '123'.isdigit() }} {{ '²'.isdigit() }} {{ '½'.isdigit() }} {{ '1.5'.isdigit() }} {{ '-1'.isdigit() }} {{ '½'.isnumeric() }} {{ '一'.isnumeric() }} {{ 'Ⅷ'.isnumeric() }} {{ 'a'.isnumeric() }} {{ '①'.isdigit() }} {{ '①'.isnumeric() }}
{{ 'abc'.isidentifier() }} {{ '1a'.isidentifier() }} {{ '_é1'.isidentifier() }} {{ ''.isidentifier() }} {{ 'a b'.isidentifier() }} {{ 'for'.isidentifier() }}
{{ 'abc'.islower() }} {{ 'aB'.islower() }} {{ 'a1'.islower() }} {{ '1'.islower() }} {{ 'é漢'.islower() }} {{ 'ABC'.isupper() }} {{ 'A1'.isupper() }} {{ ''.isupper() }} {{ 'ß'.islower() }} {{ 'ª'.islower() }} {{ 'ǅ'.isupper() }} {{ 'Ⅷ'.isupper() }}
{{ 'abc'.isprintable() }} {{ 'a\n'.isprintable() }} {{ ''.isprintable() }} {{ 'é漢😀'.isprintable() }} {{ '\u200b'.isprintable() }} {{ ' \t'.isspace() }} {{ ''.isspace() }} {{ ' a'.isspace() }} {{ '\u3000\x1c'.isspace() }}
{{ 'Hello World'.istitle() }} {{ 'Hello world'.istitle() }} {{ 'HeLlo'.istitle() }} {{ ''.istitle() }} {{ '1A b'.istitle() }} {{ "It'S".istitle() }} {{ 'A'.istitle() }}
{{ ', '.join(['a', 'b']) }} {{ ''.join('abc') }} {{ '-'.join(('x',)) }} {{ ','.join([]) }} {{ '-'.join({'a': 1, 'b': 2}) }} {{ '/'.join(messages|map(attribute='role')) }}
{{ 'ab'.ljust(4) }}| {{ 'ab'.ljust(1) }}| {{ 'ab'.ljust(4, '.') }} {{ 'ab'.rjust(4) }} {{ 'ab'.rjust(4, '.') }} {{ 'é'.rjust(3, '漢') }}
{{ 'ÀBC'.lower() }} {{ 'àbc ß'.upper() }} {{ 'aBç'.swapcase() }} {{ 'ßİ'.swapcase() }} {{ "they're bill's".title() }} {{ 'x1y ÉCOLE'.title() }} {{ 'ΑΣ ΑΣΑ'.lower() }} {{ 'ŉ'.upper() }} {{ 'ΐ'.upper() }} {{ 'ﬀ'.title() }} {{ 'ǆa'.title() }}
{{ '  a '.strip() }}| {{ '  a '.lstrip() }}| {{ '  a '.rstrip() }}| {{ 'xyaxy'.strip('xy') }}| {{ 'xya'.lstrip('x') }}| {{ 'axx'.rstrip('x') }}| {{ '\n a\t'.strip('\n') }}| {{ 'a'.strip(none) }}| {{ '\u3000a\x1f'.strip() }}| {{ 'éaé'.strip('é') }}| {{ 'aaa'.strip('a') }}| {{ '\u200ba'.strip() }}|
{{ 'a=b=c'.partition('=') }} {{ 'abc'.partition('=') }} {{ 'a=b=c'.rpartition('=') }} {{ 'abc'.rpartition('=') }} {{ 'a--b'.partition('--')[2] }}
{{ 'a/b/c'.rpartition('/')[0] }} {{ 'a'.rpartition('é') }} {{ 'banana'.rindex('an', 0, 4) }} {{ 'éé'.rindex('é') }} {{ 'aB'.swapcase() }} {{ '{x}'.format_map({'x': 1}) }} {{ '{x[0]}'.format_map({'x': [1]}) }} {{ {}.copy() }} {{ {'a': [1]}.copy().a }} {{ 'pre-x'.removeprefix('pre-') }} {{ 'x'.removeprefix('y') }} {{ 'x.py'.removesuffix('.py') }} {{ 'x'.removesuffix('') }} {{ 'x'.removesuffix('xx') }} {{ ''.removeprefix('') }}
{{ 'aXbX'.replace('X', '-') }} {{ 'aXbX'.replace('X', '-', 1) }} {{ 'abc'.replace('', '.') }} {{ 'abc'.replace('', '.', 2) }} {{ 'abc'.replace('b', '') }} {{ 'aaa'.replace('aa', 'b') }} {{ 'a'.replace('a', 'a', 0) }} {{ 'é漢'.replace('漢', '字') }} {{ 'abc'.replace('', '.', -1) }}
{{ 'a,b,,c'.split(',') }} {{ ' a  b '.split() }} {{ 'a b c'.split(' ', 1) }} {{ 'a b c'.split(none, 1) }} {{ ''.split() }} {{ ''.split(',') }} {{ 'a'.split('a') }} {{ 'a--b--c'.split('--') }} {{ 'a b c'.split(sep=' ', maxsplit=1) }} {{ 'a\n b\tc'.split() }} {{ 'a b'.split(' ', 0) }} {{ '  a b'.split(none, 0) }} {{ 'x\x1cy\x85z'.split() }} {{ 'a, b'.split(', ')[-1] }}
{{ 'a,b,c'.rsplit(',') }} {{ 'a,b,c'.rsplit(',', 1) }} {{ ' a b c '.rsplit(none, 1) }} {{ 'a b c'.rsplit(maxsplit=1) }} {{ 'abc'.rsplit(',') }}
{{ 'a\nb\r\nc\rd'.splitlines() }} {{ 'a\n'.splitlines() }} {{ ''.splitlines() }} {{ 'a\n\nb'.splitlines(true) }} {{ 'a\x0bb\x0cc\x1cd\x85e\u2028f'.splitlines() }} {{ 'a\n'.splitlines(keepends=true) }}
{{ '42'.zfill(5) }} {{ '-42'.zfill(5) }} {{ '+4'.zfill(4) }} {{ 'abc'.zfill(2) }} {{ ''.zfill(2) }} {{ '--1'.zfill(5) }}
{{ [1, 2, 1].count(1) }} {{ [1, 2].index(2) }} {{ ['a', 'b', 'a'].index('a', 1) }} {{ (1, 2, 2).count(2) }} {{ (1, 2).index(2) }} {{ range(5).index(3) }} {{ range(5).count(9) }} {{ [1].copy() }} {{ ['a', 'b'].index('b', 0, 2) }}
{{ {'a': 1}.get('a') }} {{ {'a': 1}.get('b') }} {{ {'a': 1}.get('b', 'd') }} {{ {'a': none}.get('a', 'd') }} {{ {1: 'x'}.get(1) }} {{ x.get('n', 0) + 1 }} {{ messages[0].get('content', '') }} {{ messages[0].get('tool_calls') is none }}
{{ {'a': 1, 'b': 2}.keys()|list }} {{ {'a': 1}.values()|list }} {{ {'a': 1}.items()|list }} {{ {'a': 1}.copy() }} {% for k, v in {'a': 1, 'b': 2}.items() %}{{ k }}={{ v }}{{ ',' if not loop.last }}{% endfor %} {{ {}.keys()|length }} {{ {'b': 1, 'a': 2}.keys()|sort }} {{ {'a': 1}.items()|first }} {{ {'a': 1}.keys() }} {{ {'a': [1]}.values() }} {{ {'a': 1}.items() }} {{ {'a': 1}.keys() == {'a': 2}.keys() }} {{ 'x' in x.keys() }} {{ {'a': 2}.values()|sum }}
{{ 'a'.nope is defined }} {{ [1].nope is defined }} {{ (1).nope is defined }} {{ none.nope is defined }} {{ true.nope is defined }} {{ x.s.upper()[0].lower() }} {{ ('%s' % 'x').upper() }}
"""
