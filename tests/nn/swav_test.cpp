#include "shoal/nn/swav.h"

#include "data/expect_error.h"
#include "nn/batches.h"
#include "nn/gradient_check.h"

#include <ATen/ops/tensor.h>
#include <cmath>
#include <limits>
#include <numeric>

#include "shoal/nn/feature_model.h"
#include "shoal/nn/sinkhorn.h"

namespace shoal::nn {
namespace {

using namespace testing_support;

std::vector<float> sinkhorn_of(const std::vector<double>& scores, std::int64_t samples, double epsilon,
                               std::int64_t iterations) {
    const at::Tensor table = at::tensor(scores).view({samples, -1});
    const at::Tensor q = sinkhorn(table, epsilon, iterations).contiguous();
    return {q.data_ptr<float>(), q.data_ptr<float>() + q.numel()};
}

TEST(Sinkhorn, by_hand) {
    constexpr double kEpsilon = 0.03;
    // exp(score / epsilon) is {{2, 1}, {1, 1}}: a row is a sample, a column a prototype.
    const std::vector<double> scores = {kEpsilon * std::log(2), 0, 0, 0};
    // Columns to sum 1 (two samples, two prototypes): {{2/3, 1/2}, {1/3, 1/2}}; rows: {{4/7, 3/7}, {2/5,
    // 3/5}}.
    const auto once = sinkhorn_of(scores, 2, kEpsilon, 1);
    EXPECT_NEAR(once[0], 4.0 / 7, 1e-6);
    EXPECT_NEAR(once[1], 3.0 / 7, 1e-6);
    EXPECT_NEAR(once[2], 2.0 / 5, 1e-6);
    EXPECT_NEAR(once[3], 3.0 / 5, 1e-6);
    // Columns of that: 34/35 and 36/35; rows then as below.
    const auto twice = sinkhorn_of(scores, 2, kEpsilon, 2);
    const double first = 4.0 / 7 / (34.0 / 35), second = 3.0 / 7 / (36.0 / 35);
    EXPECT_NEAR(twice[0], first / (first + second), 1e-6);
    // What stays the same: {{sqrt 2, 1}, {1, sqrt 2}} / (1 + sqrt 2).
    const auto many = sinkhorn_of(scores, 2, kEpsilon, 100);
    EXPECT_NEAR(many[0], std::sqrt(2) / (1 + std::sqrt(2)), 1e-6);
    EXPECT_NEAR(many[1], 1 / (1 + std::sqrt(2)), 1e-6);
}

TEST(Sinkhorn, gives_each_sample_one_and_each_prototype_its_share) {
    Random random(2);
    std::vector<double> scores;
    for (int i = 0; i < 40 * 8; ++i) scores.push_back(2 * random.uniform() - 1);
    const auto q = sinkhorn_of(scores, 40, 0.05, 200);
    for (std::size_t sample = 0; sample < 40; ++sample)
        EXPECT_NEAR(std::accumulate(q.begin() + sample * 8, q.begin() + (sample + 1) * 8, 0.0), 1, 1e-5);
    for (std::size_t prototype = 0; prototype < 8; ++prototype) {
        double sum = 0;
        for (std::size_t sample = 0; sample < 40; ++sample) sum += q[sample * 8 + prototype];
        EXPECT_NEAR(sum, 5, 0.02);
    }
}

TEST(Sinkhorn, stays_finite_at_the_smallest_epsilon) {
    for (const float value : sinkhorn_of({1, -1, -1, 1, -1, -1}, 2, 0.001, 3)) {
        EXPECT_TRUE(std::isfinite(value));
        EXPECT_GE(value, 0);
        EXPECT_LE(value, 1 + 1e-6);
    }
    EXPECT_NEAR(sinkhorn_of({0.3, 0.9, -0.2, 0.5}, 1, 0.03, 3)[0], 0.25, 1e-6) << "one sample: all alike";
}

TEST(Swav, starts_from_the_same_bits_and_computes_them_again) {
    const auto one = make_model(little_resnet("swav")), other = make_model(little_resnet("swav"));
    EXPECT_EQ(copy(one->values()), copy(other->values()));
    EXPECT_EQ(one->forward_backward(views(6)), other->forward_backward(views(6)));
    EXPECT_EQ(copy(one->gradient_sum()), copy(other->gradient_sum()));
    ModelSettings another = little_resnet("swav");
    another.seed = 5;
    EXPECT_NE(copy(make_model(another)->values()), copy(other->values()));
}

TEST(Swav, names_its_parameters_and_freezes_the_prototypes) {
    ModelSettings settings = little_resnet("swav");
    settings.swav.frozen_steps = 77;
    const auto model = make_model(settings);
    EXPECT_EQ(model->parameters().front().name, "conv1.weight");
    for (const Parameter& parameter : model->parameters())
        EXPECT_EQ(parameter.frozen_steps, parameter.name == "prototypes.weight" ? 77 : 0) << parameter.name;
    const Parameter& last = model->parameters().back();
    EXPECT_EQ(last.name, "prototypes.weight");
    EXPECT_EQ(last.shape, (std::vector<std::int64_t>{12, 8}));
    for (std::size_t row = 0; row < 12; ++row) {
        double squares = 0;
        for (std::size_t i = 0; i < 8; ++i)
            squares += std::pow(model->values()[last.offset + row * 8 + i], 2);
        EXPECT_NEAR(squares, 1, 1e-5);
    }
}

TEST(Swav, has_no_loss_with_one_prototype_and_that_of_chance_when_predictions_are_flat) {
    ModelSettings settings = little_resnet("swav");
    settings.swav.prototypes = 1;
    EXPECT_NEAR(make_model(settings)->evaluate(views(4)), 0, 1e-6);
    settings.swav.prototypes = 12;
    settings.swav.temperature = 10;
    EXPECT_NEAR(make_model(settings)->evaluate(views(4)), std::log(12), 0.02);
}

/// The prototypes' length says nothing, and gradients have no part along it.
TEST(Swav, compares_directions_only) {
    const auto model = make_model(little_resnet("swav"));
    const double loss = model->evaluate(views(5));
    model->forward_backward(views(5));
    const Parameter& prototypes = model->parameters().back();
    double along = 0, squares = 0;
    for (std::size_t i = prototypes.offset; i < prototypes.offset + prototypes.size; ++i) {
        along += static_cast<double>(model->gradient_sum()[i]) * model->values()[i];
        squares += std::pow(model->gradient_sum()[i], 2);
        model->values()[i] *= 3;
    }
    EXPECT_GT(squares, 1e-6);
    EXPECT_NEAR(along, 0, 1e-4 * std::sqrt(squares));
    EXPECT_NEAR(model->evaluate(views(5)), loss, 1e-5);
}

/// The assignments have no gradient; where they hardly depend on the scores, the difference of two losses has
/// none of theirs either.
TEST(Swav, has_gradients_that_match_finite_differences_where_assignments_are_flat) {
    ModelSettings settings = little_resnet("swav");
    settings.swav.epsilon = 10;  // assignments hardly depend on the scores
    const auto model = make_model(settings);
    expect_gradients_agree(*model, views(6));
}

TEST(Resnet, has_gradients_that_match_finite_differences) {
    const auto model = make_model(little_resnet());
    expect_gradients_agree(*model, images(6, 16));
}

TEST(Swav, uses_its_queue_once_it_is_full_and_the_step_has_come) {
    ModelSettings settings = little_resnet("swav");
    const auto plain = make_model(settings);
    settings.swav.queue = 10;
    settings.swav.queue_from_step = 5;
    const auto queued = make_model(settings);
    const auto losses_are_equal = [&](std::uint64_t seed) {
        const data::Batch batch = views(6, 2, seed);
        return plain->forward_backward(batch) == queued->forward_backward(batch);
    };
    queued->set_step(4);
    EXPECT_TRUE(losses_are_equal(1));
    EXPECT_TRUE(losses_are_equal(2)) << "6 of 10 are there";
    EXPECT_TRUE(losses_are_equal(3)) << "full, but one step too early";
    queued->set_step(5);
    EXPECT_FALSE(losses_are_equal(4));
    EXPECT_EQ(plain->evaluate(views(6, 2, 5)), queued->evaluate(views(6, 2, 5))) << "not when it is tested";
}

TEST(Swav, keeps_what_is_not_finite_out_of_its_queue) {
    ModelSettings settings = little_resnet("swav");
    settings.swav.queue = 4;
    const auto model = make_model(settings);
    data::Batch broken = views(4);
    broken.large_views[7] = std::numeric_limits<float>::quiet_NaN();
    EXPECT_FALSE(std::isfinite(model->forward_backward(broken)));
    model->zero_gradients();
    for (std::uint64_t seed = 1; seed < 4; ++seed)
        EXPECT_TRUE(std::isfinite(model->forward_backward(views(4, 2, seed))));
}

TEST(Swav, takes_batches_of_one_sample_and_without_small_views) {
    const auto model = make_model(little_resnet("swav"));
    EXPECT_TRUE(std::isfinite(model->forward_backward(views(1, 0))));
    EXPECT_TRUE(std::isfinite(model->evaluate(views(3, 0))));
}

TEST(Swav, learns_a_batch_by_heart) {
    const auto model = make_model(little_resnet("swav"));
    const data::Batch batch = views(8);
    const double before = model->evaluate(batch);
    for (int step = 0; step < 60; ++step) {
        model->zero_gradients();
        model->forward_backward(batch);
        std::vector<float> gradient(model->size());
        model->read_mean_gradient(gradient);
        for (std::size_t i = 0; i < gradient.size(); ++i) model->values()[i] -= 0.3F * gradient[i];
    }
    EXPECT_LT(model->evaluate(batch), 0.7 * before);
}

class EveryTrunk : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Kinds, EveryTrunk, testing::Values("resnet", "swav"));

TEST_P(EveryTrunk, gives_features_of_each_image_by_itself_once_it_has_statistics) {
    const auto model = make_model(little_resnet(GetParam()));
    auto& features = dynamic_cast<FeatureModel&>(*model);
    const data::Batch all = images(8, 16);
    const auto size = static_cast<std::size_t>(features.feature_size());
    EXPECT_EQ(size, 16U);
    const auto of_first_two = [&] { return features.features(part(all, 0, 2)); };
    const auto first_of_all = [&] {
        const auto found = features.features(all);
        return std::vector<float>(found.begin(), found.begin() + 2 * size);
    };
    EXPECT_NE(of_first_two(), first_of_all()) << "normalised by the batch";
    features.gather_statistics(images(32, 16, 9));
    features.gather_statistics(images(32, 16, 10));
    const auto alone = of_first_two(), together = first_of_all();
    for (std::size_t i = 0; i < alone.size(); ++i) EXPECT_NEAR(alone[i], together[i], 1e-5);
    // Close to what training saw: the same distribution, other images.
    const auto by_batch = [&] {
        features.forget_statistics();
        return features.features(images(512, 16, 11));
    };
    const auto settled = features.features(images(512, 16, 11)), fresh = by_batch();
    double difference = 0, squares = 0;
    for (std::size_t i = 0; i < fresh.size(); ++i) {
        difference += std::pow(settled[i] - fresh[i], 2);
        squares += std::pow(fresh[i], 2);
    }
    EXPECT_LT(std::sqrt(difference / squares), 0.2);
}

TEST_P(EveryTrunk, is_trained_without_statistics) {
    const auto model = make_model(little_resnet(GetParam()));
    const data::Batch batch = std::string(GetParam()) == "swav" ? views(6) : images(6, 16);
    const double loss = model->forward_backward(batch);
    dynamic_cast<FeatureModel&>(*model).gather_statistics(images(16, 16));
    EXPECT_EQ(model->forward_backward(batch), loss);
}

TEST_P(EveryTrunk, refuses_batches_and_settings_that_do_not_fit) {
    const auto model = make_model(little_resnet(GetParam()));
    expect_error([&] { model->evaluate(masked_text(2)); }, ErrorKind::invalid_argument, "masked text");
    data::Batch coloured = std::string(GetParam()) == "swav" ? views(2) : images(2, 16);
    coloured.channels = 3;
    expect_error([&] { model->evaluate(coloured); }, ErrorKind::invalid_argument, "channels");
    const auto refused = [&](auto change, const std::string& word) {
        ModelSettings settings = little_resnet(GetParam());
        change(settings);
        expect_error([&] { make_model(settings); }, ErrorKind::invalid_argument, word);
    };
    refused([](ModelSettings& s) { s.size = "huge"; }, "huge");
    refused([](ModelSettings& s) { s.channels = 0; }, "channels");
    refused([](ModelSettings& s) { s.depths = {1, 0}; }, "depths");
    refused([](ModelSettings& s) { s.depths.assign(9, 1); }, "depths");
    refused([](ModelSettings& s) { s.block = "round"; }, "round");
    refused([](ModelSettings& s) { s.stem = "none"; }, "none");
    refused([](ModelSettings& s) { s.filters = 4097; }, "filters");
}

TEST(Swav, refuses_settings_that_make_no_sense) {
    const auto refused = [&](auto change, const std::string& word) {
        ModelSettings settings = little_resnet("swav");
        change(settings.swav);
        expect_error([&] { make_model(settings); }, ErrorKind::invalid_argument, word);
    };
    refused([](SwavSettings& s) { s.prototypes = -1; }, "prototypes");
    refused([](SwavSettings& s) { s.projection = (1 << 20) + 1; }, "projection");
    refused([](SwavSettings& s) { s.temperature = 0; }, "temperature");
    refused([](SwavSettings& s) { s.epsilon = std::nan(""); }, "epsilon");
    refused([](SwavSettings& s) { s.sinkhorn_iterations = 0; }, "sinkhorn_iterations");
    refused([](SwavSettings& s) { s.queue = -1; }, "queue");
    refused([](SwavSettings& s) { s.frozen_steps = -1; }, "frozen_steps");
}

TEST(Resnet, has_the_sizes_that_are_known) {
    ModelSettings settings;
    settings.kind = "resnet";
    settings.channels = 3;
    settings.classes = 1000;
    settings.size = "base";
    EXPECT_EQ(make_model(settings)->size(), 11'689'512U);  // torchvision's resnet18
    settings.size = "large";
    EXPECT_EQ(make_model(settings)->size(), 25'557'032U);  // torchvision's resnet50
}

TEST(Resnet, computes_a_bottleneck_with_the_large_stem) {
    ModelSettings settings = little_resnet();
    settings.block = "bottleneck";
    settings.stem = "large";
    const auto model = make_model(settings);
    EXPECT_EQ(dynamic_cast<FeatureModel&>(*model).feature_size(), 64);
    EXPECT_TRUE(std::isfinite(model->forward_backward(images(4, 32))));
}

}  // namespace
}  // namespace shoal::nn
