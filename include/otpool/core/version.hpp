// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include "otpool/core/compiler.hpp"

namespace otpool {

// The version is defined here only: the build system reads these three lines.
inline constexpr int version_major = 0;  ///< First number of the version.
inline constexpr int version_minor = 2;  ///< Second number of the version.
inline constexpr int version_patch = 0;  ///< Third number of the version.

}  // namespace otpool
