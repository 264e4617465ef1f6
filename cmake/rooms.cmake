# Rooms: a folder `x` named by a line of a registry.def. Its files are found by
# their fixed names, so that a new primitive is one folder and one line:
#
#   x.cc x_reference.cc x_cpu.cc x_vjp.cc     the library (those that exist)
#   x_bench.cc                                also the library; see below
#   x_test.cc                                 the test program
#   x_cuda.cu                                 with INTARSIA_CUDA
#   sources.cmake                             optional: set(ROOM_SOURCES ...),
#                                             set(ROOM_CUDA_SOURCES ...) and
#                                             set(ROOM_DEPS ...), other rooms

# Names of a registry: lines MACRO(name) or MACRO(name, ...). With a kind those
# whose last column it is.
function(intarsia_registry file macro out)
  set(kind)
  if(ARGC GREATER 3)
    set(kind ".*, ${ARGV3}\\)")
  endif()
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${file})
  file(STRINGS ${file} lines REGEX "^${macro}\\(${kind}")
  set(names)
  foreach(line ${lines})
    string(REGEX REPLACE "^${macro}\\(([a-z0-9_]+).*" "\\1" name "${line}")
    list(APPEND names ${name})
  endforeach()
  set(${out} ${names} PARENT_SCOPE)
endfunction()

# intarsia_bench(room): x_bench.cc is in the room's library and exports
# bench::x, which joins the list that eval/ generates.
function(intarsia_bench room)
  set_property(GLOBAL APPEND PROPERTY INTARSIA_BENCHES ${room})
endfunction()

# intarsia_rooms(kind macro REGISTRY file KIND column DEPS ... TEST_DEPS ...):
# the rooms of registry.def or another file (of one KIND), one library each, named
# intarsia_<kind>_<room>, with its test <kind>_<room>_test, and intarsia_<kind>
# that links them all. In a build
# without CUDA, or for a room without x_cuda.cu, the room's kernel table is a
# null pointer in a generated file: no room carries an #ifdef.
function(intarsia_rooms kind macro)
  cmake_parse_arguments(ARG "" "REGISTRY;KIND" "DEPS;TEST_DEPS" ${ARGN})
  set(dir ${CMAKE_CURRENT_SOURCE_DIR})
  if(NOT ARG_REGISTRY)
    set(ARG_REGISTRY ${dir}/registry.def)
  endif()
  intarsia_registry(${ARG_REGISTRY} ${macro} rooms ${ARG_KIND})
  set(libraries)
  set(no_cuda "")
  foreach(room ${rooms})
    set(sources)
    foreach(suffix "" _reference _cpu _vjp)
      if(EXISTS ${dir}/${room}/${room}${suffix}.cc)
        list(APPEND sources ${room}/${room}${suffix}.cc)
      endif()
    endforeach()
    if(EXISTS ${dir}/${room}/${room}_bench.cc)
      list(APPEND sources ${room}/${room}_bench.cc)
      intarsia_bench(${room})
    endif()
    set(ROOM_SOURCES)
    set(ROOM_DEPS)
    set(ROOM_CUDA_SOURCES)
    if(EXISTS ${dir}/${room}/sources.cmake)
      set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS
                   ${dir}/${room}/sources.cmake)
      include(${dir}/${room}/sources.cmake)
    endif()
    foreach(source ${ROOM_SOURCES})
      list(APPEND sources ${room}/${source})
    endforeach()
    if(NOT sources)
      message(FATAL_ERROR "${ARG_REGISTRY} names ${room}, but "
                          "${dir}/${room} has no sources")
    endif()
    set(library intarsia_${kind}_${room})
    intarsia_library(${library} SOURCES ${sources}
                     DEPS ${ARG_DEPS} ${ROOM_DEPS})
    list(APPEND libraries ${library})
    if(EXISTS ${dir}/${room}/${room}_cuda.cu AND INTARSIA_CUDA)
      intarsia_cuda_room(${library} ${dir}/${room} ${room}_cuda.cu
                         ${ROOM_CUDA_SOURCES})
    elseif(EXISTS ${dir}/${room}/${room}_cuda.h)
      string(APPEND no_cuda "#include \"intarsia/${kind}/${room}/${room}_cuda.h\"\n"
             "namespace intarsia { const ${room}_cuda::Kernels* ${room}_cuda::kernels = nullptr; }\n")
    endif()
    if(EXISTS ${dir}/${room}/${room}_test.cc)
      intarsia_test(${kind}_${room}_test SOURCES ${room}/${room}_test.cc
                    DEPS ${library} ${ARG_TEST_DEPS})
    endif()
  endforeach()
  if(no_cuda)
    file(CONFIGURE OUTPUT ${CMAKE_CURRENT_BINARY_DIR}/${kind}_no_cuda.cc
         CONTENT "// Generated: rooms of this build that have no CUDA kernels.\n${no_cuda}" @ONLY)
    intarsia_library(intarsia_${kind}_no_cuda
                     SOURCES ${CMAKE_CURRENT_BINARY_DIR}/${kind}_no_cuda.cc DEPS ${ARG_DEPS})
    foreach(library ${libraries})
      target_link_libraries(${library} PUBLIC intarsia_${kind}_no_cuda)
    endforeach()
  endif()
  add_library(intarsia_${kind} INTERFACE)
  target_link_libraries(intarsia_${kind} INTERFACE ${libraries})
endfunction()
