#include "shoal/base/memory.h"

#include <cstdlib>  // says whether this is glibc
#include <unistd.h>

#if defined(__GLIBC__)
#include <malloc.h>
#endif

namespace shoal {

std::size_t memory_of_machine() {
    const long pages = sysconf(_SC_PHYS_PAGES), bytes = sysconf(_SC_PAGESIZE);
    if (pages <= 0 || bytes <= 0) return 0;
    return static_cast<std::size_t>(pages) * static_cast<std::size_t>(bytes);
}

void keep_freed_memory() {
#if defined(__GLIBC__)
    constexpr int kKept = 256 * 1024 * 1024;
    mallopt(M_MMAP_THRESHOLD, 32 * 1024 * 1024);  // the largest that glibc takes
    mallopt(M_TRIM_THRESHOLD, kKept);
#endif
}

}  // namespace shoal
