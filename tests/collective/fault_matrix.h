// The fault matrix of DeDLOC's notes (section 4.3): its set-up, for simulated and for real peers. What is
// required is stricter: the matrix accepts mixtures of local and averaged parts, we accept the average of the
// named contributors on all of them, or 'failed' on all.
#pragma once

#include <array>
#include <ostream>
#include <string>
#include <vector>

#include "shoal/collective/averager.h"

namespace shoal::collective::matrix {

enum class Fault {
    none,
    before,        ///< fails before the round
    sending,       ///< fails while it sends its contribution
    slow_sending,  ///< its contribution stops for 10 s, or crawls
    reducing,  ///< fails while it sends the results of its share; a client, which has none: while it takes
               ///< others'
    slow_reducing,  ///< likewise
    cancelled,      ///< gives the round up by itself
};

struct Row {
    const char* name;
    Fault first;   ///< of peer 0, a full peer
    Fault client;  ///< of peer 1, in client mode
};

inline std::ostream& operator<<(std::ostream& out, const Row& row) {
    return out << row.name;
}

inline constexpr std::array kRows = {
    Row{"client_fails_before", Fault::none, Fault::before},
    Row{"both_fail_before", Fault::before, Fault::before},
    Row{"slow_sending_and_client_fails_sending", Fault::slow_sending, Fault::sending},
    Row{"fails_sending_and_client_fails_before", Fault::sending, Fault::before},
    Row{"slow_reducing_and_client_fails_sending", Fault::slow_reducing, Fault::sending},
    Row{"both_fail_reducing", Fault::reducing, Fault::reducing},
    Row{"client_is_cancelled", Fault::none, Fault::cancelled},
};

inline constexpr std::size_t kPeers = 5;
inline constexpr std::array kRoles = {Role::full, Role::client, Role::full, Role::full, Role::full};
inline const std::vector<std::size_t> kTensors = {16 * 1024, 3 * 8192, 4 * 4 * 4, 1024 * 1024};
inline constexpr std::size_t kElements = 16 * 1024 + 3 * 8192 + 4 * 4 * 4 + 1024 * 1024;
inline constexpr std::size_t kChunkElements = (1U << 16U) / sizeof(float);
inline constexpr Duration kPause = std::chrono::seconds(10);

}  // namespace shoal::collective::matrix
