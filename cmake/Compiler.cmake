# Warnings of our own code: third-party headers come in as system headers. The presets developer and asan turn warnings into errors
# (WAN_WARNINGS_AS_ERRORS); a user's newer compiler may warn of things that ours does not know.
option(WAN_WARNINGS_AS_ERRORS "A warning of the compiler stops the build" OFF)
add_library(wan_options INTERFACE)
set(warnings -Wall -Wextra -Wshadow -Wnon-virtual-dtor -Woverloaded-virtual -Wcast-qual -Wimplicit-fallthrough)
set(cuda_warnings "")
if(WAN_WARNINGS_AS_ERRORS)
  list(APPEND warnings -Werror)
  set(cuda_warnings -Werror=all-warnings)
endif()
target_compile_options(wan_options INTERFACE "$<$<NOT:$<COMPILE_LANGUAGE:CUDA>>:${warnings}>"
                                             "$<$<COMPILE_LANGUAGE:CUDA>:${cuda_warnings}>")
target_include_directories(wan_options INTERFACE ${PROJECT_SOURCE_DIR}/src ${PROJECT_SOURCE_DIR}/include)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # GCC 12 reports these inside its own inlined libstdc++ code.
  target_compile_options(wan_options INTERFACE
    "$<$<NOT:$<COMPILE_LANGUAGE:CUDA>>:-Wno-restrict;-Wno-stringop-overflow;-Wno-array-bounds;-Wno-maybe-uninitialized>")
endif()
# Code of libwan.so is position independent, and so is all code that shares a precompiled header with it. No function of ours is
# replaced at run time, so calls within a file may be inlined as in a program.
add_library(wan_library_options INTERFACE)
if(WAN_BUILD_LIBRARY)
  target_compile_options(wan_library_options INTERFACE "$<$<NOT:$<COMPILE_LANGUAGE:CUDA>>:-fPIC;-fno-semantic-interposition>"
                                                       "$<$<COMPILE_LANGUAGE:CUDA>:-Xcompiler=-fPIC>")
endif()
if(WAN_SANITIZE)
  add_compile_options("$<$<NOT:$<COMPILE_LANGUAGE:CUDA>>:-fsanitize=address,undefined;-fno-sanitize-recover=undefined;-fno-omit-frame-pointer>")
  add_link_options(-fsanitize=address,undefined)
endif()
find_program(CCACHE_PROGRAM ccache)
if(CCACHE_PROGRAM AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  # ccache works with precompiled headers only if it may ignore their time stamps.
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CMAKE_COMMAND} -E env CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime
                                  ${CCACHE_PROGRAM})
  set(CMAKE_C_COMPILER_LAUNCHER ${CCACHE_PROGRAM})
endif()
