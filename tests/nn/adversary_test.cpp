// The worst perturbation on a ball, and a model that is trained against it.
#include "shoal/nn/adversary.h"

#include "data/expect_error.h"
#include "nn/batches.h"
#include "nn/gradient_check.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/tensor.h>
#include <limits>

namespace shoal::nn {
namespace {

using namespace testing_support;

AdversarySettings ball(double radius, std::int64_t steps = 1, double rate = 1) {
    AdversarySettings settings;
    settings.radius = radius;
    settings.steps = steps;
    settings.rate = rate;
    return settings;
}

double norm_of_sample(const at::Tensor& x, std::int64_t sample) {
    return x.select(0, sample).norm().item().toDouble();
}

TEST(Adversary, ReachesTheMaximumOfALinearLossInOneStep) {
    const at::Tensor slope = at::tensor({3.0f, 4.0f, 0.0f, 0.5f, 0.0f, 0.0f}).view({2, 3});
    const at::Tensor found =
        find_perturbation(ball(2), {2, 3}, [&](const at::Tensor& x) { return (x * slope).sum(); });
    const at::Tensor best = at::tensor({1.2f, 1.6f, 0.0f, 2.0f, 0.0f, 0.0f}).view({2, 3});
    EXPECT_LT((found - best).abs().max().item().toDouble(), 1e-6);
    EXPECT_FALSE(found.requires_grad());
}

TEST(Adversary, StaysOnTheBallHoweverFarItsStepsGo) {
    const at::Tensor slope = at::tensor({1.0f, 0.0f, 1e-6f, 1e6f}).view({2, 2});
    for (const double rate : {0.1, 1.0, 50.0}) {
        const at::Tensor found = find_perturbation(ball(0.5, 20, rate), {2, 2},
                                                   [&](const at::Tensor& x) { return (x * slope).sum(); });
        for (std::int64_t sample = 0; sample < 2; ++sample)
            EXPECT_NEAR(norm_of_sample(found, sample), 0.5, 1e-6) << rate;
    }
}

TEST(Adversary, FindsTheMaximumInsideTheBallInSmallSteps) {
    // The best place is (0.3, -0.2), and nothing pulls beyond it.
    const at::Tensor best = at::tensor({0.3f, -0.2f}).view({1, 2});
    const at::Tensor found = find_perturbation(ball(1, 100, 0.01), {1, 2},
                                               [&](const at::Tensor& x) { return -(x - best).pow(2).sum(); });
    EXPECT_LT((found - best).norm().item().toDouble(), 0.011);
}

TEST(Adversary, LeavesASampleAloneWhoseLossDoesNotDependOnIt) {
    const at::Tensor slope = at::tensor({0.0f, 0.0f, 1.0f, 0.0f}).view({2, 2});
    const at::Tensor found =
        find_perturbation(ball(1), {2, 2}, [&](const at::Tensor& x) { return (x * slope).sum(); });
    EXPECT_EQ(norm_of_sample(found, 0), 0);
    EXPECT_NEAR(norm_of_sample(found, 1), 1, 1e-6);
}

ModelSettings adversarial_albert(double radius, std::int64_t steps = 1) {
    ModelSettings settings = little_albert();
    settings.adversary = ball(radius, steps);
    return settings;
}

double shaken_loss(const ModelSettings& settings, const data::Batch& batch) {
    const auto model = make_model(settings);
    shake(*model);
    return model->evaluate(batch);
}

TEST(AdversarialAlbert, HasALossThatGrowsWithTheRadiusAndWithTheSteps) {
    const data::Batch batch = masked_text(6);
    double before = shaken_loss(little_albert(), batch);
    for (const double radius : {0.1, 0.5, 2.0}) {
        const double loss = shaken_loss(adversarial_albert(radius), batch);
        EXPECT_GT(loss, before) << radius;
        before = loss;
    }
    ModelSettings patient = adversarial_albert(2.0, 10);
    patient.adversary.rate = 0.3;
    EXPECT_GT(shaken_loss(patient, batch), before);
}

TEST(AdversarialAlbert, IsWithoutAnAdversaryWhatItWas) {
    const data::Batch batch = masked_text(5);
    const auto gradient = [&](const ModelSettings& settings) {
        const auto model = make_model(settings);
        shake(*model);
        model->forward_backward(batch);
        return copy(model->gradient_sum());
    };
    const auto plain = gradient(little_albert());
    EXPECT_EQ(gradient(adversarial_albert(0)), plain);
    // Looking for the perturbation leaves nothing in the gradients.
    const auto tiny = gradient(adversarial_albert(1e-12, 3));
    double difference = 0, norm = 0;
    for (std::size_t i = 0; i < plain.size(); ++i) {
        difference += std::pow(tiny[i] - plain[i], 2);
        norm += std::pow(plain[i], 2);
    }
    EXPECT_LT(std::sqrt(difference / norm), 1e-5);
    EXPECT_NE(gradient(adversarial_albert(0.5)), plain);
}

TEST(AdversarialAlbert, DoesNotCareHowSamplesAreCutIntoBatches) {
    const data::Batch whole = masked_text(7);
    const auto model = make_model(adversarial_albert(0.5, 2));
    shake(*model);
    const double loss = model->forward_backward(whole);
    std::vector<float> at_once(model->size()), in_parts(model->size());
    model->read_mean_gradient(at_once);
    model->zero_gradients();
    double sum = 0;
    for (const auto& [first, count] : {std::pair{0, 1}, std::pair{1, 4}, std::pair{5, 2}})
        sum += count * model->forward_backward(part(whole, first, count));
    model->read_mean_gradient(in_parts);
    EXPECT_NEAR(sum / 7, loss, 1e-4);
    double difference = 0, norm = 0;
    for (std::size_t i = 0; i < at_once.size(); ++i) {
        difference += std::pow(at_once[i] - in_parts[i], 2);
        norm += std::pow(at_once[i], 2);
    }
    EXPECT_LT(std::sqrt(difference / norm), 1e-4);
}

TEST(AdversarialAlbert, RefusesWhatMakesNoSense) {
    const auto refuses = [](const AdversarySettings& settings, const std::string& word) {
        ModelSettings model = little_albert();
        model.adversary = settings;
        expect_error([&] { make_model(model); }, ErrorKind::invalid_argument, word);
    };
    refuses(ball(-1), "radius");
    refuses(ball(std::numeric_limits<double>::quiet_NaN()), "radius");
    refuses(ball(1, 0), "steps");
    refuses(ball(1, 101), "steps");
    refuses(ball(1, 1, 0), "rate");
}

}  // namespace
}  // namespace shoal::nn
