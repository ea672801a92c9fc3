#include "shoal/collective/phase.h"

namespace shoal::collective {

std::string_view to_string(Phase phase) {
    switch (phase) {
        case Phase::compute:
            return "compute";
        case Phase::match:
            return "match";
        case Phase::send:
            return "send";
        case Phase::reduce:
            return "reduce";
        case Phase::vote:
            return "vote";
        case Phase::share_state:
            return "share_state";
    }
    return "unknown";
}

}  // namespace shoal::collective
