# GPU kernels for Hopper. Included only with -DINTARSIA_CUDA=ON. wgmma and
# setmaxnreg exist in the "a" variant of the target alone.
enable_language(CUDA)
find_package(CUDAToolkit 12.8 REQUIRED)
set(CMAKE_CUDA_RUNTIME_LIBRARY Static)
if(NOT CMAKE_CUDA20_STANDARD_COMPILE_OPTION)
  # CMake 3.25 does not know that nvcc speaks C++20.
  set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION "-std=c++20")
  set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION "-std=c++20")
endif()

# intarsia_cuda_kernels(target sources...): a static library of CUDA sources.
# A kernel that spills registers, or whose tensor-core instructions the
# assembler had to serialise, shows up as a warning.
function(intarsia_cuda_kernels target)
  add_library(${target} STATIC ${ARGN})
  intarsia_cuda_options(${target})
  target_link_libraries(${target} PUBLIC CUDA::cudart_static)
endfunction()

# The same flags for a program or library that has CUDA sources of its own.
function(intarsia_cuda_options target)
  set_target_properties(
    ${target}
    PROPERTIES CUDA_ARCHITECTURES OFF
               CUDA_RUNTIME_LIBRARY Static
               CUDA_STANDARD 20
               CUDA_STANDARD_REQUIRED ON
               POSITION_INDEPENDENT_CODE ON)
  target_include_directories(${target} PUBLIC ${PROJECT_SOURCE_DIR})
  target_compile_options(
    ${target}
    PRIVATE
      "$<$<COMPILE_LANGUAGE:CUDA>:SHELL:-gencode=arch=compute_90a,code=sm_90a>"
      "$<$<COMPILE_LANGUAGE:CUDA>:-Xptxas=--warn-on-spills>"
      "$<$<COMPILE_LANGUAGE:CUDA>:-lineinfo>")
endfunction()

# intarsia_cuda_kernels_of(library dir): the plain kernels of a folder, and its
# lists of those and the tuned ones, go with its library; device lambdas are
# allowed there. Others get no folder of CUDA's to search, so that a compiler
# cache knows their sources from builds without CUDA.
function(intarsia_cuda_kernels_of library dir)
  set(target ${library}_cuda)
  file(GLOB sources CONFIGURE_DEPENDS ${dir}/*_cuda.cu)
  if(NOT sources)
    return()
  endif()
  intarsia_cuda_kernels(${target} ${sources})
  target_compile_options(
    ${target} PRIVATE "$<$<COMPILE_LANGUAGE:CUDA>:--extended-lambda>")
  target_link_libraries(
    ${target} PUBLIC intarsia_core intarsia_formats
                     nlohmann_json::nlohmann_json intarsia_sm90)
  target_link_libraries(${library} INTERFACE $<LINK_ONLY:${target}>)
endfunction()
