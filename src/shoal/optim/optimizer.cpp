#include "shoal/optim/optimizer.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "shoal/base/error.h"
#include "shoal/compress/exact_floating_point.h"
#include "shoal/optim/exact_math.h"
#include "shoal/optim/update_kernels.h"

namespace shoal::optim {

namespace {

/// What the bias corrections make of the moments of step t = value(from) + 1: 1 - beta^t, or 1 without
/// correction.
double correction(const OptimizerSettings& settings, double beta, Step from) {
    if (!settings.bias_correction) return 1;
    return 1 - integer_power(beta, static_cast<std::uint64_t>(value(from)) + 1);
}

MomentConstants moment_constants(const OptimizerSettings& settings) {
    return {static_cast<float>(settings.betas[0]), static_cast<float>(1 - settings.betas[0]),
            static_cast<float>(settings.betas[1]), static_cast<float>(1 - settings.betas[1]),
            static_cast<float>(settings.epsilon)};
}

bool is_frozen(const PlacedTensor& tensor, Step from) {
    return value(from) < tensor.frozen_steps;
}

class Sgd final : public Optimizer {
  public:
    Sgd(const OptimizerSettings& settings, ParameterLayout layout)
        : Optimizer(std::move(layout)),
          settings_(settings),
          momentum_(settings.momentum > 0 ? this->layout().size() : 0) {}

    std::vector<StatePart> state() override {
        if (momentum_.empty()) return {};
        return {{"momentum", momentum_}};
    }

  protected:
    void do_step(Step from, float* parameters, const float* gradient, double learning_rate) override {
        SgdConstants constants{};
        constants.learning_rate = static_cast<float>(learning_rate);
        constants.momentum = static_cast<float>(settings_.momentum);
        constants.nesterov = settings_.nesterov;
        for (const PlacedTensor& tensor : layout().tensors()) {
            if (is_frozen(tensor, from)) continue;
            const std::size_t at = tensor.offset;
            constants.weight_decay = tensor.decay ? static_cast<float>(settings_.weight_decay) : 0.0F;
            if (momentum_.empty()) {
                plain_sgd_update(constants, gradient + at, parameters + at, tensor.count);
            } else {
                sgd_update(constants, gradient + at, parameters + at, momentum_.data() + at, tensor.count);
            }
        }
    }

  private:
    OptimizerSettings settings_;
    std::vector<float> momentum_;  ///< empty if there is none
};

class Larc final : public Optimizer {
  public:
    Larc(const OptimizerSettings& settings, ParameterLayout layout)
        : Optimizer(std::move(layout)), settings_(settings), momentum_(this->layout().size()) {}

    std::vector<StatePart> state() override { return {{"momentum", momentum_}}; }

  protected:
    void do_step(Step from, float* parameters, const float* gradient, double learning_rate) override {
        for (const PlacedTensor& tensor : layout().tensors()) {
            if (is_frozen(tensor, from)) continue;
            const std::size_t at = tensor.offset;
            const LarcConstants constants = constants_of(tensor, parameters, gradient, learning_rate);
            larc_update(constants, gradient + at, parameters + at, momentum_.data() + at, tensor.count);
        }
    }

  private:
    /// A tensor whose weights or gradient are all zero takes its gradient as it is, without decay.
    LarcConstants constants_of(const PlacedTensor& tensor, const float* parameters, const float* gradient,
                               double learning_rate) const {
        LarcConstants constants{};
        constants.learning_rate = static_cast<float>(learning_rate);
        constants.momentum = static_cast<float>(settings_.momentum);
        constants.trust = 1;
        const double weight_norm = std::sqrt(sum_of_squares({parameters + tensor.offset, tensor.count}));
        const double gradient_norm = std::sqrt(sum_of_squares({gradient + tensor.offset, tensor.count}));
        if (weight_norm == 0 || gradient_norm == 0) return constants;
        const double decay = tensor.decay ? settings_.weight_decay : 0;
        double trust =
            settings_.trust * weight_norm / (gradient_norm + weight_norm * decay + settings_.epsilon);
        if (settings_.trust_clip) trust = trust < learning_rate ? trust / learning_rate : 1;
        constants.weight_decay = static_cast<float>(decay);
        constants.trust = static_cast<float>(trust);
        return constants;
    }

    OptimizerSettings settings_;
    std::vector<float> momentum_;
};

/// Keeps the two moments of AdamW and LAMB.
class MomentOptimizer : public Optimizer {
  public:
    MomentOptimizer(const OptimizerSettings& settings, ParameterLayout layout)
        : Optimizer(std::move(layout)),
          settings_(settings),
          first_moment_(this->layout().size()),
          second_moment_(this->layout().size()) {}

    std::vector<StatePart> state() override {
        return {{"first_moment", first_moment_}, {"second_moment", second_moment_}};
    }

  protected:
    OptimizerSettings settings_;
    std::vector<float> first_moment_, second_moment_;
};

class AdamW final : public MomentOptimizer {
  public:
    using MomentOptimizer::MomentOptimizer;

  protected:
    void do_step(Step from, float* parameters, const float* gradient, double learning_rate) override {
        AdamWConstants constants{};
        constants.moments = moment_constants(settings_);
        constants.step_size =
            static_cast<float>(learning_rate / correction(settings_, settings_.betas[0], from));
        constants.root_correction =
            static_cast<float>(1 / std::sqrt(correction(settings_, settings_.betas[1], from)));
        for (const PlacedTensor& tensor : layout().tensors()) {
            if (is_frozen(tensor, from)) continue;
            const std::size_t at = tensor.offset;
            constants.shrink =
                static_cast<float>(tensor.decay ? 1 - learning_rate * settings_.weight_decay : 1.0);
            adamw_update(constants, gradient + at, parameters + at, first_moment_.data() + at,
                         second_moment_.data() + at, tensor.count);
        }
    }
};

class Lamb final : public MomentOptimizer {
  public:
    Lamb(const OptimizerSettings& settings, ParameterLayout layout)
        : MomentOptimizer(settings, std::move(layout)) {
        std::size_t largest = 0;
        for (const PlacedTensor& tensor : this->layout().tensors()) largest = std::max(largest, tensor.count);
        direction_.resize(largest);
    }

  protected:
    void do_step(Step from, float* parameters, const float* gradient, double learning_rate) override {
        const double step_size = learning_rate * std::sqrt(correction(settings_, settings_.betas[1], from)) /
                                 correction(settings_, settings_.betas[0], from);
        for (const PlacedTensor& tensor : layout().tensors()) {
            if (is_frozen(tensor, from)) continue;
            const double ratio = find_direction(tensor, parameters, gradient);
            subtract_scaled(static_cast<float>(step_size * ratio), direction_.data(),
                            parameters + tensor.offset, tensor.count);
        }
    }

  private:
    /// Updates the moments of a tensor, leaves u in direction_ and returns the trust ratio. Goes block by
    /// block, so that the norms read from the cache; they are what sum_of_squares() of the whole tensor
    /// gives.
    double find_direction(const PlacedTensor& tensor, const float* parameters, const float* gradient) {
        const MomentConstants constants = moment_constants(settings_);
        const float decay = tensor.decay ? static_cast<float>(settings_.weight_decay) : 0.0F;
        double weight_squares = 0, direction_squares = 0;
        for (std::size_t begin = 0; begin < tensor.count; begin += kReductionBlock) {
            const std::size_t count = std::min(kReductionBlock, tensor.count - begin);
            const std::size_t at = tensor.offset + begin;
            lamb_direction(constants, decay, gradient + at, parameters + at, first_moment_.data() + at,
                           second_moment_.data() + at, direction_.data() + begin, count);
            weight_squares += block_sum_of_squares({parameters + at, count});
            direction_squares += block_sum_of_squares({direction_.data() + begin, count});
        }
        const double weight_norm = std::min(std::sqrt(weight_squares), settings_.maximum_weight_norm);
        const double direction_norm = std::sqrt(direction_squares);
        return weight_norm == 0 || direction_norm == 0 ? 1 : weight_norm / direction_norm;
    }

    std::vector<float> direction_;  ///< u of the tensor at work; as long as the largest one
};

void require(bool condition, const char* problem, double found) {
    if (condition) return;
    throw Error(ErrorKind::invalid_argument,
                std::string("optimizer: ") + problem + ", not " + std::to_string(found));
}

void check(const OptimizerSettings& settings) {
    require(settings.weight_decay >= 0 && std::isfinite(settings.weight_decay),
            "weight_decay must be a finite number of at least 0", settings.weight_decay);
    if (settings.name == "sgd" || settings.name == "larc") {
        require(settings.momentum >= 0 && settings.momentum < 1, "momentum must be at least 0 and below 1",
                settings.momentum);
        require(!settings.nesterov || settings.momentum > 0, "nesterov needs a momentum above 0",
                settings.momentum);
        if (settings.name == "sgd") return;
        require(!settings.nesterov, "larc has no nesterov", 1);
        require(settings.trust > 0 && std::isfinite(settings.trust), "trust must be a positive number",
                settings.trust);
        require(settings.epsilon >= 0 && std::isfinite(settings.epsilon),
                "epsilon must be a finite number of at least 0", settings.epsilon);
        return;
    }
    for (const double beta : settings.betas) {
        require(beta >= 0 && beta < 1, "betas must be at least 0 and below 1", beta);
    }
    require(static_cast<float>(settings.epsilon) > 0 && std::isfinite(settings.epsilon),
            "epsilon must be a positive number", settings.epsilon);
    require(settings.maximum_weight_norm > 0, "maximum_weight_norm must be positive",
            settings.maximum_weight_norm);
}

}  // namespace

void Optimizer::step(Step from, std::span<float> parameters, std::span<const float> gradient,
                     double learning_rate) {
    const std::size_t size = layout_.size();
    if (parameters.size() != size || gradient.size() != size) {
        throw Error(ErrorKind::invalid_argument, "optimizer: the layout has " + std::to_string(size) +
                                                     " parameters, but there are " +
                                                     std::to_string(parameters.size()) + " parameters and " +
                                                     std::to_string(gradient.size()) + " gradients");
    }
    require(learning_rate >= 0 && std::isfinite(learning_rate),
            "the learning rate must be a finite number of at least 0", learning_rate);
    require(value(from) >= 0, "the step must not be negative", static_cast<double>(value(from)));
    const compress::ExactFloatingPoint exact;
    do_step(from, parameters.data(), gradient.data(), learning_rate);
}

std::unique_ptr<Optimizer> make_optimizer(const OptimizerSettings& settings, ParameterLayout layout) {
    const bool known = settings.name == "sgd" || settings.name == "adamw" || settings.name == "lamb" ||
                       settings.name == "larc";
    if (!known) {
        throw Error(ErrorKind::invalid_argument,
                    "unknown optimizer '" + settings.name + "'; the known ones are lamb, larc, adamw, sgd");
    }
    check(settings);
    if (settings.name == "sgd") return std::make_unique<Sgd>(settings, std::move(layout));
    if (settings.name == "larc") return std::make_unique<Larc>(settings, std::move(layout));
    if (settings.name == "adamw") return std::make_unique<AdamW>(settings, std::move(layout));
    return std::make_unique<Lamb>(settings, std::move(layout));
}

}  // namespace shoal::optim
