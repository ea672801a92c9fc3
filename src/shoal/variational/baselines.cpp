#include "shoal/variational/baselines.h"

#include <algorithm>

namespace shoal::variational {
namespace {

AveragingSettings compressed(const MethodSettings& settings, bool error_feedback) {
    return {settings.device_codec, settings.server_codec, error_feedback, settings.seed};
}

}  // namespace

Extragradient::Extragradient(const Problem& problem, Exchange& exchange, const MethodSettings& settings)
    : Method(problem, exchange, settings),
      exact_(exchange, problem.dimension(), AveragingSettings(), counter()),
      operators_(device_vectors()),
      average_(z()),
      half_(z()) {
    choose_step(extragradient_step, exact_);
}

awaitable<void> Extragradient::advance() {
    evaluate_all(z(), operators_);
    co_await exact_.average(everybody(), operators_, average_);
    combine(1, z(), -step_size(), average_, half_);
    prox(half_);
    note_half_point(half_);

    evaluate_all(half_, operators_);
    co_await exact_.average(everybody(), operators_, average_);
    add_scaled(-step_size(), average_, z());
    prox(z());
}

QuantisedDescent::QuantisedDescent(const Problem& problem, Exchange& exchange, const MethodSettings& settings)
    : Method(problem, exchange, settings),
      compressed_(exchange, problem.dimension(), compressed(settings, false), counter()),
      operators_(device_vectors()),
      average_(z()) {
    choose_step(quantised_step, compressed_);
}

awaitable<void> QuantisedDescent::advance() {
    const std::vector<std::size_t> senders = draw_participants();
    note_half_point(z());
    evaluate_drawn(senders, z(), operators_);
    co_await compressed_.average(senders, operators_, average_);
    add_scaled(-step_size(), average_, z());
    prox(z());
}

ErrorFeedbackDescent::ErrorFeedbackDescent(const Problem& problem, Exchange& exchange,
                                           const MethodSettings& settings)
    : Method(problem, exchange, settings),
      compressed_(exchange, problem.dimension(), compressed(settings, true), counter()),
      operators_(device_vectors()),
      average_(z()) {
    refuse_prox();
    choose_step(error_feedback_step, compressed_);
}

awaitable<void> ErrorFeedbackDescent::advance() {
    const std::vector<std::size_t> senders = draw_participants();
    note_half_point(z());
    evaluate_drawn(senders, z(), operators_);
    for (Vector& value : operators_)
        for (double& element : value) element *= step_size();
    co_await compressed_.average(senders, operators_, average_);
    add_scaled(-1, average_, z());
}

QuantisedExtragradient::QuantisedExtragradient(const Problem& problem, Exchange& exchange,
                                               const MethodSettings& settings)
    : Method(problem, exchange, settings),
      compressed_(exchange, problem.dimension(), compressed(settings, false), counter()),
      operators_(device_vectors()),
      average_(z()),
      half_(z()) {
    choose_step(quantised_step, compressed_);
}

awaitable<void> QuantisedExtragradient::advance() {
    const std::vector<std::size_t> senders = draw_participants();
    evaluate_drawn(senders, z(), operators_);
    co_await compressed_.average(senders, operators_, average_);
    combine(1, z(), -step_size(), average_, half_);
    prox(half_);
    note_half_point(half_);

    evaluate_drawn(senders, half_, operators_);
    co_await compressed_.average(senders, operators_, average_);
    add_scaled(-step_size(), average_, z());
    prox(z());
}

LocalDescent::LocalDescent(const Problem& problem, Exchange& exchange, const MethodSettings& settings)
    : Method(problem, exchange, settings),
      exact_(exchange, problem.dimension(), AveragingSettings(), counter()),
      points_(device_vectors()),
      operator_(z()) {
    choose_step(local_step, exact_);
}

awaitable<void> LocalDescent::advance() {
    note_half_point(z());
    for (std::size_t i = 0; i < points_.size(); ++i) {
        const std::size_t device = exchange().local_devices()[i];
        points_[i] = z();
        for (std::size_t step = 0; step < settings().local_steps; ++step) {
            evaluate(device, draw_batch(device, step), points_[i], operator_);
            add_scaled(-step_size(), operator_, points_[i]);
            prox(points_[i]);
        }
    }
    co_await exact_.average(everybody(), points_, z());
}

}  // namespace shoal::variational
