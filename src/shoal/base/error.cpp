#include "shoal/base/error.h"

namespace shoal {

std::string_view to_string(ErrorKind kind) {
    switch (kind) {
        case ErrorKind::invalid_argument:
            return "invalid_argument";
        case ErrorKind::bad_input:
            return "bad_input";
        case ErrorKind::refused:
            return "refused";
        case ErrorKind::unreachable:
            return "unreachable";
        case ErrorKind::timed_out:
            return "timed_out";
        case ErrorKind::cancelled:
            return "cancelled";
        case ErrorKind::connection_lost:
            return "connection_lost";
        case ErrorKind::protocol_violation:
            return "protocol_violation";
        case ErrorKind::corrupted:
            return "corrupted";
        case ErrorKind::system:
            return "system";
    }
    return "unknown";
}

}  // namespace shoal
