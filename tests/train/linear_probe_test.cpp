#include "shoal/train/linear_probe.h"

#include "train/real_swarm.h"

#include <gtest/gtest.h>

#include "shoal/base/error.h"
#include "shoal/base/random.h"
#include "shoal/run/checkpoint.h"
#include "shoal/run/state_digest.h"
#include "shoal/train/probe_program.h"
#include "shoal/train/settings.h"

namespace shoal::train {
namespace {

/// Pictures of 2x2 pixels whose first one says the class and whose others are noise.
class Dots final : public data::Dataset {
  public:
    explicit Dots(std::int64_t classes = 4) : Dataset(1), classes_(classes) {}

    data::DataShape shape() const override {
        data::DataShape shape;
        shape.channels = 1;
        shape.height = shape.width = 2;
        shape.classes = classes_;
        return shape;
    }
    std::uint64_t samples_an_epoch() const override { return 600; }
    std::uint64_t held_out_size() const override { return 200; }

  protected:
    void append(data::Batch& batch, bool held_out, std::uint64_t index, std::uint64_t) const override {
        Random random(index * 2 + held_out);
        const auto label = static_cast<std::int64_t>(random.below(4));
        batch.classes.push_back(label);
        batch.pixels.push_back(static_cast<float>(label));
        for (int i = 0; i < 3; ++i) batch.pixels.push_back(static_cast<float>(random.normal()));
    }

  private:
    std::int64_t classes_;
};

/// Four numbers that are 1 in turn, by the class; or, when blind, the noise.
class Eyes final : public nn::FeatureModel {
  public:
    explicit Eyes(bool blind) : blind_(blind) {}

    std::int64_t feature_size() const override { return 4; }
    void gather_statistics(const data::Batch& images) override { seen += images.samples; }
    void forget_statistics() override { seen = 0; }
    std::vector<float> features(const data::Batch& images) override {
        std::vector<float> all;
        for (std::size_t n = 0; n < static_cast<std::size_t>(images.samples); ++n)
            for (std::size_t i = 0; i < 4; ++i)
                all.push_back(blind_ ? images.pixels[4 * n + 1 + i % 3]
                                     : static_cast<float>(images.pixels[4 * n] == static_cast<float>(i)));
        return all;
    }

    std::int64_t seen = 0;

  private:
    bool blind_;
};

TEST(LinearProbe, finds_what_the_features_show_and_nothing_where_they_show_nothing) {
    Dots dots;
    Eyes seeing(false), blind(true);
    const ProbeResult all = probe(seeing, dots, {});
    EXPECT_EQ(all.test_accuracy, 1);
    EXPECT_EQ(all.training_accuracy, 1);
    EXPECT_LT(all.test_loss, 0.1);
    EXPECT_EQ(all.training_images, 600);
    EXPECT_EQ(all.test_images, 200);
    EXPECT_EQ(seeing.seen, 600);
    EXPECT_LT(probe(blind, dots, {}).test_accuracy, 0.45);
}

TEST(LinearProbe, gives_the_same_result_again_wherever_the_stream_is) {
    Dots dots;
    Eyes blind(true);
    const ProbeResult once = probe(blind, dots, {});
    dots.seek(77);
    const ProbeResult again = probe(blind, dots, {});
    EXPECT_EQ(once.test_loss, again.test_loss);
    EXPECT_EQ(once.test_accuracy, again.test_accuracy);
}

TEST(LinearProbe, learns_from_as_many_images_as_it_may) {
    Dots dots;
    Eyes seeing(false);
    ProbeSettings settings;
    settings.samples = 100;
    double progress = 0;
    const ProbeResult result = probe(seeing, dots, settings, [&](double share) {
        EXPECT_GT(share, progress);
        progress = share;
    });
    EXPECT_EQ(result.training_images, 100);
    EXPECT_EQ(progress, 1);
    settings.samples = 100000;
    EXPECT_EQ(probe(seeing, dots, settings).training_images, 600);
}

TEST(LinearProbe, refuses_images_without_classes_and_settings_that_make_no_sense) {
    const auto refused = [](auto change, std::int64_t classes) {
        Dots dots(classes);
        Eyes eyes(false);
        ProbeSettings settings;
        change(settings);
        try {
            probe(eyes, dots, settings);
        } catch (const Error& error) {
            return error.kind() == ErrorKind::invalid_argument;
        }
        return false;
    };
    EXPECT_FALSE(refused([](ProbeSettings&) {}, 4));
    EXPECT_TRUE(refused([](ProbeSettings&) {}, 0));
    EXPECT_TRUE(refused([](ProbeSettings& s) { s.epochs = 0; }, 4));
    EXPECT_TRUE(refused([](ProbeSettings& s) { s.samples = -1; }, 4));
    EXPECT_TRUE(refused([](ProbeSettings& s) { s.batch_size = 0; }, 4));
    EXPECT_TRUE(refused([](ProbeSettings& s) { s.statistics_samples = 1; }, 4));
}

run::RunDefinition probed_run(const std::string& kind) {
    run::RunDefinition definition = testing_support::convnet_run();
    definition.model.kind = kind;
    definition.peer.folder = testing_support::fresh_folder("probe");
    return definition;
}

/// As a training peer would leave it.
void write_checkpoint(const run::RunDefinition& definition, float factor) {
    const auto source = make_model_source(definition, PeerId());
    collective::State state;
    state.step = static_cast<Step>(7);
    state.sections.push_back({"parameters", {source->parameters().begin(), source->parameters().end()}});
    for (float& value : state.sections[0].values) value *= factor;
    run::CheckpointInfo info;
    info.step = state.step;
    info.run = definition.run.name;
    info.digest = run::digest_of(state);
    info.settings = run::agreed_settings(definition);
    const run::CheckpointFolder folder(definition.checkpoint_folder(), 1, Log());
    folder.prepare();
    folder.write(info, state, tensor_layout(source->layout()));
}

TEST(ProbeProgram, probes_the_newest_checkpoint_and_the_random_parameters) {
    run::RunDefinition definition = probed_run("swav");
    definition.model.filters = 8;
    write_checkpoint(definition, 1);
    ProbeProgramOptions options;
    options.probe.samples = 2000;
    options.probe.epochs = 10;
    const ProbeReport report = probe_checkpoint(definition, options);
    EXPECT_EQ(value(report.step), 7);
    // The checkpoint holds the very parameters that the run begins with.
    EXPECT_EQ(report.trained.test_accuracy, report.random.test_accuracy);
    EXPECT_GT(report.random.test_accuracy, 0.5) << "even random convolutions tell clothes apart";
    EXPECT_EQ(report.trained.training_images, 2000);
    EXPECT_EQ(report.trained.test_images, 10000);
}

TEST(ProbeProgram, says_what_is_missing) {
    const auto refusal = [](const run::RunDefinition& definition) {
        try {
            probe_checkpoint(definition, {});
        } catch (const Error& error) {
            return std::string(error.what());
        }
        return std::string();
    };
    EXPECT_NE(refusal(probed_run("swav")).find("there is no checkpoint"), std::string::npos);
    EXPECT_NE(refusal(probed_run("convnet")).find("resnet or swav"), std::string::npos);
    run::RunDefinition definition = probed_run("resnet");
    write_checkpoint(definition, 1);
    definition.model.filters = 24;
    EXPECT_NE(refusal(definition).find("model.filters"), std::string::npos);
}

}  // namespace
}  // namespace shoal::train
