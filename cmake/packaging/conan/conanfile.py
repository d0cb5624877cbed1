"""Packages the sources that it stands in: conan create cmake/packaging/conan"""

import re
from pathlib import Path

from conan import ConanFile
from conan.tools.build import check_min_cppstd
from conan.tools.cmake import CMake, CMakeToolchain, cmake_layout
from conan.tools.files import copy


class Otpool(ConanFile):
    name = "otpool"
    license = "MIT"
    description = "Global pooling by unbalanced optimal transport, header-only C++20"
    topics = ("optimal-transport", "pooling", "multiple-instance-learning", "header-only")
    package_type = "header-library"
    settings = "os", "arch", "compiler", "build_type"
    no_copy_source = True

    def _checkout(self):
        return Path(self.recipe_folder).parents[2]

    def set_version(self):
        header = (self._checkout() / "include/otpool/core/version.hpp").read_text()
        self.version = ".".join(re.search(rf"version_{part} = (\d+)", header)[1] for part in ("major", "minor", "patch"))

    def export_sources(self):
        for pattern in ("CMakeLists.txt", "LICENSE", "cmake/*", "include/*"):
            copy(self, pattern, src=self._checkout(), dst=self.export_sources_folder, excludes="cmake/packaging/*")

    def requirements(self):
        self.requires("eigen/[>=3.4]", transitive_headers=True)

    def validate(self):
        check_min_cppstd(self, 20)

    def layout(self):
        cmake_layout(self)

    def generate(self):
        toolchain = CMakeToolchain(self)
        for part in ("TESTS", "EXAMPLES", "BENCH"):
            toolchain.cache_variables[f"OTPOOL_BUILD_{part}"] = False
        toolchain.generate()

    def build(self):
        CMake(self).configure()

    def package(self):
        CMake(self).install()

    def package_id(self):
        self.info.clear()  # headers: one package for all settings

    def package_info(self):
        self.cpp_info.set_property("cmake_find_mode", "none")  # otpool's own CMake package is taken
        self.cpp_info.builddirs = ["share/cmake/otpool"]
        self.cpp_info.set_property("pkg_config_name", "otpool")
        self.cpp_info.bindirs = []
        self.cpp_info.libdirs = []
