set(ROOM_SOURCES rope_config.cc rope_frequencies.cc)
