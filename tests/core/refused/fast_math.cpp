// otpool is wrong under fast math
// -ffast-math
// -Ofast
// -ffinite-math-only
// -O1 -fassociative-math -fno-signed-zeros -fno-trapping-math
// -O1 -fno-honor-nans
#include "otpool/core/version.hpp"
