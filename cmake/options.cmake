# Compiler options that every target shares, and the helpers that declare
# libraries and tests.
add_library(intarsia_options INTERFACE)
target_include_directories(intarsia_options INTERFACE ${PROJECT_SOURCE_DIR})
# fp-contract off: the same source must round the same in every build.
target_compile_options(
  intarsia_options INTERFACE -Wall -Wextra $<$<COMPILE_LANGUAGE:CXX>:-ffp-contract=off>)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # g++ 12 sees overlaps in "literal" + std::string that are not there.
  target_compile_options(
    intarsia_options INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-Wno-restrict>)
endif()
target_link_libraries(intarsia_options INTERFACE Threads::Threads)
if(INTARSIA_REPRODUCIBLE)
  # CHECK names its file; the last of these that fits counts.
  target_compile_options(
    intarsia_options
    INTERFACE
      "$<$<COMPILE_LANGUAGE:CXX>:-ffile-prefix-map=${PROJECT_SOURCE_DIR}/=>"
      "$<$<COMPILE_LANGUAGE:CXX>:-ffile-prefix-map=${PROJECT_BINARY_DIR}/=>")
endif()

if(INTARSIA_SIMD STREQUAL "avx2")
  # g++ 12 leaves AES and PCLMUL off at x86-64-v3, and Highway would then fall
  # back to SSSE3; a test asserts the target.
  set(INTARSIA_SIMD_FLAGS -march=x86-64-v3 -maes -mpclmul -DHWY_COMPILE_ONLY_STATIC)
elseif(INTARSIA_SIMD STREQUAL "avx512")
  set(INTARSIA_SIMD_FLAGS -march=icelake-server -mavx512bf16 -DHWY_COMPILE_ONLY_STATIC)
elseif(INTARSIA_SIMD STREQUAL "dispatch")
  # SSE4 as the portable floor, AVX2 and AVX-512. Highway's targets below the
  # floor are left out by the architecture, SSSE3 by name.
  set(INTARSIA_SIMD_FLAGS -march=x86-64-v2 -maes -mpclmul
      -DHWY_DISABLED_TARGETS=HWY_SSSE3)
elseif(INTARSIA_SIMD STREQUAL "test")
  # AVX2, and Highway's plain C++ for 128 bits, which any processor runs; a test
  # chooses (SetSimdTargetForTest).
  if(NOT CMAKE_CXX_COMPILER_ID MATCHES "Clang")
    message(FATAL_ERROR "INTARSIA_SIMD=test needs clang")
  endif()
  set(INTARSIA_SIMD_FLAGS
      -march=x86-64-v3 -maes -mpclmul -DHWY_COMPILE_ALL_ATTAINABLE
      "-DHWY_DISABLED_TARGETS=(HWY_SSSE3|HWY_SSE4|HWY_AVX3|HWY_AVX3_DL)")
  if(INTARSIA_SANITIZE)
    list(APPEND INTARSIA_SIMD_FLAGS
         -fsanitize-ignorelist=${PROJECT_SOURCE_DIR}/cmake/sanitize_ignore.txt)
  endif()
elseif(INTARSIA_SIMD STREQUAL "emu128")
  # No vector instruction by name: Highway's plain C++ for 128 bits, which any
  # processor runs. g++ before 12.3 miscompiles it (its bug 106322).
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION
                                              VERSION_LESS 12.3)
    message(FATAL_ERROR "INTARSIA_SIMD=emu128 needs clang or g++ 12.3")
  endif()
  set(INTARSIA_SIMD_FLAGS -DHWY_COMPILE_ONLY_EMU128)
else()
  message(FATAL_ERROR "INTARSIA_SIMD must be dispatch, avx2, avx512, emu128 or test")
endif()

if(INTARSIA_SANITIZE STREQUAL "address")
  set(INTARSIA_SANITIZE_FLAGS -fsanitize=address,undefined
      -fno-sanitize-recover=undefined -fno-omit-frame-pointer)
elseif(INTARSIA_SANITIZE STREQUAL "thread")
  set(INTARSIA_SANITIZE_FLAGS -fsanitize=thread -fno-omit-frame-pointer)
  # Kernels write where their task's number says: that any number of threads
  # makes the same bits is tested in the lane unit.
  list(APPEND INTARSIA_SIMD_FLAGS -fno-sanitize=thread)
endif()
if(INTARSIA_SANITIZE_FLAGS)
  target_compile_options(
    intarsia_options INTERFACE "$<$<COMPILE_LANGUAGE:CXX>:${INTARSIA_SANITIZE_FLAGS};-DINTARSIA_SANITIZE>")
  target_link_options(intarsia_options INTERFACE ${INTARSIA_SANITIZE_FLAGS})
endif()

if(INTARSIA_FUZZ)
  target_compile_options(intarsia_options INTERFACE -fsanitize=fuzzer-no-link)
  # Kernels read no files: fuzzers have them as they are, and fast.
  list(APPEND INTARSIA_SIMD_FLAGS -fno-sanitize=all,fuzzer-no-link)
endif()
option(INTARSIA_COVERAGE "Count what tests run (needs clang)" OFF)
if(INTARSIA_COVERAGE)
  target_link_options(intarsia_options INTERFACE -fprofile-instr-generate)
endif()

# intarsia_library(name [COLD] SOURCES ... DEPS ...): one folder or room. Files
# named *_cpu.cc hold SIMD code and get the SIMD flags; the rest is baseline
# x86-64. *_bench.cc only prepare and check what others compute, and compile
# fast. COLD: no loop of it lasts, so that sanitized builds leave it as it is,
# which takes half the time.
function(intarsia_library name)
  cmake_parse_arguments(ARG "COLD" "" "SOURCES;DEPS" ${ARGN})
  add_library(${name} STATIC ${ARG_SOURCES})
  target_link_libraries(${name} PUBLIC intarsia_options ${ARG_DEPS})
  if(ARG_COLD AND INTARSIA_SANITIZE AND NOT INTARSIA_FUZZ)
    target_compile_options(${name} PRIVATE -O0)
  endif()
  foreach(source ${ARG_SOURCES})
    if(source MATCHES "_cpu\\.cc$")
      set_source_files_properties(
        ${source} PROPERTIES COMPILE_OPTIONS "${INTARSIA_SIMD_FLAGS}")
    elseif(INTARSIA_COVERAGE)
      set_source_files_properties(
        ${source} PROPERTIES COMPILE_OPTIONS
        "-fprofile-instr-generate;-fcoverage-mapping")
    elseif(source MATCHES "_bench\\.cc$")
      set_source_files_properties(${source} PROPERTIES COMPILE_OPTIONS -O1)
    endif()
  endforeach()
endfunction()

# intarsia_lanes(entry LABELS ... ENV ...): to which parts of `make test` a test
# belongs. It is in the lane `unit` (clang, sanitizers), unless LABELS names
# `ship` (g++ -O2: journeys through the program, and what a sanitizer would
# change); `tsan` adds the thread sanitizer; `long` keeps it out of `make test`.
function(intarsia_lanes entry target)
  cmake_parse_arguments(ARG "" "" "LABELS;ENV" ${ARGN})
  if(NOT "ship" IN_LIST ARG_LABELS)
    list(APPEND ARG_LABELS unit)
  endif()
  list(REMOVE_DUPLICATES ARG_LABELS)
  set(results GTEST_OUTPUT=json:${PROJECT_BINARY_DIR}/results/${entry}.json)
  list(APPEND ARG_ENV ${results})
  set_tests_properties(${entry} PROPERTIES LABELS "${ARG_LABELS}" TIMEOUT 900
                                           ENVIRONMENT "${ARG_ENV}")
  foreach(lane ${ARG_LABELS})
    if(NOT TARGET lane_${lane})
      add_custom_target(lane_${lane})
    endif()
    if(TARGET "${target}")
      add_dependencies(lane_${lane} ${target})
    endif()
  endforeach()
endfunction()

# intarsia_test(name [PORTABLE] SOURCES ... DEPS ... LABELS ... ENV ... PARTS
# ...): a GoogleTest program. PARTS: how names of its cases go on after "/" or
# ".". Each is an entry of ctest of its own, name.part, and the cases of none are
# name.rest. PORTABLE: a build for several instruction sets runs it once more with
# the portable kernels, as name.portable. Such tests compute much; others compile
# in half the time without the optimiser.
function(intarsia_test name)
  if(NOT INTARSIA_TESTS)
    return()
  endif()
  cmake_parse_arguments(ARG "PORTABLE" "" "SOURCES;DEPS;LABELS;ENV;PARTS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE ${ARG_DEPS} GTest::gtest GTest::gmock
                                        GTest::gtest_main)
  if(NOT ARG_PORTABLE)
    target_compile_options(${name} PRIVATE -O0)
  endif()
  set(kernels "")
  if(ARG_PORTABLE AND INTARSIA_SIMD STREQUAL "test")
    set(kernels portable)
    target_sources(
      ${name}
      PRIVATE ${PROJECT_SOURCE_DIR}/intarsia/formats/common/simd_for_test.cc)
  endif()
  foreach(portable "" ${kernels})
    set(suffix "")
    set(environment ${ARG_ENV})
    if(portable)
      set(suffix .portable)
      list(APPEND environment INTARSIA_TEST_SIMD=EMU128)
    endif()
    set(rest "*-")
    foreach(part ${ARG_PARTS})
      string(APPEND rest "*/${part}*:*.${part}*:")
      set(filter "*/${part}*:*.${part}*-")
      foreach(other ${ARG_PARTS})  # mamba2 is no part of mamba
        if(other MATCHES "^${part}.")
          string(APPEND filter "*/${other}*:*.${other}*:")
        endif()
      endforeach()
      intarsia_test_entry(${name}.${part}${suffix} ${name} "${filter}"
                          LABELS ${ARG_LABELS} ENV ${environment})
    endforeach()
    if(ARG_PARTS)
      intarsia_test_entry(${name}.rest${suffix} ${name} "${rest}"
                          LABELS ${ARG_LABELS} ENV ${environment})
    else()
      intarsia_test_entry(${name}${suffix} ${name} "*" LABELS ${ARG_LABELS} ENV
                          ${environment})
    endif()
  endforeach()
endfunction()

# An entry of ctest: the cases of `target` that the filter takes, at least one.
function(intarsia_test_entry entry target filter)
  add_test(NAME ${entry} COMMAND ${target} "--gtest_filter=${filter}"
           WORKING_DIRECTORY ${PROJECT_SOURCE_DIR})
  intarsia_lanes(${entry} ${target} ${ARGN})
  set_tests_properties(${entry} PROPERTIES FAIL_REGULAR_EXPRESSION
                                           "==. 0 tests from 0 test suites ran")
endfunction()

# intarsia_fuzzers(name [SOURCES ...] DEPS ... [TESTS ...]): the targets of a
# folder's targets.cc, which its targets.def lists. name_fuzz_replay_test runs
# their corpora; with -DINTARSIA_FUZZ=ON each is a fuzzer, corpus_fuzz.
function(intarsia_fuzzers name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPS;TESTS" ${ARGN})
  set(core ${PROJECT_SOURCE_DIR}/intarsia/core/fuzz)
  set(library intarsia_${name}_fuzz)
  set(test ${name}_fuzz_replay_test)
  file(RELATIVE_PATH here ${PROJECT_SOURCE_DIR} ${CMAKE_CURRENT_SOURCE_DIR})
  intarsia_library(${library} SOURCES targets.cc ${ARG_SOURCES} DEPS ${ARG_DEPS})
  intarsia_test(${test} SOURCES ${core}/replay_test.cc ${ARG_TESTS}
                DEPS ${library})
  if(TARGET ${test})
    target_compile_definitions(
      ${test} PRIVATE INTARSIA_FUZZ_TARGETS="${here}/targets.def"
                      INTARSIA_FUZZ_CORPUS="${here}/corpus/")
  endif()
  if(NOT INTARSIA_FUZZ)
    return()
  endif()
  if(NOT TARGET fuzzers)
    add_custom_target(fuzzers)
  endif()
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS targets.def)
  file(READ targets.def rows)
  string(REGEX MATCHALL "\nFUZZER\\([a-z0-9_]+, *[A-Za-z0-9]+" rows "${rows}")
  foreach(row ${rows})
    string(REGEX MATCH "\\(([a-z0-9_]+), *([A-Za-z0-9]+)" row "${row}")
    set(program ${CMAKE_MATCH_1}_fuzz)
    add_executable(${program} ${core}/main.cc)
    target_compile_definitions(${program}
                               PRIVATE INTARSIA_FUZZ_TARGET=${CMAKE_MATCH_2})
    target_link_libraries(${program} PRIVATE ${library})
    target_link_options(${program} PRIVATE -fsanitize=fuzzer)
    add_dependencies(fuzzers ${program})
  endforeach()
endfunction()
