set(ROOM_SOURCES attention_core.cc)
