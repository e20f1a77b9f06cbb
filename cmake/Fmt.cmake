# {fmt} 9 to 12, compiled once for each copy of its headers: header-only, every file that formats a message compiles all of it again (2.4 s).
# There are two copies. The system's is used by code without tensors. LibTorch brings a newer one in its include folder, which code with
# tensors sees first. Their symbols differ by an inline namespace, so that both may be in one program. Where the system has none, or one of
# the same major version, which would be the same namespace, all code uses LibTorch's.

# wan_fmt_version(OUT INCLUDE_DIR): for example 9.1.0, or nothing.
function(wan_fmt_version out include_dir)
  set(header ${include_dir}/fmt/base.h)
  if(NOT EXISTS ${header})  # before version 11
    set(header ${include_dir}/fmt/core.h)
  endif()
  set(version "")
  if(EXISTS ${header})
    file(STRINGS ${header} version_line REGEX "^#define FMT_VERSION ")
    string(REGEX MATCH "[0-9]+" number "${version_line}")
    math(EXPR major "${number} / 10000")
    math(EXPR minor "${number} / 100 % 100")
    math(EXPR patch "${number} % 100")
    set(version "${major}.${minor}.${patch}")
  endif()
  set(${out} "${version}" PARENT_SCOPE)
endfunction()

# wan_add_fmt(TARGET INCLUDE_DIR): a target that files which include {fmt} from INCLUDE_DIR link.
function(wan_add_fmt target include_dir)
  add_library(${target}_compiled STATIC ${PROJECT_SOURCE_DIR}/cmake/fmt_library.cpp)
  if(NOT include_dir STREQUAL "/usr/include")
    target_include_directories(${target}_compiled SYSTEM PUBLIC ${include_dir})
  endif()
  target_link_libraries(${target}_compiled PRIVATE wan_options wan_library_options)
  add_library(${target} INTERFACE)
  target_link_libraries(${target} INTERFACE ${target}_compiled)
endfunction()

find_path(FMT_INCLUDE_DIR fmt/format.h HINTS ENV CPATH)
mark_as_advanced(FMT_INCLUDE_DIR)
wan_fmt_version(wan_fmt_found "${FMT_INCLUDE_DIR}")
wan_fmt_version(wan_torch_fmt_found "${WAN_TORCH_ROOT}/include")
string(REGEX MATCH "^[0-9]+" wan_fmt_major "${wan_fmt_found}")
string(REGEX MATCH "^[0-9]+" wan_torch_fmt_major "${wan_torch_fmt_found}")
set(wan_fmt_is_usable FALSE)
if(wan_fmt_major GREATER_EQUAL 9 AND wan_fmt_major LESS_EQUAL 12 AND NOT wan_fmt_major STREQUAL wan_torch_fmt_major)
  set(wan_fmt_is_usable TRUE)
endif()

if(TARGET wan_torch AND wan_torch_fmt_found)
  wan_add_fmt(wan_torch_fmt ${WAN_TORCH_ROOT}/include)
  target_link_libraries(wan_torch INTERFACE wan_torch_fmt)
endif()
if(wan_fmt_is_usable)
  wan_add_fmt(wan_fmt ${FMT_INCLUDE_DIR})
  wan_note_found("fmt" "9 to 12" "${wan_fmt_found} in ${FMT_INCLUDE_DIR}")
elseif(TARGET wan_torch_fmt)
  # Its headers alone: the rooms without tensors do not see ATen.
  file(MAKE_DIRECTORY ${PROJECT_BINARY_DIR}/torch_fmt)
  file(CREATE_LINK ${WAN_TORCH_ROOT}/include/fmt ${PROJECT_BINARY_DIR}/torch_fmt/fmt SYMBOLIC)
  add_library(wan_fmt INTERFACE)
  target_include_directories(wan_fmt SYSTEM INTERFACE ${PROJECT_BINARY_DIR}/torch_fmt)
  target_link_libraries(wan_fmt INTERFACE $<LINK_ONLY:wan_torch_fmt_compiled>)
  if(wan_fmt_found)
    set(wan_fmt_found ", not the ${wan_fmt_found} in ${FMT_INCLUDE_DIR}")
  endif()
  wan_note_found("fmt" "9 to 12" "${wan_torch_fmt_found} of LibTorch${wan_fmt_found}")
elseif(wan_fmt_found)
  wan_note_missing("fmt" "9 to 12" "fmt ${wan_fmt_found} in ${FMT_INCLUDE_DIR} does not work" MODULE fmt MADE
                   HINT "a LibTorch with its own fmt")
else()
  wan_note_missing("fmt" "9 to 12" "no fmt/format.h, and no LibTorch that brings it" MODULE fmt PACKAGES libfmt-dev MADE)
endif()
