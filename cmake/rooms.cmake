# Rooms: a folder `x` named by a line of a registry.def. Its files are found by
# their names, so that a new primitive is one folder and one line:
#
#   *.cc             the library: x.cc, x_reference.cc, x_cpu.cc, x_vjp.cc, ...
#   x_bench.cc       also the library; see below
#   *_test.cc        the test program
#   *_cuda.cu        with INTARSIA_CUDA
#   sm90_*           tuned kernels for Hopper and their cases, which intarsia/cuda
#                    builds
#   sources.cmake    optional: set(ROOM_DEPS ...), other rooms

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

# intarsia_kernels(library [folder]): the CUDA kernels of a folder go with its
# library. x_cuda.h declares a table x_cuda::kernels; in a build without CUDA it
# is a null pointer in a generated file: no room carries an #ifdef.
function(intarsia_kernels library)
  set(dir ${CMAKE_CURRENT_SOURCE_DIR}/${ARGN})
  if(INTARSIA_CUDA)
    intarsia_cuda_kernels_of(${library} ${dir})
    return()
  endif()
  file(GLOB headers CONFIGURE_DEPENDS RELATIVE ${PROJECT_SOURCE_DIR} ${dir}/*_cuda.h)
  foreach(header ${headers})
    file(STRINGS ${PROJECT_SOURCE_DIR}/${header} table REGEX "Kernels\\* kernels;")
    if(table)
      set_property(GLOBAL APPEND PROPERTY INTARSIA_NULL_TABLES ${header})
      target_link_libraries(${library} INTERFACE $<LINK_ONLY:intarsia_no_cuda>)
    endif()
  endforeach()
endfunction()

# The library of those null pointers, once every folder has been read.
function(intarsia_null_tables)
  get_property(headers GLOBAL PROPERTY INTARSIA_NULL_TABLES)
  set(text "// Generated: this build has no CUDA kernels.\n")
  foreach(header ${headers})
    get_filename_component(name ${header} NAME_WE)
    string(APPEND text "#include \"${header}\"\n"
           "const intarsia::${name}::Kernels* intarsia::${name}::kernels = nullptr;\n")
  endforeach()
  set(file ${CMAKE_CURRENT_BINARY_DIR}/no_cuda.cc)
  file(CONFIGURE OUTPUT ${file} CONTENT "${text}" @ONLY)
  intarsia_library(intarsia_no_cuda SOURCES ${file}
                   DEPS nlohmann_json::nlohmann_json)
endfunction()

# intarsia_rooms(kind macro REGISTRY file KIND column DEPS ... TEST_DEPS ...):
# the rooms of registry.def or another file (of one KIND), one library each, named
# intarsia_<kind>_<room>, with its test <kind>_<room>_test, and intarsia_<kind>
# that links them all.
function(intarsia_rooms kind macro)
  cmake_parse_arguments(ARG "" "REGISTRY;KIND" "DEPS;TEST_DEPS" ${ARGN})
  set(dir ${CMAKE_CURRENT_SOURCE_DIR})
  if(NOT ARG_REGISTRY)
    set(ARG_REGISTRY ${dir}/registry.def)
  endif()
  intarsia_registry(${ARG_REGISTRY} ${macro} rooms ${ARG_KIND})
  set(libraries)
  foreach(room ${rooms})
    set(here ${dir}/${room})
    file(GLOB sources CONFIGURE_DEPENDS ${here}/*.cc)
    set(tests ${sources})
    list(FILTER sources EXCLUDE REGEX "_test[.]cc$|/sm90_[^/]*$")
    list(FILTER tests INCLUDE REGEX "_test[.]cc$")
    if(NOT sources)
      message(FATAL_ERROR "${ARG_REGISTRY} names ${room}, but ${here} has no "
                          "sources")
    endif()
    set(library intarsia_${kind}_${room})
    set(ROOM_DEPS)
    include(${here}/sources.cmake OPTIONAL)
    intarsia_library(${library} SOURCES ${sources} DEPS ${ARG_DEPS} ${ROOM_DEPS})
    list(APPEND libraries ${library})
    if(EXISTS ${here}/${room}_bench.cc)
      intarsia_bench(${room})
    endif()
    intarsia_kernels(${library} ${room})
    if(tests)
      intarsia_test(${kind}_${room}_test SOURCES ${tests}
                    DEPS ${library} ${ARG_TEST_DEPS})
    endif()
  endforeach()
  add_library(intarsia_${kind} INTERFACE)
  target_link_libraries(intarsia_${kind} INTERFACE ${libraries})
endfunction()
