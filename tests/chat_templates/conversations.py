"""Conversations that templates are rendered over: what clients of the OpenAI
protocol and users of `transformers` send. Read by record_templates.py and
published_templates.py. The strings are free text of our own."""

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Looks up the weather of a place.",
        "parameters": {
            "type": "object",
            "properties": {
                "place": {"type": "string", "description": "A town."},
                "unit": {"type": "string", "enum": ["C", "F"],
                         "default": "C"},
            },
            "required": ["place"],
        },
        "return": {"type": "string", "description": "One line."},
    },
}
RICH = {
    "type": "function",
    "function": {
        "name": "book_table",
        "description": "Books a table.\nAsks first: \"for whom?\" <b>",
        "strict": True,
        "parameters": {
            "type": "object",
            "$defs": {"slot": {"type": "string", "pattern": "^\\d+$"}},
            "properties": {
                "guests": {"type": ["integer", "null"], "minimum": 1,
                           "nullable": True},
                "when": {"anyOf": [{"type": "string", "format": "date"},
                                   {"$ref": "#/$defs/slot"}]},
                "wishes": {"type": "array", "description": "Größe, 席",
                           "items": {"type": "object", "properties": {
                               "kind": {"type": "string",
                                        "enum": ["chair", "view"]},
                               "weight": {"type": "number",
                                          "default": 0.5}},
                               "required": ["kind"]}},
                "note": {"type": "string", "default": None},
                "quiet": {"type": "boolean", "default": False},
                "extra": {"type": "object", "additionalProperties": True},
                "mixed": {"oneOf": [{"type": "integer"},
                                    {"type": "string"}]},
            },
            "required": ["guests", "when"],
            "additionalProperties": False,
        },
    },
}
PLAIN = {"type": "function", "function": {
    "name": "now", "description": "The time.",
    "parameters": {"type": "object", "properties": {}}}}
# Without the envelope; some templates take both.
BARE = {"name": "now", "description": "The time.",
        "parameters": {"type": "object", "properties": {}}}


def say(role, content, **more):
    return {"role": role, "content": content, **more}


def call(name, arguments, **more):
    return {**more, "type": "function",
            "function": {"name": name, "arguments": arguments}}


SYSTEM = say("system", "You are a joiner's clerk. Be brief.")
USER = say("user", "Which wood bends best?")
REPLY = say("assistant", "Ash, when it is steamed.")
MORE = say("user", "And the cheapest?")
ASK = say("user", "Is it raining in Köln?")
PLACE = {"place": "Köln", "unit": "C"}
PLACE_TEXT = '{"place": "Köln", "unit": "C"}'
RAIN = '{"rain": true, "mm": 2.5}'


def called(arguments, content="", **more):
    return say("assistant", content, tool_calls=[
        call("get_weather", arguments, id="call00001")], **more)


def result(content=RAIN, **more):
    return say("tool", content, tool_call_id="call00001",
               name="get_weather", **more)


TWO = say("assistant", None, tool_calls=[
    call("get_weather", PLACE, id="call00001"),
    call("now", {}, id="call00002")])
TWO_RESULTS = [result(), say("tool", "13:05", tool_call_id="call00002",
                             name="now")]
PICTURE = [{"type": "text", "text": "What is on "},
           {"type": "image"}, {"type": "text", "text": "this picture?"}]
PICTURE_URL = [
    {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}},
    {"type": "text", "text": "Name the tree."}]
TEXT_PARTS = [{"type": "text", "text": "One. "},
              {"type": "text", "text": "Two."}]


def parts(message):
    return {**message,
            "content": [{"type": "text", "text": message["content"]}]}


THOUGHT = say("assistant", "It is 42.",
              reasoning_content="Six times\nseven.")
THOUGHT_INSIDE = say("assistant", "<think>\nSix times seven.\n</think>\n\n42.")
DOCUMENTS = [{"title": "Woods", "text": "Ash bends.\nOak lasts.",
              "doc_id": 1, "id": "1", "contents": "Ash"},
             {"title": "Träger", "text": "Fichte.", "doc_id": 2, "id": "2",
              "contents": "Fichte"}]
TRICKY = ("'single' \"double\" \\back\\slash\ttab \x07bell \x7f "
          "</s><|im_end|> {{ x }} {% if %} {# c #} <&> \u2028 e\u0301 "
          "😀 ﬁ 漢字 עברית \r\nline\n\n  end  ")

# name: (messages, what else the template sees)
CONVERSATIONS = {
    "one": ([USER], {}),
    "one_closed": ([USER], {"add_generation_prompt": False}),
    "system": ([SYSTEM, USER], {}),
    "turns": ([SYSTEM, USER, REPLY, MORE], {}),
    "turns_closed": ([USER, REPLY, MORE, REPLY],
                     {"add_generation_prompt": False}),
    "prefill": ([USER, REPLY], {}),
    "long": ([SYSTEM] + [USER, REPLY] * 6 + [MORE], {}),
    "empty_strings": ([say("system", ""), say("user", ""),
                       say("assistant", ""), say("user", "")], {}),
    "no_messages": ([], {}),
    "only_system": ([SYSTEM], {}),
    "unicode": ([say("system", "Größe ß ǆ İ 漢字"), say("user", TRICKY),
                 say("assistant", TRICKY), say("user", "👩‍👩‍👧‍👦 ok")], {}),
    "spaces": ([say("system", "\n  Be calm. \n"), say("user", " \t hi \n\n"),
                say("assistant", "\n\n hello\n"), say("user", "\nbye ")], {}),
    "names": ([say("system", "Hi.", name="boss"),
               say("user", "I am Ada.", name="ada"),
               say("assistant", "Hello.", name="clerk"),
               say("user", "Who?", name="bob")], {}),
    "developer": ([say("developer", "Be brief."), USER], {}),
    "other_role": ([USER, say("critic", "No."), MORE], {}),
    "two_users": ([USER, MORE], {}),
    "late_system": ([USER, REPLY, SYSTEM, MORE], {}),
    "assistant_first": ([REPLY, MORE], {}),
    "tools": ([ASK], {"tools": [WEATHER]}),
    "tools_system": ([SYSTEM, ASK], {"tools": [WEATHER, PLAIN]}),
    "tools_rich": ([SYSTEM, ASK], {"tools": [RICH, WEATHER, PLAIN]}),
    "tools_bare": ([ASK], {"tools": [BARE]}),
    "tools_empty": ([ASK], {"tools": []}),
    "calls": ([SYSTEM, ASK, called(PLACE), result()], {"tools": [WEATHER]}),
    "calls_text": ([ASK, called(PLACE_TEXT), result()],
                   {"tools": [WEATHER]}),
    "calls_none": ([ASK, called(PLACE_TEXT, None), result(),
                    say("assistant", "Yes, 2.5 mm."), MORE],
                   {"tools": [WEATHER]}),
    "calls_two": ([SYSTEM, ASK, TWO, *TWO_RESULTS,
                   say("assistant", "Yes; it is 13:05."), MORE],
                  {"tools": [WEATHER, PLAIN]}),
    "calls_no_tools": ([ASK, called(PLACE), result(), MORE], {}),
    "calls_dict_result": ([ASK, called(PLACE),
                           result({"rain": True, "mm": 2.5, "at": None})],
                          {"tools": [WEATHER]}),
    "calls_no_id": ([ASK, say("assistant", "Let me look.", tool_calls=[
        {"function": {"name": "now", "arguments": {}}}]),
        say("tool", "13:05")], {"tools": [PLAIN]}),
    "calls_empty": ([USER, {**REPLY, "tool_calls": []}, MORE],
                    {"tools": [PLAIN]}),
    "calls_null": ([USER, {**REPLY, "tool_calls": None}, MORE], {}),
    "calls_missing_content": ([ASK, {"role": "assistant", "tool_calls": [
        call("now", {}, id="abcdefghi")]}, say(
            "tool", "13:05", tool_call_id="abcdefghi")], {"tools": [PLAIN]}),
    "calls_thought": ([ASK, called(PLACE, "", reasoning_content="Look."),
                       result(), THOUGHT, MORE], {"tools": [WEATHER]}),
    "calls_nested": ([ASK, say("assistant", "", tool_calls=[call(
        "book_table", {"guests": 2, "when": "2031-02-28", "quiet": True,
                       "wishes": [{"kind": "view", "weight": 1e-3}],
                       "note": None, "extra": {}, "text": "a\nb\"c\\"},
        id="call00001")]), result("ok")], {"tools": [RICH]}),
    "result_parts": ([ASK, called(PLACE), result(TEXT_PARTS)],
                     {"tools": [WEATHER]}),
    "ends_with_call": ([ASK, called(PLACE)], {
        "tools": [WEATHER], "add_generation_prompt": False}),
    "parts": ([parts(SYSTEM), parts(USER), parts(REPLY),
               say("user", TEXT_PARTS)], {}),
    "picture": ([say("user", PICTURE)], {}),
    "picture_url": ([SYSTEM, say("user", PICTURE_URL), REPLY, MORE], {}),
    "no_parts": ([say("user", [])], {}),
    "none_content": ([say("user", None)], {}),
    "no_content": ([{"role": "user"}, REPLY, MORE], {}),
    "thought": ([USER, THOUGHT, MORE], {}),
    "thought_inside": ([USER, THOUGHT_INSIDE, MORE], {}),
    "thought_last": ([USER, THOUGHT], {"add_generation_prompt": False}),
    "thought_named": ([USER, say("assistant", "42", thinking="6 * 7",
                                 reasoning="6 * 7"), MORE], {}),
    "thinking_on": ([SYSTEM, USER], {"enable_thinking": True,
                                     "thinking": True}),
    "thinking_off": ([SYSTEM, USER], {"enable_thinking": False,
                                      "thinking": False}),
    "effort": ([SYSTEM, USER], {"reasoning_effort": "high",
                                "model_identity": "You are Intarsia.",
                                "builtin_tools": ["browser", "python"]}),
    "documents": ([SYSTEM, USER], {"documents": DOCUMENTS,
                                   "citation_mode": "fast"}),
    "controls": ([SYSTEM, USER], {"controls": {"length": "short",
                                               "originality": "abstractive"},
                                  "date_string": "26 Jul 2025",
                                  "tools_in_user_message": False}),
    "no_tokens": ([USER, REPLY, MORE], {"bos_token": None,
                                        "eos_token": None}),
}


def variables(name):
    """What a template sees of a conversation."""
    messages, more = CONVERSATIONS[name]
    return {"messages": messages, "tools": None, "documents": None,
            "add_generation_prompt": True, "bos_token": "<s>",
            "eos_token": "</s>", **more}
