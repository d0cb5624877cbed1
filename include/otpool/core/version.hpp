// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

namespace otpool {

// The single source of the version: the build system reads it from these three lines.
inline constexpr int version_major = 0;
inline constexpr int version_minor = 1;
inline constexpr int version_patch = 0;

}  // namespace otpool
