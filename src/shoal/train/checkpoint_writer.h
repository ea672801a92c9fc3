// Writes a checkpoint every so many steps, beside the training, and hands back the newest one at the start.
#pragma once

#include <asio/thread_pool.hpp>
#include <memory>
#include <optional>

#include "shoal/base/async.h"
#include "shoal/base/log.h"
#include "shoal/collective/training_peer.h"
#include "shoal/optim/local_compute.h"
#include "shoal/run/checkpoint.h"
#include "shoal/run/definition.h"
#include "shoal/train/model_source.h"

namespace shoal::train {

/// Thread: the protocol thread. The copy is made on the compute thread, the file on a thread of its own. At
/// most one checkpoint is being written; one that falls due meanwhile is left out.
class CheckpointWriter final : public collective::TrainingObserver {
  public:
    /// The parts must outlive finish().
    CheckpointWriter(const run::RunDefinition& definition, net::AgreedSettings agreed, ModelSource& source,
                     optim::LocalCompute& compute, asio::any_io_executor executor, Log log);

    /// Puts the newest intact checkpoint into the compute and the data stream. Returns its step, or 0 when
    /// there is none. Throws Error(bad_input) if it belongs to another run or model, Error(corrupted) if all
    /// are damaged.
    awaitable<Step> resume();

    void on_step(Step step, double loss, double swarm_loss, double step_seconds,
                 const Fingerprint& digest) override;

    /// Waits for all writing, and writes the state that is held then, if that very one is not on disk yet (by
    /// resume() or this writer). Throws Error(system) if it cannot be written. (That one in between could not
    /// is only logged.)
    awaitable<void> finish();

  private:
    struct Due {
        Step step{};
        double loss = 0;
        Fingerprint digest;
    };
    struct Written {
        Step step{};
        Fingerprint digest;
        bool operator==(const Written&) const = default;
    };
    awaitable<void> write(std::optional<Due> due);
    awaitable<void> try_to_write(Due due);

    run::CheckpointFolder folder_;
    std::int64_t every_;
    std::string run_;
    std::uint64_t seed_;
    optim::ScheduleSettings schedule_;
    net::AgreedSettings agreed_;
    ModelSource& source_;
    optim::LocalCompute& compute_;
    Log log_;
    asio::thread_pool disk_{1};
    TaskGroup writing_;
    std::optional<Due> newest_;  ///< step reached last
    Written written_;            ///< the newest that is on disk
};

}  // namespace shoal::train
