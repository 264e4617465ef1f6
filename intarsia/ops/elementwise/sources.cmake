# Other rooms activate rows with the same kernels.
set(ROOM_SOURCES ../common/activation_cpu.cc)
