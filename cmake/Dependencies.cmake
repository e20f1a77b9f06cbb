# Every outside library, each as one imported target. Nothing else in the project calls find_package.
find_package(Threads REQUIRED)
find_package(PkgConfig REQUIRED)
find_package(MPI REQUIRED COMPONENTS CXX)
find_package(HDF5 REQUIRED COMPONENTS C)
find_package(Boost CONFIG REQUIRED COMPONENTS program_options)
find_package(nlohmann_json REQUIRED)
pkg_check_modules(FFMPEG REQUIRED IMPORTED_TARGET libavformat libavcodec libswscale libavutil)
pkg_check_modules(AVUTIL REQUIRED IMPORTED_TARGET libavutil)
pkg_check_modules(SENTENCEPIECE REQUIRED IMPORTED_TARGET sentencepiece)
pkg_check_modules(UTF8PROC REQUIRED IMPORTED_TARGET libutf8proc)

# fmt is used header-only: LibTorch brings a newer fmt under its include folder, and linking the system's would mix the two.
find_path(FMT_INCLUDE_DIR fmt/format.h REQUIRED)
add_library(wan_fmt INTERFACE)
target_compile_definitions(wan_fmt INTERFACE FMT_HEADER_ONLY=1)
if(NOT FMT_INCLUDE_DIR STREQUAL "/usr/include")
  target_include_directories(wan_fmt SYSTEM INTERFACE ${FMT_INCLUDE_DIR})
endif()

if(NOT TARGET HDF5::HDF5)
  add_library(HDF5::HDF5 INTERFACE IMPORTED)
  target_include_directories(HDF5::HDF5 INTERFACE ${HDF5_INCLUDE_DIRS})
  target_link_libraries(HDF5::HDF5 INTERFACE ${HDF5_C_LIBRARIES})
  target_compile_definitions(HDF5::HDF5 INTERFACE ${HDF5_C_DEFINITIONS})
endif()

include(LibTorch)
include(Cuda)
