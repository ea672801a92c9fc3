#include "shoal/base/memory.h"

#include <cstdlib>  // says whether this is glibc

#if defined(__GLIBC__)
#include <malloc.h>
#endif

namespace shoal {

void keep_freed_memory() {
#if defined(__GLIBC__)
    constexpr int kKept = 256 * 1024 * 1024;
    mallopt(M_MMAP_THRESHOLD, 32 * 1024 * 1024);  // the largest that glibc takes
    mallopt(M_TRIM_THRESHOLD, kKept);
#endif
}

}  // namespace shoal
