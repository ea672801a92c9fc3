// How the process keeps its memory, and how much there is.
#pragma once

#include <cstddef>

namespace shoal {

/// Bytes of memory that this machine has; 0 where the system does not say. From any thread.
std::size_t memory_of_machine();

/// Tells the allocator to keep freed blocks of a few megabytes instead of giving them back to the system.
/// Messages of 1 MiB that come and go otherwise cost as much in page faults as in all else (measured: 0.39
/// against 0.21 core-seconds per GB over loopback). For main(), once, before threads start; does nothing
/// without glibc.
void keep_freed_memory();

}  // namespace shoal
