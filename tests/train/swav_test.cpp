// Learning without labels by unequal peers.
#include "train/real_swarm.h"

#include <cmath>
#include <gd.h>
#include <gtest/gtest.h>

#include "shoal/train/settings.h"
#include "shoal/train/training_program.h"

namespace shoal::train {
namespace {

run::RunDefinition swav_run() {
    run::RunDefinition definition = testing_support::convnet_run();
    definition.run.name += "-swav";
    definition.run.target_batch_size = 128;
    definition.run.steps = 30;
    definition.model.kind = "swav";
    definition.model.filters = 8;
    definition.swav.prototypes = 30;
    definition.swav.frozen_steps = 5;
    definition.swav.queue = 64;
    definition.swav.queue_from_step = 10;
    definition.swav.small_crops = 2;
    definition.swav.small_scale = {0.15, 0.4};
    definition.swav.colour = 0.5;
    definition.swav.blur = 0;
    definition.data.micro_batch_size = 32;
    definition.optimizer.name = "larc";
    definition.optimizer.weight_decay = 1e-6;
    definition.optimizer.epsilon = 1e-8;
    definition.optimizer.clip_gradient_norm = 0;
    definition.averaging.codec = "fp16";
    definition.schedule.kind = "cosine";
    definition.schedule.learning_rate = 4;
    definition.schedule.start_learning_rate = 0.5;
    definition.schedule.warmup_steps = 5;
    return definition;
}

double mean_loss(const std::vector<testing_support::PeerTrace>& traces, std::int64_t first,
                 std::int64_t last) {
    double sum = 0;
    for (std::int64_t step = first; step <= last; ++step) {
        double loss = std::nan("");
        for (const auto& trace : traces)
            if (trace.swarm_loss.count(step)) loss = trace.swarm_loss.at(step);
        sum += loss;
    }
    return sum / static_cast<double>(last - first + 1);
}

TEST(Swav, loss_falls_when_three_unequal_peers_train_and_all_hold_the_same_bits) {
    const run::RunDefinition definition = swav_run();
    const auto traces =
        testing_support::train_swarm({definition, {1.0, 0.6, 0.3}, testing_support::fresh_folder("swav")});
    for (const auto& trace : traces) {
        ASSERT_EQ(trace.digests.count(definition.run.steps), 1U) << "a peer did not take the last step";
        EXPECT_EQ(trace.parameters, traces[0].parameters);
    }
    EXPECT_LT(mean_loss(traces, 26, 30), 0.85 * mean_loss(traces, 1, 5));
}

TEST(Swav, prototypes_stay_as_they_were_made_until_their_step) {
    run::RunDefinition definition = swav_run();
    definition.run.steps = 4;
    definition.schedule.warmup_steps = 1;
    const auto traces =
        testing_support::train_swarm({definition, {1.0, 0.5}, testing_support::fresh_folder("frozen")});
    const auto fresh = make_model_source(definition, PeerId());
    const optim::PlacedTensor* prototypes = fresh->layout().find("prototypes.weight");
    ASSERT_NE(prototypes, nullptr);
    const auto part = [&](std::span<const float> all) {
        const auto cut = all.subspan(prototypes->offset, prototypes->count);
        return std::vector<float>(cut.begin(), cut.end());
    };
    EXPECT_EQ(part(traces[0].parameters), part(fresh->parameters()));
    EXPECT_NE(traces[0].parameters[0], fresh->parameters()[0]) << "the rest moves";
}

TEST(Swav, learns_from_a_folder_of_images) {
    const auto folder = testing_support::fresh_folder("folder");
    for (int i = 0; i < 8; ++i) {
        gdImagePtr image = gdImageCreateTrueColor(40 + i, 30);
        gdImageFilledRectangle(image, i, i, 20, 20, 0x1fff00 * (i + 1));
        ASSERT_TRUE(gdImageFile(image, (folder / (std::to_string(i) + ".png")).c_str()));
        gdImageDestroy(image);
    }
    run::RunDefinition definition = swav_run();
    definition.data.kind = "image-folder";
    definition.data.path = folder;
    definition.data.image_size = 32;
    definition.data.micro_batch_size = 4;
    EXPECT_NO_THROW(examine_model(definition));
    const auto source = make_model_source(definition, PeerId());
    EXPECT_TRUE(std::isfinite(source->micro_batch().mean));
    EXPECT_TRUE(std::isfinite(source->held_out_loss()));
}

TEST(Resnet, loss_falls_when_two_unequal_peers_train) {
    run::RunDefinition definition = testing_support::convnet_run();
    definition.run.name += "-resnet";
    definition.model.kind = "resnet";
    definition.model.filters = 8;
    definition.run.target_batch_size = 96;
    definition.data.micro_batch_size = 16;
    definition.schedule.learning_rate = 0.1;
    const auto traces =
        testing_support::train_swarm({definition, {1.0, 0.5}, testing_support::fresh_folder("resnet")});
    EXPECT_EQ(traces[0].parameters, traces[1].parameters);
    EXPECT_LT(mean_loss(traces, 16, 20), 0.88 * mean_loss(traces, 1, 2));
}

}  // namespace
}  // namespace shoal::train
