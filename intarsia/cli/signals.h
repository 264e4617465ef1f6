// What the program does when a signal ends it.
#pragma once

namespace intarsia {

// INT, TERM, HUP, QUIT and PIPE remove what is being written and then end the
// program as they would have (128 + the signal, in a shell); one that is
// ignored, as under nohup, stays so. BUS, where a mapped file was cut short,
// becomes an error that names the file, and the exit status 1. A file that is
// larger than `ulimit -f` allows is an error of writing, not XFSZ.
void InstallSignalHandlers();

}  // namespace intarsia
