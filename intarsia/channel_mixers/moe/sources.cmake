set(ROOM_SOURCES moe_routing.cc)
