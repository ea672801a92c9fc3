// What happened in a simulation, a line an event, for people and for comparing two runs of one seed.
#pragma once

#include <string>
#include <string_view>

#include "shoal/base/clock.h"

namespace shoal::sim {

/// Thread: the one of the simulation.
class EventLog {
  public:
    /// "      12.345678 TEXT"
    void note(TimePoint when, std::string_view text);
    const std::string& text() const { return text_; }

  private:
    std::string text_;
};

}  // namespace shoal::sim
