# Every external library, each as one imported target. No other file of the project calls find_package, but for Python in tests.
# All are looked for before configure stops: see cmake/Requirements.cmake.
include(Requirements)

if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 11)
  wan_note_missing("C++ compiler" "GCC 11 or Clang 14" "GCC ${CMAKE_CXX_COMPILER_VERSION} is too old for C++20" MODULE GCC
                   HINT "-DCMAKE_C_COMPILER=gcc-12 -DCMAKE_CXX_COMPILER=g++-12, or another one that is newer")
elseif(CMAKE_CXX_COMPILER_ID STREQUAL "Clang" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 14)
  wan_note_missing("C++ compiler" "GCC 11 or Clang 14" "Clang ${CMAKE_CXX_COMPILER_VERSION} is too old for C++20" MODULE Clang
                   HINT "-DCMAKE_CXX_COMPILER= with the path of a newer one")
else()
  wan_note_found("C++ compiler" "GCC 11 or Clang 14" "${CMAKE_CXX_COMPILER_ID} ${CMAKE_CXX_COMPILER_VERSION}")
endif()
wan_note_found("CMake" "${CMAKE_MINIMUM_REQUIRED_VERSION}" "${CMAKE_VERSION}")

find_package(Threads REQUIRED)
find_package(PkgConfig QUIET)
include(LibTorch)
include(Fmt)
include(Libraries)
include(FFmpeg)
if(WAN_BUILD_TESTS)
  find_package(GTest QUIET)
  if(TARGET GTest::gmock)
    wan_note_found("GoogleTest" "1.10, for tests" "${GTest_VERSION} in ${GTest_DIR}")
  else()
    wan_note_missing("GoogleTest" "1.10, for tests" "the tests need it, with GoogleMock" MODULE googletest PACKAGES libgtest-dev libgmock-dev
                     HINT "-DWAN_BUILD_TESTS=OFF")
  endif()
  find_package(Python3 QUIET COMPONENTS Interpreter)
  if(Python3_FOUND AND Python3_VERSION VERSION_GREATER_EQUAL 3.11)
    wan_note_found("Python" "3.11, for tests" "${Python3_VERSION}, ${Python3_EXECUTABLE}")
  else()
    wan_note_missing("Python" "3.11, for tests" "the tests' tools need it (found: '${Python3_VERSION}')" MODULE Python PACKAGES python3
                     HINT "-DWAN_BUILD_TESTS=OFF; the programs need no Python")
  endif()
endif()
include(Cuda)
wan_show_requirements()
