#include "shoal/collective/group_compute.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "shoal/base/error.h"

namespace shoal::collective {

namespace {

constexpr std::string_view kParameters = "parameters";

template <typename Sections>
auto& section_of(Sections& sections, std::size_t elements) {
    for (auto& section : sections)
        if (section.name == kParameters && section.values.size() == elements) return section.values;
    throw Error(ErrorKind::corrupted, "this state has no parameters of this model");
}

}  // namespace

const std::vector<float>& parameters_of(const State& state, std::size_t elements) {
    return section_of(state.sections, elements);
}

std::vector<std::size_t> GroupCompute::tensor_sizes() const {
    std::vector<std::size_t> sizes = inner_.tensor_sizes();
    sizes.push_back(inner_.gradient_elements());
    return sizes;
}

awaitable<MicroBatchResult> GroupCompute::micro_batch() {
    const MicroBatchResult result = co_await inner_.micro_batch();
    if (!result.dropped && value(result.samples) > 0) has_gradient_ = true;
    co_return result;
}

awaitable<std::span<const float>> GroupCompute::contribution() {
    vector_.assign(inner_.gradient_elements(), 0.0F);
    if (has_gradient_) {
        const std::span<const float> gradient = co_await inner_.contribution();
        std::copy(gradient.begin(), gradient.end(), vector_.begin());
    }
    kept_ = co_await inner_.snapshot(step_);
    const std::vector<float>& parameters = parameters_of(*kept_, inner_.gradient_elements());
    vector_.insert(vector_.end(), parameters.begin(), parameters.end());
    co_return vector_;
}

void GroupCompute::hold() {
    throw Error(ErrorKind::invalid_argument, "averaging in groups does not go with delayed averaging");
}

void GroupCompute::release() {}

awaitable<bool> GroupCompute::apply(Step from, std::span<const float> average) {
    const std::size_t elements = inner_.gradient_elements();
    const auto finite = [](float number) { return std::isfinite(number); };
    step_ = next(from);
    has_gradient_ = false;
    StatePointer before = std::exchange(kept_, nullptr);
    // Where it is not finite the inner one finds so, too, counts the step and changes nothing.
    if (!std::all_of(average.begin(), average.end(), finite)) {
        const std::vector<float> nothing(elements, std::numeric_limits<float>::quiet_NaN());
        co_return co_await inner_.apply(from, nothing);
    }
    if (!before) before = co_await inner_.snapshot(from);
    // A copy that nobody else holds is changed in place.
    std::shared_ptr<State> mixed;
    if (before.use_count() == 1)
        mixed = std::const_pointer_cast<State>(std::move(before));
    else
        mixed = std::make_shared<State>(*before);
    mixed->step = from;
    std::vector<float>& parameters = section_of(mixed->sections, elements);
    const auto mean = average.subspan(elements);
    if (observer_) observer_(from, parameters, mean);
    std::copy(mean.begin(), mean.end(), parameters.begin());
    co_await inner_.load(std::move(mixed));
    const bool applied = co_await inner_.apply(from, average.first(elements));
    co_return applied;
}

void GroupCompute::discard() {
    has_gradient_ = false;
    inner_.discard();
}

awaitable<StatePointer> GroupCompute::snapshot(Step step) {
    step_ = step;
    return inner_.snapshot(step);
}

void GroupCompute::renumber(Step step) {
    step_ = step;
    kept_.reset();
    inner_.renumber(step);
}

awaitable<void> GroupCompute::load(StatePointer state) {
    step_ = state->step;
    kept_.reset();
    has_gradient_ = false;
    return inner_.load(std::move(state));
}

}  // namespace shoal::collective
