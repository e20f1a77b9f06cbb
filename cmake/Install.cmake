# cmake --install build --prefix P: programs, libwan.so with its headers and packages, examples, licence, and LibTorch. P may be moved: the
# programs find LibTorch from where they lie themselves.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

option(WAN_INSTALL_TORCH "Install the libraries of LibTorch, CUDA and NCCL into lib/wan; OFF: use them where they lie now" ON)

set(WAN_INSTALL_ALSO "" CACHE STRING "Further shared libraries that are installed into lib/wan, for example that of Boost.Program_options")

# Below lib/wan they lie to each other as in site-packages, as the paths in them want it.
set(wan_torch_folders torch/lib)
file(GLOB wan_nvidia_folders RELATIVE ${WAN_TORCH_ROOT}/.. ${WAN_TORCH_ROOT}/../nvidia/*/lib)
list(APPEND wan_torch_folders ${wan_nvidia_folders})

# The libraries that the programs themselves link: LibTorch, the CUDA runtime, cuBLASLt and NCCL. All but the first may lie elsewhere and stay there.
set(wan_linked_folders torch/lib)
set(wan_outside_libraries ${MPI_CXX_LIBRARIES} ${HDF5_C_LIBRARIES} ${SENTENCEPIECE_LIBRARY} ${UTF8PROC_LIBRARY} ${wan_ffmpeg_paths})
foreach(library IN ITEMS ${wan_cudart} ${wan_cublas_lt} ${wan_nccl})
  cmake_path(RELATIVE_PATH library BASE_DIRECTORY ${WAN_TORCH_ROOT}/.. OUTPUT_VARIABLE folder)
  if(folder MATCHES "^nvidia/")
    cmake_path(GET folder PARENT_PATH folder)
    list(APPEND wan_linked_folders ${folder})
  else()
    list(APPEND wan_outside_libraries ${library})
  endif()
endforeach()
if(NOT WAN_INSTALL_ALSO)
  foreach(property IN ITEMS IMPORTED_LOCATION_RELEASE IMPORTED_LOCATION)
    get_target_property(library Boost::program_options ${property})
    if(library)
      list(APPEND wan_outside_libraries ${library})
    endif()
  endforeach()
endif()

# wan_set_install_rpath(TARGET FOLDER): for a target that is installed into FOLDER.
function(wan_set_install_rpath target folder)
  file(RELATIVE_PATH to_lib /${folder} /${CMAKE_INSTALL_LIBDIR}/wan)
  set(paths "")
  foreach(linked IN LISTS wan_linked_folders)
    if(WAN_INSTALL_TORCH)
      list(APPEND paths "$ORIGIN/${to_lib}/${linked}")
    else()
      file(REAL_PATH ${WAN_TORCH_ROOT}/../${linked} absolute)
      list(APPEND paths ${absolute})
    endif()
  endforeach()
  if(WAN_INSTALL_ALSO)
    list(APPEND paths "$ORIGIN/${to_lib}")
  endif()
  # A library of a module, which no loader knows.
  foreach(library IN LISTS wan_outside_libraries)
    cmake_path(GET library PARENT_PATH outside)
    if(IS_ABSOLUTE "${library}" AND NOT library MATCHES "\\.a$" AND NOT outside IN_LIST CMAKE_CXX_IMPLICIT_LINK_DIRECTORIES)
      list(APPEND paths ${outside})
    endif()
  endforeach()
  list(REMOVE_DUPLICATES paths)
  set_target_properties(${target} PROPERTIES INSTALL_RPATH "${paths}")
endfunction()

foreach(program IN ITEMS wan_batch_program wan_bench wan_doctor_program)
  wan_set_install_rpath(${program} ${CMAKE_INSTALL_BINDIR})
  install(TARGETS ${program} RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
endforeach()
install(FILES ${PROJECT_SOURCE_DIR}/LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})
install(DIRECTORY ${PROJECT_SOURCE_DIR}/examples DESTINATION ${CMAKE_INSTALL_DATADIR}/${PROJECT_NAME})
# In that folder `wan_batch` without options makes the demo, as in a checkout.
install(DIRECTORY ${PROJECT_SOURCE_DIR}/inputs/demo DESTINATION ${CMAKE_INSTALL_DATADIR}/${PROJECT_NAME}/inputs
        PATTERN "*.py" EXCLUDE PATTERN "__pycache__" EXCLUDE PATTERN "train" EXCLUDE)

# The jobs for users who have no checkout. The other scripts of slurm/ need one.
file(GLOB wan_job_scripts ${PROJECT_SOURCE_DIR}/slurm/i2v_*.sh)
install(PROGRAMS ${wan_job_scripts} DESTINATION ${CMAKE_INSTALL_DATADIR}/${PROJECT_NAME}/slurm)
install(FILES ${PROJECT_SOURCE_DIR}/slurm/common.sh DESTINATION ${CMAKE_INSTALL_DATADIR}/${PROJECT_NAME}/slurm)
install(DIRECTORY ${PROJECT_SOURCE_DIR}/slurm/lib DESTINATION ${CMAKE_INSTALL_DATADIR}/${PROJECT_NAME}/slurm)
install(DIRECTORY ${PROJECT_SOURCE_DIR}/jobs/configs DESTINATION ${CMAKE_INSTALL_DATADIR}/${PROJECT_NAME}/jobs)

string(REPLACE ":" ";" wan_loaded_modules "$ENV{LOADEDMODULES}")
set(WAN_MODULEFILE_LOADS "${wan_loaded_modules}" CACHE STRING "Modules that the modulefile loads first; by default those that are loaded now")
string(REPLACE ";" " " wan_modulefile_loads "${WAN_MODULEFILE_LOADS}")
configure_file(${PROJECT_SOURCE_DIR}/cmake/modulefile.in ${PROJECT_BINARY_DIR}/modulefile @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/modulefile DESTINATION ${CMAKE_INSTALL_DATADIR}/modulefiles/${PROJECT_NAME} RENAME ${PROJECT_VERSION})

install(FILES ${WAN_INSTALL_ALSO} DESTINATION ${CMAKE_INSTALL_LIBDIR}/wan)
if(WAN_INSTALL_TORCH)
  configure_file(${PROJECT_SOURCE_DIR}/cmake/InstallTorch.cmake.in ${PROJECT_BINARY_DIR}/InstallTorch.cmake @ONLY)
  install(SCRIPT ${PROJECT_BINARY_DIR}/InstallTorch.cmake)
endif()

if(WAN_BUILD_LIBRARY)
  wan_set_install_rpath(wan ${CMAKE_INSTALL_LIBDIR})
  install(TARGETS wan EXPORT wan_targets LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
  install(DIRECTORY ${PROJECT_SOURCE_DIR}/include/wan DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
  set(wan_package_folder ${CMAKE_INSTALL_LIBDIR}/cmake/wan)
  install(EXPORT wan_targets FILE wanTargets.cmake NAMESPACE wan:: DESTINATION ${wan_package_folder})
  configure_package_config_file(${PROJECT_SOURCE_DIR}/cmake/wanConfig.cmake.in ${PROJECT_BINARY_DIR}/wanConfig.cmake
                                INSTALL_DESTINATION ${wan_package_folder})
  write_basic_package_version_file(${PROJECT_BINARY_DIR}/wanConfigVersion.cmake VERSION ${PROJECT_VERSION} COMPATIBILITY SameMinorVersion)
  install(FILES ${PROJECT_BINARY_DIR}/wanConfig.cmake ${PROJECT_BINARY_DIR}/wanConfigVersion.cmake DESTINATION ${wan_package_folder})
  # Relative to the file itself, so that the prefix may be moved.
  file(RELATIVE_PATH wan_prefix_of_pc /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
  configure_file(${PROJECT_SOURCE_DIR}/cmake/wan.pc.in ${PROJECT_BINARY_DIR}/wan.pc @ONLY)
  install(FILES ${PROJECT_BINARY_DIR}/wan.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
endif()
