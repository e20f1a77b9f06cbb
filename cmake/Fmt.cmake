# {fmt}, compiled once for each copy of its headers: header-only, every file that formats a message compiles all of it again (2.4 s).
# There are two copies. The system's is used by code without tensors. LibTorch brings a newer one in its include folder, which code with
# tensors sees first. Their symbols differ by an inline namespace, so that both may be in one program.

# wan_add_fmt(TARGET INCLUDE_DIR): a target that files which include {fmt} from INCLUDE_DIR link.
function(wan_add_fmt target include_dir)
  set(header ${include_dir}/fmt/base.h)
  if(NOT EXISTS ${header})  # before version 11
    set(header ${include_dir}/fmt/core.h)
  endif()
  file(STRINGS ${header} version_line REGEX "^#define FMT_VERSION ")
  string(REGEX MATCH "[0-9]+" version "${version_line}")
  math(EXPR major "${version} / 10000")
  add_library(${target} INTERFACE)
  if(major LESS 9 OR major GREATER 12)
    message(STATUS "{fmt} ${major} in ${include_dir}: header-only, as cmake/fmt_library.cpp was written for versions 9 to 12")
    target_compile_definitions(${target} INTERFACE FMT_HEADER_ONLY=1)
    return()
  endif()
  add_library(${target}_compiled STATIC ${PROJECT_SOURCE_DIR}/cmake/fmt_library.cpp)
  if(NOT include_dir STREQUAL "/usr/include")
    target_include_directories(${target}_compiled SYSTEM PUBLIC ${include_dir})
  endif()
  target_link_libraries(${target}_compiled PRIVATE wan_options wan_library_options)
  target_link_libraries(${target} INTERFACE ${target}_compiled)
endfunction()
