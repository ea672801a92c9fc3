// How what a peer says of its progress gets into the directory.
#pragma once

#include <string>

#include "shoal/base/async.h"
#include "shoal/base/log.h"
#include "shoal/dht/directory.h"

namespace shoal::collective {

/// Publishes a record under a key. False if that failed or took too long, which is logged: the next one will
/// do. Throws Error(cancelled) only.
/// @param directory, clock  outlive the call
awaitable<bool> publish_progress(dht::Directory& directory, Clock& clock, Log log, std::string key,
                                 Bytes words, Duration time_to_live, TimePoint deadline);

}  // namespace shoal::collective
