set(WAN_TEST_DATA ${CMAKE_SOURCE_DIR}/tests/data)

# Open MPI leaks at start-up, from plugins that it unloads before the report is made: no suppression can name them. Programs
# under MPI are checked for everything but leaks; the same code is checked for leaks by the tests without MPI. An allocation that is refused
# returns null, as it does without the sanitizer (for the other tests CMakePresets.json says so).
set(WAN_MPI_SANITIZER_ENVIRONMENT "")
if(WAN_SANITIZE)
  set(WAN_MPI_SANITIZER_ENVIRONMENT ";ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1")
endif()

# Tests are compiled with -O1: that takes two thirds of the time of -O3, and the code that they test is optimised all the same.
# GoogleTest's headers are precompiled once. A test that computes with tensors takes the precompiled ATen header instead, and -O3 with it:
# GCC 13 refuses a precompiled header that was made at another level.
add_library(wan_torch_test_options INTERFACE)
target_link_libraries(wan_torch_test_options INTERFACE wan_options GTest::gmock)
add_library(wan_test_options INTERFACE)
target_link_libraries(wan_test_options INTERFACE wan_options GTest::gmock)
target_compile_options(wan_test_options INTERFACE $<$<COMPILE_LANG_AND_ID:CXX,GNU,Clang>:-O1>)
# GCC 12 reports this, too, inside its own inlined libstdc++ code, at -O1 (cmake/Compiler.cmake has those that it reports at -O3).
target_compile_options(wan_test_options INTERFACE $<$<COMPILE_LANG_AND_ID:CXX,GNU>:-Wno-stringop-overread>)
# (The source exists so that the precompiled header has a target.)
file(CONFIGURE OUTPUT ${CMAKE_BINARY_DIR}/gtest_pch.cpp CONTENT "// Holds nothing.\n")
add_library(wan_gtest_pch STATIC ${CMAKE_BINARY_DIR}/gtest_pch.cpp)
target_link_libraries(wan_gtest_pch PRIVATE wan_test_options)
target_compile_options(wan_gtest_pch PRIVATE $<$<CXX_COMPILER_ID:GNU>:-fpch-preprocess>)
target_precompile_headers(wan_gtest_pch PRIVATE <gmock/gmock.h> <gtest/gtest.h> <filesystem> <functional> <map>)

# Open MPI's mpirun refuses more ranks than cores without it. MPICH's does not, and does not know it.
set(WAN_OVERSUBSCRIBE "")
if(mpi_found MATCHES "^Open MPI")
  set(WAN_OVERSUBSCRIBE --oversubscribe)
endif()

# The main() of a test under mpirun.
add_library(wan_mpi_main STATIC ${CMAKE_SOURCE_DIR}/tests/mpi/mpi_main.cpp)
target_link_libraries(wan_mpi_main PRIVATE wan_test_options PUBLIC GTest::gtest MPI::MPI_CXX)

# wan_add_test(NAME SOURCES file... USES layer... [LIBRARIES target...] [TORCH] [RANKS n...] [LABELS label...] [TIMEOUT s])
# One GoogleTest program. With RANKS it runs under mpirun once per rank count with the main() of tests/mpi/mpi_main.cpp;
# otherwise each of its tests is a ctest test of its own.
function(wan_add_test name)
  cmake_parse_arguments(arg "TORCH" "TIMEOUT" "SOURCES;USES;LIBRARIES;RANKS;LABELS" ${ARGN})
  # Ranks that wait for each other take turns on the cores: on a machine with four times as many processes, they take a hundred times as long.
  if(NOT arg_TIMEOUT AND arg_RANKS)
    set(arg_TIMEOUT 400)
  elseif(NOT arg_TIMEOUT)
    set(arg_TIMEOUT 120)
  endif()
  add_executable(${name} ${arg_SOURCES})
  if(arg_TORCH)
    target_link_libraries(${name} PUBLIC wan_torch_test_options ${arg_LIBRARIES})
  else()
    target_link_libraries(${name} PUBLIC wan_test_options ${arg_LIBRARIES})
  endif()
  foreach(layer IN LISTS arg_USES)
    target_link_libraries(${name} PUBLIC wan_${layer})
  endforeach()
  target_include_directories(${name} PRIVATE ${CMAKE_SOURCE_DIR}/tests)
  target_compile_definitions(${name} PRIVATE WAN_TEST_DATA="${WAN_TEST_DATA}")
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests/bin)
  if(arg_TORCH)
    wan_use_torch(${name})
  else()
    target_compile_options(${name} PRIVATE $<$<COMPILE_LANG_AND_ID:CXX,GNU>:-fpch-preprocess>)
    target_precompile_headers(${name} REUSE_FROM wan_gtest_pch)
  endif()
  if(NOT arg_RANKS)
    target_link_libraries(${name} PUBLIC GTest::gtest_main)
    gtest_discover_tests(${name} DISCOVERY_TIMEOUT 60
                         PROPERTIES TIMEOUT ${arg_TIMEOUT} LABELS "unit;${arg_LABELS}" ENVIRONMENT "OMP_NUM_THREADS=1")
    return()
  endif()
  target_link_libraries(${name} PUBLIC wan_mpi_main)
  foreach(ranks IN LISTS arg_RANKS)
    add_test(NAME ${name}.np${ranks}
             COMMAND ${MPIEXEC_EXECUTABLE} ${MPIEXEC_NUMPROC_FLAG} ${ranks} ${WAN_OVERSUBSCRIBE} ${MPIEXEC_PREFLAGS}
                     $<TARGET_FILE:${name}> ${MPIEXEC_POSTFLAGS})
    set_tests_properties(${name}.np${ranks} PROPERTIES
      TIMEOUT ${arg_TIMEOUT} PROCESSORS ${ranks} LABELS "mpi;${arg_LABELS}"
      ENVIRONMENT "OMP_NUM_THREADS=1;OMPI_ALLOW_RUN_AS_ROOT=1;OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1;OMPI_MCA_rmaps_base_oversubscribe=1;OMPI_MCA_mpi_yield_when_idle=1;OMPI_MCA_btl_vader_single_copy_mechanism=none${WAN_MPI_SANITIZER_ENVIRONMENT}")
  endforeach()
endfunction()
