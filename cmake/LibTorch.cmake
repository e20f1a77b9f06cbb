# LibTorch as an imported target of our own. Torch's CMake package insists on a CUDA toolkit when torch was built for CUDA;
# the program needs only ATen and c10, and the CUDA half of it where a driver is present.
set(WAN_TORCH_ROOT "" CACHE PATH "The torch folder of a Python installation (holds include/ and lib/)")
if(NOT WAN_TORCH_ROOT)
  file(GLOB candidates ${PROJECT_SOURCE_DIR}/.venv/lib/python3*/site-packages/torch)
  foreach(prefix IN LISTS CMAKE_PREFIX_PATH)
    if(EXISTS ${prefix}/include/ATen/ATen.h)
      list(PREPEND candidates ${prefix})
    endif()
  endforeach()
  if(NOT candidates)
    execute_process(COMMAND python3 -c "import torch; print(torch.__path__[0])" OUTPUT_VARIABLE candidates
                    OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
  endif()
  list(GET candidates 0 first)
  set(WAN_TORCH_ROOT ${first} CACHE PATH "" FORCE)
endif()
if(NOT EXISTS ${WAN_TORCH_ROOT}/include/ATen/ATen.h)
  message(FATAL_ERROR "LibTorch not found (WAN_TORCH_ROOT='${WAN_TORCH_ROOT}'). Run jobs/setup.sh, which makes .venv with torch in it, "
                      "or pass -DWAN_TORCH_ROOT=<site-packages>/torch.")
endif()
file(STRINGS ${WAN_TORCH_ROOT}/version.py torch_version_line REGEX "^__version__")
string(REGEX MATCH "[0-9]+\\.[0-9]+\\.[0-9]+" WAN_TORCH_VERSION "${torch_version_line}")
message(STATUS "LibTorch ${WAN_TORCH_VERSION} in ${WAN_TORCH_ROOT}")

add_library(wan_torch INTERFACE)
target_include_directories(wan_torch SYSTEM INTERFACE ${WAN_TORCH_ROOT}/include)
# By their paths: CMake then writes the folder into the programs of the build tree, and leaves it out of those that are installed.
target_link_libraries(wan_torch INTERFACE ${WAN_TORCH_ROOT}/lib/libtorch_cpu.so ${WAN_TORCH_ROOT}/lib/libc10.so)
if(EXISTS ${WAN_TORCH_ROOT}/include/fmt)
  wan_add_fmt(wan_torch_fmt ${WAN_TORCH_ROOT}/include)
  target_link_libraries(wan_torch INTERFACE wan_torch_fmt)
endif()
if(EXISTS ${WAN_TORCH_ROOT}/lib/libtorch_cuda.so)
  # Registers the CUDA kernels at start-up, although the program uses none of its symbols. Harmless without a driver.
  target_link_libraries(wan_torch INTERFACE "-Wl,--push-state,--no-as-needed" ${WAN_TORCH_ROOT}/lib/libtorch_cuda.so
                        ${WAN_TORCH_ROOT}/lib/libc10_cuda.so "-Wl,--pop-state")
endif()
# The nvidia packages beside torch contain the libraries that torch's libraries need. The linker must see them to resolve indirect symbols.
file(GLOB nvidia_lib_dirs ${WAN_TORCH_ROOT}/../nvidia/*/lib)
foreach(dir IN LISTS nvidia_lib_dirs)
  target_link_options(wan_torch INTERFACE "-Wl,-rpath-link,${dir}")
endforeach()

# ATen's header takes most of a compilation. It is precompiled once, here, and every target that computes with tensors reuses it.
# (file(CONFIGURE) does not write a file that would not change, so configuring again rebuilds nothing.)
file(CONFIGURE OUTPUT ${PROJECT_BINARY_DIR}/aten_pch.cpp CONTENT "// Holds nothing: it exists so that the precompiled header has a target.\n")
add_library(wan_aten_pch STATIC ${PROJECT_BINARY_DIR}/aten_pch.cpp)
target_link_libraries(wan_aten_pch PRIVATE wan_options wan_library_options wan_fmt wan_torch Threads::Threads)
target_compile_options(wan_aten_pch PRIVATE $<$<CXX_COMPILER_ID:GNU>:-fpch-preprocess>)
target_precompile_headers(wan_aten_pch PRIVATE <ATen/ATen.h>)

function(wan_use_torch target)
  target_link_libraries(${target} PUBLIC wan_torch PRIVATE wan_library_options)
  target_compile_options(${target} PRIVATE $<$<CXX_COMPILER_ID:GNU>:-fpch-preprocess>)
  target_precompile_headers(${target} REUSE_FROM wan_aten_pch)
endfunction()
