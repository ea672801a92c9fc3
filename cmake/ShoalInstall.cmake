# cmake --install, and the CMake package: find_package(Shoal) gives Shoal::core, the rooms without libtorch, and Shoal::torch, the
# others, where they were built. The libraries are static; ShoalConfig.cmake finds what they need. The room lab is left out: it
# is experiments of the programs. sim is in: who writes protocol code against the library simulates it, too.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

# Rooms without sources yet are libraries all the same, so that both lists hold whatever is built.
get_property(rooms GLOBAL PROPERTY SHOAL_ROOMS)
set(core_rooms base compress net dht collective run sim optim variational data)
add_library(shoal_core INTERFACE)
add_library(shoal_torch INTERFACE)
set(exported shoal_core shoal_proto)
set(exported_with_torch shoal_torch)
foreach(room ${rooms})
  string(REPLACE "shoal_" "" name ${room})
  if(name STREQUAL lab)
    continue()
  endif()
  set_target_properties(${room} PROPERTIES EXPORT_NAME ${name})
  if(name IN_LIST core_rooms)
    target_link_libraries(shoal_core INTERFACE ${room})
    list(APPEND exported ${room})
  else()
    target_link_libraries(shoal_torch INTERFACE ${room})
    list(APPEND exported_with_torch ${room})
  endif()
  install(DIRECTORY src/shoal/${name} DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/shoal FILES_MATCHING PATTERN *.h)
endforeach()
target_link_libraries(shoal_torch INTERFACE shoal_core)
set_target_properties(shoal_core PROPERTIES EXPORT_NAME core)
set_target_properties(shoal_torch PROPERTIES EXPORT_NAME torch)
set_target_properties(shoal_proto PROPERTIES EXPORT_NAME proto)

# The headers that protoc wrote stand beside our own.
get_target_property(proto_type shoal_proto TYPE)
if(NOT proto_type STREQUAL "INTERFACE_LIBRARY")
  target_include_directories(shoal_proto SYSTEM PUBLIC $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
  install(DIRECTORY ${CMAKE_BINARY_DIR}/generated/shoal/proto DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/shoal
          FILES_MATCHING PATTERN *.pb.h)
endif()

set(package_folder ${CMAKE_INSTALL_LIBDIR}/cmake/Shoal)
install(TARGETS ${exported} EXPORT ShoalTargets ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(EXPORT ShoalTargets NAMESPACE Shoal:: DESTINATION ${package_folder})
if(SHOAL_WITH_TORCH)
  install(TARGETS ${exported_with_torch} EXPORT ShoalTorchTargets ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
  install(EXPORT ShoalTorchTargets NAMESPACE Shoal:: DESTINATION ${package_folder})
endif()
# Not in the build folder itself: CMake looks for packages beside each folder of PATH, and build/release/bin may be one.
set(package_files ${CMAKE_BINARY_DIR}/package_files)
configure_package_config_file(${CMAKE_CURRENT_LIST_DIR}/ShoalConfig.cmake.in ${package_files}/ShoalConfig.cmake
                              INSTALL_DESTINATION ${package_folder} NO_SET_AND_CHECK_MACRO)
write_basic_package_version_file(${package_files}/ShoalConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${package_files}/ShoalConfig.cmake ${package_files}/ShoalConfigVersion.cmake
        DESTINATION ${package_folder})
install(FILES LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})

# The programs; the second one is what `shoal` becomes for sub-commands that need a model.
foreach(program shoal shoal-torch)
  if(TARGET ${program})
    install(TARGETS ${program} RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
  endif()
endforeach()

# A user's view of all this: install into a folder below build/, build the example against it, run the example.
if(SHOAL_BUILD_TESTS AND NOT SHOAL_SANITIZE AND EXISTS ${CMAKE_SOURCE_DIR}/examples/average/main.cpp)
  add_test(NAME install_and_use_the_package
           COMMAND ${CMAKE_COMMAND} -D BUILD=${CMAKE_BINARY_DIR} -D SOURCE=${CMAKE_SOURCE_DIR}
                   -D COMPILER=${CMAKE_CXX_COMPILER} -P ${CMAKE_CURRENT_LIST_DIR}/InstallAndUse.cmake)
  set_tests_properties(install_and_use_the_package PROPERTIES TIMEOUT 600 LABELS package)
endif()
