// One of two files of a program; with MIXED it has other flags for vector registers than linked_main.cpp.
#ifdef MIXED
#define EIGEN_DONT_VECTORIZE
#endif
#include "otpool/simd/packet.hpp"

otpool::Index padded_elsewhere(otpool::Index size);
otpool::Index padded_elsewhere(otpool::Index size) { return otpool::detail::padded(size); }
