#include "shoal/nn/model.h"

#include "data/expect_error.h"
#include "nn/batches.h"
#include "nn/gradient_check.h"

#include <cmath>
#include <limits>
#include <set>
#include <thread>

namespace shoal::nn {
namespace {

using namespace testing_support;

TEST(Albert, HasGradientsThatMatchFiniteDifferences) {
    const auto model = make_model(little_albert());
    expect_gradients_agree(*model, masked_text(5));
}

TEST(ConvNet, HasGradientsThatMatchFiniteDifferences) {
    const auto model = make_model(little_convnet());
    expect_gradients_agree(*model, images(5));
}

TEST(Albert, NamesItsParametersAsHuggingFaceDoes) {
    const auto model = make_model(little_albert());
    std::set<std::string> names;
    std::size_t offset = 0;
    for (const Parameter& parameter : model->parameters()) {
        names.insert(parameter.name);
        EXPECT_EQ(parameter.offset, offset);
        std::size_t elements = 1;
        for (const std::int64_t size : parameter.shape) elements *= static_cast<std::size_t>(size);
        EXPECT_EQ(parameter.size, elements);
        EXPECT_EQ(parameter.decay, parameter.shape.size() > 1) << parameter.name;
        offset += elements;
    }
    EXPECT_EQ(offset, model->size());
    EXPECT_EQ(names.size(), model->parameters().size());
    for (const char* name :
         {"albert.embeddings.word_embeddings.weight", "albert.encoder.embedding_hidden_mapping_in.bias",
          "albert.encoder.albert_layer_groups.0.albert_layers.0.attention.query.weight", "predictions.bias",
          "sop_classifier.classifier.weight", "albert.pooler.weight"}) {
        EXPECT_TRUE(names.contains(name)) << name;
    }
}

TEST(Albert, HasTheSizesOfThePaper) {
    ModelSettings settings;
    settings.vocabulary_size = 30000;
    settings.sequence_length = 512;
    const auto count = [&](const std::string& size) {
        settings.size = size;
        return make_model(settings)->size();
    };
    // Encoder and both heads; the paper counts 12 and 18 million.
    EXPECT_EQ(count("base"), 11813810U);
    EXPECT_EQ(count("large"), 17847474U);
    settings.vocabulary_size = 4000;
    settings.sequence_length = 64;
    EXPECT_EQ(count("tiny"), 496098U);
}

TEST(Albert, StartsAtTheLossOfChance) {
    const auto model = make_model(little_albert());
    EXPECT_NEAR(model->evaluate(masked_text(64)), std::log(kVocabulary) + std::log(2), 0.05);
}

TEST(Models, StartFromTheSameBitsForTheSameSeed) {
    for (ModelSettings settings : {little_albert(), little_convnet()}) {
        const auto first = copy(make_model(settings)->values());
        EXPECT_EQ(first, copy(make_model(settings)->values()));
        settings.seed = 1;
        EXPECT_NE(first, copy(make_model(settings)->values()));
    }
}

TEST(Models, InitialiseToTheBitsFixedHere) {
    // The first number is 0.02 times the first normal number of the generator, on every machine.
    Random random(0);
    EXPECT_EQ(make_model(little_albert())->values()[0], static_cast<float>(0.02 * random.normal()));
}

TEST(Models, DoNotCareHowSamplesAreCutIntoBatches) {
    const auto check = [](Model& model, const data::Batch& whole) {
        shake(model);
        const double loss = model.forward_backward(whole);
        std::vector<float> at_once(model.size()), in_parts(model.size());
        model.read_mean_gradient(at_once);
        model.zero_gradients();
        double sum = 0;
        for (const auto& [first, count] : {std::pair{0, 1}, std::pair{1, 4}, std::pair{5, 2}}) {
            sum += count * model.forward_backward(part(whole, first, count));
        }
        EXPECT_EQ(model.accumulated_samples(), 7);
        model.read_mean_gradient(in_parts);
        EXPECT_NEAR(sum / 7, loss, 1e-5);
        double difference = 0, norm = 0;
        for (std::size_t i = 0; i < at_once.size(); ++i) {
            difference += std::pow(at_once[i] - in_parts[i], 2);
            norm += std::pow(at_once[i], 2);
        }
        EXPECT_LT(std::sqrt(difference / norm), 1e-5);
    };
    check(*make_model(little_albert()), masked_text(7));
    check(*make_model(little_convnet()), images(7));
}

TEST(Models, ComputeTheSameBitsAgainAndOnAnotherThread) {
    const data::Batch batch = masked_text(6);
    const auto run = [&] {
        const auto model = make_model(little_albert());
        model->forward_backward(batch);
        return copy(model->gradient_sum());
    };
    const auto here = run();
    std::vector<float> there;
    std::thread([&] { there = run(); }).join();
    EXPECT_EQ(here, there);
}

TEST(Models, AccumulateSumsAndReadOutMeans) {
    const auto model = make_model(little_convnet());
    const data::Batch batch = images(4);
    model->forward_backward(batch);
    const auto once = copy(model->gradient_sum());
    model->forward_backward(batch);
    EXPECT_EQ(model->accumulated_samples(), 8);
    std::vector<float> mean(model->size());
    model->read_mean_gradient(mean);
    for (std::size_t i = 0; i < once.size(); ++i) {
        EXPECT_FLOAT_EQ(model->gradient_sum()[i], 2 * once[i]);
        EXPECT_FLOAT_EQ(mean[i], once[i] / 4);
    }
    model->zero_gradients();
    model->read_mean_gradient(mean);
    EXPECT_EQ(mean, std::vector<float>(model->size(), 0));
    EXPECT_EQ(model->accumulated_samples(), 0);
}

TEST(Models, ComputeWithWhatIsWrittenIntoTheirValues) {
    const auto first = make_model(little_albert());
    ModelSettings other = little_albert();
    other.seed = 5;
    const auto second = make_model(other);
    const data::Batch batch = masked_text(6);
    EXPECT_NE(first->evaluate(batch), second->evaluate(batch));
    std::vector<float> values(first->size());
    first->copy_values_to(values);
    second->set_values(values);
    EXPECT_EQ(first->evaluate(batch), second->evaluate(batch));
    values.pop_back();
    expect_error([&] { second->set_values(values); }, ErrorKind::invalid_argument,
                 std::to_string(first->size()));
}

TEST(Models, EvaluateWithoutDropoutAndTrainWithIt) {
    ModelSettings settings = little_albert();
    settings.dropout = 0.5;
    const auto model = make_model(settings);
    shake(*model);
    const data::Batch batch = masked_text(6);
    EXPECT_EQ(model->evaluate(batch), model->evaluate(batch));
    EXPECT_NE(model->forward_backward(batch), model->forward_backward(batch));
}

TEST(Albert, IgnoresWhatStandsInThePadding) {
    const auto model = make_model(little_albert());
    shake(*model);
    data::Batch batch = masked_text(4);
    const double loss = model->evaluate(batch);
    for (std::int64_t n = 0; n < 4; ++n) {
        for (std::int64_t i = batch.lengths[static_cast<std::size_t>(n)]; i < kLength; ++i)
            batch.tokens[static_cast<std::size_t>(n * kLength + i)] = 7;
    }
    EXPECT_NEAR(model->evaluate(batch), loss, 1e-6);
}

TEST(Albert, LearnsABatchByHeart) {
    const auto model = make_model(little_albert());
    const data::Batch batch = masked_text(8);
    const double before = model->evaluate(batch);
    for (int step = 0; step < 150; ++step) {
        model->zero_gradients();
        model->forward_backward(batch);
        std::vector<float> gradient(model->size());
        model->read_mean_gradient(gradient);
        for (std::size_t i = 0; i < gradient.size(); ++i) model->values()[i] -= 0.5F * gradient[i];
    }
    EXPECT_LT(model->evaluate(batch), 0.85 * before);
}

TEST(Models, RefuseBatchesOfAnotherKind) {
    const auto albert = make_model(little_albert()), convnet = make_model(little_convnet());
    expect_error([&] { albert->forward_backward(images(2)); }, ErrorKind::invalid_argument, "masked text",
                 "images");
    expect_error([&] { convnet->evaluate(masked_text(2)); }, ErrorKind::invalid_argument, "masked text");
    expect_error([&] { convnet->evaluate(images(2, 14)); }, ErrorKind::invalid_argument, "12x12");
    data::Batch broken = masked_text(3);
    broken.tokens.pop_back();
    expect_error([&] { albert->forward_backward(broken); }, ErrorKind::invalid_argument, "tokens");
    broken = masked_text(3);
    broken.tokens[4] = kVocabulary;  // the first id that does not exist
    expect_error([&] { albert->forward_backward(broken); }, ErrorKind::bad_input, "albert");
    broken = images(3);
    broken.classes[0] = 10;
    expect_error([&] { convnet->forward_backward(broken); }, ErrorKind::bad_input, "convnet");
    EXPECT_EQ(albert->accumulated_samples(), 0);
    for (const float value : albert->gradient_sum()) ASSERT_EQ(value, 0);
}

TEST(ModelSettings, ThatMakeNoSenseAreRefused) {
    const auto refuses = [](ModelSettings settings, auto change, const std::string& word) {
        change(settings);
        expect_error([&] { make_model(settings); }, ErrorKind::invalid_argument, word);
    };
    const ModelSettings albert = little_albert(), convnet = little_convnet();
    refuses(albert, [](ModelSettings& s) { s.kind = "bert"; }, "bert");
    refuses(
        albert,
        [](ModelSettings& s) {
            s.size = "huge";
            s.kind = "albert";
        },
        "huge");
    refuses(albert, [](ModelSettings& s) { s.vocabulary_size = 0; }, "vocabulary_size");
    refuses(albert, [](ModelSettings& s) { s.layers = -1; }, "layers");
    refuses(albert, [](ModelSettings& s) { s.heads = 3; }, "multiple of heads");
    refuses(albert, [](ModelSettings& s) { s.dropout = 1; }, "dropout");
    refuses(
        albert, [](ModelSettings& s) { s.dropout = std::numeric_limits<double>::quiet_NaN(); }, "dropout");
    refuses(albert, [](ModelSettings& s) { s.threads = 0; }, "threads");
    refuses(convnet, [](ModelSettings& s) { s.size = "base"; }, "base");
    refuses(convnet, [](ModelSettings& s) { s.filters = 12; }, "multiple of 8");
    refuses(convnet, [](ModelSettings& s) { s.classes = 1; }, "classes");
    refuses(convnet, [](ModelSettings& s) { s.height = 7; }, "8x8");
    ModelSettings least = convnet;
    least.height = least.width = 8;
    EXPECT_GT(make_model(least)->size(), 0U);
}

}  // namespace
}  // namespace shoal::nn
