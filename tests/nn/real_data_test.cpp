// The built-in models on the data they are made for.
#include "data/sample_text.h"

#include <gtest/gtest.h>
#include <vector>

#include "shoal/data/dataset.h"
#include "shoal/nn/model.h"

namespace shoal::nn {
namespace {

PeerId peer(std::uint8_t number) {
    return PeerId(sha256(ByteView(&number, 1)));
}

/// SGD with momentum.
void train(Model& model, data::Dataset& dataset, int steps, std::int64_t batch, float rate) {
    std::vector<float> gradient(model.size()), velocity(model.size());
    for (int step = 0; step < steps; ++step) {
        model.zero_gradients();
        model.forward_backward(dataset.next(batch));
        model.read_mean_gradient(gradient);
        for (std::size_t i = 0; i < gradient.size(); ++i) {
            velocity[i] = 0.9F * velocity[i] + gradient[i];
            model.values()[i] -= rate * velocity[i];
        }
    }
}

TEST(ConvNet, LearnsFashionMnist) {
    data::DatasetSettings data_settings;
    data_settings.kind = "fashion-mnist";
    const auto dataset = data::make_dataset(data_settings, peer(1));
    ModelSettings settings;
    settings.kind = "convnet";
    adopt_shape(settings, dataset->shape());
    const auto model = make_model(settings);
    const data::Batch held_out = dataset->held_out(0, 200);
    EXPECT_NEAR(model->evaluate(held_out), 2.3, 0.1);
    train(*model, *dataset, 80, 32, 0.1F);
    EXPECT_LT(model->evaluate(held_out), 1.3);
}

TEST(Albert, LearnsEnglishText) {
    const auto files = data::testing_support::sample_files();
    data::DatasetSettings data_settings;
    data_settings.path = files.text;
    data_settings.vocabulary = files.vocabulary;
    data_settings.sequence_length = 32;
    data_settings.held_out = 0.1;
    const auto dataset = data::make_dataset(data_settings, peer(1));
    ModelSettings settings;
    settings.embedding_size = settings.hidden_size = 64;
    settings.layers = 1;
    settings.feedforward_size = 128;
    adopt_shape(settings, dataset->shape());
    const auto model = make_model(settings);
    const data::Batch held_out = dataset->held_out(0, 100);
    const double before = model->evaluate(held_out);
    EXPECT_NEAR(before, 7.6, 0.2);  // ln 1000 + ln 2
    train(*model, *dataset, 120, 16, 0.05F);
    EXPECT_LT(model->evaluate(held_out), before - 0.8);
}

}  // namespace
}  // namespace shoal::nn
