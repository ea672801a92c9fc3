#include "shoal/variational/masha.h"

#include <algorithm>

namespace shoal::variational {

Masha::Masha(const Problem& problem, Exchange& exchange, const MethodSettings& settings, bool error_feedback)
    : Method(problem, exchange, settings),
      compressed_(
          exchange, problem.dimension(),
          AveragingSettings{settings.device_codec, settings.server_codec, error_feedback, settings.seed},
          counter()),
      exact_(exchange, problem.dimension(), AveragingSettings(), counter()),
      refresh_(choose_refresh(compressed_)),
      reference_(z()),
      pulled_(reference_),
      half_(reference_),
      answer_(reference_),
      reference_operator_(reference_),
      reference_operators_(device_vectors()),
      differences_(device_vectors()),
      at_half_(reference_),
      at_reference_(reference_) {}

awaitable<void> Masha::prepare() {
    co_await share_reference();
}

awaitable<void> Masha::share_reference() {
    evaluate_all(reference_, reference_operators_);
    co_await exact_.average(everybody(), reference_operators_, reference_operator_);
}

void Masha::make_half_point() {
    combine(1 - refresh_, z(), refresh_, reference_, pulled_);
    combine(1, pulled_, -step_size(), reference_operator_, half_);
    prox(half_);
    note_half_point(half_);
}

void Masha::evaluate_differences(const std::vector<std::size_t>& senders, double factor) {
    for (std::size_t i = 0; i < differences_.size(); ++i) {
        const std::size_t device = exchange().local_devices()[i];
        if (!std::binary_search(senders.begin(), senders.end(), device)) continue;
        const std::vector<std::size_t> batch = draw_batch(device);
        evaluate(device, batch, half_, at_half_);
        if (!batch.empty()) evaluate(device, batch, reference_, at_reference_);
        const Vector& before = batch.empty() ? reference_operators_[i] : at_reference_;
        for (std::size_t j = 0; j < half_.size(); ++j)
            differences_[i][j] = factor * (at_half_[j] - before[j]);
    }
}

awaitable<void> Masha::perhaps_refresh(Vector old_point) {
    if (!draw_refresh(refresh_)) co_return;
    reference_ = std::move(old_point);
    co_await share_reference();
}

Masha1::Masha1(const Problem& problem, Exchange& exchange, const MethodSettings& settings)
    : Masha(problem, exchange, settings, false) {
    choose_step([this](const Setting& setting) { return masha1_step(setting, refresh_); }, compressed_);
}

awaitable<void> Masha1::advance() {
    const std::vector<std::size_t> senders = draw_participants();
    make_half_point();
    evaluate_differences(senders, 1);
    co_await compressed_.average(senders, differences_, answer_);

    // z^{k+1} = prox( zbar - step (F(w) + g) )
    Vector old_point = z();
    for (std::size_t i = 0; i < z().size(); ++i)
        z()[i] = pulled_[i] - step_size() * (reference_operator_[i] + answer_[i]);
    prox(z());
    co_await perhaps_refresh(std::move(old_point));
}

Masha2::Masha2(const Problem& problem, Exchange& exchange, const MethodSettings& settings)
    : Masha(problem, exchange, settings, true) {
    refuse_prox();
    choose_step([this](const Setting& setting) { return masha2_step(setting, refresh_); }, compressed_);
}

awaitable<void> Masha2::advance() {
    const std::vector<std::size_t> senders = draw_participants();
    make_half_point();
    evaluate_differences(senders,
                         step_size());  // the step inside of the compressor: errors are remembered in it
    co_await compressed_.average(senders, differences_, answer_);

    // z^{k+1} = z^{k+1/2} - g, which has the step in it
    Vector old_point = z();
    combine(1, half_, -1, answer_, z());
    co_await perhaps_refresh(std::move(old_point));
}

}  // namespace shoal::variational
