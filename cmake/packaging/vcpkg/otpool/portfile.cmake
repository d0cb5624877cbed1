# An overlay port: it installs the sources that it stands in.
set(VCPKG_BUILD_TYPE release) # headers have no debug build
get_filename_component(SOURCE_PATH "${CMAKE_CURRENT_LIST_DIR}/../../../.." ABSOLUTE)

vcpkg_cmake_configure(
    SOURCE_PATH "${SOURCE_PATH}"
    OPTIONS
        -DOTPOOL_BUILD_TESTS=OFF
        -DOTPOOL_BUILD_EXAMPLES=OFF
        -DOTPOOL_BUILD_BENCH=OFF)
vcpkg_cmake_install()
vcpkg_cmake_config_fixup(CONFIG_PATH share/cmake/otpool)
vcpkg_fixup_pkgconfig()
vcpkg_install_copyright(FILE_LIST "${SOURCE_PATH}/LICENSE")
