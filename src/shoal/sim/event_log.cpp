#include "shoal/sim/event_log.h"

#include <fmt/format.h>

namespace shoal::sim {

void EventLog::note(TimePoint when, std::string_view text) {
    fmt::format_to(std::back_inserter(text_), "{:15.6f} {}\n", seconds(when.since_start), text);
}

}  // namespace shoal::sim
