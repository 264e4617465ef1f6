#!/usr/bin/env bash
# history(h, &event, H_SAVE_FP, FILE*) of libedit 3.1 (Debian 12, 20221030) wants
# a stream with a descriptor: it calls fchmod(fileno(stream), 0600) first. A
# memory stream gives -1 and nothing is written; a file works, and becomes
# readable by its owner alone. The manual says neither.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
cd "$work"
apt-get download -qq libedit2=3.1-20221030-2
dpkg -x libedit2_*.deb .
python3 - "$(find . -name 'libedit.so.2' | head -1)" <<'PY'
import ctypes
import os
import sys
edit, c = ctypes.CDLL(sys.argv[1]), ctypes.CDLL(None)
class Event(ctypes.Structure):
    _fields_ = [("number", ctypes.c_int), ("text", ctypes.c_char_p)]
for function in [edit.history_init, c.open_memstream, c.fopen]:
    function.restype = ctypes.c_void_p
SET_SIZE, ENTER, SAVE_FP = 1, 10, 26  # histedit.h
history, event = ctypes.c_void_p(edit.history_init()), Event()
def call(*arguments):
    return edit.history(history, ctypes.byref(event), *arguments)
call(SET_SIZE, 10)
call(ENTER, b"a line\n")
text, size = ctypes.c_char_p(), ctypes.c_size_t()
memory = ctypes.c_void_p(c.open_memstream(ctypes.byref(text),
                                          ctypes.byref(size)))
saved = call(SAVE_FP, memory)
c.fclose(memory)
file = ctypes.c_void_p(c.fopen(b"history", b"w"))
os.chmod("history", 0o644)
entries = call(SAVE_FP, file)
c.fclose(file)
mode = oct(os.stat("history").st_mode & 0o777)
print("memory", saved, text.value, "file", entries, mode)
assert (saved, text.value) == (-1, b"")
assert (entries, mode) == (1, "0o600")
PY
