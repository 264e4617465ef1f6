set(ROOM_SOURCES gated_norm.cc)
set(ROOM_DEPS intarsia_ops_elementwise)
