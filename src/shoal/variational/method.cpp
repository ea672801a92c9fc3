#include "shoal/variational/method.h"

#include <algorithm>
#include <array>
#include <numeric>

#include "shoal/base/error.h"
#include "shoal/base/random.h"
#include "shoal/variational/baselines.h"
#include "shoal/variational/masha.h"
#include "shoal/variational/optimistic_masha.h"
#include "shoal/variational/shared_randomness.h"

namespace shoal::variational {
namespace {

constexpr std::array<std::string_view, 8> kNames = {
    "extragradient", "qgd", "error_feedback", "ceg", "local_sgda", "masha1", "masha2", "optimistic_masha"};

[[noreturn]] void refuse(const std::string& what) {
    throw Error(ErrorKind::invalid_argument, what);
}

/// So many different ones of [0, count), ascending.
std::vector<std::size_t> draw(Random random, std::size_t chosen, std::size_t count) {
    std::vector<std::size_t> all(count);
    std::iota(all.begin(), all.end(), std::size_t{0});
    for (std::size_t i = 0; i < chosen; ++i) std::swap(all[i], all[i + random.below(count - i)]);
    all.resize(chosen);
    std::sort(all.begin(), all.end());
    return all;
}

void check(const Problem& problem, const Exchange& exchange, const MethodSettings& settings) {
    if (exchange.devices() != problem.devices())
        refuse("the problem is divided over " + std::to_string(problem.devices()) +
               " devices, but the exchange has " + std::to_string(exchange.devices()));
    if (settings.step_size && !(*settings.step_size > 0 && std::isfinite(*settings.step_size)))
        refuse("a step size must be positive");
    if (settings.refresh && !(*settings.refresh > 0 && *settings.refresh <= 1))
        refuse("the probability of a refresh must be above 0 and at most 1");
    if (settings.participants > problem.devices())
        refuse(std::to_string(settings.participants) + " participants, but there are " +
               std::to_string(problem.devices()) + " devices");
    for (std::size_t device = 0; device < problem.devices(); ++device)
        if (settings.batch > problem.components(device))
            refuse("a batch of " + std::to_string(settings.batch) + ", but device " + std::to_string(device) +
                   " has " + std::to_string(problem.components(device)) + " components");
    if (settings.local_steps == 0) refuse("there must be one local step at least");
}

}  // namespace

Method::Method(const Problem& problem, Exchange& exchange, const MethodSettings& settings)
    : problem_(problem),
      exchange_(exchange),
      settings_(settings),
      everybody_(problem.devices()),
      point_(problem.start()),
      average_point_(problem.dimension(), 0.0) {
    check(problem, exchange, settings);
    std::iota(everybody_.begin(), everybody_.end(), std::size_t{0});
}

awaitable<void> Method::start() {
    co_await prepare();
}

awaitable<void> Method::prepare() {
    co_return;
}

awaitable<void> Method::iterate() {
    co_await advance();
    ++iterations_;
    if (!is_finite(point_))
        refuse("the method has diverged after " + std::to_string(iterations_) +
               " iterations; a smaller step size may help");
}

Setting Method::setting(const Averaging& messages) const {
    Setting setting;
    setting.constants = problem_.constants().value_or(Constants());
    setting.devices = problem_.devices();
    setting.senders = settings_.participants == 0 ? problem_.devices() : settings_.participants;
    for (const std::size_t device : everybody_)
        setting.components = std::max(setting.components, problem_.components(device));
    setting.batch = settings_.batch == 0 ? setting.components : settings_.batch;
    setting.local_steps = settings_.local_steps;
    setting.device = messages.device_quality();
    setting.server = messages.server_quality();
    return setting;
}

void Method::choose_step(const std::function<double(const Setting&)>& by_theory, const Averaging& messages) {
    if (!settings_.step_size && !problem_.constants())
        refuse("the constants of this problem are not known, so no step size follows from theory; give one");
    step_size_ = settings_.step_size ? *settings_.step_size : by_theory(setting(messages));
}

double Method::choose_refresh(const Averaging& messages) const {
    return settings_.refresh ? *settings_.refresh : refresh_probability(setting(messages));
}

std::vector<std::size_t> Method::draw_participants() const {
    if (settings_.participants == 0) return everybody_;
    const Random random(derived_seed(settings_.seed, Purpose::participants, {iterations_}));
    return draw(random, settings_.participants, problem_.devices());
}

std::vector<std::size_t> Method::draw_batch(std::size_t device, std::uint64_t occasion) const {
    if (settings_.batch == 0 || settings_.batch == problem_.components(device)) return {};
    const Random random(derived_seed(settings_.seed, Purpose::batch, {iterations_, device, occasion}));
    return draw(random, settings_.batch, problem_.components(device));
}

bool Method::draw_refresh(double probability) const {
    Random random(derived_seed(settings_.seed, Purpose::refresh, {iterations_}));
    return random.uniform() < probability;
}

std::vector<Vector> Method::device_vectors() const {
    return std::vector<Vector>(exchange_.local_devices().size(), Vector(problem_.dimension(), 0.0));
}

void Method::evaluate(std::size_t device, std::span<const std::size_t> batch, std::span<const double> z,
                      Vector& value) {
    double part = 1;
    if (batch.empty()) {
        problem_.evaluate(device, z, value);
    } else {
        problem_.evaluate_batch(device, batch, z, value);
        part = static_cast<double>(batch.size()) / static_cast<double>(problem_.components(device));
    }
    evaluations_ += part / static_cast<double>(exchange_.local_devices().size());
}

void Method::evaluate_all(std::span<const double> z, std::vector<Vector>& values) {
    for (std::size_t i = 0; i < values.size(); ++i) evaluate(exchange_.local_devices()[i], {}, z, values[i]);
}

void Method::evaluate_drawn(const std::vector<std::size_t>& senders, std::span<const double> z,
                            std::vector<Vector>& values) {
    for (std::size_t i = 0; i < values.size(); ++i) {
        const std::size_t device = exchange_.local_devices()[i];
        if (std::binary_search(senders.begin(), senders.end(), device))
            evaluate(device, draw_batch(device), z, values[i]);
    }
}

void Method::refuse_prox() const {
    if (problem_.has_prox())
        refuse(settings_.method + " has no proximal step: it is for problems without constraints");
}

void Method::note_half_point(std::span<const double> z) {
    ++noted_;
    const double weight = 1 / static_cast<double>(noted_);
    for (std::size_t i = 0; i < z.size(); ++i) average_point_[i] += weight * (z[i] - average_point_[i]);
}

std::unique_ptr<Method> make_method(const Problem& problem, Exchange& exchange,
                                    const MethodSettings& settings) {
    const std::string& name = settings.method;
    if (name == "extragradient") return std::make_unique<Extragradient>(problem, exchange, settings);
    if (name == "qgd") return std::make_unique<QuantisedDescent>(problem, exchange, settings);
    if (name == "error_feedback") return std::make_unique<ErrorFeedbackDescent>(problem, exchange, settings);
    if (name == "ceg") return std::make_unique<QuantisedExtragradient>(problem, exchange, settings);
    if (name == "local_sgda") return std::make_unique<LocalDescent>(problem, exchange, settings);
    if (name == "masha1") return std::make_unique<Masha1>(problem, exchange, settings);
    if (name == "masha2") return std::make_unique<Masha2>(problem, exchange, settings);
    if (name == "optimistic_masha") return std::make_unique<OptimisticMasha>(problem, exchange, settings);
    std::string known;
    for (const std::string_view each : kNames) known += (known.empty() ? "" : ", ") + std::string(each);
    refuse("unknown method '" + name + "'; the known ones are " + known);
}

std::span<const std::string_view> method_names() {
    return kNames;
}

}  // namespace shoal::variational
