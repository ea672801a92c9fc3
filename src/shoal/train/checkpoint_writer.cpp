#include "shoal/train/checkpoint_writer.h"

#include <cmath>
#include <fmt/format.h>

#include "shoal/run/state_digest.h"
#include "shoal/train/settings.h"

namespace shoal::train {

CheckpointWriter::CheckpointWriter(const run::RunDefinition& definition, net::AgreedSettings agreed,
                                   ModelSource& source, optim::LocalCompute& compute,
                                   asio::any_io_executor executor, Log log)
    : folder_(definition.checkpoint_folder(), definition.checkpoints.keep, log),
      every_(definition.checkpoints.every),
      run_(definition.run.name),
      seed_(static_cast<std::uint64_t>(definition.run.seed)),
      schedule_(schedule_settings(definition)),
      agreed_(std::move(agreed)),
      source_(source),
      compute_(compute),
      log_(std::move(log)),
      writing_(std::move(executor)) {}

awaitable<Step> CheckpointWriter::resume() {
    auto read = [this] { return folder_.latest(); };
    std::optional<run::Checkpoint> checkpoint = co_await offload(disk_.get_executor(), std::move(read));
    if (!checkpoint) co_return Step{};
    run::check_fits(checkpoint->info, agreed_);
    const Step step = checkpoint->info.step;
    const std::uint64_t position = checkpoint->info.data_position;
    auto state = std::make_shared<const collective::State>(std::move(checkpoint->state));
    // The place first: the compute notes it with the state that it loads.
    auto seek = [this, position] { source_.seek(position); };
    co_await offload(compute_.compute_thread(), std::move(seek));
    co_await compute_.load(state);
    written_.step = step;
    written_.digest = checkpoint->info.digest;
    log_.info(fmt::format("goes on from the checkpoint of step {}", value(step)));
    co_return step;
}

void CheckpointWriter::on_step(Step step, double loss, double, double, const Fingerprint& digest) {
    newest_ = Due{step, loss, digest};
    if (every_ > 0 && value(step) % every_ == 0 && writing_.running() == 0)
        writing_.spawn(try_to_write(*newest_));
}

awaitable<void> CheckpointWriter::try_to_write(Due due) {
    try {
        co_await write(due);
    } catch (const Error& error) {
        log_.error(std::string("no checkpoint was written: ") + error.what());
    }
}

// A cancellation may have come while an agreed average was being applied. The update ended all the same, and
// what is held is the state of the step after the last that was reported: it is written as what it is. The
// same where the next step was taken before the copy was made. So it may be on disk when that step is
// reported.
awaitable<void> CheckpointWriter::write(std::optional<Due> due) {
    const optim::LocalCompute::Held held = co_await compute_.held_state();
    const collective::StatePointer state = held.state;
    if (value(state->step) == 0) co_return;  // the model as it was made
    auto digest = [state] { return run::digest_of(*state); };
    run::CheckpointInfo info;
    info.data_position = held.position;
    info.step = state->step;
    info.run = run_;
    info.digest = co_await offload(disk_.get_executor(), std::move(digest));
    const bool is_reported = due && info.step == due->step;
    if (is_reported && info.digest != due->digest)
        throw Error(ErrorKind::corrupted,
                    fmt::format("the state of step {} is not the one that was reported: has the machine's "
                                "memory faults?",
                                value(due->step)));
    Written written;
    written.step = info.step;
    written.digest = info.digest;
    if (written == written_) co_return;
    info.seed = seed_;
    info.learning_rate = optim::learning_rate(schedule_, static_cast<Step>(value(info.step) - 1));
    info.loss = is_reported ? due->loss : std::nan("");
    info.settings = agreed_;
    auto save = [this, info, state] { folder_.write(info, *state, tensor_layout(source_.layout())); };
    co_await offload(disk_.get_executor(), std::move(save));
    written_ = written;
}

awaitable<void> CheckpointWriter::finish() {
    co_await writing_.settle();
    if (every_ == 0) co_return;
    try {
        co_await write(newest_);
    } catch (const Error& error) {
        const Step reached = newest_ ? newest_->step : written_.step;
        throw Error(ErrorKind::system,
                    fmt::format("the last checkpoint, of step {} or later, could not be written: {}",
                                value(reached), error.what()));
    }
}

}  // namespace shoal::train
