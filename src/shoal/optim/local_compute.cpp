#include "shoal/optim/local_compute.h"

#include <algorithm>
#include <asio/post.hpp>
#include <asio/thread_pool.hpp>
#include <cmath>
#include <limits>
#include <optional>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <thread>
#include <unistd.h>
#include <utility>

#include "shoal/base/async.h"
#include "shoal/base/error.h"
#include "shoal/run/state_digest.h"

namespace shoal::optim {

using collective::MicroBatchResult;
using collective::State;
using collective::StatePointer;
using collective::StateSection;

/// Everything that the compute thread touches. Kept alive by the jobs that use it, so that an abandoned call
/// harms nobody.
struct LocalCompute::Worker {
    Worker(GradientSource& s, Optimizer& o, ScheduleSettings learning_rate, LocalComputeSettings settings_in)
        : source(s),
          optimizer(o),
          schedule(std::move(learning_rate)),
          settings(settings_in),
          current(s.parameters().size()),
          mean(current.sum.size()) {
        if (settings.local_updates.batch_size > 0)
            local.emplace(settings.local_updates, source.parameters(), optimizer);
    }

    GradientSource& source;
    Optimizer& optimizer;
    ScheduleSettings schedule;
    LocalComputeSettings settings;
    struct Accumulator {
        explicit Accumulator(std::size_t elements) : sum(elements) {}
        std::vector<float> sum;  ///< of gradients over samples
        std::int64_t samples = 0;
        std::int64_t unstepped = 0;  ///< of them, those that `sum` is of; fewer only with local updates
        void add(std::span<const float> gradient, std::int64_t count) {
            add_to(sum, gradient);
            samples += count;
            unstepped += count;
        }
        void clear_sum() {
            std::fill(sum.begin(), sum.end(), 0.0f);
            unstepped = 0;
        }
        void clear() {
            clear_sum();
            samples = 0;
        }
    };
    Accumulator current;                 ///< for the next step
    std::optional<Accumulator> ahead;    ///< for the step after it, since hold(); kept for the next time
    bool held = false;                   ///< micro-batches go into `ahead`
    std::uint64_t position_at_hold = 0;  ///< of the data stream
    std::vector<float> mean;             ///< what contribution() showed last, or the clipped average
    std::optional<LocalUpdates> local;
    int dropped_in_a_row = 0;
    Step step{};                 ///< that the parameters have reached
    std::uint64_t position = 0;  ///< of the data stream, when they did
    std::vector<std::vector<float>>
        before;  ///< parameters and optimizer state before the step, to take it back
    asio::thread_pool thread{1};

    MicroBatchResult micro_batch();
    std::span<const float> contribution();
    bool apply(Step from, std::span<const float> average);
    void hold();
    void release();
    void next_accumulator();
    void discard();
    void write_mean();
    void take_local_step();
    double held_out_loss();
    /// What all peers hold alike.
    std::span<float> shared_parameters();
    std::vector<StatePart> shared_parts();
    std::vector<StateSection> copy_sections();
    bool fits(const State& state);
    void load(const State& state);
    Fingerprint digest();
    void remember();
    void take_back();
    bool is_finite() const;
    bool update(Step from, std::span<const float> average);
    void on_dropped();
};

MicroBatchResult LocalCompute::Worker::micro_batch() {
    const auto start = std::chrono::steady_clock::now();
    source.set_step(step);
    const MicroBatchLoss loss = source.micro_batch();
    const std::span<const float> gradient = source.gradient();
    MicroBatchResult result;
    result.loss = loss.mean;
    result.dropped = !std::isfinite(loss.mean) || !all_finite(gradient);
    if (!result.dropped) {
        result.samples = loss.samples;
        (held ? *ahead : current).add(gradient, value(loss.samples));
        if (local && current.unstepped >= local->batch_size()) take_local_step();
        dropped_in_a_row = 0;
    } else {
        on_dropped();
    }
    const Duration computed = std::chrono::steady_clock::now() - start;
    // A volunteer lends a share of the machine only: rest in proportion. Nothing waits for this thread but
    // its own peer.
    if (settings.load < 1) {
        const Duration rest = from_seconds(seconds(computed) * (1 / settings.load - 1));
        std::this_thread::sleep_for(rest);
    }
    result.seconds = seconds(std::chrono::steady_clock::now() - start);
    return result;
}

/// One bad micro-batch may be followed by good ones; a hundred show that none will be.
void LocalCompute::Worker::on_dropped() {
    if (++dropped_in_a_row >= settings.maximum_dropped)
        throw Error(ErrorKind::bad_input,
                    std::to_string(dropped_in_a_row) +
                        " micro-batches in a row had a loss or a gradient that is not finite: there is "
                        "nothing to learn from. Look for what is wrong in the model or the data, or give a "
                        "lower schedule.learning_rate");
    const Duration pause = std::chrono::milliseconds(1) * (1 << std::min(dropped_in_a_row, 16));
    std::this_thread::sleep_for(std::min(pause, settings.longest_pause));
}

std::span<const float> LocalCompute::Worker::contribution() {
    if (local) {
        if (current.unstepped > 0) take_local_step();
        local->write_difference(mean);
    } else {
        write_mean();
    }
    return mean;
}

void LocalCompute::Worker::write_mean() {
    const float factor = current.unstepped > 0 ? 1.0f / static_cast<float>(current.unstepped) : 0.0f;
    for (std::size_t i = 0; i < mean.size(); ++i) mean[i] = current.sum[i] * factor;
}

/// One that does not end finite is left out; its samples count all the same, with no way gone.
void LocalCompute::Worker::take_local_step() {
    write_mean();
    if (settings.clip_gradient_norm > 0) clip_gradient_norm(mean, settings.clip_gradient_norm);
    local->step(mean, learning_rate(schedule, step));
    current.clear_sum();
}

void LocalCompute::Worker::hold() {
    if (!ahead) ahead.emplace(mean.size());
    held = true;
    position_at_hold = source.position();
}

void LocalCompute::Worker::release() {
    if (!std::exchange(held, false)) return;
    current.add(ahead->sum, ahead->samples);
    ahead->clear();
}

void LocalCompute::Worker::next_accumulator() {
    current.clear();
    if (std::exchange(held, false)) std::swap(current, *ahead);
}

void LocalCompute::Worker::discard() {
    current.clear();
    if (std::exchange(held, false)) ahead->clear();
    if (local) local->drop_local_steps();
}

std::span<float> LocalCompute::Worker::shared_parameters() {
    return local ? local->global_parameters() : source.parameters();
}

std::vector<StatePart> LocalCompute::Worker::shared_parts() {
    return local ? local->outer_state() : optimizer.state();
}

void LocalCompute::Worker::remember() {
    before.clear();
    const auto parameters = source.parameters();
    before.emplace_back(parameters.begin(), parameters.end());
    for (const auto& part : optimizer.state()) before.emplace_back(part.values.begin(), part.values.end());
}

void LocalCompute::Worker::take_back() {
    std::copy(before[0].begin(), before[0].end(), source.parameters().begin());
    std::size_t index = 1;
    for (const auto& part : optimizer.state()) {
        std::copy(before[index].begin(), before[index].end(), part.values.begin());
        ++index;
    }
}

bool LocalCompute::Worker::is_finite() const {
    if (!all_finite(source.parameters())) return false;
    const auto parts = optimizer.state();
    return std::all_of(parts.begin(), parts.end(), [](const auto& part) { return all_finite(part.values); });
}

/// The step is counted whether or not its average could be used, as all peers do.
bool LocalCompute::Worker::apply(Step from, std::span<const float> average) {
    const std::uint64_t reached = held ? position_at_hold : source.position();
    const bool used = update(from, average);
    step = next(from);
    position = reached;
    return used;
}

bool LocalCompute::Worker::update(Step from, std::span<const float> average) {
    if (average.size() != mean.size())
        throw Error(ErrorKind::invalid_argument, "the average has another length than the parameters");
    next_accumulator();
    if (local) return local->apply(from, average);
    if (!all_finite(average)) return false;
    std::copy(average.begin(), average.end(), mean.begin());
    if (settings.clip_gradient_norm > 0) clip_gradient_norm(mean, settings.clip_gradient_norm);
    remember();
    optimizer.step(from, source.parameters(), mean, learning_rate(schedule, from));
    if (is_finite()) return true;
    take_back();
    return false;
}

std::vector<StateSection> LocalCompute::Worker::copy_sections() {
    std::vector<StateSection> sections;
    const auto parameters = shared_parameters();
    sections.push_back({kParametersSection, {parameters.begin(), parameters.end()}});
    for (const auto& part : shared_parts())
        sections.push_back({"optimizer/" + std::string(part.name), {part.values.begin(), part.values.end()}});
    return sections;
}

bool LocalCompute::Worker::fits(const State& state) {
    const auto is_like = [](const StateSection& section, const std::string& name, std::size_t size) {
        return section.name == name && section.values.size() == size && all_finite(section.values);
    };
    const auto& sections = state.sections;
    const auto parts = shared_parts();
    if (sections.size() != parts.size() + 1) return false;
    if (!is_like(sections[0], kParametersSection, shared_parameters().size())) return false;
    for (std::size_t i = 0; i < parts.size(); ++i)
        if (!is_like(sections[i + 1], "optimizer/" + std::string(parts[i].name), parts[i].values.size()))
            return false;
    return true;
}

void LocalCompute::Worker::load(const State& state) {
    if (!fits(state))
        throw Error(ErrorKind::corrupted,
                    "a state does not fit this run's model and optimizer, or holds what is not finite");
    std::copy(state.sections[0].values.begin(), state.sections[0].values.end(), shared_parameters().begin());
    std::size_t index = 1;
    for (const auto& part : shared_parts()) {
        const auto& values = state.sections[index++].values;
        std::copy(values.begin(), values.end(), part.values.begin());
    }
    step = state.step;
    position = source.position();
    discard();
}

/// Of the global parameters, wherever this peer's own have gone.
double LocalCompute::Worker::held_out_loss() {
    if (!local) return source.held_out_loss();
    const std::vector<float> own(source.parameters().begin(), source.parameters().end());
    local->drop_local_steps();
    const double loss = source.held_out_loss();
    std::copy(own.begin(), own.end(), source.parameters().begin());
    return loss;
}

Fingerprint LocalCompute::Worker::digest() {
    run::StateDigest digest;
    digest.add(shared_parameters());
    for (const auto& part : shared_parts()) digest.add(part.values);
    return digest.value();
}

LocalCompute::LocalCompute(GradientSource& source, Optimizer& optimizer, ScheduleSettings schedule,
                           Clock& clock, LocalComputeSettings settings)
    : worker_(std::make_shared<Worker>(source, optimizer, std::move(schedule), settings)),
      clock_(clock),
      settings_(settings) {
    asio::post(worker_->thread, [niceness = settings.niceness] {
        setpriority(PRIO_PROCESS, static_cast<id_t>(syscall(SYS_gettid)),
                    niceness);  // of this thread only, on Linux
    });
}

LocalCompute::~LocalCompute() {
    worker_->thread.join();
}

std::size_t LocalCompute::gradient_elements() const {
    return worker_->mean.size();
}

std::vector<std::size_t> LocalCompute::tensor_sizes() const {
    std::vector<std::size_t> sizes;
    for (const PlacedTensor& tensor : worker_->source.layout().tensors()) sizes.push_back(tensor.count);
    return sizes;
}

asio::any_io_executor LocalCompute::compute_thread() {
    return worker_->thread.get_executor();
}

awaitable<MicroBatchResult> LocalCompute::micro_batch() {
    auto job = [worker = worker_] { return worker->micro_batch(); };
    co_return co_await offload(compute_thread(), std::move(job));
}

awaitable<std::span<const float>> LocalCompute::contribution() {
    auto job = [worker = worker_] { return worker->contribution(); };
    co_return co_await offload(compute_thread(), std::move(job));
}

awaitable<bool> LocalCompute::apply(Step from, std::span<const float> average) {
    auto job = [worker = worker_, from, average] { return worker->apply(from, average); };
    co_return co_await offload(compute_thread(), std::move(job));
}

void LocalCompute::hold() {
    asio::post(compute_thread(), [worker = worker_] { worker->hold(); });
}

void LocalCompute::release() {
    asio::post(compute_thread(), [worker = worker_] { worker->release(); });
}

void LocalCompute::discard() {
    asio::post(compute_thread(), [worker = worker_] { worker->discard(); });
}

awaitable<Fingerprint> LocalCompute::digest() {
    auto job = [worker = worker_] { return worker->digest(); };
    co_return co_await offload(compute_thread(), std::move(job));
}

awaitable<StatePointer> LocalCompute::snapshot(Step step) {
    auto job = [worker = worker_, step]() -> StatePointer {
        auto state = std::make_shared<State>();
        state->step = step;
        state->sections = worker->copy_sections();
        return state;
    };
    co_return co_await offload(compute_thread(), std::move(job));
}

awaitable<LocalCompute::Held> LocalCompute::held_state() {
    auto job = [worker = worker_] {
        auto state = std::make_shared<State>();
        state->step = worker->step;
        state->sections = worker->copy_sections();
        Held held;
        held.state = std::move(state);
        held.position = worker->position;
        return held;
    };
    co_return co_await offload(compute_thread(), std::move(job));
}

awaitable<void> LocalCompute::load(StatePointer state) {
    auto job = [worker = worker_, state = std::move(state)] { worker->load(*state); };
    co_await offload(compute_thread(), std::move(job));
}

void LocalCompute::renumber(Step step) {
    asio::post(compute_thread(), [worker = worker_, step] { worker->step = step; });
}

awaitable<double> LocalCompute::held_out_loss() {
    auto job = [worker = worker_] { return worker->held_out_loss(); };
    co_return co_await offload(compute_thread(), std::move(job));
}

}  // namespace shoal::optim
