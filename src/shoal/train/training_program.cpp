#include "shoal/train/training_program.h"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <memory>
#include <vector>

#include "shoal/collective/error_feedback_compute.h"
#include "shoal/collective/group_compute.h"
#include "shoal/optim/local_compute.h"
#include "shoal/run/gated_compute.h"
#include "shoal/run/node.h"
#include "shoal/train/checkpoint_writer.h"
#include "shoal/train/console.h"
#include "shoal/train/fault_injection.h"
#include "shoal/train/settings.h"

namespace shoal::train {

namespace {

/// What is said when the last step has been taken. @param checkpoint  its file, or empty.
std::string complete(Step step, double held_out_loss, const std::string& checkpoint,
                     const Fingerprint& digest) {
    std::string text = fmt::format("the run is complete: step {}", value(step));
    if (!std::isnan(held_out_loss)) text += fmt::format(", held-out loss {:.4f}", held_out_loss);
    text += checkpoint.empty() ? ", no checkpoint" : ", checkpoint " + checkpoint;
    return text + ", digest " + digest.hex().substr(0, 16);
}

/// True, and says so, if the folder's newest checkpoint is already that of the last step. A damaged one is
/// left to those who resume.
bool is_complete(const run::Node& node, const run::CheckpointFolder& folder) {
    const std::vector<Step> steps = folder.steps();
    if (steps.empty() || value(steps.back()) < node.definition().run.steps) return false;
    try {
        const run::Checkpoint checkpoint = folder.read(steps.back());
        run::check_fits(checkpoint.info, node.agreed());
        Console::say(complete(checkpoint.info.step, std::nan(""),
                              folder.tensor_file(checkpoint.info.step).string(), checkpoint.info.digest));
        return true;
    } catch (const Error&) {
        return false;
    }
}

/// The parts of a training peer, in the order in which they need each other.
class TrainingProgram {
  public:
    TrainingProgram(run::Node& node, ModelSource& source, optim::Optimizer& optimizer,
                    collective::PhaseProbe probe)
        : node_(node),
          probe_(std::move(probe)),
          compute_(source, optimizer, schedule_settings(node.definition()), node.clock(),
                   compute_settings(node.definition())),
          gated_(compute_, node.membership()),
          checkpoints_(node.definition(), node.agreed(), source, compute_, node.executor(), node.log()),
          console_(static_cast<Step>(node.definition().run.steps), node.log()) {
        observers_.add(node.metrics());
        observers_.add(checkpoints_);
        observers_.add(console_);
        observers_.add(gated_);
    }

    awaitable<void> run() {
        for (const run::BootstrapAddress& address : node_.bootstrap().addresses())
            if (address.state == run::BootstrapAddress::State::connected)
                Console::say(fmt::format("met peer {} at {}", address.peer.short_name(),
                                         address.endpoint.to_string()));
        const Step start = co_await checkpoints_.resume();
        if (value(start) > 0) co_await show_resumed(start);
        auto transfer = node_.transfer_settings();
        auto settings = node_.training_settings();
        transfer.probe = settings.probe = probe_;
        collective::GroupCompute in_groups(gated_, start);
        collective::Compute* compute = &gated_;
        if (settings.in_groups) compute = &in_groups;
        const std::unique_ptr<collective::ErrorFeedbackCompute> with_feedback = error_feedback(*compute);
        if (with_feedback) compute = with_feedback.get();
        const auto peer =
            collective::make_training_peer(node_.network(), node_.clock(), node_.averager(), node_.progress(),
                                           compute, transfer, settings, observers_, node_.log());
        TaskGroup telling(node_.executor());
        telling.spawn(tell_of_long_steps(*peer));
        std::exception_ptr ending;
        try {
            co_await peer->run(start);
        } catch (...) {
            ending = std::current_exception();
        }
        // A signal that ended the training, or comes now, must not cancel what follows.
        co_await asio::this_coro::throw_if_cancelled(false);
        telling.cancel();
        co_await run_to_end(telling.settle());
        std::exception_ptr unsaved;
        try {
            co_await run_to_end(leave());
        } catch (...) {
            unsaved = std::current_exception();
        }
        if (ending && !is_cancellation(ending)) std::rethrow_exception(ending);
        if (unsaved) std::rethrow_exception(unsaved);
        co_await run_to_end(say_last_words(peer->step()));
        if (ending) std::rethrow_exception(ending);
    }

  private:
    /// The goodbye comes first, so that nobody waits for this peer while it writes its last checkpoint. What
    /// the training has left on the compute thread uses the peer's vectors, so that is waited for, too.
    awaitable<void> leave() {
        co_await node_.progress().stop();
        auto nothing = [] {};
        co_await offload(compute_.compute_thread(), std::move(nothing));
        co_await checkpoints_.finish();
    }

    /// While nothing else is said, how far the step has come: after ten seconds, then seldomer.
    awaitable<void> tell_of_long_steps(collective::TrainingPeer& peer) {
        constexpr Duration kFirst = std::chrono::seconds(10), kLongest = std::chrono::seconds(60);
        Duration pause = kFirst;
        for (;;) {
            co_await node_.clock().sleep_for(pause);
            if (console_.take_spoken()) {
                pause = kFirst;
                continue;
            }
            const auto target = static_cast<Samples>(node_.definition().run.target_batch_size);
            Console::say(Console::on_the_way(node_.progress().view(), peer.step(), target));
            pause = std::min(2 * pause, kLongest);
        }
    }

    awaitable<void> say_last_words(Step last) {
        const run::RunDefinition& definition = node_.definition();
        const run::CheckpointFolder folder(definition.checkpoint_folder(), definition.checkpoints.keep,
                                           node_.log());
        const std::vector<Step> steps = folder.steps();
        const bool has_checkpoint = definition.checkpoints.every > 0 && !steps.empty();
        const std::string file = has_checkpoint ? folder.tensor_file(steps.back()).string() : std::string();
        if (value(last) >= definition.run.steps) {
            double loss = console_.held_out_loss_of(last);
            if (std::isnan(loss)) loss = co_await compute_.held_out_loss();
            const Fingerprint digest = co_await compute_.digest();
            Console::say(complete(last, loss, file, digest));
        } else if (!has_checkpoint) {
            Console::say("said goodbye; there is no checkpoint");
        } else {
            Console::say(fmt::format("{} checkpoint of step {} to {}, said goodbye",
                                     console_.has_stepped() ? "wrote" : "took no step, left the",
                                     value(steps.back()), file));
        }
    }

    /// A run goes on with the loss that it had: the first line shows it.
    awaitable<void> show_resumed(Step start) {
        Console::say(fmt::format("goes on from the checkpoint of step {}", value(start)));
        const Fingerprint digest = co_await compute_.digest();
        node_.metrics().note("resumed", {{"step", value(start)}, {"digest", digest.hex()}});
        if (node_.definition().run.evaluate_every <= 0) co_return;
        const double loss = co_await compute_.held_out_loss();
        observers_.on_held_out_loss(start, loss);
    }

    /// None where the run does without.
    std::unique_ptr<collective::ErrorFeedbackCompute> error_feedback(collective::Compute& compute) {
        if (!wants_error_feedback(node_.definition())) return nullptr;
        const auto& averaging = node_.definition().averaging;
        const auto small_below = static_cast<std::size_t>(averaging.small_below);
        return std::make_unique<collective::ErrorFeedbackCompute>(
            compute, compress::VectorFormat(averaging.codec, averaging.small_codec, small_below));
    }

    static optim::LocalComputeSettings compute_settings(const run::RunDefinition& definition) {
        optim::LocalComputeSettings settings;
        settings.clip_gradient_norm = definition.optimizer.clip_gradient_norm;
        settings.load = definition.peer.load;
        settings.local_updates = local_update_settings(definition);
        return settings;
    }

    run::Node& node_;
    collective::PhaseProbe probe_;
    optim::LocalCompute compute_;
    run::GatedCompute gated_;
    CheckpointWriter checkpoints_;
    Console console_;
    run::ObserverList observers_;
};

}  // namespace

void examine_model(const run::RunDefinition& definition) {
    auto source = make_model_source(definition, PeerId());
    const auto optimizer = optim::make_optimizer(optimizer_settings(definition), source->layout());
    source->micro_batch();
}

int run_training(const run::RunDefinition& definition, const TrainingProgramOptions& options) {
    // The probe needs the network, which the node makes; the node's averager needs the probe.
    auto probe = std::make_shared<collective::PhaseProbe>();
    run::NodeOptions node_options;
    node_options.purpose = run::Purpose::training;
    node_options.log = options.log;
    if (!options.inject.empty())
        node_options.probe = [probe](collective::Phase phase, Step step) {
            if (*probe) (*probe)(phase, step);
        };
    run::Node node(definition, node_options);
    if (!options.inject.empty()) *probe = make_probe(options.inject, node.network());

    if (definition.checkpoints.every > 0) {
        const run::CheckpointFolder folder(definition.checkpoint_folder(), definition.checkpoints.keep,
                                           options.log);
        folder.prepare();
        if (definition.checkpoints.fall_back) folder.fall_back();
        if (is_complete(node, folder)) return 0;
    }
    auto source = make_model_source(definition, node.id());
    const auto optimizer = optim::make_optimizer(optimizer_settings(definition), source->layout());
    const std::string port = node.port() == 0 ? "no port of its own" : fmt::format("port {}", node.port());
    Console::say(fmt::format("{} ({}): {}; run '{}', peer {}, {}", node.name(), to_string(node.role()),
                             source->model().describe(), definition.run.name, node.id().short_name(), port));
    if (!definition.network.bootstrap.empty())
        Console::say(fmt::format("waiting for a bootstrap address: {}",
                                 fmt::join(definition.network.bootstrap, ", ")));
    node.metrics().note("model", {{"model", source->model().describe()}});

    std::unique_ptr<TrainingProgram> program;
    node.run([&](run::Node& started) {
        program = std::make_unique<TrainingProgram>(started, *source, *optimizer, node_options.probe);
        return program->run();
    });
    return 0;
}

}  // namespace shoal::train
