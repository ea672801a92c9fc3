#include "shoal/sim/quadratic_compute.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "shoal/base/error.h"

namespace shoal::sim {

using collective::MicroBatchResult;
using collective::State;
using collective::StatePointer;
using collective::StateSection;

namespace {

constexpr Duration kApplyTime = std::chrono::milliseconds(2), kSnapshotTime = std::chrono::milliseconds(1);

/// What a few samples want of the parameters of each pattern: the sums that gradient and loss are made of.
struct Wishes {
    std::array<double, kPatterns> sum{}, square{};
    Wishes(std::uint64_t first, std::int64_t count) {
        for (std::int64_t s = 0; s < count; ++s)
            for (std::size_t pattern = 0; pattern < kPatterns; ++pattern) {
                const double value = wanted(first + static_cast<std::uint64_t>(s), pattern);
                sum[pattern] += value;
                square[pattern] += value * value;
            }
    }
};

}  // namespace

double wanted(std::uint64_t sample, std::size_t parameter) {
    // A finaliser of a 64-bit hash (splitmix64): cheap, and different for neighbours.
    std::uint64_t hash = sample * kPatterns + parameter % kPatterns + 0x9e3779b97f4a7c15U;
    hash = (hash ^ hash >> 30U) * 0xbf58476d1ce4e5b9U;
    hash = (hash ^ hash >> 27U) * 0x94d049bb133111ebU;
    return static_cast<double>((hash ^ hash >> 31U) >> 11U) * 0x1p-52 - 1;
}

/// For the time of a call, also of one that is cancelled.
class QuadraticCompute::InUse {
  public:
    explicit InUse(QuadraticCompute& compute) : compute_(compute) {
        if (compute_.busy_) compute_.violations_->push_back("two calls of Compute at a time");
        compute_.busy_ = true;
    }
    InUse(const InUse&) = delete;
    InUse& operator=(const InUse&) = delete;
    ~InUse() { compute_.busy_ = false; }

  private:
    QuadraticCompute& compute_;
};

QuadraticCompute::QuadraticCompute(const PeerId& self, Clock& clock, Random random,
                                   std::shared_ptr<Ledger> ledger,
                                   std::shared_ptr<std::vector<std::string>> violations,
                                   QuadraticSettings settings)
    : parameters(settings.width, 0.5F),
      momentum(settings.width, 0.0F),
      self_(self),
      clock_(clock),
      random_(random),
      ledger_(std::move(ledger)),
      violations_(std::move(violations)),
      settings_(settings),
      next_sample_(settings.first_sample),
      current_{{}, std::vector<double>(settings.width, 0.0)},
      ahead_(current_),
      mean_(settings.width) {}

double QuadraticCompute::loss_of(std::uint64_t first, std::int64_t count) const {
    const Wishes wishes(first, count);
    const auto samples = static_cast<double>(count);
    double loss = 0;
    for (std::size_t i = 0; i < parameters.size(); ++i) {
        const double value = parameters[i];
        loss +=
            value * value * samples - 2 * value * wishes.sum[i % kPatterns] + wishes.square[i % kPatterns];
    }
    return loss / (2 * samples);
}

awaitable<MicroBatchResult> QuadraticCompute::micro_batch() {
    const Duration time =
        from_seconds(seconds(settings_.time) * (1 + settings_.time_jitter * random_.uniform()));
    {
        const InUse now(*this);
        co_await clock_.sleep_for(time);
    }
    MicroBatchResult result;
    result.samples = static_cast<Samples>(settings_.samples);
    result.seconds = seconds(time);
    result.loss = loss_of(next_sample_, settings_.samples);
    const Wishes wishes(next_sample_, settings_.samples);
    Accumulator& place = held_ ? ahead_ : current_;
    for (std::size_t i = 0; i < parameters.size(); ++i)
        place.sum[i] += static_cast<double>(parameters[i]) * static_cast<double>(settings_.samples) -
                        wishes.sum[i % kPatterns];
    for (std::int64_t s = 0; s < settings_.samples; ++s) place.samples.push_back(next_sample_++);
    co_return result;
}

awaitable<std::span<const float>> QuadraticCompute::contribution() {
    if (busy_) violations_->push_back("two calls of Compute at a time");
    if (held_) violations_->push_back("a contribution while the last one is on its way");
    (*ledger_)[{self_, step_}].push_back(current_.samples);
    for (std::size_t i = 0; i < mean_.size(); ++i)
        mean_[i] = static_cast<float>(current_.sum[i] / static_cast<double>(current_.samples.size()));
    if (std::exchange(poison_next, false)) mean_[mean_.size() / 2] = std::numeric_limits<float>::quiet_NaN();
    co_return mean_;
}

awaitable<bool> QuadraticCompute::apply(Step from, std::span<const float> average) {
    {
        const InUse now(*this);
        co_await clock_.sleep_for(kApplyTime);
    }
    if (from != step_) violations_->push_back("a step that does not follow");
    step_ = next(from);
    current_.samples.clear();
    std::fill(current_.sum.begin(), current_.sum.end(), 0.0);
    if (std::exchange(held_, false)) {
        std::swap(current_, ahead_);
        early.insert(current_.samples.begin(), current_.samples.end());
    }
    if (!std::all_of(average.begin(), average.end(), [](float f) { return std::isfinite(f); })) {
        skipped.insert(value(from));
        co_return false;
    }
    for (std::size_t i = 0; i < parameters.size(); ++i) {
        momentum[i] = static_cast<float>(settings_.momentum) * momentum[i] + average[i];
        parameters[i] -= static_cast<float>(settings_.rate) * momentum[i];
    }
    co_return true;
}

void QuadraticCompute::hold() {
    held_ = true;
}

void QuadraticCompute::release() {
    held_ = false;
    for (std::size_t i = 0; i < current_.sum.size(); ++i)
        current_.sum[i] += std::exchange(ahead_.sum[i], 0.0);
    current_.samples.insert(current_.samples.end(), ahead_.samples.begin(), ahead_.samples.end());
    ahead_.samples.clear();
}

void QuadraticCompute::discard() {
    held_ = false;
    for (Accumulator* each : {&current_, &ahead_}) {
        each->samples.clear();
        std::fill(each->sum.begin(), each->sum.end(), 0.0);
    }
}

Fingerprint QuadraticCompute::fingerprint_now() const {
    const Fingerprint first = fingerprint(as_bytes(std::span<const float>(parameters)));
    return fingerprint(as_bytes(std::span<const float>(momentum)), first.low);
}

awaitable<StatePointer> QuadraticCompute::snapshot(Step step) {
    {
        const InUse now(*this);
        co_await clock_.sleep_for(kSnapshotTime);
    }
    if (step != step_) violations_->push_back("a snapshot of another step");
    auto state = std::make_shared<State>();
    state->step = step;
    StateSection first, second;
    first.name = "parameters";
    first.values = parameters;
    second.name = "optimizer/momentum";
    second.values = momentum;
    state->sections.push_back(std::move(first));
    state->sections.push_back(std::move(second));
    co_return state;
}

awaitable<void> QuadraticCompute::load(StatePointer state) {
    if (busy_) violations_->push_back("two calls of Compute at a time");
    const auto fits = [this](const StateSection& section) {
        return section.values.size() == settings_.width;
    };
    if (state->sections.size() != 2 || !std::all_of(state->sections.begin(), state->sections.end(), fits))
        throw Error(ErrorKind::corrupted, "this state is of another model");
    parameters = state->sections[0].values;
    momentum = state->sections[1].values;
    step_ = state->step;
    discard();
    co_return;
}

void QuadraticCompute::renumber(Step step) {
    if (busy_) violations_->push_back("two calls of Compute at a time");
    step_ = step;
}

awaitable<double> QuadraticCompute::held_out_loss() {
    if (!has_held_out_data) co_return std::numeric_limits<double>::quiet_NaN();
    constexpr std::uint64_t kFirst = std::uint64_t{1} << 50U;
    co_return loss_of(kFirst, 16);
}

}  // namespace shoal::sim
