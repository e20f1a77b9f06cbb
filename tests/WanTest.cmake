set(WAN_TEST_DATA ${CMAKE_SOURCE_DIR}/tests/data)

# Open MPI leaks at start-up, from plugins that it unloads before the report is made: no suppression can name them. Programs
# under MPI are checked for everything but leaks; the same code is checked for leaks by the tests without MPI.
set(WAN_MPI_SANITIZER_ENVIRONMENT "")
if(WAN_SANITIZE)
  set(WAN_MPI_SANITIZER_ENVIRONMENT ";ASAN_OPTIONS=detect_leaks=0")
endif()

# wan_add_test(NAME SOURCES file... USES layer... [LIBRARIES target...] [TORCH] [RANKS n...] [LABELS label...] [TIMEOUT s])
# One GoogleTest program. With RANKS it runs under mpirun once per rank count and brings its own main() (tests/mpi/mpi_main.cpp);
# otherwise each of its tests is a ctest test of its own.
function(wan_add_test name)
  cmake_parse_arguments(arg "TORCH" "TIMEOUT" "SOURCES;USES;LIBRARIES;RANKS;LABELS" ${ARGN})
  if(NOT arg_TIMEOUT)
    set(arg_TIMEOUT 120)
  endif()
  add_executable(${name} ${arg_SOURCES})
  target_link_libraries(${name} PUBLIC wan_options GTest::gmock ${arg_LIBRARIES})
  foreach(layer IN LISTS arg_USES)
    target_link_libraries(${name} PUBLIC wan_${layer})
  endforeach()
  target_include_directories(${name} PRIVATE ${CMAKE_SOURCE_DIR}/tests)
  target_compile_definitions(${name} PRIVATE WAN_TEST_DATA="${WAN_TEST_DATA}")
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests/bin)
  if(arg_TORCH)
    wan_use_torch(${name})
  endif()
  if(NOT arg_RANKS)
    target_link_libraries(${name} PUBLIC GTest::gtest_main)
    gtest_discover_tests(${name} DISCOVERY_TIMEOUT 60
                         PROPERTIES TIMEOUT ${arg_TIMEOUT} LABELS "unit;${arg_LABELS}" ENVIRONMENT "OMP_NUM_THREADS=1")
    return()
  endif()
  target_sources(${name} PRIVATE ${CMAKE_SOURCE_DIR}/tests/mpi/mpi_main.cpp)
  target_link_libraries(${name} PUBLIC GTest::gtest MPI::MPI_CXX)
  foreach(ranks IN LISTS arg_RANKS)
    add_test(NAME ${name}.np${ranks}
             COMMAND ${MPIEXEC_EXECUTABLE} ${MPIEXEC_NUMPROC_FLAG} ${ranks} --oversubscribe ${MPIEXEC_PREFLAGS}
                     $<TARGET_FILE:${name}> ${MPIEXEC_POSTFLAGS})
    set_tests_properties(${name}.np${ranks} PROPERTIES
      TIMEOUT ${arg_TIMEOUT} PROCESSORS ${ranks} LABELS "mpi;${arg_LABELS}"
      ENVIRONMENT "OMP_NUM_THREADS=1;OMPI_ALLOW_RUN_AS_ROOT=1;OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1;OMPI_MCA_rmaps_base_oversubscribe=1;OMPI_MCA_mpi_yield_when_idle=1;OMPI_MCA_btl_vader_single_copy_mechanism=none${WAN_MPI_SANITIZER_ENVIRONMENT}")
  endforeach()
endfunction()
