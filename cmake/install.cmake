# Headers, the CMake package and the pkg-config file. None depends on the architecture, hence share/.
#
# There are rules for them even if they are not installed by default: a library that links otpool publicly, and exports itself,
# can refer to otpool::otpool only if that is exported, too.
set(how COMPONENT otpool)
if(NOT OTPOOL_INSTALL)
    list(APPEND how EXCLUDE_FROM_ALL)
endif()
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)
set(package_dir ${CMAKE_INSTALL_DATADIR}/cmake/otpool)
set(pkgconfig_dir ${CMAKE_INSTALL_DATADIR}/pkgconfig)

install(DIRECTORY ${PROJECT_SOURCE_DIR}/include/otpool
    DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
    ${how}
    FILES_MATCHING PATTERN "*.hpp")
install(FILES ${PROJECT_SOURCE_DIR}/LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR} ${how})

install(TARGETS otpool EXPORT otpoolTargets INCLUDES DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(EXPORT otpoolTargets NAMESPACE otpool:: DESTINATION ${package_dir} ${how})
configure_package_config_file(${PROJECT_SOURCE_DIR}/cmake/otpoolConfig.cmake.in
    ${PROJECT_BINARY_DIR}/otpoolConfig.cmake
    INSTALL_DESTINATION ${package_dir})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/otpoolConfigVersion.cmake
    COMPATIBILITY SameMinorVersion # before 1.0 a minor version may break programs
    ARCH_INDEPENDENT)
install(FILES ${PROJECT_BINARY_DIR}/otpoolConfig.cmake ${PROJECT_BINARY_DIR}/otpoolConfigVersion.cmake
    DESTINATION ${package_dir} ${how})

# The path is relative, so that the installed tree can be moved.
file(RELATIVE_PATH pkgconfig_to_include ${CMAKE_INSTALL_PREFIX}/${pkgconfig_dir} ${CMAKE_INSTALL_FULL_INCLUDEDIR})
configure_file(${PROJECT_SOURCE_DIR}/cmake/otpool.pc.in ${PROJECT_BINARY_DIR}/otpool.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/otpool.pc DESTINATION ${pkgconfig_dir} ${how})
