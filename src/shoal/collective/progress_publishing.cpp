#include "shoal/collective/progress_publishing.h"

#include <utility>

namespace shoal::collective {

awaitable<bool> publish_progress(dht::Directory& directory, Clock& clock, Log log, std::string key,
                                 Bytes words, Duration time_to_live, TimePoint deadline) {
    try {
        awaitable<void> publishing = directory.publish(std::move(key), "", std::move(words), time_to_live);
        co_await with_deadline(clock, deadline, std::move(publishing), "publishing progress");
        co_return true;
    } catch (const Error& error) {
        if (error.kind() == ErrorKind::cancelled) throw;
        log.debug(std::string("progress is not in the directory: ") + error.what());
    }
    co_return false;
}

}  // namespace shoal::collective
