// Status or Success is a macro, as in the headers of X11: include otpool before them
// -DStatus=int
// -DSuccess=0
#include "otpool/learning.hpp"
