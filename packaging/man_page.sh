#!/usr/bin/env bash
# man_page.sh PROGRAM [DATE]: the manual page, from what the program's --help
# says.
set -euo pipefail
program=$1 day=${2:-}
version=$("$program" --version)
version=${version#intarsia }
verbs=$("$program" --help | sed -n '/^Subcommands:/,$s/^  \([a-z]\+\) .*/\1/p')
[[ -n $verbs ]] || { echo "no verbs in $program --help" >&2; exit 1; }

# Text as it stands, safe from troff.
verbatim() { sed -e 's/\\/\\e/g' -e "s/^\([.']\)/\\\\\&\1/" -e 's/-/\\-/g'; }

cat <<EOT
.TH INTARSIA 1 "$day" "Intarsia $version" "User Commands"
.SH NAME
intarsia \- an engine for sequence models of every kind
.SH SYNOPSIS
.B intarsia
.I VERB
[\fIoption\fR ...]
.SH DESCRIPTION
Loads published and native checkpoints of sequence models, answers with them,
measures, checks, converts and quantises them.
.I MODEL
is a folder with config.json or intarsia.json, a .gguf file, or the name of a
model that
.B intarsia pull
fetched.
.SH VERBS
EOT
for verb in $verbs; do
  printf '.SS intarsia %s\n.nf\n' "$verb"
  # The line of usage names the path of the program that ran; it goes.
  "$program" "$verb" --help | sed '/^Usage:/d' | cat -s | verbatim
  printf '.fi\n'
done
cat <<'EOT'
.SH EXIT STATUS
0 on success, 1 on failure, 2 on bad usage.
.SH ENVIRONMENT
.TP
.B INTARSIA_CACHE
The folder of fetched models; else $XDG_CACHE_HOME/intarsia, else
~/.cache/intarsia.
.SH EXAMPLES
.nf
intarsia pull smollm2\-135m
intarsia chat smollm2\-135m
intarsia generate smollm2\-135m \-\-prompt "Once upon a time"
.fi
.SH BUGS
What the program ignores of a model,
.B intarsia info
says;
.B intarsia doctor
says what the machine lacks.
EOT
