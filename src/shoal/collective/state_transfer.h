// State for newcomers and for peers that fell behind: content-addressed chunks under a Merkle root, from
// several donors at once.
//
// A donor cuts the canonical bytes of its State into chunks and hashes them (base/hash.h). A receiver asks
// the peers of the swarm's step for the root, takes the root that most of them name, fetches the chunks from
// up to eight of these in parallel, checks each chunk against its hash and the hashes against the root, and
// goes on with the others when a donor dies.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "shoal/base/clock.h"
#include "shoal/base/log.h"
#include "shoal/collective/compute.h"
#include "shoal/collective/phase.h"
#include "shoal/net/network.h"

namespace shoal::collective {

struct StateTransferSettings {
    std::string run;
    std::string codec = "fp32";  ///< only fp32 gives bit-identical state; see docs/algorithms.md
    std::size_t chunk_bytes = 256 * 1024;
    std::size_t maximum_state_bytes = std::size_t{64} << 30;
    /// A silent donor is given up no sooner than this; how much later, donor_watch.h says.
    Duration stall_timeout = std::chrono::milliseconds(1500);
    PhaseProbe probe;  ///< for fault tests (phase.h)
};

/// Throws Error(invalid_argument) that names the setting; make_state_donor and download_state call it first.
void check_transfer_settings(const StateTransferSettings& settings);

struct DownloadReport {
    std::size_t bytes = 0;
    double seconds = 0;
    std::vector<PeerId> donors;  ///< those that sent at least one good chunk
    /// Those that answered, but could not show what they were asked for; filled in after failures, too.
    std::vector<PeerId> pretenders;
};

/// Serves states to others. `provide` is asked for the newest state when somebody wants a later one than that
/// which was copied last, and only then is it copied and hashed; the copy is kept while downloads of it are
/// running or it is the newest. `own_step` tells the step of the state that `provide` would give now, and
/// costs nothing: no copy is made for whoever wants a later one. What strangers can claim: donor_limits.h.
class StateDonor {
  public:
    virtual ~StateDonor() = default;
};
using StateProvider = std::function<awaitable<StatePointer>()>;
using StepTeller = std::function<Step()>;
std::shared_ptr<StateDonor> make_state_donor(net::Network& network, Clock& clock,
                                             StateTransferSettings settings, StateProvider provide,
                                             StepTeller own_step, Log log);

/// Downloads the state of at least `minimum_step` on whose root most of the given donors agree (ties: the
/// root that the lowest PeerId names).
/// @param progress  told of bytes done and total, for display; may be empty.
/// Throws Error(unreachable) when no donor has an acceptable state (each donor's reason is named),
/// Error(corrupted) when no donor's chunks match the root; nothing is changed then and the caller may try
/// again.
awaitable<StatePointer> download_state(net::Network& network, Clock& clock, StateTransferSettings settings,
                                       std::vector<PeerId> donors, Step minimum_step,
                                       std::function<void(std::size_t, std::size_t)> progress,
                                       DownloadReport& report, Log log);

}  // namespace shoal::collective
